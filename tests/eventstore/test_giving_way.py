"""Sessions of work that can wait take only what others leave of the machine."""

from __future__ import annotations

import os

from eventstore.database import GIVING_WAY, connect


async def test_a_session_that_gives_way_has_a_lower_priority_and_no_helpers(database_url: str) -> None:
    async with (
        connect(database_url, role="dcf_engine", size_max=1, gives_way=True) as giving,
        connect(database_url, role="dcf_engine", size_max=1) as other,
    ):
        giving_pid, other_pid = [await pool.fetchval("SELECT pg_backend_pid()") for pool in (giving, other)]

        assert os.getpriority(os.PRIO_PROCESS, giving_pid) == GIVING_WAY
        assert os.getpriority(os.PRIO_PROCESS, other_pid) == 0
        assert await giving.fetchval("SHOW max_parallel_workers_per_gather") == "0"
        assert await other.fetchval("SHOW max_parallel_workers_per_gather") != "0"
