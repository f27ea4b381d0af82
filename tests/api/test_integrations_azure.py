"""Connecting to Azure over HTTP: first as far as it goes without a cloud that answers, then before an emulated one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from providers.azure.provider import AzureProvider
from providers.issuer import Issuer, Keyring
from tests.api.steps import a_project, ask, is_problem
from tests.api.world import World
from tests.emulators.azure import customer as of
from tests.emulators.azure.customer import Customer
from tests.emulators.azure.faults import Fault
from tests.emulators.azure.server import Azure
from tests.emulators.background import Background
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known

DIRECTORY = {
    "azureTenantId": "0192d3a4-5b6c-7d8e-9f00-000000000012",
    "subscriptionId": "0192d3a4-5b6c-7d8e-9f00-000000000013",
}


class TestRegisterAzure:
    async def test_leads_to_a_template_that_trusts_this_project_alone(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        path = f"/projects/{project_id}/integrations/azure/wif/register"

        body = await ask(client, "POST", path, DIRECTORY)
        again = await ask(client, "POST", path, DIRECTORY)

        place, _, template_url = body["portalUrl"].partition("/uri/")
        served = await client.get(urlsplit(unquote(template_url)).path, headers={"Authorization": ""})
        template = served.json()
        [trust] = [one for one in template["resources"] if one["type"].endswith("/federatedIdentityCredentials")]
        assert body == again
        assert place == "https://portal.azure.com/#create/Microsoft.Template"
        assert served.headers["access-control-allow-origin"] == "*"
        assert unquote(template_url).startswith("https://api.dcf.example/"), "the portal fetches it from us"
        assert trust["properties"]["issuer"] == "https://dcf.example", "which need not be who signs the tokens"
        assert trust["properties"]["subject"].endswith(f":project:{project_id}")
        assert trust["properties"]["audiences"] == ["api://AzureADTokenExchange"]
        assert {"azureTenantId", "clientId", "principalId", "subscriptionId"} == set(template["outputs"])

    async def test_refuses_what_is_no_directory(self, client: httpx.AsyncClient) -> None:
        path = f"/api/v1/projects/{await a_project(client)}/integrations/azure/wif/register"

        answer = await client.post(path, json={**DIRECTORY, "azureTenantId": "login.example.com/x"})

        assert is_problem(answer, 422, "body_invalid")


class TestConnectAzure:
    async def test_is_shown_as_it_was_given(self, client: httpx.AsyncClient) -> None:
        path = f"/projects/{await a_project(client)}/integrations/azure"

        made = await ask(
            client, "POST", f"{path}/connect", {**DIRECTORY, "clientId": DIRECTORY["azureTenantId"]}, status=201
        )

        assert made == await ask(client, "GET", path)
        assert made["status"] == "pending"


class Microsoft:
    """A customer's Azure, whose identity trusts the tokens of whom it is told to."""

    def __init__(self, folder: Path) -> None:
        self.background = Background()
        self.issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
        port = self.background.serve(well_known(self.issuer))
        self.customer = Customer()
        self.customer.set_up()
        builds = workshop(folder / "cloud", TOOLCHAIN_DIR, real=False)
        self.azure = Azure(self.customer, builds, self.background)
        self.provider = AzureProvider(self.issuer, self.azure.endpoints)

    @property
    def identity(self) -> of.Identity:
        return self.customer.identities[of.path_of(of.IDENTITY_TYPE, of.DEPLOYER).lower()]

    def trust(self, tenant_id: UUID, project_id: UUID) -> None:
        self.customer.trust(self.issuer.issuer, self.issuer.subject(tenant_id, project_id), name="dcf")


@pytest.fixture
async def microsoft(world: World, tmp_path: Path) -> AsyncIterator[Microsoft]:
    made = await asyncio.to_thread(Microsoft, tmp_path)
    world.services.providers["azure"] = made.provider  # type: ignore[index] # the world's own dictionary
    yield made
    await made.provider.close()
    made.background.close()


IDENTITY = {"azureTenantId": of.DIRECTORY, "clientId": of.CLIENT, "subscriptionId": of.SUBSCRIPTION}
BUCKET = {"account": of.ACCOUNT, "container": of.CONTAINER}
NAMED = {
    "resourceGroup": of.GROUP,
    "registry": of.REGISTRY,
    "environmentName": of.ENVIRONMENT,
    **BUCKET,
}


@pytest.fixture
async def path(client: httpx.AsyncClient, microsoft: Microsoft) -> str:
    """Of a project that is connected, and trusted."""
    project_id = await a_project(client)
    tenant_id = (await ask(client, "GET", "/tenant"))["tenantId"]
    microsoft.trust(UUID(tenant_id), UUID(project_id))
    await ask(client, "POST", f"/projects/{project_id}/integrations/azure/connect", IDENTITY, status=201)
    return f"/projects/{project_id}/integrations/azure"


def _stopped(seen: Any) -> tuple[str, str, str, str]:
    """The status, and the step that did not pass: its name, its code and its remedy."""
    step = next(step for step in seen["steps"] if step["code"])
    return seen["status"], step["name"], step["code"], step["remedy"]


class TestVerifyAzure:
    async def test_connects_step_by_step_and_follows_what_changes_later(
        self, client: httpx.AsyncClient, path: str, microsoft: Microsoft
    ) -> None:
        seen = await ask(client, "POST", f"{path}/wif/verify", {})
        microsoft.identity.trusts.clear()
        later = await ask(client, "POST", f"{path}/wif/verify", {})

        shown = await ask(client, "GET", path)
        assert seen["status"] == "verified"
        assert later["status"] == shown["status"] == "failed", "what worked does not spread"

    @pytest.mark.parametrize(
        ("what", "act", "code", "remedy"),
        [
            (
                "another subject",
                lambda m: m.trust(uuid4(), uuid4()),
                "AZURE_SUBJECT_DIFFERS",
                "federated-credential create",
            ),
            (
                "another issuer",
                lambda m: m.customer.trust("https://other.example", "x", name="dcf"),
                "AZURE_ISSUER_DIFFERS",
                "federated-credential create",
            ),
            (
                "another audience",
                lambda m: m.identity.audiences.update(dcf=["api://other"]),
                "AZURE_AUDIENCE_DIFFERS",
                "federated-credential create",
            ),
            (
                "no credential",
                lambda m: m.identity.trusts.clear(),
                "AZURE_CREDENTIAL_MISSING",
                "az identity federated-credential create",
            ),
            ("no application", lambda m: m.customer.identities.clear(), "AZURE_APPLICATION_NOT_FOUND", "clientId"),
        ],
        ids=lambda value: value if isinstance(value, str) and " " in value and value[0] in "an" else "",
    )
    async def test_names_what_is_wrong_with_the_trust(
        self,
        client: httpx.AsyncClient,
        path: str,
        microsoft: Microsoft,
        what: str,
        act: Callable[[Microsoft], object],
        code: str,
        remedy: str,
    ) -> None:
        act(microsoft)

        status, step, seen, said = _stopped(await ask(client, "POST", f"{path}/wif/verify", {}))

        assert (step, seen) == ("token_exchange", code), what
        may_spread = ("AZURE_SUBJECT_DIFFERS", "AZURE_ISSUER_DIFFERS", "AZURE_CREDENTIAL_MISSING")
        assert status == ("pending" if code in may_spread else "failed")
        assert remedy in said

    async def test_names_a_directory_that_is_none(
        self, client: httpx.AsyncClient, path: str, microsoft: Microsoft
    ) -> None:
        await ask(client, "POST", f"{path}/connect", {**IDENTITY, "azureTenantId": str(uuid4())})

        _, step, code, remedy = _stopped(await ask(client, "POST", f"{path}/wif/verify", {}))

        assert (step, code) == ("token_exchange", "AZURE_TENANT_NOT_FOUND")
        assert "az account show --query tenantId" in remedy


class TestAzureBucket:
    async def test_is_checked_then_saved_and_gone_once_disconnected(self, client: httpx.AsyncClient, path: str) -> None:
        refused = await client.post(f"/api/v1{path}/bucket/config", json=BUCKET)
        seen = await ask(client, "POST", f"{path}/bucket/check", BUCKET)
        saved = await ask(client, "POST", f"{path}/bucket/config", BUCKET)
        await ask(client, "POST", f"{path}/resources/verify", NAMED)
        gone = await ask(client, "POST", f"{path}/disconnect", {})

        assert is_problem(refused, 409, "storage_not_checked")
        assert seen["status"] == "verified"
        assert saved["storage"] == {"provider": "azure", **BUCKET}
        assert (gone["status"], gone["storage"], gone["resources"]) == ("disconnected", None, None)

    @pytest.mark.parametrize(
        ("act", "step", "code", "remedy"),
        [
            (lambda m: m.customer.containers.clear(), "container", "AZURE_CONTAINER_NOT_FOUND", of.CONTAINER),
            (
                lambda m: m.customer.take("Storage Blob Data Contributor"),
                "container",
                "AZURE_BLOB_ROLE_MISSING",
                "--role 'Storage Blob Data Contributor'",
            ),
        ],
        ids=["no container", "no role for blobs"],
    )
    async def test_names_what_is_missing_and_saves_nothing(
        self,
        client: httpx.AsyncClient,
        path: str,
        microsoft: Microsoft,
        act: Callable[[Microsoft], object],
        step: str,
        code: str,
        remedy: str,
    ) -> None:
        act(microsoft)

        seen = _stopped(await ask(client, "POST", f"{path}/bucket/check", BUCKET))
        refused = await client.post(f"/api/v1{path}/bucket/config", json=BUCKET)

        assert seen[:3] == ("failed", step, code)
        assert remedy in seen[3]
        assert is_problem(refused, 409, "storage_not_checked")

    @pytest.mark.parametrize("method", ["HEAD", "PUT"], ids=["at the container", "at its blobs"])
    async def test_is_awaited_while_a_role_that_was_given_spreads(
        self, client: httpx.AsyncClient, path: str, microsoft: Microsoft, method: str
    ) -> None:
        methods = ("HEAD", "GET") if method == "HEAD" else (method,)
        for one in methods:
            microsoft.customer.faults.append(Fault(one, f"/blob/{of.ACCOUNT}/", 403, "AuthorizationPermissionMismatch"))

        status, _, code, remedy = _stopped(await ask(client, "POST", f"{path}/bucket/check", BUCKET))
        microsoft.customer.faults.clear()
        later = await ask(client, "POST", f"{path}/bucket/check", BUCKET)

        assert (status, code) == ("pending", "AZURE_BLOB_ROLE_MISSING")
        assert "az role assignment create" in remedy, "what mends it if it never comes"
        assert later["status"] == "verified"

    async def test_is_awaited_where_nobody_can_tell_whether_a_role_was_given(
        self, client: httpx.AsyncClient, path: str, microsoft: Microsoft
    ) -> None:
        microsoft.customer.take("Storage Blob Data Contributor")
        microsoft.customer.take("Reader")

        assert _stopped(await ask(client, "POST", f"{path}/bucket/check", BUCKET))[:3] == (
            "pending",
            "container",
            "AZURE_BLOB_ROLE_MISSING",
        )


class TestAzureResources:
    async def test_are_shown_as_a_template_that_this_service_serves_under_the_same_names(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        wanted = {"resourceGroup": "shop", "registry": "acmeImages", "pullIdentityName": "puller"}

        made = await ask(client, "POST", f"{path}/resources/template", wanted)

        place, _, url = made["portalUrl"].partition("/uri/")
        parts = urlsplit(unquote(url))
        served = await client.get(f"{parts.path}?{parts.query}", headers={"Authorization": ""})
        assert place == "https://portal.azure.com/#create/Microsoft.Template"
        assert unquote(url) == made["templateUrl"]
        assert served.json() == made["template"]
        assert served.headers["access-control-allow-origin"] == "*"
        assert made["template"]["parameters"]["registry"]["defaultValue"] == "acmeImages"
        assert made["makes"]["pullIdentity"] == (
            f"/subscriptions/{of.SUBSCRIPTION}/resourceGroups/shop"
            "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"
        )
        assert of.CLIENT in made["script"], "the connected identity is given the roles"

    async def test_are_shown_before_anything_is_connected(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)

        made = await ask(client, "POST", f"/projects/{project_id}/integrations/azure/resources/template", {})

        assert made["makes"]["subscriptionId"] == "SUBSCRIPTION_ID"
        assert f"dcf-{project_id}" in made["script"], "the roles are for the identity of the register template"

    @pytest.mark.parametrize(
        "wanted", [{"registry": "a-b"}, {"account": "Acme"}, {"resourceGroup": "a."}, {"key": "x"}]
    )
    async def test_refuse_names_that_azure_does_not_take(
        self, client: httpx.AsyncClient, path: str, wanted: dict[str, str]
    ) -> None:
        answer = await client.post(f"/api/v1{path}/resources/template", json=wanted)

        assert is_problem(answer, 422, "body_invalid")

    async def test_are_looked_at_kept_and_looked_at_again(
        self, client: httpx.AsyncClient, path: str, microsoft: Microsoft
    ) -> None:
        seen = await ask(client, "POST", f"{path}/resources/verify", NAMED)
        shown = await ask(client, "GET", path)
        microsoft.customer.take("AcrPush")
        again = await ask(client, "POST", f"{path}/resources/verify", {})
        later = await ask(client, "GET", path)

        assert (seen["status"], shown["resourcesStatus"]) == ("verified", "verified")
        assert shown["resources"].items() >= NAMED.items()
        assert _stopped(again)[:3] == ("failed", "push_role", "AZURE_ROLE_MISSING")
        assert (later["resourcesStatus"], later["resourcesSteps"]) == ("failed", again["steps"])
        assert later["status"] == shown["status"], "the identity is verified apart"

    async def test_are_pending_while_a_role_spreads(
        self, client: httpx.AsyncClient, path: str, microsoft: Microsoft
    ) -> None:
        microsoft.azure.permissions.slow = frozenset({"Container Apps Contributor"})

        status, step, _, remedy = _stopped(await ask(client, "POST", f"{path}/resources/verify", NAMED))

        assert (status, step) == ("pending", "apps_role")
        assert "az role assignment create" in remedy

    async def test_are_those_of_the_template_where_none_is_named(self, client: httpx.AsyncClient, path: str) -> None:
        made = (await ask(client, "POST", f"{path}/resources/template", {}))["makes"]

        seen = await ask(client, "POST", f"{path}/resources/verify", {})
        looked_at = (await ask(client, "GET", path))["resources"]

        assert _stopped(seen)[:3] == ("failed", "resource_group", "AZURE_PERMISSION_DENIED")
        assert "az group create" in _stopped(seen)[3], "nobody is told of a group that they may not see"
        assert looked_at.items() <= {**made, "provider": "azure"}.items()

    @pytest.mark.parametrize(
        "wanted", ["../x", "/subscriptions/x", f"/subscriptions/{of.SUBSCRIPTION}/resourceGroups/../providers/x"]
    )
    async def test_refuse_an_address_that_is_no_identity(
        self, client: httpx.AsyncClient, path: str, wanted: str
    ) -> None:
        answer = await client.post(f"/api/v1{path}/resources/verify", json={"pullIdentity": wanted})

        assert is_problem(answer, 422, "body_invalid")

    async def test_refuse_to_be_looked_at_where_nothing_is_connected(
        self, client: httpx.AsyncClient, microsoft: Microsoft
    ) -> None:
        project_id = await a_project(client)

        answer = await client.post(f"/api/v1/projects/{project_id}/integrations/azure/resources/verify", json={})

        assert is_problem(answer, 404, "integration_not_found")
