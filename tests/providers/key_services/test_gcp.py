"""What is Cloud KMS's own: checksums both ways, and who this process is to Google."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import UUID

import pytest

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged
from process.settings import SettingInvalid, Settings
from providers.key_services import gcp
from providers.key_services.catalogue import key_services
from providers.key_services.crc32c import crc32c
from providers.key_services.gcp import PREFIX, GcpKeyService
from tests.emulators.gcp import kms
from tests.providers.key_services.grounds import Project

KEY = bytes(range(32))
CONTEXT = KeyContext(UUID(int=1), "function-secrets", UUID(int=2))


@pytest.fixture
def ours(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GcpKeyService:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(project.credentials(tmp_path)))
    return GcpKeyService(project.key(), project.google.endpoints, os.environ)


class TestAnAnswer:
    async def test_that_is_damaged_on_the_way_is_asked_for_again(self, project: Project, ours: GcpKeyService) -> None:
        project.google.kms.damages = 1
        with pytest.raises(KeyServiceAway, match="damaged"):
            await ours.wrap(KEY, CONTEXT)
        wrapped = await ours.wrap(KEY, CONTEXT)
        project.google.kms.damages = 1
        with pytest.raises(KeyServiceAway, match="damaged"):
            await ours.unwrap(wrapped, CONTEXT)
        assert await ours.unwrap(wrapped, CONTEXT) == KEY

        [service] = [one for one in key_services(_settings(project, ours.name))[:1] if one is not None]
        project.google.kms.damages = 1
        assert await service.unwrap(wrapped, CONTEXT) == KEY
        for one in (service, ours):
            await one.close()

    async def test_that_says_the_question_was_damaged_is_no_refusal(
        self, ours: GcpKeyService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrapped = await ours.wrap(KEY, CONTEXT)
        monkeypatch.setattr(gcp, "crc32c", lambda content: crc32c(content) ^ 1)

        for asked in (ours.wrap(KEY, CONTEXT), ours.unwrap(wrapped, CONTEXT)):
            with pytest.raises(KeyServiceAway, match="damaged"):
                await asked
        await ours.close()

    async def test_of_another_key_is_never_asked_for(self, project: Project, ours: GcpKeyService) -> None:
        asked = len(project.google.calls)

        for version in ("", ours.name, f"{project.key()}/cryptoKeyVersions/1", f"{ours.name}/cryptoKeyVersions/x"):
            with pytest.raises(WrappingForged):
                await ours.unwrap(WrappedKey(ours.name, version, b"x"), CONTEXT)
        assert len(project.google.calls) == asked


class TestWhoWeAre:
    async def test_whoever_gives_up_waiting_for_a_token_gives_up_for_nobody_else(
        self, project: Project, ours: GcpKeyService
    ) -> None:
        project.token_seconds = 0.5
        try:
            first = asyncio.create_task(ours.wrap(KEY, CONTEXT))
            others = [asyncio.create_task(ours.wrap(KEY, CONTEXT)) for _ in range(3)]
            await asyncio.sleep(0.2)
            first.cancel()
            wrapped = await asyncio.gather(*others)
        finally:
            project.token_seconds = 0.0

        assert [await ours.unwrap(one, CONTEXT) for one in wrapped] == [KEY] * 3
        await ours.close()

    async def test_an_account_without_the_role_is_told_which(self, project: Project, ours: GcpKeyService) -> None:
        project.account.policy.remove("roles/cloudkms.cryptoKeyEncrypterDecrypter", project.member)
        try:
            with pytest.raises(KeyServiceRefused, match="PERMISSION_DENIED") as told:
                await ours.wrap(KEY, CONTEXT)
        finally:
            project.account.policy.add("roles/cloudkms.cryptoKeyEncrypterDecrypter", project.member)
            await ours.close()

        assert "roles/cloudkms.cryptoKeyEncrypterDecrypter" in told.value.remedy

    @pytest.mark.parametrize("content", ["", "[]", '"text"', '{"type": "external_account"}', '{"type": "unheard_of"}'])
    async def test_a_file_that_cannot_be_used_is_named(
        self, ours: GcpKeyService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
    ) -> None:
        file = tmp_path / "broken.json"
        file.write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

        with pytest.raises(KeyServiceAway) as told:
            await ours.wrap(KEY, CONTEXT)
        await ours.close()

        assert "GOOGLE_APPLICATION_CREDENTIALS" in told.value.remedy


@pytest.mark.parametrize("content", [b"", b"123456789", bytes(range(256)), b"\xff" * 700])
def test_checksums_are_those_of_the_polynomial(content: bytes) -> None:
    assert crc32c(b"123456789") == 0xE306_9283
    assert crc32c(content) == kms.crc32c(content)


@pytest.mark.parametrize(
    "name", ["", "projects/p", "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "//x"]
)
def test_settings_that_name_no_key_are_refused(name: str) -> None:
    with pytest.raises(SettingInvalid, match="DCF_MASTER_KEY_SERVICE"):
        key_services(Settings(master_key_service=f"{PREFIX}{name}"))


def _settings(project: Project, service: str) -> Settings:
    return Settings(master_key_service=service, gcp_endpoints=project.google.endpoints)
