"""An export put into an empty installation, in one transaction: there is all of it afterwards, or nothing.

Events keep their times, and those of a whole log their positions; behind them webhooks whose secrets did not come along
are switched off. What stands beside them is made from them again: streams,
claims and counters here, read models by the engine. Between one tenant's events those of others are missing; they move
together, and what names the position of its cause names the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from audit.export_format import Damaged, Kind, Manifest, Part, events_of, lines_of
from audit.export_source import ExportSource
from audit.exporting import CommandLine, PersonKeyLine, SecretValueLine, TenantKeyLine
from audit.imported_webhooks import ImportedWebhooks
from audit.renumbering import Renumbering
from domain.event import Aggregate
from eventstore.codec import UnknownEventType, UnreadableEvent, tag_of
from eventstore.database import CONNECT_SECONDS_MAX
from eventstore.event_lines import as_bytes
from eventstore.log import StoredEvent
from eventstore.meta import decode_meta

# Whoever else writes has to wait; one who is in the way for longer than this is told of.
LOCK_SECONDS_MAX = 30
PAGE_ROWS = 5_000
# What applications on the eventsourcing library write, and the category of their streams.
_FOREIGN, _FOREIGN_CATEGORY = "eventsourcing:", "eventsourcing"
# These are never empty.
_SINGLE = ("epochs", "layout", "leases")

Tell = Callable[[int], None]


class ImportRefused(Exception):
    """The export cannot be put here; nothing was changed. The message says why."""


class Imported(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What there is now. `epoch` is the log's new one: positions handed out by the exporting installation are refused.

    `events` are the export's; one more was recorded for each webhook that had to be switched off for want of its secret.
    """

    events: int
    commands: int
    claims: int
    counters: int
    epoch: int
    person_keys: int
    secret_values: int
    webhooks_switched_off: int


def check_export(source: ExportSource, tell: Tell) -> None:
    """Look at every byte of an export, without an installation. Raises Damaged."""
    reading = _Reading(source.manifest)
    for part in source.manifest.parts:
        content = source.content(part)
        if part.kind == "events":
            reading.checked(events_of(part, content))
            tell(part.last_position or 0)
        else:
            for _ in _decoded(part, content):
                pass


async def import_export(url: str, source: ExportSource, aggregates: Sequence[Aggregate[Any]], tell: Tell) -> Imported:
    """Put the export into the database at `url`, whose schema is up to date; `url` may act as dcf_owner.

    Raises Damaged and ImportRefused; then, and when the process dies, nothing was changed.
    """
    settings = {"role": "dcf_owner", "application_name": "dcf import"}
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS_MAX, server_settings=settings)
    try:
        async with connection.transaction():
            imported = await _Import(connection, source, aggregates, tell).run()
        await connection.execute("ANALYZE log.events, log.commands, log.streams, log.claims, log.counters")
        return imported
    finally:
        await connection.close()


class _Reading:
    """Follows the events from part to part: nothing in between is missing, and time does not run back."""

    def __init__(self, manifest: Manifest) -> None:
        self._tenant_id, self._last = manifest.tenant_id, manifest.after
        self._last_at: datetime | None = None

    def checked(self, events: list[StoredEvent]) -> list[StoredEvent]:
        """The events. Raises Damaged."""
        for event in events:
            gap = event.position <= self._last if self._tenant_id else event.position != self._last + 1
            if gap:
                raise Damaged(f"there is a gap: position {event.position} follows {self._last}")
            if self._tenant_id not in (None, event.tenant_id):
                raise Damaged(f"the event at {event.position} is another tenant's")
            if self._last_at is not None and event.recorded_at < self._last_at:
                raise Damaged(f"the event at {event.position} was recorded before the one in front of it")
            self._last, self._last_at = event.position, event.recorded_at
        return events


_LOCK = "SELECT pg_advisory_xact_lock(4919, 1)"
_TABLES = """
    SELECT n.nspname || '.' || c.relname AS name
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('log', 'vault', 'work') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND c.relname <> ALL ($1)
     ORDER BY 1
"""
_STAGE = """
    CREATE TEMP TABLE staged_claims (
        n bigint, tenant_id uuid, scope text, key text, holder uuid, release boolean
    ) ON COMMIT DROP;
    CREATE TEMP TABLE staged_counters (tenant_id uuid, scope text, name text, delta bigint) ON COMMIT DROP;
"""
_EVENT_COLUMNS = (
    "position",
    "tenant_id",
    "stream_id",
    "version",
    "type",
    "schema_version",
    "recorded_at",
    "meta",
    "data",
)
_COMMAND_COLUMNS = (
    "tenant_id",
    "command_id",
    "request_hash",
    "outcome",
    "reply",
    "first_position",
    "last_position",
    "at",
)
_STREAMS = """
    INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
    SELECT e.tenant_id, e.stream_id, max(e.version), min(c.category), min(e.position), max(e.position)
      FROM log.events e
      JOIN unnest($1::text[], $2::text[]) c (type, category) ON c.type = e.type
     GROUP BY e.tenant_id, e.stream_id
"""
_BROKEN = """
    SELECT e.tenant_id, e.stream_id, e.position, e.version, e.before
      FROM (SELECT r.tenant_id, r.stream_id, r.position, r.version,
                   lag(r.version) OVER (PARTITION BY r.tenant_id, r.stream_id ORDER BY r.position) AS before
              FROM log.events r) e
     WHERE CASE WHEN e.before IS NULL THEN e.version NOT IN (0, 1) ELSE e.version <> e.before + 1 END
     LIMIT 1
"""
_CLAIMS = "SELECT tenant_id, scope, key, holder, release FROM staged_claims ORDER BY tenant_id, scope, key, n"
_COUNTERS = """
    INSERT INTO log.counters (tenant_id, scope, name, change, value)
    SELECT tenant_id, scope, name, count(*), sum(delta) FROM staged_counters GROUP BY tenant_id, scope, name
"""
_EPOCH = """
    INSERT INTO log.epochs (epoch, reason)
    SELECT greatest(max(epoch), $1) + 1, 'imported' FROM log.epochs
    RETURNING epoch
"""


class _Import:
    def __init__(self, connection: Any, source: ExportSource, aggregates: Sequence[Aggregate[Any]], tell: Tell) -> None:
        self._connection, self._source, self._tell = connection, source, tell
        self._categories = {tag_of(event): aggregate.name for aggregate in aggregates for event in aggregate.events}
        self._types: set[str] = set()
        self._staged = 0
        self._renumbering = Renumbering() if source.manifest.tenant_id else None
        self._webhooks = ImportedWebhooks()

    async def run(self) -> Imported:
        manifest = self._source.manifest
        await self._require_empty()
        await self._connection.execute(_STAGE)
        last = manifest.events if self._renumbering else manifest.up_to
        await self._connection.execute("SELECT log.cover($1)", last)
        reading = _Reading(manifest)
        counted: dict[Kind, int] = {"events": 0, "commands": 0, "person-keys": 0, "secret-values": 0, "tenant-keys": 0}
        for part in manifest.parts:
            content = await asyncio.to_thread(self._source.content, part)
            if part.kind == "events":
                events = reading.checked(await asyncio.to_thread(events_of, part, content))
                counted["commands"] += await self._put_events(events)
                self._tell(part.last_position or 0)
            else:
                await self._put_lines(part.kind, list(_decoded(part, content)))
            counted[part.kind] += part.lines
        if self._renumbering:
            counted["commands"] += await self._put_commands(self._renumbering.rest())
        await self._make_streams()
        claims = await self._make_claims()
        counters = int((await self._connection.execute(_COUNTERS)).split()[-1])
        off, last = await self._webhooks.settle(self._connection, last)
        return Imported(
            events=counted["events"],
            commands=counted["commands"],
            claims=claims,
            counters=counters,
            epoch=await self._begin_epoch(last),
            person_keys=counted["person-keys"],
            secret_values=counted["secret-values"],
            webhooks_switched_off=off,
        )

    async def _require_empty(self) -> None:
        """Nobody else may write from here on, and nobody may have."""
        await self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'")
        try:
            await self._connection.execute(_LOCK)
        except asyncpg.LockNotAvailableError as error:
            raise ImportRefused("somebody is writing to the log: stop the service first") from error
        for row in await self._connection.fetch(_TABLES, list(_SINGLE)):
            if await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {row['name']})"):  # noqa: S608 - of pg_class
                raise ImportRefused(f"the installation is not empty: there is something in {row['name']}")

    async def _put_events(self, events: list[StoredEvent]) -> int:
        """How many commands came with them."""
        moved = self._renumbering.moved(events) if self._renumbering else events
        self._types.update(event.type for event in moved)
        records = [msgspec.structs.astuple(event) for event in moved]
        await self._copy("events", _EVENT_COLUMNS, records)
        await self._stage(moved)
        try:
            self._webhooks.take(moved)
        except (UnknownEventType, UnreadableEvent) as error:
            raise ImportRefused(f"this release cannot read an event of a webhook: {error}") from error
        return await self._put_commands(self._renumbering.commands()) if self._renumbering else 0

    async def _stage(self, events: Iterable[StoredEvent]) -> None:
        claims, counters = [], []
        for event in events:
            if b'"claims"' in event.meta or b'"counters"' in event.meta:
                meta = decode_meta(event.meta)
                for claim in meta.claims:
                    self._staged += 1
                    values = (claim.tenant_id, claim.scope, claim.key, claim.holder, claim.release)
                    claims.append((self._staged, *values))
                counters += [(one.tenant_id, one.scope, one.name, one.delta) for one in meta.counters]
        copy = self._connection.copy_records_to_table
        if claims:
            await copy("staged_claims", records=claims)
        if counters:
            await copy("staged_counters", records=counters)

    async def _put_lines(self, kind: Kind, lines: list[Any]) -> None:
        if kind == "commands":
            await self._put_commands(lines)
        elif kind == "person-keys":
            await self._connection.executemany(
                "INSERT INTO vault.person_keys (tenant_id, person_id, key, destroyed_at)"
                " VALUES ($1, $2, $3, CASE WHEN $3::bytea IS NULL THEN clock_timestamp() END)",
                [(line.tenant_id, line.person_id, line.key) for line in lines],
            )
        elif kind == "tenant-keys":
            tenant_columns = ("tenant_id", "purpose", "key_id", "service", "version", "wrapped")
            records = [msgspec.structs.astuple(line) for line in lines]
            await self._copy("tenant_keys", tenant_columns, records, schema="vault")
        else:
            columns = ("tenant_id", "value_id", "function_id", "key_id", "wrapped_key", "sealed")
            records = [msgspec.structs.astuple(line) for line in lines]
            await self._copy("secret_values", columns, records, schema="vault")

    async def _put_commands(self, lines: Sequence[CommandLine]) -> int:
        records = [
            (
                line.tenant_id,
                line.command_id,
                line.request_hash,
                line.outcome,
                as_bytes(line.reply, line.reply_base64),
                line.first_position,
                line.last_position,
                datetime.fromisoformat(line.at),
            )
            for line in lines
        ]
        if records:
            await self._copy("commands", _COMMAND_COLUMNS, records)
        return len(records)

    async def _copy(
        self, table: str, columns: Sequence[str], records: Sequence[tuple[Any, ...]], *, schema: str = "log"
    ) -> None:
        try:
            await self._connection.copy_records_to_table(table, schema_name=schema, columns=columns, records=records)
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, ValueError, OverflowError) as error:
            raise Damaged(f"{schema}.{table} does not take what is in it: {error}") from error

    async def _make_streams(self) -> None:
        broken = await self._connection.fetchrow(_BROKEN)
        if broken is not None:
            raise Damaged(
                f"there is a gap in stream {broken['stream_id']} of tenant {broken['tenant_id']}: at position"
                f" {broken['position']} version {broken['version']} follows {broken['before']}"
            )
        categories = {type: self._category(type) for type in self._types}
        await self._connection.execute(_STREAMS, list(categories), list(categories.values()))

    def _category(self, type: str) -> str:
        if type.startswith(_FOREIGN):
            return _FOREIGN_CATEGORY
        if type not in self._categories:
            raise ImportRefused(f"this release knows no event {type!r}: import it with the release that wrote it")
        return self._categories[type]

    async def _make_claims(self) -> int:
        """Fold what was staged, key by key in order."""
        cursor = await self._connection.cursor(_CLAIMS)
        key: tuple[UUID, str, str] | None = None
        holder: UUID | None = None
        held: list[tuple[Any, ...]] = []
        count = 0
        while True:
            rows = await cursor.fetch(PAGE_ROWS)
            for row in rows:
                if (found := (row["tenant_id"], row["scope"], row["key"])) != key:
                    if holder is not None and key is not None:
                        held.append((*key, holder))
                    key, holder = found, None
                if not row["release"]:
                    if holder not in (None, row["holder"]):
                        raise Damaged(f"the claim {key[1]} {key[2]} was taken while it was held")
                    holder = row["holder"]
                elif holder == row["holder"]:
                    holder = None
            if not rows and holder is not None and key is not None:
                held.append((*key, holder))
            if held:
                await self._copy("claims", ("tenant_id", "scope", "key", "holder"), held)
                count, held = count + len(held), []
            if not rows:
                return count

    async def _begin_epoch(self, last: int) -> int:
        epoch: int = await self._connection.fetchval(_EPOCH, self._source.manifest.epoch)
        await self._connection.execute("SELECT pg_notify('dcf_log', $1::text)", str(last))
        return epoch


_LINES: dict[Kind, Any] = {
    "commands": msgspec.json.Decoder(CommandLine),
    "person-keys": msgspec.json.Decoder(PersonKeyLine),
    "secret-values": msgspec.json.Decoder(SecretValueLine),
    "tenant-keys": msgspec.json.Decoder(TenantKeyLine),
}


def _decoded(part: Part, content: bytes) -> Iterable[Any]:
    decode = _LINES[part.kind].decode
    for number, line in enumerate(lines_of(part, content), 1):
        try:
            yield decode(line)
        except msgspec.MsgspecError as error:
            raise Damaged(f"{part.name}, line {number}: {error}") from error
