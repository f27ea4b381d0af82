"""What operators type where the service runs: `dcf serve`, `migrate`, `backup`, `restore`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import click
import psycopg

from cli import exits
from cli import serve as supervision
from cli.backup import Backup, make_backup
from cli.epilog import epilog
from cli.restore import restore_backup
from cli.session import Session, shown
from cli.trouble import Trouble
from eventstore.embedded import PostgresUnavailable
from eventstore.server import postgres
from migrations.upgrade import MigrationFailed, newest
from migrations.upgrade import migrate as upgrade
from process.master_key import MasterKeyUnusable
from process.settings import SettingInvalid, Settings
from process.sockets import SocketDirectoryUnsafe

UNAVAILABLE = (
    MigrationFailed,
    MasterKeyUnusable,
    PostgresUnavailable,
    SettingInvalid,
    SocketDirectoryUnsafe,
    asyncpg.PostgresError,
    psycopg.Error,
    OSError,
)


@click.command(epilog=epilog("dcf serve", "dcf serve --data-dir /srv/dcf --port 0"))
@click.option("--data-dir", metavar="PATH", help="Where everything is kept (DCF_DATA_DIR, .dcf).")
@click.option("--host", help="The address to listen on (DCF_HOST, 127.0.0.1).")
@click.option("--port", metavar="PORT", help="The API's port; 0 takes a free one (DCF_PORT, 8000).")
@click.option("--functions-port", metavar="PORT", help="The functions' port (DCF_FUNCTIONS_PORT, 8001).")
@click.pass_obj
def serve(
    session: Session, data_dir: str | None, host: str | None, port: str | None, functions_port: str | None
) -> int:
    """Run the whole service on this machine: PostgreSQL, the API, the projections, the runner, the local agent."""
    options = {
        "DCF_DATA_DIR": data_dir,
        "DCF_HOST": host,
        "DCF_PORT": port,
        "DCF_FUNCTIONS_PORT": functions_port,
    }
    chosen = {variable: value for variable, value in options.items() if value is not None}
    return supervision.run({**session.environment, **chosen})


@click.command(epilog=epilog("dcf migrate", "DCF_DATABASE_URL=postgresql://dcf@db/dcf dcf migrate"))
@shown
@click.pass_obj
def migrate(session: Session) -> None:
    """Bring the database's schema up to date. `dcf serve` does so by itself."""
    settings = settings_of(session.environment)

    async def bring_up_to_date() -> None:
        async with postgres(settings) as url:
            await upgrade(url)

    try:
        asyncio.run(bring_up_to_date())
    except UNAVAILABLE as problem:
        raise Trouble(f"The schema cannot be brought up to date: {problem}", then="dcf doctor") from problem
    session.screen.result({"revision": newest()}, f"The schema is up to date, at revision {newest()}.")


@click.command(epilog=epilog("dcf backup /backups/monday.dcf"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@shown
@click.pass_obj
def backup(session: Session, file: Path, force: bool) -> None:
    """Write the database and the keys into one archive that only you may read. The service may go on running.

    Who has the archive can do everything the keys allow, and read every stored secret: keep it as you keep the keys.
    """
    settings = settings_of(session.environment)
    session.screen.progress("the database is read")
    try:
        made = asyncio.run(make_backup(settings, file, overwrite=force))
    except UNAVAILABLE as problem:
        raise Trouble(f"There is no backup: {problem}", then="dcf doctor") from problem
    _tell(
        session,
        made,
        f"{file}: {made.events} events, {', '.join(made.keys) or 'no keys'}, {file.stat().st_size} bytes.",
    )


@click.command(epilog=epilog("dcf restore /backups/monday.dcf"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--force", is_flag=True, help="Replace what is there: the database and the keys.")
@shown
@click.pass_obj
def restore(session: Session, file: Path, force: bool) -> None:
    """Put a backup's database and keys in place. The service must be stopped.

    The database changes wholly or not at all. Positions handed out before are refused from then on, by name, so that
    no client goes on reading at what has become another event.
    """
    settings = settings_of(session.environment)
    session.screen.progress("the backup is put in place")
    try:
        restored = asyncio.run(restore_backup(settings, file, replace=force))
    except UNAVAILABLE as problem:
        raise Trouble(f"Nothing was restored: {problem}", then="dcf doctor") from problem
    _tell(session, restored, f"Restored {restored.events} events and {', '.join(restored.keys) or 'no keys'}.")
    session.screen.say("Next: dcf serve")


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The service's settings. Raises Trouble for a variable that cannot be used."""
    try:
        return Settings.from_environment(environment)
    except SettingInvalid as problem:
        raise Trouble(str(problem), exit_code=exits.USAGE) from problem


def _tell(session: Session, backup: Backup, text: str) -> None:
    session.screen.result(backup.shown(), text)
    if backup.master_key_apart:
        session.screen.warn("DCF_MASTER_KEY is not in the archive: keep it yourself; without it no secret opens.")
    for service in backup.key_services:
        session.screen.warn(f"Secrets in it open only with {service}: see that the key is never deleted there.")
