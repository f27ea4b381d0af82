"""Lanes in processes of their own: the same rows, and none outlives what started it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec
import psutil
import pytest

from eventstore.database import GIVING_WAY
from projections.checkpoints import Superseded
from projections.deployments import DEPLOYMENTS
from projections.rebuild.lane import LaneOrder
from projections.rebuild.lane_process import Assignment, LaneFailed, LaneProcesses, lane_processes
from tests.projections.conftest import Workshop
from tests.projections.history import History
from tests.projections.rebuild.conftest import Rebuilds
from tests.projections.rebuild.test_steps import assert_same
from tests.projections.test_worker import a_history
from tests.support import a

SECONDS_MAX = 90


def an_order(**changes: object) -> LaneOrder:
    order = LaneOrder(
        job_id=a.id_of(1),
        epoch=1,
        model="deployments",
        version=DEPLOYMENTS.version,
        build=7,
        lane=0,
        lanes=2,
        scan_to=10,
    )
    return msgspec.structs.replace(order, **changes)


@pytest.fixture
async def lanes() -> AsyncIterator[LaneProcesses]:
    async with lane_processes() as processes:
        yield processes


class TestLaneProcesses:
    async def test_two_make_the_rows_and_the_history_the_worker_made(
        self, workshop: Workshop, history: History, rebuilds: Rebuilds, database_url: str, lanes: LaneProcesses
    ) -> None:
        await history.record_together(a_history(seed=31))
        await workshop.catch_up()

        build = await rebuilds.rebuild(
            DEPLOYMENTS, lanes=2, launch=lambda order: lanes.run(Assignment(database_url, 100, order))
        )

        assert await rebuilds.served(DEPLOYMENTS) == build
        await assert_same(workshop, build, DEPLOYMENTS)

    async def test_one_whose_job_is_in_other_hands_says_so(self, database_url: str, lanes: LaneProcesses) -> None:
        with pytest.raises(Superseded):
            await lanes.run(Assignment(database_url, 100, an_order()))

    async def test_one_that_fails_says_why(self, database_url: str, lanes: LaneProcesses) -> None:
        nowhere = database_url.replace("/test_", "/nowhere_")
        with pytest.raises(LaneFailed, match="nowhere_"):
            await lanes.run(Assignment(nowhere, 100, an_order()))

    async def test_one_takes_the_next_order_too_and_ends_when_there_is_none(
        self, database_url: str, lanes: LaneProcesses
    ) -> None:
        before = set(psutil.Process().children())
        for _ in range(2):
            with pytest.raises(Superseded):
                await lanes.run(Assignment(database_url, 100, an_order(), paced=True))

        (one,) = set(psutil.Process().children()) - before
        assert one.nice() == GIVING_WAY
        await lanes.close()
        assert not one.is_running()

    async def test_ends_with_whoever_started_it(self, database_url: str) -> None:
        """Method: its standard input ends before its order is carried out, as when the parent is killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "projections.rebuild.lane_process", stdin=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        order = an_order()
        process.stdin.write(msgspec.json.encode(Assignment(database_url, 100, order)) + b"\n")
        process.stdin.close()

        async with asyncio.timeout(SECONDS_MAX):
            assert await process.wait() != 0
        assert not psutil.pid_exists(process.pid)
