"""Take old ranges of the log out of the database, step by step: write, verify, stage, detach, drop.

Each step is recorded, and may be begun again after a crash; until the last one everything is still in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec

from eventstore.archive.leaving import leaving_streams
from eventstore.archive.manifest import SUFFIX, ArchiveDamaged, Manifest, name_of, read_manifest
from eventstore.archive.reading import Archive
from eventstore.archive.writing import BLOCK_EVENTS, write_range
from eventstore.codec import Codec
from eventstore.database import Database
from eventstore.log import Log, StoredEvent

# Others are let through between two tries to detach; a reader that takes longer than all of them ends the attempt.
DETACH_TRIES_MAX = 120
SNAPSHOT_LOOKS_MAX = 120
PAUSE_SECONDS = 0.5
STAGE_SECONDS_MAX = 3_600.0
# Streams that grow while they leave make it be staged again.
STAGES_MAX = 10

_PARTS = """
    SELECT substr(c.relname, 8)::bigint AS first, b[2]::bigint - 1 AS last, a.step
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''?(\\d+)''?\\) TO \\(''?(\\d+)''?\\)') b
      LEFT JOIN log.archives a ON a.first_position = substr(c.relname, 8)::bigint
     WHERE i.inhparent = 'log.events'::regclass
     ORDER BY 1
"""
_EVENTS = """
    SELECT e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
      FROM log.{table} e
     WHERE e.position > $1
     ORDER BY e.position
     LIMIT $2
"""
_RECORDED_BEFORE = "SELECT log.time_at($1) < clock_timestamp() - $2::interval"
_STAGE = "SELECT log.stage_archive($1, $2, $3, $4)"
_DETACH = "SELECT log.detach_archive($1)"
_DROP = "SELECT log.drop_detached($1)"
UNSTAGE = "SELECT log.unstage_archive($1)"
_STEP = "SELECT a.step, a.sha256 FROM log.archives a WHERE a.first_position = $1"
_OLD_SNAPSHOTS = """
    SELECT count(*) FROM pg_stat_activity a
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
       AND age(a.backend_xmin) >= age($1::text::xid)
"""


class CannotArchive(Exception):
    """The range stays as it is; the message says why."""


class Part(msgspec.Struct, frozen=True):
    """One partition. `step` is how far it is archived, None when that was not begun."""

    first: int
    last: int
    step: str | None = None

    @property
    def name(self) -> str:
        """As people are told of it."""
        return f"positions {self.first} to {self.last}"


class Archived(msgspec.Struct, frozen=True):
    """A range that was archived; `kept` of its events stay in the database too."""

    manifest: Manifest
    kept: int


class Archiving(msgspec.Struct, frozen=True, kw_only=True):
    """What archiving works with. `owner` acts as dcf_owner; `obstacles` tells what still needs to read up to a position."""

    owner: Database
    log: Log
    codec: Codec
    directory: Path
    obstacles: Callable[[int], Awaitable[Sequence[str]]]
    tell: Callable[[str], None]


async def log_parts(owner: Database) -> list[Part]:
    """Every partition there is."""
    return [Part(row["first"], row["last"], row["step"]) for row in await owner.fetch(_PARTS)]


async def archivable(owner: Database, log: Log, *, older_than: timedelta) -> list[Part]:
    """What may be archived now, the oldest first: full partitions whose last event is so old, and never the last that
    has events. Those that were begun come first."""
    head = await log.head()
    found = []
    for part in await log_parts(owner):
        if part.step == "archived":
            continue
        if part.last >= head or not await owner.fetchval(_RECORDED_BEFORE, part.last, older_than):
            break
        found.append(part)
    return found


async def archive_range(tools: Archiving, part: Part) -> Archived:
    """Archive the oldest range that is not archived yet, or go on where that was interrupted.

    Raises CannotArchive, ArchiveDamaged, and what the database raises: begin again then.
    """
    if reasons := await tools.obstacles(part.last):
        raise CannotArchive("; ".join(reasons))
    manifest = await _verified(tools, part)
    if part.step != "detached":
        await _out_of_the_log(tools, part, manifest)
    recorded = await tools.owner.fetchrow(_STEP, part.first)
    if recorded is None or recorded["sha256"] != manifest.canonical_sha256:
        raise ArchiveDamaged(f"{manifest.file} is not what was detached from the log")
    await tools.owner.execute(_DROP, part.first)
    kept: int = await tools.owner.fetchval("SELECT a.kept FROM log.archives a WHERE a.first_position = $1", part.first)
    return Archived(manifest, kept)


async def _verified(tools: Archiving, part: Part) -> Manifest:
    """The range's file, read back from the disk and found to be what the database has; written first if there is none."""
    table = f"{'detached' if part.step == 'detached' else 'events'}_{part.first}"
    path = tools.directory / (name_of(part.first, part.last) + SUFFIX)
    if not path.exists():
        tools.tell(f"{part.name}: written")
        blocks = _blocks(tools.owner, table, part)
        await write_range(tools.directory, part.first, part.last, blocks, epoch=await tools.log.epoch())
    tools.tell(f"{part.name}: verified")
    manifest = read_manifest(path)
    archive = Archive(tools.directory, [manifest])
    await asyncio.to_thread(archive.check, manifest)
    await _compare(tools.owner, table, part, archive)
    return manifest


async def _blocks(owner: Database, table: str, part: Part) -> AsyncIterator[list[StoredEvent]]:
    after = part.first - 1
    while after < part.last:
        rows = await owner.fetch(_EVENTS.format(table=table), after, BLOCK_EVENTS)
        if not rows:
            return
        yield [StoredEvent(*row) for row in rows]
        after = rows[-1]["position"]


async def _compare(owner: Database, table: str, part: Part, archive: Archive) -> None:
    """Event by event: a file that was there already may be of another life of the log."""
    async for events in _blocks(owner, table, part):
        archived = await asyncio.to_thread(archive.read, events[0].position - 1, limit=len(events))
        if archived != events:
            file = archive.manifests[0].file
            raise ArchiveDamaged(
                f"{archive.directory / file} has other events than the log; archive to another directory"
            )


async def _out_of_the_log(tools: Archiving, part: Part, manifest: Manifest) -> None:
    try:
        await _staged_and_detached(tools, part, manifest)
    except CannotArchive:
        await tools.owner.execute(UNSTAGE, part.first)
        raise


async def _staged_and_detached(tools: Archiving, part: Part, manifest: Manifest) -> None:
    for _ in range(STAGES_MAX):
        tools.tell(f"{part.name}: what stays is made ready")
        await _stage(tools, part, manifest)
        if await _detach(tools, part):
            return
    raise CannotArchive("streams that were over keep growing")


async def _stage(tools: Archiving, part: Part, manifest: Manifest) -> None:
    judged_to = await tools.log.head()
    leaving = await leaving_streams(tools.owner, tools.log, tools.codec, f"events_{part.first}", part.first)
    async with tools.owner.transaction() as connection:
        await connection.execute("TRUNCATE log.leaving")
        columns = ["tenant_id", "stream_id"]
        await connection.copy_records_to_table("leaving", schema_name="log", records=leaving, columns=columns)
        arguments = (part.first, part.last + 1, manifest.canonical_sha256, judged_to)
        await connection.fetchval(_STAGE, *arguments, timeout=STAGE_SECONDS_MAX)
        transaction_id: str = await connection.fetchval("SELECT pg_current_xact_id()::xid::text")
    await _older_snapshots_gone(tools.owner, transaction_id)


async def _older_snapshots_gone(owner: Database, transaction_id: str) -> None:
    """Whoever began to look before the range was staged would see neither what leaves nor what stays of it."""
    for _ in range(SNAPSHOT_LOOKS_MAX):
        async with owner.transaction(readonly=True) as connection:
            # The owner is not shown what the sessions of others do; whoever signed in is, at least of their own.
            await connection.execute("SET LOCAL ROLE NONE")
            if not await connection.fetchval(_OLD_SNAPSHOTS, transaction_id):
                return
        await asyncio.sleep(PAUSE_SECONDS)
    raise CannotArchive("a transaction in this database has been open for too long; end it, then try again")


async def _detach(tools: Archiving, part: Part) -> bool:
    """Whether it is out of the log; else a stream of it has grown."""
    tools.tell(f"{part.name}: taken out of the log")
    for _ in range(DETACH_TRIES_MAX):
        try:
            detached: bool = await tools.owner.fetchval(_DETACH, part.first)
            return detached
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(PAUSE_SECONDS)
    raise CannotArchive("somebody reads the log without a pause; try again later")
