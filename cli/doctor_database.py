"""What the doctor sees of the database: whether it answers, its schema, its clock, its read models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import asyncpg

from cli import postgres_tools
from cli.doctor_service import is_served
from cli.finding import Finding
from eventstore.embedded import Place
from eventstore.embedded import running as server_of
from eventstore.session import LOST
from eventstore.wrapping import BY_TENANT_KEY, KINDS, key_id_of
from migrations.upgrade import newest
from process.master_key import MasterKeyUnusable, former_master_keys, has_own, key_for, master_key
from process.settings import Settings

LOOK_SECONDS_MAX = 5.0
# A read model that is behind and has not moved within this stands still.
MOVE_SECONDS = 1.0
SKEW_SECONDS_WARN, SKEW_SECONDS_MAX = 5.0, 60.0
VERSION_MIN = 15
LOG_CHARACTERS_MAX = 4_000

_BEHIND = """
    SELECT c.kind, c.position, (SELECT coalesce(max(e.position), 0) FROM log.events e) AS head
      FROM views.checkpoints c
      JOIN views.active_versions a ON (a.model, a.version, a.build) = (c.model, c.version, c.build)
     ORDER BY c.position, c.kind
     LIMIT 1
"""
_TREE = """
    SELECT log.tree_size() AS size, (SELECT coalesce(max(e.position), 0) FROM log.events e) AS head,
           (SELECT max(c.size) FROM log.checkpoints c WHERE c.epoch = (SELECT max(e.epoch) FROM log.epochs e)) AS signed
"""
_PARKED = """
    SELECT p.kind, count(DISTINCT (p.tenant_id, p.stream_id)) AS streams, max(p.error) AS error
      FROM views.parked p
     GROUP BY p.kind
     ORDER BY p.kind
"""


def database_findings(settings: Settings) -> Iterator[Finding]:
    """Everything there is to know of the database, as far as it answers."""
    if settings.database_url is not None:
        remedy = "check DCF_DATABASE_URL, and that PostgreSQL runs there"
        address, what = settings.database_url.reveal(), "the PostgreSQL of DCF_DATABASE_URL"
        yield from asyncio.run(_examined(address, what, remedy, settings))
        return
    if postgres_tools.found("psql") is None:
        yield Finding("database", "fail", "the embedded PostgreSQL is not installed", "install the requirements")
        return
    if not (settings.data_dir / "postgres" / "data").exists():
        yield Finding("database", "warn", "the embedded PostgreSQL has no data yet", "dcf serve makes it")
        return
    place = Place.of(settings.data_dir)
    if server_of(place) is None:
        yield _not_running(settings, place)
        return
    yield from asyncio.run(_examined(place.url(), "the embedded PostgreSQL", f"see the end of {place.log}", settings))


def _not_running(settings: Settings, place: Place) -> Finding:
    if not is_served(settings):
        return Finding("database", "warn", "the embedded PostgreSQL is not running", "dcf serve starts it")
    said = (
        place.log.read_text(errors="replace")[-LOG_CHARACTERS_MAX:].strip().splitlines() if place.log.exists() else []
    )
    last = next((line.partition("FATAL:  ")[2] for line in reversed(said) if "FATAL:  " in line), "")
    message = "the embedded PostgreSQL ended" + (f": {last}" if last else "")
    remedy = f"mend that (a full disk: make room); the service starts it again by itself. All it said: {place.log}"
    return Finding("database", "fail", message, remedy)


async def _examined(url: str, what: str, remedy: str, settings: Settings) -> list[Finding]:
    try:
        connection = await asyncpg.connect(url, timeout=LOOK_SECONDS_MAX, command_timeout=LOOK_SECONDS_MAX)
    except (*LOST, ValueError, asyncpg.PostgresError) as problem:
        said = str(problem) or type(problem).__name__
        return [Finding("database", "fail", f"{what} does not answer: {said}", remedy)]
    try:
        return await _asked(connection, what, settings)
    except (*LOST, asyncpg.PostgresError) as problem:
        said = str(problem) or type(problem).__name__
        return [Finding("database", "fail", f"{what} cannot be asked: {said}", remedy)]
    finally:
        connection.terminate()


async def _asked(connection: asyncpg.Connection[asyncpg.Record], what: str, settings: Settings) -> list[Finding]:
    version = connection.get_server_version().major
    if version < VERSION_MIN:
        return [Finding("database", "fail", f"{what} is {version}", f"use PostgreSQL {VERSION_MIN} or later")]
    try:
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return [Finding("database", "warn", f"{what} {version} has no schema yet", "dcf migrate")]
    if revision != newest():
        then = "dcf migrate" if revision < newest() else "use the release that made it, or a newer one"
        return [Finding("database", "fail", f"{what} {version} has schema {revision}, not {newest()}", then)]
    return [
        Finding("database", "ok", f"{what} {version}, schema {revision}"),
        await _clock(connection),
        await _read_models(connection),
        await _parked(connection),
        await _tree(connection),
        await _wrappings(connection, settings),
    ]


async def _wrappings(connection: asyncpg.Connection[asyncpg.Record], settings: Settings) -> Finding:
    """Whether every wrapping can be opened, and by the master key alone."""
    service, others = settings.master_key_service, settings.former_master_key_services.split()
    try:
        own = [master_key(settings, make=False)] if service is None or has_own(settings) else []
        former = former_master_keys(settings)
    except MasterKeyUnusable as problem:
        return Finding("master key", "fail", str(problem), "put the key back that the service had")
    by_own = {(kind, key_id_of(key_for(key, kind))) for kind in KINDS for key in own}
    by_tenant = {(kind, BY_TENANT_KEY) for kind in KINDS}
    current = by_own if service is None else by_tenant
    known = current | by_own | {(kind, key_id_of(key_for(key, kind))) for kind in KINDS for key in former}
    if others:
        known |= by_tenant
    rows = await connection.fetch("SELECT w.kind, w.key_id, w.held FROM vault.wrappings() w")
    held = {(row["kind"], row["key_id"]): row["held"] for row in rows}
    # The empty id: nobody noted whose it was.
    lost = sum(count for key, count in held.items() if key not in known and key[1])
    if lost:
        remedy = "name the master key they had in DCF_FORMER_MASTER_KEYS, and restart the processes"
        return Finding("master key", "fail", f"{lost} keys are wrapped by a master key that is not given", remedy)
    tenant_keys = await connection.fetch("SELECT w.service, w.held FROM vault.tenant_key_wrappings() w")
    used = any(key[1] == BY_TENANT_KEY for key in held)
    unknown = sorted({row["service"] for row in tenant_keys} - {service, *others}) if used else []
    if unknown:
        remedy = "name them in DCF_FORMER_MASTER_KEY_SERVICES, and restart the processes"
        return Finding("master key", "fail", f"tenants' keys are wrapped by {', '.join(unknown)}", remedy)
    waiting = sum(count for key, count in held.items() if key not in current)
    if service is not None:
        waiting += sum(row["held"] for row in tenant_keys if row["service"] != service)
    names = _former_names(settings, has_former=bool(former))
    if waiting and names:
        remedy = f"keep {names}; runners wrap them anew when they start, and in every round of retention"
        return Finding("master key", "warn", f"{waiting} keys may need a former master key still", remedy)
    more = f"; {names} can be unset" if names else ""
    return Finding("master key", "ok", f"every key that is kept is wrapped by it{more}")


def _former_names(settings: Settings, *, has_former: bool) -> str:
    """What the operator gave besides the current master key, by the names it can be taken away under."""
    names = ["DCF_FORMER_MASTER_KEYS"] if has_former else []
    if settings.master_key_service is not None and settings.master_key is not None:
        names.append("DCF_MASTER_KEY")
    if settings.former_master_key_services.split():
        names.append("DCF_FORMER_MASTER_KEY_SERVICES")
    return ", ".join(names)


async def _clock(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    before = datetime.now(UTC)
    at: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return skew(before, at, datetime.now(UTC), "the database's")


def skew(before: datetime, at: datetime, after: datetime, whose: str) -> Finding:
    """What a clock read as `at`, asked between two moments of ours, says of the two."""
    apart = (before - at).total_seconds() if at < before else max(0.0, (at - after).total_seconds())
    if apart < SKEW_SECONDS_WARN:
        return Finding("clock", "ok", f"this machine's clock and {whose} agree")
    message = f"this machine's clock and {whose} are {apart:.0f} s apart"
    remedy = "set both clocks by NTP (timedatectl set-ntp true): dates of runtimes and keys, and clouds, go by them"
    return Finding("clock", "fail" if apart >= SKEW_SECONDS_MAX else "warn", message, remedy)


async def _read_models(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    """The one that is furthest behind."""
    first = await connection.fetchrow(_BEHIND)
    if first is None:
        return Finding("read models", "warn", "there are no read models yet", "dcf serve makes them")
    if first["position"] >= first["head"]:
        return Finding("read models", "ok", "all have reached the end of the log")
    await asyncio.sleep(MOVE_SECONDS)
    second = await connection.fetchrow(_BEHIND)
    assert second is not None, "checkpoints are never taken away"
    behind = second["head"] - second["position"]
    if second["position"] > first["position"]:
        return Finding("read models", "ok", f"catching up, {behind} events to go")
    message = f"{first['kind']} stands still, {behind} events behind the log"
    return Finding("read models", "fail", message, "see that `python -m projections` runs, and what its log says")


async def _parked(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    rows = await connection.fetch(_PARKED)
    if not rows:
        return Finding("parked", "ok", "no read model has set anything aside")
    which = ", ".join(f"{row['kind']} ({row['streams']} streams)" for row in rows)
    cause = next((row["error"] for row in rows if row["error"]), "")
    message = f"set aside, and not shown as it is: {which}" + (f"; {cause.splitlines()[0]}" if cause else "")
    return Finding("parked", "fail", message, "mend the cause, then: dcf projections replay-parked --all")


async def _tree(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    first = await connection.fetchrow(_TREE)
    assert first is not None, "a SELECT without FROM has one row"
    if first["size"] < first["head"]:
        await asyncio.sleep(MOVE_SECONDS)
    found = await connection.fetchrow(_TREE)
    assert found is not None, "as above"
    signed = "no checkpoint yet" if found["signed"] is None else f"checkpoint of {found['signed']}"
    message = f"{found['size']} of {found['head']} events are in the tree, {signed}"
    if first["size"] < first["head"] and found["size"] == first["size"]:
        return Finding("log tree", "warn", message, "see that `python -m projections` runs, and what its log says")
    return Finding("log tree", "ok", message)
