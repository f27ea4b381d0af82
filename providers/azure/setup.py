"""What a customer runs once in their Azure so that one project's functions can be built and run there."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from domain.clouds import AzureIdentity, AzureResources
from providers.azure import roles
from providers.azure.making import az, make
from providers.azure.naming import PULL_IDENTITY
from providers.azure.roles import Role
from providers.azure.templates import Names, resources_template

PORTAL = "https://portal.azure.com/#create/Microsoft.Template/uri/"
# Stands for the subscription's id where it is not known yet; a shell finds it out.
SUBSCRIPTION_ID = "SUBSCRIPTION_ID"
REGION = "westeurope"
CONTAINER = "dcf"
_PRINCIPAL_ID = "PRINCIPAL_ID"
_NAMESPACES = ("Microsoft.App", "Microsoft.ContainerRegistry", "Microsoft.ManagedIdentity", "Microsoft.Storage")
_MARK_CHARACTERS = 12


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer chose; what is empty gets a name of the project's own."""

    resource_group: str = ""
    region: str = ""
    account: str = ""
    container: str = ""
    registry: str = ""
    environment_name: str = ""
    pull_identity_name: str = ""


class AzureSetupStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing to make, by lines for a shell."""

    name: str
    title: str
    commands: tuple[str, ...]


class AzureMade(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is there afterwards, as verifying and deploying take it. SUBSCRIPTION_ID stands for the subscription's id."""

    subscription_id: str
    resource_group: str
    region: str
    account: str
    container: str
    registry: str
    environment_name: str
    pull_identity: str


class ArmTemplate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A template as Azure Resource Manager takes it."""

    schema: str = msgspec.field(name="$schema")
    content_version: str
    parameters: dict[str, dict[str, Any]]
    resources: list[dict[str, Any]]
    outputs: dict[str, dict[str, str]]


class AzureSetup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One template for everything, the link that opens it in the portal, and the same as commands: use one of these.

    `deployCommand` deploys the template into the group that the first steps make.
    """

    makes: AzureMade
    template: ArmTemplate
    template_url: str
    portal_url: str
    deploy_command: str
    steps: tuple[AzureSetupStep, ...]
    script: str


def portal_link(template_url: str) -> str:
    """Where the portal opens the template."""
    return PORTAL + quote(template_url, safe="")


def identity_name(project_id: UUID) -> str:
    """The identity that the register template makes for a project."""
    return f"dcf-{project_id}"


def names(project_id: UUID, wanted: Wanted) -> Wanted:
    """With a name for everything. Accounts and registries need one that nobody in the world has."""
    mark = project_id.hex[-_MARK_CHARACTERS:]
    return Wanted(
        resource_group=wanted.resource_group or f"dcf-{mark}",
        region=wanted.region or REGION,
        account=wanted.account or f"dcf{mark}",
        container=wanted.container or CONTAINER,
        registry=wanted.registry or f"dcf{mark}",
        environment_name=wanted.environment_name or f"dcf-{mark}",
        pull_identity_name=wanted.pull_identity_name or PULL_IDENTITY,
    )


def resources_of(named: Wanted, subscription_id: str) -> AzureResources:
    """What is looked at of names that are whole."""
    return AzureResources(
        resource_group=named.resource_group,
        registry=named.registry,
        environment_name=named.environment_name,
        pull_identity=_Paths(subscription_id, named).pull_identity,
        account=named.account,
        container=named.container,
    )


def template(project_id: UUID, wanted: Wanted) -> ArmTemplate:
    """The template alone."""
    named = names(project_id, wanted)
    made = resources_template(
        Names(
            identity=identity_name(project_id),
            account=named.account,
            container=named.container,
            registry=named.registry,
            environment=named.environment_name,
            pull_identity=named.pull_identity_name,
        )
    )
    return msgspec.convert(made, ArmTemplate)


def setup(project_id: UUID, wanted: Wanted, address: str, identity: AzureIdentity | None) -> AzureSetup:
    """Everything for one project. `address` is where the template is served; `identity` is what it is connected as, if it is."""
    named = names(project_id, wanted)
    chosen = {key: value for key, value in _camel(wanted).items() if value and key not in ("resourceGroup", "region")}
    url = address + (f"?{urlencode(chosen)}" if chosen else "")
    steps = _steps(project_id, named, identity)
    lines = [line for step in steps for line in (f"# {step.title}", *step.commands)]
    subscription = identity.subscription_id if identity else SUBSCRIPTION_ID
    in_it = ("--subscription", subscription) if identity else ()
    paths = _Paths(subscription, named)
    return AzureSetup(
        makes=AzureMade(
            subscription_id=subscription,
            resource_group=named.resource_group,
            region=named.region,
            account=named.account,
            container=named.container,
            registry=named.registry,
            environment_name=named.environment_name,
            pull_identity=paths.pull_identity,
        ),
        template=template(project_id, wanted),
        template_url=url,
        portal_url=portal_link(url),
        deploy_command=" ".join(
            (
                az("deployment", "group", "create", *in_it, "--resource-group", named.resource_group),
                _line("--template-uri", url),
                f"--parameters principalId={_principal(project_id, named, identity)}",
            )
        ),
        steps=steps,
        script="\n".join(["set -e", *lines, ""]),
    )


class _Paths:
    """The ids of what is made."""

    def __init__(self, subscription: str, named: Wanted) -> None:
        self.group = f"/subscriptions/{subscription}/resourceGroups/{named.resource_group}"
        self.storage_account = self._of("Microsoft.Storage/storageAccounts", named.account)
        self.registry = self._of("Microsoft.ContainerRegistry/registries", named.registry)
        self.environment = self._of("Microsoft.App/managedEnvironments", named.environment_name)
        self.pull_identity = self._of("Microsoft.ManagedIdentity/userAssignedIdentities", named.pull_identity_name)

    def _of(self, kind: str, name: str) -> str:
        return f"{self.group}/providers/{kind}/{name}"


def _steps(project_id: UUID, named: Wanted, identity: AzureIdentity | None) -> tuple[AzureSetupStep, ...]:
    paths = _Paths(identity.subscription_id if identity else f"${SUBSCRIPTION_ID}", named)
    pulls = _shown("identity", "show", "--resource-group", named.resource_group, "--name", named.pull_identity_name)

    def step(name: str, title: str, *commands: str) -> AzureSetupStep:
        return AzureSetupStep(name=name, title=title, commands=commands)

    def made(path: str) -> str:
        return make(path, named.region)

    container = az(
        *("storage", "container-rm", "create", "--name", named.container),
        *("--storage-account", named.account, "--resource-group", named.resource_group),
    )
    return (
        _subscription(identity),
        step(
            "namespaces",
            "What the subscription must know; some minutes when it is new to it",
            *(az("provider", "register", "--namespace", name, "--wait") for name in _NAMESPACES),
        ),
        step("resource_group", "A group for everything", made(paths.group)),
        step(
            "storage",
            "A storage account without keys, closed to the public, and the container for sources",
            made(paths.storage_account),
            container,
        ),
        step("registry", "A registry, which builds the images and keeps them", made(paths.registry)),
        step("environment", "The environment that apps run in", made(paths.environment)),
        step(
            "pull_identity",
            "The identity that pulls images for the apps, and nothing else",
            made(paths.pull_identity),
            _assignment(pulls, roles.PULLER, paths.registry),
        ),
        step(
            "roles",
            "What this project, and no other, may do there",
            f"{_PRINCIPAL_ID}={_principal(project_id, named, identity)}",
            *(_assignment(f'"${_PRINCIPAL_ID}"', role, getattr(paths, role.on)) for role in roles.DEPLOYING),
        ),
    )


def _subscription(identity: AzureIdentity | None) -> AzureSetupStep:
    if identity is not None:
        command = az("account", "set", "--subscription", identity.subscription_id)
        return AzureSetupStep(name="subscription", title="In the connected subscription", commands=(command,))
    find = f'{SUBSCRIPTION_ID}="$(az account show --query id --output tsv)"'
    return AzureSetupStep(name="subscription", title="The subscription that you are signed in to", commands=(find,))


def _principal(project_id: UUID, named: Wanted, identity: AzureIdentity | None) -> str:
    """Who is given the roles, as a shell finds it out: whom the project is connected as, else whom its template makes."""
    if identity is not None:
        return f'"$(az ad sp show --id {shlex.quote(identity.client_id)} --query id --output tsv)"'
    return _shown("identity", "show", "--resource-group", named.resource_group, "--name", identity_name(project_id))


def _shown(*words: str) -> str:
    return f'"$({az(*words)} --query principalId --output tsv)"'


def _assignment(principal: str, role: Role, scope: str) -> str:
    return " ".join(
        (
            f"az role assignment create --assignee-object-id {principal}",
            _line("--assignee-principal-type", "ServicePrincipal", "--role", role.name, "--scope", scope),
        )
    )


def _line(*words: str) -> str:
    """The words as a line for a shell; in one that begins with a variable's path, the variable is filled in."""
    return " ".join(f'"{word}"' if f"/${SUBSCRIPTION_ID}/" in word else shlex.quote(word) for word in words)


def _camel(wanted: Wanted) -> dict[str, str]:
    """By the names of the template's address."""
    return {
        "resourceGroup": wanted.resource_group,
        "region": wanted.region,
        "account": wanted.account,
        "container": wanted.container,
        "registry": wanted.registry,
        "environmentName": wanted.environment_name,
        "pullIdentityName": wanted.pull_identity_name,
    }
