"""`dcf audit verify`: whether the events are what was recorded, and all that is stored beside them what they say."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

import click
import msgspec

from audit.findings import Difference, Findings, Progress, Tell
from audit.tree_check import Saved, check_tree
from audit.verification import Parts, StreamUnknown
from audit.verification import verify as verified
from cli import exits
from cli.audit_store import Store, with_store
from cli.audit_text import change_lines
from cli.audit_tree import key_option, keys_of
from cli.client import Json
from cli.epilog import epilog
from cli.screen import Screen
from cli.session import Session, shown
from cli.trouble import Trouble
from commands.basis import CODEC
from domain.catalogue import AGGREGATES
from domain.tenant import TenantUnknown
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from projections.catalogue import READ_MODELS

# How often a line that shows progress is moved.
TELL_SECONDS = 0.1
_NAMES = tuple(model.name for model in READ_MODELS)


@click.command(
    epilog=epilog(
        "dcf audit verify",
        "dcf audit verify --tenant 0192d3a4-5b6c-7d8e-9f00-112233445566 --json",
        "dcf audit verify --stream 0192d3a4-5b6c-7d8e-9f00-112233445577",
        "dcf audit verify --tree --checkpoint monday.checkpoint --key log.keys",
        exit_codes=True,
    )
)
@click.option("--tenant", type=click.UUID, help="Only this tenant's.")
@click.option("--stream", "streams", type=click.UUID, multiple=True, help="Only this entity; repeat for more.")
@click.option(
    "--model", "models", type=click.Choice(_NAMES), multiple=True, help="Only this read model; repeat for more."
)
@click.option("--tree", "tree_only", is_flag=True, help="Only the tree of the log, and its checkpoints.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A checkpoint that was kept elsewhere: the log has to go on from there. Repeat for more.",
)
@key_option
@shown
@click.pass_obj
def verify(
    session: Session,
    tenant: UUID | None,
    streams: tuple[UUID, ...],
    models: tuple[str, ...],
    tree_only: bool,
    checkpoints: tuple[Path, ...],
    keys: tuple[str, ...],
) -> int:
    """Hash every event again, archived ones too, and compare that with the tree of the log and its checkpoints; fold the log
    again with this release's code, and compare it with all that is stored beside it.

    Streams, snapshots, claims, counters, and the rows, columns and histories of the read models. The service may go on
    running; each part is compared as of a position of its own. Exit code 1: something differs.
    """
    chosen = [model for model in READ_MODELS if not models or model.name in models]
    if (tree_only or checkpoints) and (tenant or streams or models):
        raise click.UsageError("The tree is of the whole log: leave --tenant, --stream and --model out.")
    trusted = keys_of(keys)
    tell = teller(session.screen)

    async def work(store: Store) -> Findings:
        findings, shelf = Findings(), Shelf(store.settings.archive_dir)
        if not (tenant or streams or models):
            saved = [Saved(str(path), path.read_text(errors="replace")) for path in checkpoints]
            await check_tree(store.database, store.log, shelf, findings, tell, saved=saved, keys=trusted)
        if not tree_only:
            parts = Parts(
                database=store.database,
                log=store.log,
                codec=CODEC,
                aggregates=AGGREGATES,
                models=chosen,
                shelf=shelf,
            )
            findings.take(await verified(parts, tell, tenant_id=tenant, streams=streams))
        return findings

    try:
        findings = with_store(session, work)
    except StreamUnknown as unknown:
        raise Trouble(unknown.detail, then="dcf audit log", exit_code=exits.USAGE) from unknown
    except TenantUnknown as unknown:
        raise Trouble(unknown.detail, then="dcf operators tenants list", exit_code=exits.USAGE) from unknown
    except EventsArchived as archived:
        raise Trouble(archived.detail, then=archived.remedy) from archived
    except ArchiveDamaged as damaged:
        raise Trouble(f"{damaged}.", then="restore the file from a backup") from damaged
    show_findings(session, findings)
    return exits.OK if findings.are_good else exits.FAILED


def teller(screen: Screen) -> Tell:
    """Shows how far something has come, on a terminal."""
    told_at = 0.0

    def tell(progress: Progress) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= TELL_SECONDS:
            told_at = now
            share = f" ({progress.done * 100 // progress.of} %)" if progress.of else ""
            screen.progress(f"{progress.where}: {progress.done} of {progress.of}{share}")

    return tell


def show_findings(session: Session, findings: Findings) -> None:
    """What was looked at, what was left out, and each difference."""
    screen = session.screen
    if session.as_json:
        screen.result(_as_json(findings))
        return
    for what, count in findings.checked.items():
        screen.say(f"{count:>10}  {what}")
    for what, why in findings.skipped.items():
        screen.warn(f"{what} was not looked at: {why}.")
    for difference in findings.differences:
        for line in difference_lines(difference):
            screen.say(line)
    if findings.count > len(findings.differences):
        screen.say(f"and {findings.count - len(findings.differences)} more.")
    if findings.are_good:
        screen.say("Everything is what the log says.", "green")
    else:
        screen.say(f"{findings.count} differences.", "red")


def difference_lines(difference: Difference) -> list[str]:
    """What differs, and how."""
    version = "" if difference.position is None else f", the version of position {difference.position}"
    detail = f": {difference.detail}" if difference.detail else ""
    head = f"{difference.where} {difference.id} of tenant {difference.tenant_id}{version}: {difference.problem}{detail}"
    changes: list[Json] = msgspec.to_builtins(difference.changes)
    return [head, *change_lines(changes, before="stored", after="the log says")]


def _as_json(findings: Findings) -> Json:
    return {
        "verified": findings.are_good,
        "checked": dict(findings.checked),
        "skipped": findings.skipped,
        "differenceCount": findings.count,
        "differences": msgspec.to_builtins(findings.differences),
    }
