"""The first start, cut off at any point and started again."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.api_keys import parse_key
from api.first_start import OWNER_ID, TENANT_ID, announce, make_first_start
from commands.basis import fold
from domain.api_key import API_KEY, ApiKey
from domain.event import SYSTEM_TENANT
from domain.runtime import RUNTIMES, RUNTIMES_STREAM
from domain.tenant import TENANT
from eventstore.log import Append, Outcome
from eventstore.memory import MemoryLog
from eventstore.sealing import MemoryPersonKeys, Sealing

AT = datetime(2026, 6, 1, tzinfo=UTC)


class Crash(Exception):
    """The process ended here."""


class MortalLog(MemoryLog):
    """Dies at its nth append: before it is recorded, or after."""

    def __init__(self, *, at: int, recorded: bool) -> None:
        super().__init__(lambda: AT)
        self.left, self.recorded = at, recorded

    async def append(self, append: Append) -> Outcome:
        self.left -= 1
        if self.left == 0 and not self.recorded:
            raise Crash
        outcome = await super().append(append)
        if self.left == 0:
            raise Crash
        return outcome


def a_log() -> MemoryLog:
    return MemoryLog(lambda: AT)


async def start(log: MemoryLog, data_dir: Path) -> dict[Any, Any]:
    return {**await make_first_start(log, Sealing(MemoryPersonKeys()), data_dir, AT)}


async def recorded(log: MemoryLog, name: str, key_text: str) -> ApiKey:
    key = parse_key(key_text)
    assert key is not None
    tenant_id = TENANT_ID if name == "owner" else SYSTEM_TENANT
    state: ApiKey = await fold(log, API_KEY, API_KEY.stream(tenant_id, key.key_id))
    return state


async def opens(log: MemoryLog, data_dir: Path) -> bool:
    """Whether both key files hold the keys that are recorded."""
    for name in ("owner", "operator"):
        text = (data_dir / f"{name}.key").read_text().strip()
        key, state = parse_key(text), await recorded(log, name, text)
        assert key is not None
        if state.secret_hash != key.secret_hash or state.role != name:
            return False
    return not list(data_dir.glob("*.pending"))


class TestMakeFirstStart:
    async def test_makes_a_tenant_with_its_owner_runtimes_and_two_private_keys(self, tmp_path: Path) -> None:
        log = a_log()

        made = await start(log, tmp_path)

        assert set(made) == {"owner", "operator"}
        assert await opens(log, tmp_path)
        for name in ("owner.key", "operator.key"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        runtimes = await fold(log, RUNTIMES, RUNTIMES_STREAM)
        assert (sorted(runtimes.dates), runtimes.default) == (["3.10.0", "3.11.0", "3.9.0"], "3.11.0")
        assert (await fold(log, TENANT, TENANT.stream(TENANT_ID, TENANT_ID))).members == {OWNER_ID: "owner"}

    async def test_where_people_sign_in_makes_no_tenant_and_no_owners_key(self, tmp_path: Path) -> None:
        log = a_log()

        for _ in range(2):
            await make_first_start(log, Sealing(MemoryPersonKeys()), tmp_path, AT, with_tenant=False)

        assert not (await fold(log, TENANT, TENANT.stream(TENANT_ID, TENANT_ID))).exists
        assert sorted(path.name for path in tmp_path.glob("*.key*")) == ["operator.key"]
        text = (tmp_path / "operator.key").read_text().strip()
        assert (await recorded(log, "operator", text)).role == "operator"
        assert "person.registered" not in {event.type for event in await log.read(0, limit=100)}

    async def test_a_second_start_changes_nothing(self, tmp_path: Path) -> None:
        log = a_log()
        await start(log, tmp_path)
        before, key = await log.head(), (tmp_path / "owner.key").read_text()

        assert await start(log, tmp_path) == {}
        assert await log.head() == before
        assert (tmp_path / "owner.key").read_text() == key

    async def test_no_secret_and_no_name_is_in_the_log(self, tmp_path: Path) -> None:
        log = a_log()
        made = await start(log, tmp_path)

        everything = b"".join(event.data + event.meta for event in await log.read(0, limit=100))

        assert b"Local owner" not in everything
        for key in made.values():
            assert key.secret.encode() not in everything
            assert key.secret not in repr(key)

    @pytest.mark.parametrize("recorded", [False, True], ids=["before", "after"])
    async def test_cut_off_at_any_append_the_next_start_repairs_it(self, tmp_path: Path, recorded: bool) -> None:
        """Goal: no crash loses a key. Method: die at each append in turn, start again, see that both keys open."""
        complete = a_log()
        await start(complete, tmp_path / "complete")
        for at in range(1, await complete.head() + 1):
            log, data_dir = MortalLog(at=at, recorded=recorded), tmp_path / str(at)
            with pytest.raises(Crash):
                await start(log, data_dir)

            await start(log, data_dir)

            assert await opens(log, data_dir), at
            assert await log.head() == await complete.head()

    async def test_a_key_recorded_and_not_yet_in_place_is_shown_and_put_there(self, tmp_path: Path) -> None:
        log = a_log()
        await start(log, tmp_path)
        (tmp_path / "owner.key").rename(tmp_path / "owner.key.pending")

        assert set(await start(log, tmp_path)) == {"owner"}
        assert await opens(log, tmp_path)

    async def test_a_pending_key_that_was_never_recorded_goes(self, tmp_path: Path) -> None:
        log = a_log()
        await start(log, tmp_path / "first")
        (tmp_path / "second").mkdir()
        pending = tmp_path / "second" / "owner.key.pending"
        pending.write_text((tmp_path / "first" / "owner.key").read_text()[:-2] + "_\n")

        assert await start(log, tmp_path / "second") == {}
        assert not pending.exists()
        assert not (tmp_path / "second" / "owner.key").exists()

    async def test_two_at_once_make_it_once(self, tmp_path: Path) -> None:
        log = a_log()
        await start(a_log(), tmp_path / "other")

        await asyncio.gather(start(log, tmp_path / "a"), start(log, tmp_path / "b"))

        kept = [d for d in ("a", "b") if (tmp_path / d / "owner.key").exists()]
        assert kept
        assert await opens(log, tmp_path / kept[0])


class TestAnnounce:
    def test_shows_new_keys_and_says_nothing_without(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        announce({}, tmp_path)
        assert capsys.readouterr().out == ""

        made = asyncio.run(start(a_log(), tmp_path))
        announce(made, tmp_path)
        out = capsys.readouterr().out
        assert all(key.text in out for key in made.values())
