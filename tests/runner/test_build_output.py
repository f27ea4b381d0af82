"""What a build says on its way into our store: without secrets, wherever the pieces of it end."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.build_logs import MemoryBuildLogs
from eventstore.secret_values import KEY_BYTES, MemorySecretStore, SecretVault
from process.key_ring import KeyRing, MemoryWrappedKeys
from process.key_service import KeyServiceUnusable
from process.secret import Secret
from providers.hiding import HIDDEN_AS, ends_within, hide
from providers.provider import LogChunk, Order
from runner.build_output import LINE_CHARS_MAX, BuildOutput
from runner.composition import without_secrets
from tests.providers.grounds import order
from tests.support.key_service import MemoryKeyService

SENTINEL = "s3ntinel-of-many-letters"


class _Talkative:
    """A provider whose log comes in the pieces given."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self.read = 0

    async def build_log(self, _: Order, cursor: int) -> LogChunk:
        if cursor < len(self._pieces):
            self.read += 1
            return LogChunk(text=self._pieces[cursor], next_cursor=cursor + 1)
        return LogChunk(text="", next_cursor=cursor)


class _World(msgspec.Struct):
    """As much of a runner's world as a log needs."""

    providers: dict[str, Any]
    build_logs: MemoryBuildLogs
    secrets: SecretVault
    redact: Any = staticmethod(without_secrets)


async def _under_way(pieces: list[str], value: str = SENTINEL) -> tuple[BuildOutput, Any, Order]:
    wanted = order()
    value_id = uuid4()
    release = msgspec.structs.replace(wanted.release, secret_values={"TOKEN": value_id})
    wanted = msgspec.structs.replace(wanted, release=release)
    vault = SecretVault(MemorySecretStore(), key=bytes(KEY_BYTES))
    await vault.close(wanted.tenant_id, release.function_id, value_id, Secret(value))
    world: Any = _World({"local": _Talkative(pieces)}, MemoryBuildLogs(), vault)
    return BuildOutput(), world, wanted


async def _written(pieces: list[str], value: str = SENTINEL) -> str:
    output, world, wanted = await _under_way(pieces, value)
    for _ in pieces:
        await output.carry(wanted, world, to_the_end=False)
    await output.carry(wanted, world, to_the_end=True)
    text: str = (await world.build_logs.read(wanted.tenant_id, wanted.deployment_id)).text
    return text


class TestASecretInABuildLog:
    @pytest.mark.parametrize("cut", range(len(SENTINEL) + 1))
    async def test_is_hidden_wherever_a_piece_of_an_endless_line_ends(self, cut: int) -> None:
        pieces = ["x" * LINE_CHARS_MAX + SENTINEL[:cut], SENTINEL[cut:] + "y" * LINE_CHARS_MAX, "end"]

        text = await _written(pieces)

        assert text == "x" * LINE_CHARS_MAX + HIDDEN_AS + "y" * LINE_CHARS_MAX + "end"

    async def test_is_hidden_in_base64_that_a_piece_cuts(self) -> None:
        encoded = b64encode(f"me:{SENTINEL}".encode()).decode()

        text = await _written(["x" * LINE_CHARS_MAX + encoded[:9], encoded[9:] + "\n"])

        assert text == "x" * LINE_CHARS_MAX + encoded[:4] + HIDDEN_AS + "\n"

    async def test_keeps_no_endless_line_in_memory_though_it_might_go_on_with_a_value(self) -> None:
        output, world, wanted = await _under_way(["s" * LINE_CHARS_MAX] * 20)

        for _ in range(20):
            await output.carry(wanted, world, to_the_end=False)

        assert (await world.build_logs.read(wanted.tenant_id, wanted.deployment_id)).text

    async def test_is_hidden_though_it_comes_letter_by_letter_over_lines(self) -> None:
        text = await _written(["token: ", *SENTINEL, "\n", *"done\n"])

        assert text == f"token: {HIDDEN_AS}\ndone\n"

    async def test_is_hidden_line_by_line_when_it_has_several(self) -> None:
        text = await _written(
            ["-----BEGIN", " KEY-----\n", "abcdef\n", "-----END KEY-----\n"], "-----BEGIN KEY-----\nabcdef"
        )

        assert "abcdef" not in text
        assert "BEGIN KEY" not in text

    async def test_is_hidden_though_another_one_is_lost(self) -> None:
        output, world, wanted = await _under_way([f"{SENTINEL}\n"])
        both = {"LOST": uuid4(), **wanted.release.secret_values}
        wanted = msgspec.structs.replace(wanted, release=msgspec.structs.replace(wanted.release, secret_values=both))

        await output.carry(wanted, world, to_the_end=True)

        assert (await world.build_logs.read(wanted.tenant_id, wanted.deployment_id)).text == f"{HIDDEN_AS}\n"


class TestAnOutageOfTheKeyService:
    async def test_keeps_no_more_in_memory_than_was_read_as_it_began_and_loses_nothing(self) -> None:
        """Goal: a build that talks while nobody can open a secret fills no memory. Method: the service is away for a while of
        such a build, which then has all been written."""
        pieces = [f"line {line} {'x' * LINE_CHARS_MAX}\n" for line in range(60)]
        output, world, wanted = await _under_way(pieces)
        talkative, service = world.providers["local"], MemoryKeyService()
        vault = SecretVault(MemorySecretStore(), ring=KeyRing(MemoryWrappedKeys(_now), current=service, kept_max=0))
        [value_id] = wanted.release.secret_values.values()
        await vault.close(wanted.tenant_id, wanted.release.function_id, value_id, Secret(SENTINEL))
        world.secrets, service.away = vault, True

        for _ in range(50):
            with pytest.raises(KeyServiceUnusable):
                await output.carry(wanted, world, to_the_end=False)
        read_meanwhile, service.away = talkative.read, False
        for _ in pieces:
            await output.carry(wanted, world, to_the_end=False)

        assert read_meanwhile == 1
        assert (await world.build_logs.cursor(wanted.tenant_id, wanted.deployment_id)) == len(pieces)
        text = (await world.build_logs.read(wanted.tenant_id, wanted.deployment_id)).text
        assert text.startswith("line 0 ")
        assert text.endswith(pieces[-1])


def _now() -> datetime:
    return datetime.now(UTC)


class TestEndsWithin:
    @settings(max_examples=60)
    @given(before=st.text(alphabet="abs3", max_size=12), cut=st.integers(1, len(SENTINEL) - 1))
    def test_is_true_wherever_the_rest_could_follow(self, before: str, cut: int) -> None:
        secrets = {"TOKEN": SENTINEL}

        assert ends_within(before + SENTINEL[:cut], secrets)
        assert not ends_within(before + SENTINEL + "!", secrets)
        assert SENTINEL not in hide(before + SENTINEL + before, secrets)
