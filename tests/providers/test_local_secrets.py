"""Secrets on this machine: the function has them, nobody else sees them, and they outlive the agent."""

from __future__ import annotations

import asyncio
import base64
import json
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from process.key_ring import KeyRing
from process.secret import Secret
from providers.hiding import HIDDEN_AS, hide
from providers.local import agent_key, keeper
from providers.local.agent_key import FileWrappedKey, keep_wrapped, unlock
from providers.local.engine import EngineUnavailable
from providers.local.function_log import FunctionLog
from providers.local.secrets import WITHHELD, AgentSecrets
from providers.provider import Order, ProviderBusy
from tests.providers.grounds import PROBE, Ground, built, local, order, settled, sources, withdrawn
from tests.support.key_service import MemoryKeyService

SENTINEL = "sentinel-2b8e41-never-to-be-seen"
TELLS_ITS_SECRET = b"""import 'dart:io';
void main() {
  stderr.writeln('my password is ${Platform.environment["PASSWORD"]}!');
  exit(3);
}
"""


class TestAgentSecrets:
    def test_open_what_they_closed_for_the_same_deployment_only(self) -> None:
        deployment_id, secrets = uuid4(), AgentSecrets(b"k" * 32)
        closed = secrets.close(deployment_id, {"A": SENTINEL})

        assert SENTINEL not in closed
        assert secrets.open(deployment_id, closed) == {"A": SENTINEL}
        with pytest.raises(EngineUnavailable):
            secrets.open(uuid4(), closed)

    def test_are_nothing_when_there_are_none(self) -> None:
        secrets = AgentSecrets(b"k" * 32)

        assert secrets.close(uuid4(), {}) == ""
        assert secrets.open(uuid4(), "") == {}

    def test_closed_under_another_key_need_that_key(self) -> None:
        deployment_id = uuid4()
        closed = AgentSecrets(b"k" * 32).close(deployment_id, {"A": SENTINEL})

        with pytest.raises(EngineUnavailable, match="another master key"):
            AgentSecrets(b"n" * 32).open(deployment_id, closed)
        assert AgentSecrets(b"n" * 32, [b"k" * 32]).open(deployment_id, closed) == {"A": SENTINEL}

    def test_are_hidden_in_what_a_function_wrote_and_that_is_withheld_while_they_cannot_be(self) -> None:
        deployment_id, secrets = uuid4(), AgentSecrets(b"k" * 32)
        closed, text = secrets.close(deployment_id, {"A": SENTINEL}), f"it is {SENTINEL}!"

        assert secrets.hide(deployment_id, closed, text) == f"it is {HIDDEN_AS}!"
        assert AgentSecrets(None).hide(deployment_id, closed, text) == WITHHELD
        assert AgentSecrets(b"n" * 32).hide(deployment_id, closed, text) == WITHHELD
        assert AgentSecrets(None).hide(deployment_id, "", text) == text

    async def test_get_their_key_from_a_key_service_once_that_answers(self, tmp_path: Path) -> None:
        """
        Goal: an agent goes over to a key service and back without losing what it closed, and waits for one that is away.
        Method: agents after agents over one file, each closing its own way.
        """
        service, path, deployment_id = MemoryKeyService(), tmp_path / "wrapped-key.json", uuid4()
        closed = AgentSecrets(b"k" * 32).close(deployment_id, {"A": SENTINEL})
        waiting = AgentSecrets(None, [b"k" * 32])
        service.away = True
        ring = KeyRing(FileWrappedKey(path), current=service)
        with pytest.raises(ProviderBusy):
            waiting.close(deployment_id, {"A": SENTINEL})
        assert waiting.renewed(deployment_id, closed) == closed

        service.away = False
        done: list[bool] = []
        await unlock(ring, waiting, lambda: done.append(True))
        renewed = waiting.renewed(deployment_id, closed)
        assert done == [True]
        assert renewed != closed

        later = AgentSecrets(None)
        with pytest.raises(EngineUnavailable, match="its key yet"):
            later.open(deployment_id, renewed)
        await unlock(KeyRing(FileWrappedKey(path), current=service), later, done.clear)
        assert later.open(deployment_id, renewed) == {"A": SENTINEL}

        back = AgentSecrets(b"n" * 32)
        await unlock(KeyRing(FileWrappedKey(path), current=None, former=[service]), back, done.clear)
        closed = back.renewed(deployment_id, renewed)
        assert AgentSecrets(b"n" * 32).open(deployment_id, closed) == {"A": SENTINEL}
        assert path.stat().st_mode & 0o077 == 0

    def test_are_closed_anew_so_that_the_former_key_can_go(self) -> None:
        deployment_id, new = uuid4(), AgentSecrets(b"n" * 32, [b"k" * 32])
        closed = AgentSecrets(b"k" * 32).close(deployment_id, {"A": SENTINEL})

        again = new.renewed(deployment_id, closed)

        assert AgentSecrets(b"n" * 32).open(deployment_id, again) == {"A": SENTINEL}
        assert new.renewed(deployment_id, again) == again
        assert new.renewed(deployment_id, "") == ""
        with pytest.raises(EngineUnavailable):
            AgentSecrets(b"x" * 32).renewed(deployment_id, closed)


class TestHide:
    def test_takes_every_value_out_the_longest_first(self) -> None:
        text = hide("a=hunter2 b=hunter2-long", {"A": "hunter2", "B": "hunter2-long"})

        assert text == f"a={HIDDEN_AS} b={HIDDEN_AS}"

    def test_takes_each_line_of_a_value_out(self) -> None:
        assert hide("first\nsecond line\nthird", {"KEY": "first\nsecond line"}) == f"{HIDDEN_AS}\nthird"
        assert hide("only second line", {"KEY": "first\nsecond line"}) == f"only {HIDDEN_AS}"

    @settings(max_examples=50)
    @given(value=st.text(min_size=8, max_size=30), before=st.binary(max_size=4), after=st.binary(max_size=4))
    def test_takes_a_value_out_as_programs_write_it(self, value: str, before: bytes, after: bytes) -> None:
        secrets, content = {"A": value}, value.encode()
        around = before + content + after
        written = (
            quote(value, safe=""),
            urlencode(secrets),
            json.dumps({"it": value}),
            json.dumps(value, ensure_ascii=False),
            escape(value),
            content.hex(),
            base64.b64encode(around).decode(),
            base64.urlsafe_b64encode(around).decode().rstrip("="),
        )

        for text in written:
            assert HIDDEN_AS in hide(text, secrets), text

    @pytest.mark.parametrize(
        "written",
        [
            "p%40ss!w%2Frd*(1)'%C3%A9",
            "p@ss!w/rd*(1)'%C3%A9",
            "p%40ss%21w%2Frd%2A%281%29%27%C3%A9",
            "p@ss!w&#47;rd*(1)&#39;\u00e9",
        ],
        ids=["encodeComponent", "encodeFull", "encodeQueryComponent", "HtmlEscape"],
    )
    def test_takes_a_value_out_as_dart_writes_it(self, written: str) -> None:
        """What Dart 3.7 wrote of one value; Python leaves other characters as they are."""
        assert hide(f"<{written}>", {"A": "p@ss!w/rd*(1)'\u00e9"}) == f"<{HIDDEN_AS}>"

    def test_leaves_values_that_stand_in_every_text(self) -> None:
        assert hide("a yes is no secret", {"A": "yes"}) == "a yes is no secret"


def test_a_log_shows_no_piece_of_a_value_that_its_beginning_cut_in_two(tmp_path: Path) -> None:
    log = FunctionLog(tmp_path / "log", hide=lambda text: hide(text, {"A": SENTINEL}))
    for offset in range(len(SENTINEL) + 2):
        filler = "x" * (8 * 1024 - offset)
        log.path.write_text("y" * 1000 + SENTINEL + filler)

        assert not any(SENTINEL[-size:] + "x" in log.tail(5) for size in range(4, len(SENTINEL) + 1))


async def _applied(ground: Ground, wanted: Order, code: bytes) -> None:
    build = await built(ground.provider, wanted, sources(code))
    assert build.status == "succeeded", build.message
    await ground.provider.push(wanted)
    await ground.provider.apply(wanted, {"PASSWORD": Secret(SENTINEL)})


def _traces(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SENTINEL.encode() in path.read_bytes()]


async def test_a_function_has_them_also_after_the_agent_was_started_again_and_no_file_does(tmp_path: Path) -> None:
    wanted = order()
    async with local(tmp_path) as ground:
        await _applied(ground, wanted, PROBE)
        await settled(ground.provider, wanted, "healthy")
        await ground.provider.promote(wanted)
        first = await _environment(tmp_path, wanted)
        assert _traces(tmp_path) == []
    async with local(tmp_path) as ground:
        await settled(ground.provider, wanted, "healthy")
        second = await _environment(tmp_path, wanted)
        assert _traces(tmp_path) == []
        await withdrawn(ground.provider, wanted)

    assert first["PASSWORD"] == second["PASSWORD"] == SENTINEL
    assert not any(SENTINEL in line for line in _command_lines())


async def test_the_last_words_of_a_function_that_tells_them_do_not(tmp_path: Path) -> None:
    wanted = order()
    async with local(tmp_path) as ground:
        await _applied(ground, wanted, TELLS_ITS_SECRET)
        service = await settled(ground.provider, wanted, "unhealthy")
        await withdrawn(ground.provider, wanted)

    assert f"my password is {HIDDEN_AS}!" in service.message


class TestWhileTheKeyIsAway:
    """An agent that starts while the key service is away has no key yet, and gives nothing up for that."""

    async def test_a_function_waits_for_its_secrets_and_starts_once_they_can_be_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent_key, "RETRY_SECONDS", 0.2)
        monkeypatch.setattr(keeper, "LOCKED_SECONDS", 0.05)
        service, path, wanted = MemoryKeyService(), tmp_path / "wrapped-key.json", order()
        async with local(tmp_path, ring=KeyRing(FileWrappedKey(path), current=service)) as ground:
            await _applied(ground, wanted, PROBE)
            await settled(ground.provider, wanted, "healthy")
            await ground.provider.promote(wanted)

        service.away = True
        async with local(tmp_path, ring=KeyRing(FileWrappedKey(path), current=service)) as ground:
            await asyncio.sleep(1.0)  # Longer than all attempts at a process that dies take.
            waiting = await settled(ground.provider, wanted, "starting")
            assert "waits for its secrets" in waiting.message

            service.away = False
            await settled(ground.provider, wanted, "healthy")
            assert (await _environment(tmp_path, wanted))["PASSWORD"] == SENTINEL
            await withdrawn(ground.provider, wanted)

    async def test_the_key_is_there_although_it_cannot_be_wrapped_anew(self, tmp_path: Path) -> None:
        former, current, path = MemoryKeyService("memory:former"), MemoryKeyService(), tmp_path / "wrapped-key.json"
        first, second = AgentSecrets(None), AgentSecrets(None)
        await unlock(KeyRing(FileWrappedKey(path), current=former), first, _nothing)
        closed = first.close(uuid4(), {"A": SENTINEL})
        current.away = True
        ring = KeyRing(FileWrappedKey(path), current=current, former=[former])

        await asyncio.wait_for(unlock(ring, second, _nothing), 5)

        assert second.close(uuid4(), {"A": SENTINEL}) != closed
        assert [held.service for held in await ring.counts()] == [former.name]

    async def test_it_is_wrapped_anew_as_soon_as_that_goes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent_key, "REWRAP_RETRY_SECONDS", 0.01)
        former, current, path = MemoryKeyService("memory:former"), MemoryKeyService(), tmp_path / "wrapped-key.json"
        await unlock(KeyRing(FileWrappedKey(path), current=former), AgentSecrets(None), _nothing)
        current.away = True
        ring = KeyRing(FileWrappedKey(path), current=current, former=[former])
        keeping = asyncio.create_task(keep_wrapped(ring))
        await asyncio.sleep(0.05)
        current.away = False

        async with asyncio.timeout(5):
            while [held.service for held in await ring.counts()] != [current.name]:
                await asyncio.sleep(0.01)
        keeping.cancel()

    async def test_a_file_of_it_that_is_damaged_is_told_and_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent_key, "RETRY_SECONDS", 0.01)
        service, path = MemoryKeyService(), tmp_path / "wrapped-key.json"
        await unlock(KeyRing(FileWrappedKey(path), current=service), AgentSecrets(None), _nothing)
        whole = path.read_bytes()
        path.write_bytes(whole[:20])
        secrets = AgentSecrets(None)
        with capture_logs() as lines:
            unlocking = asyncio.create_task(unlock(KeyRing(FileWrappedKey(path), current=service), secrets, _nothing))
            await asyncio.sleep(0.05)
            path.write_bytes(whole)
            await asyncio.wait_for(unlocking, 5)

        assert any(line["event"] == "agent_key_not_there" for line in lines)
        assert secrets.close(uuid4(), {"A": SENTINEL})


def _nothing() -> None:
    """Nothing waits."""


async def _environment(folder: Path, wanted: Order) -> dict[str, str]:
    """What the function sees, asked through the agent."""
    url = f"http://agent/serve/public/{'/'.join(wanted.release.address)}/environment"
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(folder / "a.sock"))) as client:
        found: dict[str, str] = (await client.get(url)).json()
    return found


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return lines
