"""What every store of ticks promises."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventstore.database import Pool, connect
from eventstore.ticks import MESSAGE_CHARS_MAX, MemoryTicks, PostgresTicks, Tick, Ticks
from tests.support import a

DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres"])
def ticks(request: pytest.FixtureRequest) -> Ticks:
    if request.param == "memory":
        return MemoryTicks(lambda: datetime.now(UTC))
    database: Pool = request.getfixturevalue("database")
    return PostgresTicks(database)


def tick(minute: int = 0, **changes: Any) -> Tick:
    given: dict[str, Any] = {
        "tenant_id": a.TENANT_ID,
        "function_id": a.FUNCTION_ID,
        "due_at": DUE + timedelta(minutes=minute),
        "deployment_id": a.DEPLOYMENT_ID,
    }
    return Tick(**(given | changes))


async def read(ticks: Ticks, **asked: Any) -> list[Tick]:
    return await ticks.read(a.TENANT_ID, a.FUNCTION_ID, **({"limit": 10} | asked))


class TestTake:
    async def test_gives_each_to_one_of_many(self, ticks: Ticks) -> None:
        wanted = [tick(minute) for minute in range(5)]

        taken = await asyncio.gather(*(ticks.take(wanted, seconds=60) for _ in range(4)))

        assert sorted(one.due_at for each in taken for one in each) == [one.due_at for one in wanted]

    async def test_tells_functions_and_tenants_apart(self, ticks: Ticks) -> None:
        await ticks.take([tick()], seconds=60)

        others = [tick(function_id=a.OTHER_FUNCTION_ID), tick(tenant_id=a.OTHER_TENANT_ID)]
        assert len(await ticks.take(others, seconds=60)) == 2

    async def test_only_writes_down_what_was_missed(self, ticks: Ticks) -> None:
        await ticks.take([tick(status="missed")], seconds=0)

        await ticks.give_up_lost()
        await ticks.end(tick(), "succeeded")
        (found,) = await read(ticks)
        assert found.status == "missed"
        assert found.ended_at is not None


class TestEnd:
    async def test_tells_what_came_of_it_once(self, ticks: Ticks) -> None:
        [taken] = await ticks.take([tick()], seconds=60)

        await ticks.end(taken, "failed", http_status=500, message="no\x00" + "x" * 2 * MESSAGE_CHARS_MAX)
        await ticks.end(taken, "succeeded", http_status=200)

        (found,) = await read(ticks)
        assert (found.status, found.http_status) == ("failed", 500)
        assert found.message.startswith("no")
        assert len(found.message) == MESSAGE_CHARS_MAX
        assert found.ended_at is not None
        assert found.taken_at is not None
        assert found.taken_at <= found.ended_at


class TestGiveBack:
    async def test_lets_another_take_it(self, ticks: Ticks) -> None:
        [taken] = await ticks.take([tick()], seconds=60)

        await ticks.give_back(taken)

        assert len(await ticks.take([tick()], seconds=60)) == 1

    async def test_leaves_what_has_ended(self, ticks: Ticks) -> None:
        [taken] = await ticks.take([tick()], seconds=60)
        await ticks.end(taken, "succeeded")

        await ticks.give_back(taken)

        assert await ticks.take([tick()], seconds=60) == []


class TestGiveUpLost:
    async def test_calls_unknown_what_nobody_told_the_end_of(self, ticks: Ticks) -> None:
        await ticks.take([tick(0)], seconds=0)
        await ticks.take([tick(1)], seconds=60)
        await asyncio.sleep(0.01)

        assert await ticks.give_up_lost() == 1

        newer, older = await read(ticks)
        assert (newer.status, older.status) == ("firing", "unknown")
        assert "not known" in older.message


class TestNewest:
    async def test_tells_when_each_function_was_last_due(self, ticks: Ticks) -> None:
        await ticks.take([tick(0), tick(2), tick(1), tick(9, tenant_id=a.OTHER_TENANT_ID)], seconds=60)

        asked = [(a.TENANT_ID, a.FUNCTION_ID), (a.TENANT_ID, a.OTHER_FUNCTION_ID)]
        assert await ticks.newest(asked) == {a.FUNCTION_ID: tick(2).due_at}


class TestRead:
    async def test_goes_from_the_newest_back_in_pieces(self, ticks: Ticks) -> None:
        await ticks.take([tick(minute) for minute in range(5)], seconds=60)

        first = await read(ticks, limit=3)
        rest = await read(ticks, limit=3, before=first[-1].due_at)

        assert [one.due_at for one in (*first, *rest)] == [tick(minute).due_at for minute in (4, 3, 2, 1, 0)]

    async def test_shows_a_tenant_nothing_of_another(self, database_url: str, database: Pool) -> None:
        await PostgresTicks(database).take([tick()], seconds=60)

        async with connect(database_url, role="dcf_app") as app:
            assert len(await read(PostgresTicks(app))) == 1
            assert await PostgresTicks(app).read(a.OTHER_TENANT_ID, a.FUNCTION_ID, limit=1) == []
            assert await app.fetchval("SELECT count(*) FROM work.ticks") == 0


class TestPrune:
    async def test_forgets_the_old_in_steps_but_never_the_newest(self, ticks: Ticks) -> None:
        await ticks.take([tick(minute) for minute in range(5)], seconds=60)
        await ticks.take([tick(0, function_id=a.OTHER_FUNCTION_ID)], seconds=60)

        counts = [await ticks.prune(a.TENANT_ID, tick(9).due_at, limit=3) for _ in range(3)]

        assert counts == [3, 1, 0]
        assert [one.due_at for one in await read(ticks)] == [tick(4).due_at]
        assert len(await ticks.read(a.TENANT_ID, a.OTHER_FUNCTION_ID, limit=9)) == 1
