"""What every key service promises, whichever cloud it is in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappingForged
from tests.providers.key_services.grounds import (
    KeyGround,
    Project,
    amazon_credentials,
    aws_ground,
    azure_ground,
    gcp_ground,
    memory_ground,
)

KEY = bytes(range(32))
CONTEXT = KeyContext(UUID(int=1), "function-secrets", UUID(int=2))


@pytest.fixture(params=["memory", "aws", "gcp", "azure"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KeyGround:
    match request.param:
        case "memory":
            return memory_ground()
        case "aws":
            amazon_credentials(monkeypatch)
            return aws_ground(request.getfixturevalue("cloud"))
        case "azure":
            return azure_ground(request.getfixturevalue("vault"), tmp_path)
        case _:
            project: Project = request.getfixturevalue("project")
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(project.credentials(tmp_path)))
            return gcp_ground(project)


@pytest_asyncio.fixture
async def ground(made: KeyGround) -> AsyncIterator[KeyGround]:
    yield made
    await made.close()


class TestUnwrap:
    async def test_gives_back_what_was_wrapped_and_shows_nothing_of_it(self, ground: KeyGround) -> None:
        wrapped = await ground.service.wrap(KEY, CONTEXT)

        assert wrapped.service == ground.service.name
        assert KEY not in wrapped.content
        assert await ground.service.unwrap(wrapped, CONTEXT) == KEY
        assert (await ground.service.wrap(KEY, CONTEXT)).content != wrapped.content

    async def test_refuses_another_tenant_purpose_or_key(self, ground: KeyGround) -> None:
        wrapped = await ground.service.wrap(KEY, CONTEXT)

        for other in (
            KeyContext(uuid4(), CONTEXT.purpose, CONTEXT.key_id),
            KeyContext(CONTEXT.tenant_id, "person-keys", CONTEXT.key_id),
            KeyContext(CONTEXT.tenant_id, CONTEXT.purpose, uuid4()),
        ):
            with pytest.raises(WrappingForged):
                await ground.service.unwrap(wrapped, other)

    async def test_refuses_what_was_changed_cut_or_never_wrapped(self, ground: KeyGround) -> None:
        wrapped = await ground.service.wrap(KEY, CONTEXT)
        content = wrapped.content

        for changed in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], b"", b"\x00" * len(content)):
            with pytest.raises(WrappingForged):
                await ground.service.unwrap(msgspec.structs.replace(wrapped, content=changed), CONTEXT)

    async def test_refuses_what_another_key_wrapped(self, ground: KeyGround) -> None:
        theirs = await ground.another.wrap(KEY, CONTEXT)
        ours = await ground.service.wrap(KEY, CONTEXT)

        for forged in (
            theirs,
            msgspec.structs.replace(theirs, service=ours.service),
            msgspec.structs.replace(ours, content=theirs.content),
        ):
            with pytest.raises(WrappingForged):
                await ground.service.unwrap(forged, CONTEXT)

    async def test_goes_on_after_the_service_made_a_new_version(self, ground: KeyGround) -> None:
        before = await ground.service.wrap(KEY, CONTEXT)
        ground.rotate()
        after = await ground.service.wrap(KEY, CONTEXT)

        assert [await ground.service.unwrap(one, CONTEXT) for one in (before, after)] == [KEY, KEY]


class TestAService:
    async def test_whose_key_is_disabled_refuses_and_says_what_to_do(self, ground: KeyGround) -> None:
        wrapped = await ground.service.wrap(KEY, CONTEXT)
        ground.disable()

        for asked in (ground.service.wrap(KEY, CONTEXT), ground.service.unwrap(wrapped, CONTEXT)):
            with pytest.raises(KeyServiceRefused) as told:
                await asked
            assert told.value.message.startswith(ground.service.name)
            assert told.value.remedy

    async def test_that_does_not_answer_is_away(self, ground: KeyGround) -> None:
        wrapped = await ground.service.wrap(KEY, CONTEXT)

        for asked in (ground.gone.wrap(KEY, CONTEXT), ground.gone.unwrap(wrapped, CONTEXT)):
            with pytest.raises(KeyServiceAway) as told:
                await asked
            assert told.value.remedy
