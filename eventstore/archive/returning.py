"""Put an archived part back into the database: loaded beside the log, compared, then attached in one quick step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import msgspec

from eventstore.archive.archiving import (
    DETACH_TRIES_MAX,
    PAUSE_SECONDS,
    UNSTAGE,
    CannotArchive,
    Part,
    log_parts,
)
from eventstore.archive.manifest import ArchiveDamaged, Manifest
from eventstore.archive.reading import Archive
from eventstore.database import Database
from eventstore.log import StoredEvent

LOAD_SECONDS_MAX = 3_600.0
LOAD_EVENTS = 5_000

_PREPARE = """
    DROP TABLE IF EXISTS log.returned_{first};
    CREATE TABLE log.returned_{first} (LIKE log.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
"""
_FINISH = """
    ALTER TABLE log.returned_{first} ADD PRIMARY KEY (position),
          ADD CONSTRAINT in_range CHECK (position >= {first} AND position <= {last});
    CREATE INDEX ON log.returned_{first} (stream_id, tenant_id, version);
    ANALYZE log.returned_{first};
"""
_ATTACH = "SELECT log.attach_returned($1)"
_SHA256 = "SELECT a.sha256 FROM log.archives a WHERE a.first_position = $1"
_COUNT = "SELECT count(*) FROM log.returned_{first}"

_COLUMNS = tuple(field.name for field in msgspec.structs.fields(StoredEvent))


async def put_back(owner: Database, archive: Archive, *, first: int, tell: Callable[[str], None]) -> list[Part]:
    """Put back every part from the one of this position on, the last first; which ones that were.

    `owner` acts as dcf_owner. It may be stopped at any moment and done again. Raises ArchiveDamaged, CannotArchive.
    """
    returned = []
    for part in reversed(await log_parts(owner)):
        if part.last < first or part.step is None:
            continue
        match part.step:
            case "staged":
                await owner.execute(UNSTAGE, part.first)
            case "detached":
                raise CannotArchive(f"{part.name}: archiving is not finished; run `dcf log archive` again first")
            case _:
                await _put_back(owner, archive, part, tell)
        returned.append(part)
    return returned


async def _put_back(owner: Database, archive: Archive, part: Part, tell: Callable[[str], None]) -> None:
    manifest = next(
        (m for m in archive.manifests if (m.first_position, m.last_position) == (part.first, part.last)), None
    )
    if manifest is None:
        raise ArchiveDamaged(f"{archive.directory} has no file of {part.name}")
    if manifest.canonical_sha256 != await owner.fetchval(_SHA256, part.first):
        raise ArchiveDamaged(f"{archive.directory / manifest.file} has other events than were taken out of this log")
    tell(f"{part.name}: verified")
    await asyncio.to_thread(archive.check, manifest)
    tell(f"{part.name}: loaded")
    await _load(owner, archive, manifest)
    tell(f"{part.name}: put back into the log")
    for _ in range(DETACH_TRIES_MAX):
        try:
            await owner.execute(_ATTACH, part.first)
            return
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(PAUSE_SECONDS)
    raise CannotArchive("somebody reads the log without a pause; try again later")


async def _load(owner: Database, archive: Archive, manifest: Manifest) -> None:
    await owner.execute(_PREPARE.format(first=manifest.first_position))
    after = manifest.first_position - 1
    while after < manifest.last_position:
        limit = min(LOAD_EVENTS, manifest.last_position - after)
        events = await asyncio.to_thread(archive.read, after, limit=limit)
        await _copy(owner, manifest, events)
        after = events[-1].position
    finish = _FINISH.format(first=manifest.first_position, last=manifest.last_position)
    await owner.execute(finish, timeout=LOAD_SECONDS_MAX)
    count = await owner.fetchval(_COUNT.format(first=manifest.first_position))
    if count != manifest.events:
        raise CannotArchive(f"{count} events were loaded, not {manifest.events}")


async def _copy(owner: Database, manifest: Manifest, events: Sequence[StoredEvent]) -> None:
    async with owner.acquire() as connection:
        await connection.copy_records_to_table(
            f"returned_{manifest.first_position}",
            schema_name="log",
            records=[msgspec.structs.astuple(event) for event in events],
            columns=_COLUMNS,
        )
