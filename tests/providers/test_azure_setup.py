"""What a customer runs in Azure: templates, and commands for a shell."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from uuid import UUID

import pytest

from domain.clouds import AzureIdentity
from providers.azure import roles
from providers.azure.setup import AzureSetup, Wanted, setup
from providers.azure.templates import identity_template

PROJECT = UUID(int=2)
ADDRESS = "https://dcf.example/api/v1/azure/templates/t/p/resources"
IDENTITY = AzureIdentity(azure_tenant_id=str(UUID(int=3)), client_id=str(UUID(int=4)), subscription_id=str(UUID(int=5)))
REGISTERED = identity_template("dcf-p", "https://dcf.example", "tenant:t:project:p")
# What the template language has of these; each is called with as many arguments as it takes.
FUNCTIONS = {
    "parameters": (1,),
    "resourceGroup": (0,),
    "subscription": (0,),
    "resourceId": (2, 3),
    "subscriptionResourceId": (2,),
    "reference": (2,),
    "guid": (3, 4),
    "format": (2, 3),
    "if": (3,),
    "empty": (1,),
}


def _setup(wanted: Wanted | None = None, identity: AzureIdentity | None = None) -> AzureSetup:
    return setup(PROJECT, wanted or Wanted(), ADDRESS, identity)


def _template() -> dict[str, Any]:
    made = _setup().template
    return {"parameters": made.parameters, "resources": made.resources, "outputs": made.outputs}


def _expressions(value: Any) -> list[str]:
    match value:
        case dict():
            return [one for inner in value.values() for one in _expressions(inner)]
        case list():
            return [one for inner in value for one in _expressions(inner)]
        case str() if value.startswith("["):
            return [value]
        case _:
            return []


def _calls(expression: str) -> list[tuple[str, int]]:
    """Every call in it, with the number of its arguments; a text in quotes is one."""
    plain = re.sub(r"'[^']*'", "x", expression.removeprefix("[").removesuffix("]"))
    found, reduced = [], plain
    while (call := re.search(r"(\w+)\(([^()]*)\)", reduced)) is not None:
        given = len([part for part in call[2].split(",") if part.strip()])
        found.append((call[1], given))
        reduced = f"{reduced[: call.start()]}x{reduced[call.end() :]}"
    assert re.fullmatch(r"x(\.\w+)*", reduced), f"{expression} is none"
    return found


@pytest.mark.parametrize("template", [REGISTERED, _template()], ids=["identity", "resources"])
class TestTemplates:
    def test_call_only_what_the_language_has(self, template: dict[str, Any]) -> None:
        calls = [call for expression in _expressions(template) for call in _calls(expression)]

        assert calls
        assert [(name, given) for name, given in calls if given not in FUNCTIONS.get(name, ())] == []

    def test_use_each_parameter_and_none_that_is_not_there(self, template: dict[str, Any]) -> None:
        used = {name for one in _expressions(template) for name in re.findall(r"parameters\('(\w+)'\)", one)}

        assert used == set(template["parameters"])

    def test_name_a_version_of_each_resource_and_wait_for_what_is_made_in_them(self, template: dict[str, Any]) -> None:
        for resource in template["resources"]:
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", resource["apiVersion"])
            kinds = resource["type"].count("/") + 1
            if resource.get("scope"):
                assert resource["scope"] in resource["dependsOn"]
            elif kinds > 2:
                assert resource["dependsOn"]


class TestIdentityTemplate:
    def test_trusts_exactly_the_tokens_of_one_project(self) -> None:
        [trust] = [one for one in REGISTERED["resources"] if one["type"].endswith("/federatedIdentityCredentials")]

        assert trust["name"] == "dcf-p/dcf"
        assert trust["properties"] == {
            "issuer": "https://dcf.example",
            "subject": "tenant:t:project:p",
            "audiences": ["api://AzureADTokenExchange"],
        }


class TestResourcesTemplate:
    def test_gives_each_role_on_nothing_but_what_it_is_for(self) -> None:
        given = {
            re.findall(r"'([0-9a-f-]{36})'", one["properties"]["roleDefinitionId"])[0]: one.get("scope", "")
            for one in _template()["resources"]
            if one["type"] == "Microsoft.Authorization/roleAssignments"
        }

        assert set(given) == {role.id for role in (*roles.DEPLOYING, roles.PULLER)}
        assert "Microsoft.ContainerRegistry/registries'" in given[roles.BUILDER.id]
        assert "Microsoft.Storage/storageAccounts'" in given[roles.BLOBS.id]
        assert "parameters('pullIdentityName')" in given[roles.ASSIGNER.id]
        assert [role.name for role in roles.DEPLOYING if not given[role.id]] == [roles.APPS.name, roles.JOBS.name]

    def test_leaves_no_way_in_by_a_key(self) -> None:
        properties = {one["type"]: one.get("properties", {}) for one in _template()["resources"]}

        assert properties["Microsoft.Storage/storageAccounts"]["allowSharedKeyAccess"] is False
        assert properties["Microsoft.Storage/storageAccounts"]["allowBlobPublicAccess"] is False
        assert properties["Microsoft.ContainerRegistry/registries"]["adminUserEnabled"] is False

    def test_calls_things_as_was_wished(self) -> None:
        made = _setup(Wanted(account="acmefiles", registry="acmeimages", resource_group="shop"))

        defaults = {name: one["defaultValue"] for name, one in made.template.parameters.items()}
        assert (defaults["storageAccount"], defaults["registry"]) == ("acmefiles", "acmeimages")
        assert made.template_url == f"{ADDRESS}?account=acmefiles&registry=acmeimages"
        assert made.makes.resource_group == "shop"


class TestCommands:
    @pytest.mark.parametrize(
        "made",
        [_setup(), _setup(identity=IDENTITY), _setup(Wanted(resource_group="a(b).c_d"), IDENTITY)],
        ids=["unknown", "connected", "odd-group"],
    )
    def test_are_ones_that_a_shell_takes(self, made: AzureSetup) -> None:
        """Method: a shell runs them all, with an `az` that writes its arguments down and shows an id for a question."""
        said = "az() { printf '%s\\n' \"$(printf '[%s]' \"$@\")\" >&2; echo an-id; }\n"
        script = said + made.script + made.deploy_command + "\n"

        ran = subprocess.run(("bash",), input=script, capture_output=True, text=True, check=False, timeout=60)

        assert ran.returncode == 0, ran.stderr
        lines = ran.stderr.splitlines()
        assert not [line for line in lines if "$" in line or '"' in line], "what is asked for is filled in"
        assigned = [line for line in lines if line.startswith("[role][assignment]")]
        assert len(assigned) == len(roles.DEPLOYING) + 1
        assert all("[--assignee-object-id][an-id]" in line for line in assigned)
        subscription = IDENTITY.subscription_id if "account][set" in ran.stderr else "an-id"
        group = f"/subscriptions/{subscription}/resourceGroups/{made.makes.resource_group}"
        assert all(f"[--scope][{group}" in line for line in assigned)
        assert lines[-1].startswith("[deployment][group][create]")
        assert lines[-1].endswith("[--parameters][principalId=an-id]")

    def test_make_the_same_as_the_template(self) -> None:
        made = _setup()

        text = made.script
        for name in json.loads(json.dumps(made.template.parameters)):
            if name in ("location", "principalId"):
                continue
            assert str(made.template.parameters[name]["defaultValue"]) in text, name
        assert made.makes.pull_identity.endswith("/userAssignedIdentities/dcf-pull")
