"""The whole log exported into a folder, beside the running service; taken up again where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from audit.export_folder import ExportFolder, Progress
from audit.export_format import PART_LINES_MAX, Manifest, Part, Plan
from audit.exporting import Made, Tell, command_parts, event_parts, key_services, vault_parts
from eventstore.archive.log_events import Wanted, events
from eventstore.archive.whole import Shelf
from eventstore.database import Database

# Opens sessions that may list what the vault keeps.
OpenVault = Callable[[], AbstractAsyncContextManager[Database]]


async def export_whole(
    database: Database,
    folder: ExportFolder,
    progress: Progress,
    tell: Tell,
    *,
    made_at: str,
    vault: OpenVault | None = None,
    master_key: str = "",
    lines_max: int = PART_LINES_MAX,
    shelf: Shelf | None = None,
) -> Manifest:
    """Write what is left of the plan. `database` acts as dcf_engine; with a `vault`, what that keeps is in it too.

    Raises EventsArchived for what is archived and not on the shelf; ArchiveDamaged.
    """
    plan = progress.plan
    pieces = events(database, Wanted(tenant_id=plan.tenant_id), after=progress.reached, up_to=plan.up_to, shelf=shelf)
    async for part, content in event_parts(pieces, tell, lines_max=lines_max):
        progress = folder.add(progress, part, content)
    services: tuple[str, ...] = ()
    others = await _written(folder, command_parts(database, plan.up_to))
    if vault is not None:
        async with vault() as owned:
            others += await _written(folder, vault_parts(owned))
            services = await key_services(owned)
    wrapped = any(part.kind in ("person-keys", "secret-values") for part in others)
    manifest = Manifest.of(
        plan,
        (*progress.parts, *others),
        made_at=made_at,
        master_key=master_key if wrapped else "",
        key_services=services,
    )
    folder.finish(manifest)
    return manifest


async def _written(folder: ExportFolder, made: AsyncIterator[Made]) -> list[Part]:
    """These are few beside the events, and begun anew when they were not finished."""
    parts = []
    async for part, content in made:
        folder.write(part.name, content)
        parts.append(part)
    return parts


_PLAN = """
    SELECT (SELECT max(e.epoch) FROM log.epochs e) AS epoch,
           (SELECT coalesce(max(e.position), 0) FROM log.events e) AS position,
           (SELECT a.version_num FROM alembic_version a) AS revision
"""


async def plan_whole(database: Database, *, release: str) -> Plan:
    """All there is at this moment."""
    row = await database.fetchrow(_PLAN)
    assert row is not None, "a SELECT without FROM has one row"
    return Plan(
        release=release,
        revision=row["revision"],
        tenant_id=None,
        epoch=row["epoch"],
        after=0,
        up_to=row["position"],
    )
