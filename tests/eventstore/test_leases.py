"""What every lease keeper promises, whichever store is behind it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from eventstore.database import Pool
from eventstore.leases import Lease, Leases, MemoryLeases, PostgresLeases, Wanted, is_still_ours
from tests.eventstore.conftest import now

LONG_SECONDS = 60.0
OVER_SECONDS = -1.0  # A lease that had run out when it was given.


@pytest.fixture(params=["memory", "postgres"])
def leases(request: pytest.FixtureRequest) -> Leases:
    if request.param == "memory":
        return MemoryLeases(now)
    return PostgresLeases(request.getfixturevalue("database"))


async def acquired(leases: Leases, name: str = "engine", *, seconds: float = LONG_SECONDS) -> Lease:
    [lease] = await leases.acquire([Wanted(name)], holder=uuid4(), seconds=seconds)
    return lease


class TestAcquire:
    async def test_a_held_lease_is_not_given_to_another(self, leases: Leases) -> None:
        await acquired(leases)

        assert await leases.acquire([Wanted("engine")], holder=uuid4(), seconds=LONG_SECONDS) == []

    async def test_one_that_ran_out_is_given_under_a_higher_epoch(self, leases: Leases) -> None:
        before = await acquired(leases, seconds=OVER_SECONDS)

        after = await acquired(leases)

        assert after.epoch > before.epoch

    async def test_its_own_holder_gets_a_higher_epoch(self, leases: Leases) -> None:
        before = await acquired(leases)

        [after] = await leases.acquire([Wanted("engine")], holder=before.holder, seconds=LONG_SECONDS)

        assert after.epoch > before.epoch
        assert await leases.renew([before], seconds=LONG_SECONDS) == []

    async def test_of_many_those_that_are_free_are_given(self, leases: Leases) -> None:
        await acquired(leases, "b")
        tenant_id = uuid4()

        given = await leases.acquire(
            [Wanted("c", tenant_id), Wanted("b", tenant_id), Wanted("a", tenant_id)],
            holder=uuid4(),
            seconds=LONG_SECONDS,
        )

        assert [(lease.name, lease.tenant_id) for lease in given] == [("a", tenant_id), ("c", tenant_id)]

    async def test_rivals_have_one_winner_a_name(self, leases: Leases) -> None:
        names = [Wanted(f"deployment/{n}") for n in range(50)]

        given = await asyncio.gather(
            *(leases.acquire(names, holder=uuid4(), seconds=LONG_SECONDS) for _ in range(4)),
        )

        assert sorted(lease.name for some in given for lease in some) == sorted(one.name for one in names)


class TestRenew:
    async def test_keeps_the_epoch_and_moves_the_end(self, leases: Leases) -> None:
        lease = await acquired(leases, seconds=OVER_SECONDS)

        [renewed] = await leases.renew([lease], seconds=LONG_SECONDS)

        assert renewed.epoch == lease.epoch
        assert renewed.expires_at > lease.expires_at
        assert await leases.acquire([Wanted("engine")], holder=uuid4(), seconds=LONG_SECONDS) == []

    async def test_leaves_out_what_was_taken_over(self, leases: Leases) -> None:
        lost = await acquired(leases, "a", seconds=OVER_SECONDS)
        kept = await acquired(leases, "b")
        await acquired(leases, "a")

        assert [lease.name for lease in await leases.renew([lost, kept], seconds=LONG_SECONDS)] == ["b"]


class TestRelease:
    async def test_frees_the_name_and_never_lowers_the_epoch(self, leases: Leases) -> None:
        before = await acquired(leases)

        await leases.release([before])

        assert await leases.held(["engine"]) == []
        assert (await acquired(leases)).epoch > before.epoch

    async def test_a_lost_lease_is_left_to_its_new_holder(self, leases: Leases) -> None:
        lost = await acquired(leases, seconds=OVER_SECONDS)
        taken = await acquired(leases)

        await leases.release([lost])

        assert await leases.held(["engine"]) == [taken]


class TestIsStillOurs:
    async def test_a_write_guarded_by_a_lost_lease_is_told(self, database: Pool) -> None:
        leases = PostgresLeases(database)
        lost = await acquired(leases, seconds=OVER_SECONDS)
        taken = await acquired(leases)

        async with database.transaction() as connection:
            assert not await is_still_ours(connection, lost)
            assert await is_still_ours(connection, taken)
