"""`dcf audit export` and `import`: the log in files, and a new installation from such files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec

from audit.export_folder import ExportFolder, FolderInUse
from audit.export_format import Damaged, Manifest
from audit.export_source import ExportSource, open_export
from audit.findings import Progress
from audit.importing import Imported, ImportRefused, check_export, import_export
from audit.whole_export import export_whole, plan_whole
from cli import exits
from cli.archive import fingerprint
from cli.audit_download import download_export
from cli.audit_store import Store, with_store
from cli.audit_subject import asking
from cli.audit_verify import teller
from cli.backup import key_files, master_key_of
from cli.client import Api
from cli.epilog import epilog
from cli.operating import UNAVAILABLE, settings_of
from cli.session import Session, shown
from cli.trouble import Trouble
from domain.catalogue import AGGREGATES
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.database import connect
from eventstore.server import postgres
from migrations.upgrade import migrate
from process.release import release
from process.settings import Settings

_FOLDER = click.Path(path_type=Path, file_okay=False)
_SOURCE = click.Path(path_type=Path, exists=True)


@click.command(
    epilog=epilog(
        "dcf audit export /exports/monday",
        "dcf audit export /exports/moving --with-keys",
        "dcf audit export ours --tenant own",
        "dcf audit export theirs --tenant 0192d3a4-5b6c-7d8e-9f00-112233445566",
    )
)
@click.argument("folder", type=_FOLDER)
@click.option(
    "--tenant",
    metavar="own|ID",
    help="One tenant's log, over HTTP: your own, or, with the operator's key, any other's.",
)
@click.option(
    "--with-keys", is_flag=True, help="What the vault keeps too, wrapped by the master key, which is not in it."
)
@shown
@click.pass_obj
def export(session: Session, folder: Path, tenant: str | None, with_keys: bool) -> None:
    """Write the log into FOLDER, beside the running service: compressed lines of JSON and a manifest.

    The whole log where the service runs; with --tenant one tenant's, from anywhere, for its owners and admins. An export
    that was interrupted is taken up where it stopped by the same command. Personal fields stay sealed: without the keys
    nobody can ever open them.
    """
    if tenant is not None and with_keys:
        raise click.UsageError("The vault's keys do not travel over HTTP: leave one of the two out.")
    if tenant is None:
        show_export(session, folder, lambda: _whole(session, folder, with_keys=with_keys))
    else:
        show_export(session, folder, lambda: _fetched(session, folder, tenant))


def show_export(session: Session, folder: Path, write: Callable[[], Manifest]) -> None:
    """Write an export into the folder, and show what is in it. Raises Trouble."""
    try:
        manifest = write()
    except FolderInUse as problem:
        raise Trouble(f"{problem}.", then="name another folder", exit_code=exits.USAGE) from problem
    except EventsArchived as problem:
        raise Trouble(problem.detail, then=problem.remedy) from problem
    except ArchiveDamaged as problem:
        raise Trouble(f"{problem}.", then="restore the file from a backup") from problem
    except Damaged as problem:
        raise Trouble(
            f"The export cannot be used: {problem}.", then="remove the folder, and export it again"
        ) from problem
    session.screen.result(
        msgspec.to_builtins(manifest),
        f"{folder}: {manifest.events} events up to position {manifest.epoch}:{manifest.up_to},"
        f" {len(manifest.parts)} files and their manifest.",
    )


def _whole(session: Session, folder: Path, *, with_keys: bool) -> Manifest:
    tell = _teller(session)

    async def work(store: Store) -> Manifest:
        target = ExportFolder(folder)
        progress = target.begun() or target.begin(await plan_whole(store.database, release=release()))
        goal = progress.plan.up_to
        return await export_whole(
            store.database,
            target,
            progress,
            lambda position: tell(Progress("events", position, goal)),
            made_at=_now(),
            vault=(lambda: connect(store.url, role="dcf_owner", size_max=1)) if with_keys else None,
            master_key=_fingerprint(store.settings) if with_keys else "",
            shelf=Shelf(store.settings.archive_dir),
        )

    return with_store(session, work)


def fetched(session: Session, api: Api, folder: Path, tenant: UUID | None) -> Manifest:
    """One tenant's log, over HTTP; None: the caller's own. Raises what `show_export` tells."""
    tell = _teller(session)
    return download_export(api, ExportFolder(folder), tenant, lambda done, of: tell(Progress("positions", done, of)))


def _fetched(session: Session, folder: Path, tenant: str) -> Manifest:
    try:
        wanted = None if tenant == "own" else UUID(tenant)
    except ValueError:
        raise click.UsageError(f"--tenant takes own or a tenant's id, not {tenant!r}.") from None
    with asking(session, wanted) as api:
        return fetched(session, api, folder, wanted)


@click.command("import", epilog=epilog("dcf audit import /exports/monday", "dcf audit import /exports/monday --check"))
@click.argument("source", metavar="FOLDER|TAR", type=_SOURCE)
@click.option("--check", is_flag=True, help="Look at every byte of the export, and import nothing.")
@shown
@click.pass_obj
def import_(session: Session, source: Path, check: bool) -> None:
    """Put an export into an empty installation: all of it, or nothing. Before the service's first start.

    Positions handed out by the exporting installation are refused from then on, by name. Uploaded bytes and build logs
    are not in an export: `dcf backup` has everything.
    """
    tell = _teller(session)
    try:
        with open_export(source) as opened:
            goal = opened.manifest.up_to
            told: Callable[[int], None] = lambda position: tell(Progress("events", position, goal))  # noqa: E731
            if check:
                check_export(opened, told)
                _show_checked(session, opened.manifest)
                return
            imported = asyncio.run(_imported(session, opened, told))
    except Damaged as problem:
        raise Trouble(f"The export cannot be used: {problem}.", then="export it again") from problem
    except ImportRefused as problem:
        raise Trouble(
            f"Nothing was imported: {problem}.", then="name an empty DCF_DATA_DIR, or an empty database"
        ) from problem
    except UNAVAILABLE as problem:
        raise Trouble(f"Nothing was imported: {problem}", then="dcf doctor") from problem
    text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in msgspec.structs.asdict(imported).items())
    session.screen.result(msgspec.to_builtins(imported), f"Imported: {text}.")
    session.screen.say("Next: dcf serve")


async def _imported(session: Session, source: ExportSource, tell: Callable[[int], None]) -> Imported:
    settings = settings_of(session.environment)
    manifest = source.manifest
    if manifest.master_key and manifest.master_key != _fingerprint(settings):
        raise Trouble(
            "The export's keys are wrapped by another master key than this installation's.",
            then="set DCF_MASTER_KEY to the exporting installation's, or copy its master.key into the data directory",
        )
    given = {settings.master_key_service, *settings.former_master_key_services.split()}
    if missing := [service for service in manifest.key_services if service not in given]:
        raise Trouble(
            f"The export's keys are wrapped by {', '.join(missing)}.",
            then="name it in DCF_MASTER_KEY_SERVICE, or in DCF_FORMER_MASTER_KEY_SERVICES",
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    async with postgres(settings) as url:
        await migrate(url)
        return await import_export(url, source, AGGREGATES, tell)


def _show_checked(session: Session, manifest: Manifest) -> None:
    text = f"Whole and unchanged: {manifest.events} events, {len(manifest.parts)} files."
    session.screen.result({"whole": True, "events": manifest.events, "files": len(manifest.parts)}, text)


def _teller(session: Session) -> Callable[[Progress], None]:
    return teller(session.screen)


def _fingerprint(settings: Settings) -> str:
    return fingerprint(master_key_of(settings, key_files(settings)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
