"""Write the database and the keys, as they are at one moment, into one archive."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from cli import exits, postgres_tools
from cli.archive import DUMP, KEY_BYTES_MAX, Contents, digest_of, fingerprint, key_member, write_archive
from cli.trouble import Trouble
from eventstore.server import postgres
from process.master_key import FILE_NAME as MASTER_KEY
from process.release import release
from process.secret import Secret
from process.settings import Settings

_AS_IT_IS = """
    SELECT (SELECT version_num FROM alembic_version) AS revision,
           (SELECT max(epoch) FROM log.epochs) AS epoch,
           (SELECT coalesce(max(position), 0) FROM log.events) AS events,
           pg_export_snapshot() AS snapshot
"""
_HAS_TENANT_KEYS = "SELECT to_regclass('vault.tenant_keys') IS NOT NULL"
_KEY_SERVICES = "SELECT DISTINCT k.service FROM vault.tenant_keys k ORDER BY k.service"


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What was backed up or restored. `events` is the last position of the log; `keys` the names of the key files."""

    made_at: str
    revision: str
    epoch: int
    events: int
    keys: tuple[str, ...]
    # The operator keeps the master key himself; the archive does not hold it.
    master_key_apart: bool
    # What wraps keys in it and is not in it: a key in a cloud's KMS.
    key_services: tuple[str, ...] = ()

    @classmethod
    def of(cls, contents: Contents, *, epoch: int) -> Backup:
        return cls(
            made_at=contents.made_at,
            revision=contents.revision,
            epoch=epoch,
            events=contents.events,
            keys=tuple(contents.keys),
            master_key_apart=bool(contents.master_key) and not contents.holds_master_key,
            key_services=contents.key_services,
        )

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "madeAt": self.made_at,
            "revision": self.revision,
            "epoch": self.epoch,
            "events": self.events,
            "keys": list(self.keys),
            "masterKeyApart": self.master_key_apart,
            "keyServices": list(self.key_services),
        }


async def make_backup(settings: Settings, target: Path, *, overwrite: bool) -> Backup:
    """Write the archive. Raises Trouble, PostgresUnavailable, and what asyncpg and the file system raise."""
    with tempfile.TemporaryDirectory(prefix=".dcf-backup-", dir=_folder(target, overwrite=overwrite)) as directory:
        dump = Path(directory) / DUMP
        async with postgres(settings) as url:
            state, services = await _dumped(direct_url(settings) or url, dump)
        keys = key_files(settings)
        contents = _contents(settings, state, dump, keys, services)
        write_archive(target, contents, dump, keys)
    return Backup.of(contents, epoch=contents.epoch)


def _folder(target: Path, *, overwrite: bool) -> Path:
    """Where the archive will lie, and has room for what goes into it. Raises Trouble."""
    if target.exists() and not overwrite:
        raise Trouble(f"{target} is there already.", then="give another name, or --force", exit_code=exits.USAGE)
    folder = target.absolute().parent
    if not folder.is_dir():
        raise Trouble(f"There is no folder {folder}.", then=f"mkdir -p {folder}", exit_code=exits.USAGE)
    return folder


def direct_url(settings: Settings) -> str | None:
    """Where sessions last, when the address of the database leads through a pooler."""
    return settings.database_direct_url.reveal() if settings.database_direct_url else None


def key_files(settings: Settings) -> dict[str, bytes]:
    """The keys that lie in the data directory, by file name."""
    found = sorted(settings.data_dir.glob("*.key"))
    return {path.name: path.read_bytes()[:KEY_BYTES_MAX] for path in found if path.is_file()}


def master_key_of(settings: Settings, keys: dict[str, bytes]) -> Secret | None:
    """The master key in use: the operator's own, else the one of the key files."""
    if settings.master_key is not None:
        return settings.master_key
    return Secret(keys[MASTER_KEY].decode().strip()) if MASTER_KEY in keys else None


async def _dumped(url: str, dump: Path) -> tuple[asyncpg.Record, tuple[str, ...]]:
    """Dump the database; what is told about it beside, and which key services wrap keys in it, is of the very same snapshot."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "dcf backup"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            try:
                state = await connection.fetchrow(_AS_IT_IS)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as problem:
                raise Trouble("The database is empty: there is nothing to back up.", then="dcf serve") from problem
            assert state is not None, "a SELECT without FROM has one row"
            arguments = ("--format=custom", f"--file={dump}", f"--snapshot={state['snapshot']}")
            await postgres_tools.run("pg_dump", *arguments, url=url)
            has_keys = await connection.fetchval(_HAS_TENANT_KEYS)
            services = await connection.fetch(_KEY_SERVICES) if has_keys else []
            return state, tuple(row["service"] for row in services)
    finally:
        await connection.close()


def _contents(
    settings: Settings, state: asyncpg.Record, dump: Path, keys: dict[str, bytes], services: tuple[str, ...]
) -> Contents:
    digests = {key_member(name): digest_of(BytesIO(key)) for name, key in keys.items()}
    with dump.open("rb") as file:
        digests[DUMP] = digest_of(file)
    return Contents(
        made_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        release=release(),
        revision=state["revision"],
        epoch=state["epoch"],
        events=state["events"],
        master_key=fingerprint(master_key_of(settings, keys)),
        key_services=services,
        digests=digests,
    )
