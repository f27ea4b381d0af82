"""Put a backup in place: the database wholly or not at all, then the keys, in an epoch of its own."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from cli import postgres_tools
from cli.archive import Archive, Contents, fingerprint, open_archive
from cli.backup import Backup, direct_url, key_files
from cli.trouble import Trouble
from eventstore.server import postgres
from migrations.upgrade import migrate, newest, upgrade
from process.private_file import write_private
from process.settings import Settings

# Makes the roles that what is restored belongs to, whatever the rest of the database is.
_ROLES_REVISION = "0001"
_EPOCHS_SINCE = datetime(2025, 1, 1, tzinfo=UTC)

_OTHERS = """
    SELECT DISTINCT coalesce(nullif(application_name, ''), 'a program without a name')
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_HAS_LOG = "SELECT to_regclass('log.epochs') IS NOT NULL AND to_regclass('log.events') IS NOT NULL"
_EVENTS = "SELECT count(*) FROM (SELECT FROM log.events LIMIT 1) AS any_event"
_EPOCH = "SELECT max(epoch) FROM log.epochs"

_BEFORE = """
    SET client_min_messages = warning;
    DROP SCHEMA IF EXISTS log, views, work, vault CASCADE;
    DROP TABLE IF EXISTS alembic_version;
"""
# Whoever held a lease in the life that is over must not hold one of this life by the same epoch.
_AFTER = """
    RESET search_path;
    INSERT INTO log.epochs (epoch, reason)
    SELECT greatest(max(epoch) + 1, {epoch}), 'restored from the backup of {made_at}' FROM log.epochs;
    SELECT setval('work.lease_epochs', nextval('work.lease_epochs') + 1000000);
"""


async def restore_backup(settings: Settings, source: Path, *, replace: bool) -> Backup:
    """Restore the archive. Raises Trouble, PostgresUnavailable, MigrationFailed and what asyncpg raises.

    Nothing of the database changes unless all of it is restored; the keys follow. Doing it again with `replace` after
    a crash in between mends that.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with open_archive(source) as archive, _service_stopped(settings):
        _check_release(archive.contents)
        _check_master_key(settings, archive.contents)
        keys = archive.keys()
        _check_keys(settings, keys, replace=replace)
        async with postgres(settings) as given:
            url = direct_url(settings) or given
            before = await _epoch_before(url, replace=replace)
            epoch = await _restored(settings, url, archive, _epoch(before))
        for name, key in keys.items():
            write_private(settings.data_dir / name, key.decode())
    return Backup.of(archive.contents, epoch=epoch)


@contextmanager
def _service_stopped(settings: Settings) -> Iterator[None]:
    """Nobody serves this data directory, nor begins to, while the block runs."""
    with (settings.data_dir / "serve.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(
                "The service is running.", then="stop it (Ctrl-C where `dcf serve` runs), then again"
            ) from None
        yield


def _check_release(contents: Contents) -> None:
    if contents.revision > newest():
        raise Trouble(
            f"The backup is of schema {contents.revision}, newer than this release's {newest()}.",
            then=f"restore it with release {contents.release} or a newer one",
        )


def _check_master_key(settings: Settings, contents: Contents) -> None:
    """With another master key nothing that was sealed would ever open."""
    given = {settings.master_key_service, *settings.former_master_key_services.split()}
    if missing := [service for service in contents.key_services if service not in given]:
        raise Trouble(
            f"Keys in the backup are wrapped by {', '.join(missing)}, which no backup holds.",
            then="name it in DCF_MASTER_KEY_SERVICE, or in DCF_FORMER_MASTER_KEY_SERVICES",
        )
    if settings.master_key is None:
        if contents.master_key and not contents.holds_master_key:
            raise Trouble(
                "The backup was made with a master key of your own, which it does not hold.",
                then="set DCF_MASTER_KEY to that key",
            )
    elif contents.master_key and fingerprint(settings.master_key) != contents.master_key:
        raise Trouble(
            "DCF_MASTER_KEY is not the key the backup was made with; no secret in it would open.",
            then="set the one it was made with"
            + (", or none: the backup holds it" if contents.holds_master_key else ""),
        )


def _check_keys(settings: Settings, keys: dict[str, bytes], *, replace: bool) -> None:
    different = [name for name, key in key_files(settings).items() if name in keys and keys[name] != key]
    if different and not replace:
        raise Trouble(
            f"{settings.data_dir} has another {' and another '.join(different)}.",
            then="restore into an empty DCF_DATA_DIR, or replace what is there with --force",
        )


async def _epoch_before(url: str, *, replace: bool) -> int:
    """The epoch of the log that is to be replaced, 0 if there is none. Raises Trouble when it must not be."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "dcf restore"})
    try:
        if others := [name for (name,) in await connection.fetch(_OTHERS)]:
            raise Trouble(f"The database is in use by {', '.join(others)}.", then="stop the service, then again")
        if not await connection.fetchval(_HAS_LOG):
            return 0
        if await connection.fetchval(_EVENTS) and not replace:
            raise Trouble(
                "The database is not empty: its events would be lost.",
                then="keep them with `dcf backup FILE`, then replace them with --force",
            )
        epoch: int = await connection.fetchval(_EPOCH)
        return epoch
    finally:
        await connection.close()


def _epoch(before: int) -> int:
    """At least this is the epoch from here on.

    The clock is in it because one backup may be restored twice: the two lives go different ways from the same epoch.
    """
    return max(before + 1, int((datetime.now(UTC) - _EPOCHS_SINCE).total_seconds()))


async def _restored(settings: Settings, url: str, archive: Archive, epoch: int) -> int:
    with tempfile.TemporaryDirectory(prefix=".dcf-restore-", dir=settings.data_dir) as name:
        directory = Path(name)
        dump, script = directory / "database.dump", directory / "database.sql"
        archive.extract_dump(dump)
        # The whole script first: a dump that ends early must not look like the end of the transaction.
        await postgres_tools.run("pg_restore", "--exit-on-error", f"--file={script}", str(dump))
        before, after = directory / "before.sql", directory / "after.sql"
        before.write_text(_BEFORE)
        after.write_text(_AFTER.format(epoch=epoch, made_at=_literal(archive.contents.made_at)))
        await asyncio.to_thread(upgrade, url, _ROLES_REVISION)
        files = [f"--file={part}" for part in (before, script, after)]
        flags = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
        await postgres_tools.run("psql", *flags, *files, url=url)
    await migrate(url)
    return await _epoch_now(url)


async def _epoch_now(url: str) -> int:
    connection = await asyncpg.connect(url, server_settings={"application_name": "dcf restore"})
    try:
        epoch: int = await connection.fetchval(_EPOCH)
        return epoch
    finally:
        await connection.close()


def _literal(text: str) -> str:
    """Only what a time is written with: the archive is not trusted to be one."""
    return "".join(character for character in text if character in "0123456789-:TZ+.")
