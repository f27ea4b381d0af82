"""The stores of a runner on PostgreSQL: what keeps its work its own does not queue behind that work."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

from domain.event import StreamRef
from eventstore.leases import Wanted
from process.settings import Settings
from runner.postgres_stores import stores_on_postgres
from tests.support.kept import bytes_of

POOL = 2


async def test_leases_are_renewed_while_every_other_connection_is_taken(database_url: str, tmp_path: Path) -> None:
    """Goal: a runner with more to do than it has connections for still keeps its leases. Method: hold all of them."""
    settings = Settings(data_dir=tmp_path, pool_size_max=POOL)
    async with AsyncExitStack() as exits:
        stores = await stores_on_postgres(settings, database_url, exits)
        leases = await stores.leases.acquire([Wanted("deployment/1")], holder=uuid4(), seconds=6)
        async with AsyncExitStack() as held:
            for _ in range(POOL):
                await held.enter_async_context(stores.contents._database.acquire())  # type: ignore[attr-defined]
            async with asyncio.timeout(5):
                renewed = await stores.leases.renew(leases, seconds=6)

    assert [lease.epoch for lease in renewed] == [lease.epoch for lease in leases]


async def test_nothing_waits_behind_what_builds_say(database_url: str, tmp_path: Path) -> None:
    """Goal: thousands of builds that talk keep no deployment from its next step. Method: hold every connection their logs have."""
    settings = Settings(data_dir=tmp_path, pool_size_max=POOL)
    async with AsyncExitStack() as exits:
        stores = await stores_on_postgres(settings, database_url, exits)
        async with AsyncExitStack() as held:
            for _ in range(POOL):
                await held.enter_async_context(stores.build_logs._database.acquire())  # type: ignore[attr-defined]
            async with asyncio.timeout(5):
                assert await stores.log.load([StreamRef(uuid4(), "deployment", uuid4())]) == [[]]
                assert await bytes_of(stores.contents, uuid4(), f"sha256:{bytes(32).hex()}") is None
