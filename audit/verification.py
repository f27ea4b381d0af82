"""Whether what is stored beside the events is what the events say: streams, claims, counters, read models, histories.

Nothing has to stand still for it: every part is compared in a snapshot that shows as of which position it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from audit.findings import Findings, Tell
from audit.ledger_check import check_ledger
from audit.model_check import Check, check_model, wanted_by
from audit.model_tables import Table, TableGone
from audit.refold import recorded_of
from audit.stream_check import COUNT_SECONDS_MAX, StreamCheck
from domain.event import Aggregate, StreamRef
from domain.refusal import NotFound
from domain.tenant import TenantUnknown
from eventstore.archive.whole import Shelf, WholeLog
from eventstore.codec import Codec, tag_of
from eventstore.database import Database
from eventstore.log import Log, StoredEvent
from projections.active import active_versions
from projections.read_model import AnyModel, RowKey, kind_of

# A model that is switched while it is looked at is begun again so often.
ATTEMPTS_MAX = 5


class StreamUnknown(NotFound):
    """Nothing was ever recorded in such a stream."""

    code = "stream_not_found"


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification works with. `database` acts as dcf_engine; `models` are those to look at; archived events come
    from the shelf."""

    database: Database
    log: Log
    codec: Codec
    aggregates: Sequence[Aggregate[Any]]
    models: Sequence[AnyModel]
    shelf: Shelf = msgspec.field(default_factory=lambda: Shelf(None))


async def verify(
    parts: Parts, tell: Tell, *, tenant_id: UUID | None = None, streams: Collection[UUID] = ()
) -> Findings:
    """Look at everything, at one tenant's, or at some streams with all that is shown of them.

    Raises StreamUnknown, TenantUnknown; EventsArchived when parts of the log are neither in the database nor on the shelf; ArchiveDamaged.
    """
    if tenant_id is not None and not streams:
        await _require_tenant(parts.database, tenant_id)
    findings = Findings()
    looking = StreamCheck(parts.database, parts.codec, parts.aggregates, findings, tell, shelf=parts.shelf)
    if streams:
        found = await _located(parts.database, tenant_id, streams)
        await looking.run_named([(stream.tenant_id, stream.id) for stream in found])
        for tenant, own in groupby(sorted(found, key=lambda stream: stream.tenant_id), lambda stream: stream.tenant_id):
            await _check_named(parts, findings, tell, tenant, list(own))
        return findings
    await looking.run(tenant_id)
    await check_ledger(parts.database, tenant_id, findings, tell, shelf=parts.shelf)
    for model in parts.models:
        await check_served(parts, model, findings, tell, tenant_id=tenant_id)
    return findings


async def check_served(
    parts: Parts,
    model: AnyModel,
    findings: Findings,
    tell: Tell,
    *,
    tenant_id: UUID | None = None,
    keys: frozenset[RowKey] | None = None,
    streams: frozenset[UUID] | None = None,
) -> None:
    """Look at the build of the model that is served, unless that is of another version than the model."""
    for _ in range(ATTEMPTS_MAX):
        served = (await active_versions(parts.database)).get(model.name)
        if served is None or served.version != model.version:
            other = "none is served yet" if served is None else f"version {served.version} is served"
            findings.skipped[model.name] = f"this code has version {model.version}, and {other}"
            return
        kind = kind_of(model.name, served.version, served.build)
        check = Check(
            model=model,
            table=Table.of(model, kind, tenant_id=tenant_id, keys=keys),
            wanted=msgspec.structs.replace(wanted_by(model), tenant_id=tenant_id, streams=streams),
        )
        found = Findings()
        try:
            await check_model(parts.database, parts.codec, check, found, tell, shelf=parts.shelf)
        except (TableGone, asyncpg.UndefinedTableError):
            continue
        findings.take(found)
        return
    findings.skipped[model.name] = "another build was served before one could be looked at"


# The table of streams is itself looked at, so its word alone is not taken.
_KNOWN = """
    SELECT EXISTS (SELECT FROM log.streams s WHERE s.tenant_id = $1)
        OR EXISTS (SELECT FROM log.events e WHERE e.tenant_id = $1)
"""


async def _require_tenant(database: Database, tenant_id: UUID) -> None:
    """Nothing differs of a tenant that never was, which is not what whoever mistyped its id wants to know."""
    if not await database.fetchval(_KNOWN, tenant_id, timeout=COUNT_SECONDS_MAX):
        raise TenantUnknown(f"There is no tenant {tenant_id}.")


_FIND = "SELECT f.tenant_id, f.stream_id, f.category FROM log.find_streams($1, $2) f"


async def _located(database: Database, tenant_id: UUID | None, ids: Collection[UUID]) -> list[StreamRef]:
    """Whose these streams are."""
    rows = await database.fetch(_FIND, tenant_id, list(ids))
    found = [StreamRef(row["tenant_id"], row["category"], row["stream_id"]) for row in rows]
    missing = set(ids) - {stream.id for stream in found}
    if missing:
        raise StreamUnknown(f"There is no stream {', '.join(map(str, sorted(missing)))}.")
    return found


async def _check_named(
    parts: Parts, findings: Findings, tell: Tell, tenant_id: UUID, streams: Sequence[StreamRef]
) -> None:
    """Look at every row that an event of these streams ever changed."""
    events = [event for own in await WholeLog(parts.log, parts.shelf).load(streams) for event in own]
    for model in parts.models:
        keys = frozenset((tenant_id, id) for id in _changed_by(model, parts.codec, events))
        if keys:
            makers = frozenset({stream.id for stream in streams} | {id for _, id in keys})
            await check_served(parts, model, findings, tell, tenant_id=tenant_id, keys=keys, streams=makers)


def _changed_by(model: AnyModel, codec: Codec, events: Sequence[StoredEvent]) -> set[UUID]:
    tags = {tag_of(event) for event in model.interests}
    ids: set[UUID] = set()
    for stored in events:
        if stored.type in tags:
            try:
                ids.update(model.keys(recorded_of(stored, codec)))
            except Exception:  # noqa: BLE001 - told by the stream's own check
                ids.add(stored.stream_id)
    return ids
