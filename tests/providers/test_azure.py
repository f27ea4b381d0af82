"""Azure's identity and storage, against an Entra that checks our signature and a storage that checks conditions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from domain.clouds import AzureIdentity, AzureStorage
from providers.azure.account import Account
from providers.azure.errors import Answered, answered, told
from providers.azure.identity import AUDIENCE, MANAGEMENT, Tokens
from providers.azure.provider import AzureProvider
from providers.azure.storage import Container
from providers.azure.wire import Wire
from providers.issuer import Issuer, Keyring
from providers.provider import Finding, ProviderBusy, ProviderRefused
from tests.emulators.azure.customer import ACCOUNT, CLIENT, CONTAINER, DIRECTORY, SUBSCRIPTION, Customer
from tests.emulators.azure.faults import Fault
from tests.emulators.azure.server import Azure
from tests.emulators.background import Background
from tests.emulators.images import Workshop
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known

IDENTITY = AzureIdentity(azure_tenant_id=DIRECTORY, client_id=CLIENT, subscription_id=SUBSCRIPTION)
STORAGE = AzureStorage(account=ACCOUNT, container=CONTAINER)
TENANT, PROJECT = uuid4(), uuid4()


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
