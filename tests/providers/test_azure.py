"""Azure's identity and storage, against an Entra that checks our signature and a storage that checks conditions."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import httpx
import msgspec
import pytest

from domain.clouds import AzureIdentity, AzureStorage
from providers.azure.account import Account
from providers.azure.errors import Answered, answered, told
from providers.azure.identity import AUDIENCE, MANAGEMENT, Tokens
from providers.azure.provider import AzureProvider
from providers.azure.storage import AccountMissing, Container
from providers.azure.wire import Wire
from providers.issuer import Issuer, Keyring
from providers.provider import Finding, ProviderBusy, ProviderRefused, ProviderUnreachable
from tests.emulators.azure.customer import (
    ACCOUNT,
    CLIENT,
    CONTAINER,
    DIRECTORY,
    GROUP_PATH,
    IDENTITY_TYPE,
    PULLER,
    REGISTRY,
    SUBSCRIPTION,
    Customer,
    path_of,
)
from tests.emulators.azure.faults import Fault
from tests.emulators.azure.server import Azure
from tests.emulators.background import Background
from tests.emulators.images import Workshop
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known

IDENTITY = AzureIdentity(azure_tenant_id=DIRECTORY, client_id=CLIENT, subscription_id=SUBSCRIPTION)
STORAGE = AzureStorage(account=ACCOUNT, container=CONTAINER)
TENANT, PROJECT = uuid4(), uuid4()
_PULLER, _REGISTRY = path_of(IDENTITY_TYPE, PULLER), path_of("Microsoft.ContainerRegistry/registries", REGISTRY)


class Place:
    """An Azure, an issuer that it can ask for keys, and what we meet it with."""

    def __init__(self, folder: Path, builds: Workshop) -> None:
        self.background = Background()
        self.issuer = Issuer(Keyring(folder / "keys.json"), lambda: self.issuer_url)
        self.issuer_url = f"http://127.0.0.1:{self.background.serve(well_known(self.issuer))}"
        self.customer = Customer()
        self.customer.set_up()
        self.customer.trust(self.issuer_url, self.issuer.subject(TENANT, PROJECT))
        azure = Azure(self.customer, builds, self.background)
        self.blobs, self.endpoints = azure.blobs, azure.endpoints
        self.wire = Wire(self.endpoints)
        self.tokens = Tokens(self.wire, self.issuer)
        self.provider = AzureProvider(self.issuer, self.endpoints)
        self.container = Container(Account(self.wire, self.tokens, TENANT, PROJECT, IDENTITY), STORAGE)

    async def verify(self, identity: AzureIdentity = IDENTITY, project: UUID = PROJECT) -> Finding:
        return await self.provider.verify_identity(TENANT, project, identity)

    async def check(self, storage: AzureStorage = STORAGE) -> Finding:
        return await self.provider.check_storage(TENANT, PROJECT, IDENTITY, storage)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path, await asyncio.to_thread(workshop, tmp_path / "cloud", TOOLCHAIN_DIR, real=False))
    yield made
    await made.wire.close()
    await made.provider.close()
    made.background.close()


def _failed(finding: Finding) -> tuple[str, str]:
    [step] = [step for step in finding.steps if step.status == "failed"]
    assert step.remedy
    return step.name, step.code


class TestVerifyIdentity:
    async def test_passes_step_by_step_without_any_secret(self, place: Place) -> None:
        finding = await place.verify()

        assert finding.status == "verified"
        assert [step.name for step in finding.steps] == ["own_token", "token_exchange", "subscription"]

    async def test_is_pending_while_the_credential_spreads(self, place: Place) -> None:
        place.customer.spreading = True

        assert (await place.verify()).status == "pending"

    async def test_of_another_project_is_refused_by_its_subject(self, place: Place) -> None:
        assert _failed(await place.verify(project=uuid4())) == ("token_exchange", "AZURE_SUBJECT_DIFFERS")

    @pytest.mark.parametrize(
        ("field", "code"),
        [("client_id", "AZURE_APPLICATION_NOT_FOUND"), ("azure_tenant_id", "AZURE_TENANT_NOT_FOUND")],
    )
    async def test_names_what_is_not_there(self, place: Place, field: str, code: str) -> None:
        other = msgspec.structs.replace(IDENTITY, **{field: str(uuid4())})

        assert _failed(await place.verify(other)) == ("token_exchange", code)

    async def test_names_a_missing_role(self, place: Place) -> None:
        place.customer.assignments.clear()

        assert _failed(await place.verify()) == ("subscription", "AZURE_ROLE_MISSING")

    async def test_is_pending_when_azure_throttles(self, place: Place) -> None:
        place.customer.faults.append(Fault("GET", "/subscriptions", 429))

        assert (await place.verify()).status == "pending"


class TestTokens:
    async def test_are_kept_and_asked_for_again_when_forgotten(self, place: Place) -> None:
        whose = (TENANT, PROJECT, IDENTITY)

        first = await place.tokens.of(whose, MANAGEMENT)
        again = await place.tokens.of(whose, MANAGEMENT)
        place.tokens.forget(whose, MANAGEMENT)

        assert first == again != await place.tokens.of(whose, MANAGEMENT)

    async def test_entra_refuses_a_token_for_another_audience_as_microsoft_would(self, place: Place) -> None:
        """The stand-in itself, asked by hand: what it lets through must be what Entra lets through."""
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "scope": MANAGEMENT,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
        url = f"{place.wire.login}/{DIRECTORY}/oauth2/v2.0/token"
        async with httpx.AsyncClient() as client:
            for audience, status in ((AUDIENCE, 200), ("api://other", 401)):
                own = place.issuer.token(TENANT, PROJECT, audience)
                answer = await client.post(url, data={**form, "client_assertion": own})
                assert answer.status_code == status


class TestCheckStorage:
    async def test_passes_and_leaves_nothing_behind(self, place: Place) -> None:
        finding = await place.check()

        assert finding.status == "verified", finding
        assert place.blobs.kept == {}

    async def test_names_the_blob_role_when_it_is_missing(self, place: Place) -> None:
        place.customer.take("Storage Blob Data Contributor")

        finding = await place.check()

        assert _failed(finding) == ("container", "AZURE_BLOB_ROLE_MISSING")
        assert "Storage Blob Data Contributor" in finding.steps[0].remedy

    async def test_names_a_missing_container(self, place: Place) -> None:
        missing = AzureStorage(account=ACCOUNT, container="other")

        assert _failed(await place.check(missing)) == ("container", "AZURE_CONTAINER_NOT_FOUND")


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "ours"),
        [
            ("TasksOperationsNotAllowed", 400, "AZURE_TASKS_NOT_ALLOWED"),
            ("MissingSubscriptionRegistration", 409, "AZURE_PROVIDER_NOT_REGISTERED"),
            ("AuthorizationFailed", 403, "AZURE_PERMISSION_DENIED"),
        ],
    )
    def test_are_told_by_their_codes_with_a_remedy(self, code: str, status: int, ours: str) -> None:
        body = msgspec.json.encode({"error": {"code": code, "message": "whatever it says"}})

        refused = told(answered(status, body, path=f"/subscriptions/{SUBSCRIPTION}"), IDENTITY)

        assert isinstance(refused, ProviderRefused)
        assert refused.code == ours
        assert refused.remedy

    @pytest.mark.parametrize(
        ("text", "role", "scope"),
        [
            (
                (
                    f"does not have authorization to perform action 'Microsoft.App/containerApps/write' over scope '{GROUP_PATH}"
                    "/providers/Microsoft.App/containerApps/hello' or the scope is invalid."
                ),
                "Container Apps Contributor",
                GROUP_PATH,
            ),
            (
                (
                    f"has permission to perform action 'Microsoft.App/containerApps/write' on scope '{GROUP_PATH}/providers/"
                    "Microsoft.App/containerApps/hello'; however, it does not have permission to perform action(s) 'Microsoft."
                    f"ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) '{_PULLER}' (respectively)."
                ),
                "Managed Identity Operator",
                _PULLER,
            ),
            (
                (
                    "does not have authorization to perform action 'Microsoft.ContainerRegistry/registries/scheduleRun/action' "
                    f"over scope '{_REGISTRY}'."
                ),
                "Container Registry Tasks Contributor",
                _REGISTRY,
            ),
        ],
        ids=["what the path is about", "what is linked to it", "what is in it"],
    )
    def test_that_deny_name_the_role_for_what_was_lacking_and_where(self, text: str, role: str, scope: str) -> None:
        path = f"{GROUP_PATH}/providers/Microsoft.App/containerApps/hello"

        refused = told(Answered(403, text, code="LinkedAuthorizationFailed", path=path), IDENTITY)

        assert isinstance(refused, ProviderRefused)
        assert refused.remedy.endswith(shlex.join(("--role", role, "--scope", scope)))

    @pytest.mark.parametrize(
        ("status", "number"), [(400, 90033), (400, 90024), (400, 90055), (503, 900144), (429, 50196)]
    )
    async def test_of_entra_that_pass_are_waited_out(self, place: Place, status: int, number: int) -> None:
        place.customer.faults.append(Fault("POST", "/oauth2/", status, "invalid_request", number=number))

        assert (await place.verify()).status == "pending"
        assert (await place.verify()).status == "verified"

    @pytest.mark.parametrize("number", [90038, 900382, 900432, 900439])
    async def test_of_a_national_cloud_say_that_it_is_not_reached(self, place: Place, number: int) -> None:
        place.customer.faults.append(Fault("POST", "/oauth2/", 400, "invalid_request", number=number))

        assert _failed(await place.verify()) == ("token_exchange", "AZURE_NATIONAL_CLOUD")

    @pytest.mark.parametrize("number", [50166, 501661])
    async def test_that_entra_cannot_reach_our_keys_may_pass_and_says_what_mends_it_if_it_does_not(
        self, place: Place, number: int
    ) -> None:
        place.customer.faults.append(Fault("POST", "/oauth2/", 400, "invalid_request", times=2, number=number))

        finding = await place.verify()
        with pytest.raises(ProviderBusy) as busy:
            await place.tokens.of((TENANT, PROJECT, IDENTITY), MANAGEMENT)

        assert (finding.status, _failed(finding)) == ("pending", ("token_exchange", "AZURE_ISSUER_UNREACHABLE"))
        assert f"{place.issuer_url}/.well-known/openid-configuration" in finding.steps[1].remedy
        assert finding.steps[1].remedy in busy.value.message
        assert (await place.verify()).status == "verified"

    async def test_of_a_disabled_application_say_how_it_is_enabled(self, place: Place) -> None:
        place.customer.faults.append(Fault("POST", "/oauth2/", 400, "unauthorized_client", number=7000112))

        finding = await place.verify()

        assert _failed(finding) == ("token_exchange", "AZURE_APPLICATION_DISABLED")
        assert finding.steps[1].remedy == f"az ad sp update --id {CLIENT} --set accountEnabled=true"

    @pytest.mark.parametrize(("number", "is_missing"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)])
    async def test_of_a_resolver_that_is_away_do_not_count_as_an_account_that_is_not_there(
        self, place: Place, number: int, is_missing: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Resolver(aiohttp.abc.AbstractResolver):
            async def resolve(self, *_: object, **__: object) -> list[aiohttp.abc.ResolveResult]:
                raise socket.gaierror(number, "no answer")

            async def close(self) -> None:
                pass

        wire = Wire()
        monkeypatch.setattr(
            wire, "_session", aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver()))
        )
        container = Container(Account(wire, place.tokens, TENANT, PROJECT, IDENTITY), STORAGE)

        with pytest.raises(AccountMissing if is_missing else ProviderUnreachable):
            await container.look()
        await wire.close()

    def test_that_pass_say_when_to_ask_again(self) -> None:
        busy = told(Answered(429, "slow down", retry_in_seconds=7.0), IDENTITY)

        assert isinstance(busy, ProviderBusy)
        assert busy.retry_in_seconds == 7.0


def test_links_are_followed_to_azure_only() -> None:
    wire = Wire()

    assert wire.leads_to_blobs("https://acme.blob.core.windows.net/logs?sig=1")
    assert not wire.leads_to_blobs("https://example.com/.blob.core.windows.net")
    assert not wire.leads_to_blobs("http://acme.blob.core.windows.net/logs")
    assert not wire.leads_to_management("https://management.azure.com.example.com/")
