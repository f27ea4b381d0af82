"""What is Key Vault's own: what it wraps is signed, and who this process is to Azure."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged
from process.settings import SettingInvalid, Settings
from providers.azure.wire import Reply, Wire
from providers.key_services.azure import PREFIX, AzureKeyService
from providers.key_services.catalogue import key_services
from providers.provider import ProviderUnreachable
from tests.emulators.azure.vault import HOST, Vault
from tests.providers.key_services.grounds import azure_environment

KEY = bytes(range(32))
CONTEXT = KeyContext(UUID(int=1), "function-secrets", UUID(int=2))


@pytest.fixture
def environment(vault: Vault, tmp_path: Path) -> dict[str, str]:
    return azure_environment(vault, tmp_path)


class TestAWrapping:
    async def test_by_the_public_half_alone_is_not_taken_for_the_vaults(
        self, vault: Vault, environment: dict[str, str]
    ) -> None:
        """Whoever writes to the database must not choose the key that all that comes will be closed under."""
        address = vault.key()
        service = AzureKeyService(address, vault.endpoints, environment)
        ours = await service.wrap(KEY, CONTEXT)
        public = vault._keys[address.rpartition("/")[2]][ours.version].public_key()
        forged = public.encrypt(b"f" * 32, padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
        _, signature = msgspec.msgpack.decode(ours.content, type=tuple[bytes, bytes])

        for one in (signature, b"", bytes(256)):
            content = msgspec.msgpack.encode((forged, one))
            with pytest.raises(WrappingForged):
                await service.unwrap(WrappedKey(service.name, ours.version, content), CONTEXT)
        assert await service.unwrap(ours, CONTEXT) == KEY
        await service.close()

    async def test_of_a_version_that_is_none_asks_nobody(self, vault: Vault, environment: dict[str, str]) -> None:
        service = AzureKeyService(vault.key(), vault.endpoints, environment)
        asked = len(vault.calls)

        for version in ("", "../secrets/x", "a" * 31, "A" * 32, "a" * 32 + "/sign"):
            with pytest.raises(WrappingForged):
                await service.unwrap(WrappedKey(service.name, version, b"x"), CONTEXT)
        assert len(vault.calls) == asked


class TestWhoWeAre:
    async def test_is_told_by_what_azure_gives_an_app_too(self, vault: Vault) -> None:
        given = {"IDENTITY_ENDPOINT": vault.app_endpoint, "IDENTITY_HEADER": vault.header}
        service = AzureKeyService(vault.key(), vault.endpoints, given)

        assert await service.unwrap(await service.wrap(KEY, CONTEXT), CONTEXT) == KEY
        await service.close()

    @pytest.mark.parametrize(
        ("domain", "authority"),
        [
            ("vault.azure.net", "https://login.microsoftonline.com"),
            ("vault.azure.cn", "https://login.partner.microsoftonline.cn"),
            ("managedhsm.usgovcloudapi.net", "https://login.microsoftonline.us"),
        ],
    )
    async def test_is_asked_of_whoever_gives_tokens_in_that_cloud(
        self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, domain: str, authority: str
    ) -> None:
        asked: list[str] = []

        async def call(_wire: Wire, _method: str, url: str, **_more: object) -> Reply:
            asked.append(url)
            raise ProviderUnreachable("It is far away.")

        monkeypatch.setattr(Wire, "call", call)
        for given in (environment, {**environment, "AZURE_AUTHORITY_HOST": "https://login.acme.example/"}):
            service = AzureKeyService(f"https://acme.{domain}/keys/dcf", None, given)
            with pytest.raises(KeyServiceAway):
                await service.wrap(KEY, CONTEXT)
            await service.close()

        tenant = environment["AZURE_TENANT_ID"]
        assert asked == [f"{host}/{tenant}/oauth2/v2.0/token" for host in (authority, "https://login.acme.example")]

    async def test_is_asked_for_again_when_a_token_is_taken_no_more(
        self, vault: Vault, environment: dict[str, str]
    ) -> None:
        service = AzureKeyService(vault.key(), vault.endpoints, environment)
        wrapped = await service.wrap(KEY, CONTEXT)
        vault.end_tokens()

        with pytest.raises(KeyServiceAway, match="Unauthorized"):
            await service.unwrap(wrapped, CONTEXT)
        assert await service.unwrap(wrapped, CONTEXT) == KEY
        await service.close()

    async def test_without_a_right_is_told_the_role(self, vault: Vault, environment: dict[str, str]) -> None:
        service = AzureKeyService(vault.key(), vault.endpoints, environment)
        vault.rights.discard("sign")
        try:
            with pytest.raises(KeyServiceRefused) as told:
                await service.wrap(KEY, CONTEXT)
        finally:
            vault.rights.add("sign")
            await service.close()

        assert "Key Vault Crypto User" in told.value.remedy

    @pytest.mark.parametrize("assertion", ["another", None], ids=["refused", "no file"])
    async def test_that_nobody_knows_says_where_it_comes_from(
        self, vault: Vault, environment: dict[str, str], tmp_path: Path, assertion: str | None
    ) -> None:
        file = tmp_path / "other"
        if assertion is not None:
            file.write_text(assertion)
        given = {**environment, "AZURE_FEDERATED_TOKEN_FILE": str(file)}
        service = AzureKeyService(vault.key(), vault.endpoints, given)

        with pytest.raises(KeyServiceAway) as told:
            await service.wrap(KEY, CONTEXT)

        assert "AZURE_FEDERATED_TOKEN_FILE" in told.value.remedy
        await service.close()


@pytest.mark.parametrize(
    "name",
    [
        "",
        f"https://{HOST}",
        f"http://{HOST}/keys/dcf",
        f"https://{HOST}/keys/dcf/{'a' * 32}",
        "https://acme.vault.azure.net.evil.example/keys/dcf",
        "https://evil.example/keys/dcf",
    ],
)
def test_settings_that_name_no_key_are_refused(name: str) -> None:
    with pytest.raises(SettingInvalid, match="DCF_MASTER_KEY_SERVICE"):
        key_services(Settings(master_key_service=f"{PREFIX}{name}"))
