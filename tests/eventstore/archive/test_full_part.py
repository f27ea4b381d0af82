"""A partition as large as they are in service is archived: a million events."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec
import psutil
import pytest

from benchmarks.past import fill
from domain.deployment import DeploymentFailed
from eventstore.archive.archiving import archivable
from eventstore.archive.reading import Archive
from eventstore.archived import EventsArchived
from eventstore.database import Pool
from eventstore.postgres import PostgresLog
from tests.eventstore.archive.conftest import Place
from tests.support import a

FULL = 1_000_000
SECONDS_MAX = 600.0
MEMORY_BYTES_MAX = 100_000_000

# Every deployment fails at the end instead of succeeding: so it is over, and leaves.
_FAIL = "UPDATE log.events SET type = 'deployment.failed', data = $1 WHERE type = 'deployment.succeeded'"
_STREAMS = """
    INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
    SELECT e.tenant_id, e.stream_id, max(e.version), split_part(min(e.type), '.', 1), min(e.position), max(e.position)
      FROM log.events e
     GROUP BY e.tenant_id, e.stream_id
"""
_STAYING = "SELECT count(*) FROM log.events e WHERE e.position <= $1"
_OF_FUNCTIONS = "SELECT count(*) FROM log.events e WHERE e.position <= $1 AND e.type LIKE 'function.%'"


@pytest.mark.proof
@pytest.mark.timeout(SECONDS_MAX)
async def test_a_full_partition_leaves_but_for_what_goes_on(
    database_url: str, owner: Pool, postgres_log: PostgresLog, tmp_path: Path
) -> None:
    """*Method:* functions that are deployed again and again, every deployment failing; what stays are the functions and the
    hundred deployments or so that the end of the partition cuts."""
    await fill(database_url, FULL)
    await fill(database_url, 1_000, first=FULL + 1)
    await _let_deployments_fail(database_url)
    functions = await owner.fetchval(_OF_FUNCTIONS, FULL)
    place = Place(owner, postgres_log, tmp_path, [], database_url)
    before = psutil.Process().memory_info().rss

    (part,) = await archivable(owner, postgres_log, older_than=timedelta(0))
    (archived,) = await place.archive()

    assert (part.first, part.last, archived.manifest.events) == (1, FULL, FULL)
    assert functions < archived.kept < functions + 2_000
    assert await owner.fetchval(_STAYING, FULL) == archived.kept
    assert psutil.Process().memory_info().rss - before < MEMORY_BYTES_MAX
    with pytest.raises(EventsArchived):
        await postgres_log.read(0, limit=1)
    assert len(await postgres_log.read(FULL, limit=1_000)) == 1_000
    archive = Archive.open(tmp_path)
    assert [e.position for e in archive.read(777_776, limit=3)] == [777_777, 777_778, 777_779]


async def _let_deployments_fail(url: str) -> None:
    connection = await asyncpg.connect(url, command_timeout=SECONDS_MAX)
    try:
        await connection.execute(_FAIL, msgspec.json.encode(DeploymentFailed(epoch=1, failure=a.FAILURE)))
        await connection.execute(_STREAMS)
        await connection.execute("VACUUM ANALYZE log.events, log.streams")
    finally:
        await connection.close()
