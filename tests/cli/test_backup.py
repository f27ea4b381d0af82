"""A backup holds the database and the keys; restoring it is all or nothing, and begins a new epoch."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

from api.auth import Authenticator
from api.principal import Principal
from api.tokens import Tokens
from cli.archive import fingerprint, open_archive
from cli.backup import make_backup
from cli.restore import restore_backup
from cli.trouble import Trouble
from eventstore.database import connect
from eventstore.key_uses import MemoryKeyUses
from eventstore.positions import PositionOfAnotherEpoch, format_position
from eventstore.postgres import PostgresLog
from eventstore.session import sessions
from eventstore.wrapped_keys import PostgresWrappedKeys
from process.key_ring import KeyRing
from process.secret import Secret
from process.settings import Settings
from projections.postgres_reader import PostgresReader
from tests.api.world import world_on_postgres
from tests.support.key_service import MemoryKeyService

MASTER = Secret("m" * 40)


def _settings(url: str, data_dir: Path, **more: object) -> Settings:
    settings = Settings(database_url=Secret(url), data_dir=data_dir)
    return msgspec.structs.replace(settings, **more)


@pytest.fixture
async def there(database_url: str, tmp_path: Path) -> Settings:
    """A service with events and keys, stopped."""
    async with world_on_postgres(database_url, tmp_path / "there") as world:
        await world.services.reader.wait_for(await world.log.head(), seconds_max=10)
    (tmp_path / "there" / "master.key").write_text(MASTER.reveal() + "\n")
    return _settings(database_url, tmp_path / "there")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "monday.dcf"


async def _epochs_and_events(url: str) -> tuple[list[int], int]:
    connection = await asyncpg.connect(url)
    try:
        epochs = [epoch for (epoch,) in await connection.fetch("SELECT epoch FROM log.epochs ORDER BY epoch")]
        return epochs, await connection.fetchval("SELECT count(*) FROM log.events")
    finally:
        await connection.close()


async def _caller(url: str, data_dir: Path) -> Principal:
    """Whom the owner's key names."""
    key = (data_dir / "owner.key").read_text().strip()
    async with (
        connect(url, role="dcf_app") as database,
        PostgresLog(database, url, role="dcf_app") as log,
        PostgresReader(database, sessions(url, role="dcf_app")) as reader,
    ):
        authenticator = Authenticator(reader, log, MemoryKeyUses(), lambda: datetime.now(UTC))
        return await authenticator.principal(f"Bearer {key}")


async def _run(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class TestBackup:
    async def test_is_for_its_owner_alone(self, there: Settings, file: Path) -> None:
        await make_backup(there, file, overwrite=False)

        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []

    async def test_holds_the_keys_and_says_what_it_is(self, there: Settings, file: Path) -> None:
        made = await make_backup(there, file, overwrite=False)

        assert made.keys == ("master.key", "operator.key", "owner.key")
        with open_archive(file) as archive:
            assert archive.keys()["owner.key"] == (there.data_dir / "owner.key").read_bytes()
            assert archive.contents.events == made.events > 0

    async def test_leaves_out_a_master_key_that_the_operator_keeps(self, there: Settings, file: Path) -> None:
        (there.data_dir / "master.key").unlink()

        made = await make_backup(msgspec.structs.replace(there, master_key=MASTER), file, overwrite=False)

        assert made.master_key_apart
        assert MASTER.reveal().encode() not in file.read_bytes()
        with open_archive(file) as archive:
            assert archive.contents.master_key == fingerprint(MASTER)

    async def test_writes_over_nothing_unasked(self, there: Settings, file: Path) -> None:
        file.write_text("precious")

        with pytest.raises(Trouble, match="there already"):
            await make_backup(there, file, overwrite=False)

        assert file.read_text() == "precious"

    async def test_of_nothing_is_refused(self, empty_database_url: str, tmp_path: Path, file: Path) -> None:
        with pytest.raises(Trouble, match="empty"):
            await make_backup(_settings(empty_database_url, tmp_path), file, overwrite=False)

        assert not file.exists()


class TestRestore:
    async def test_brings_everything_back_elsewhere(
        self, there: Settings, file: Path, empty_database_url: str, tmp_path: Path
    ) -> None:
        made = await make_backup(there, file, overwrite=False)
        here = _settings(empty_database_url, tmp_path / "here")

        restored = await restore_backup(here, file, replace=False)

        epochs, events = await _epochs_and_events(empty_database_url)
        assert events == made.events
        assert epochs == [1, restored.epoch]
        assert (here.data_dir / "owner.key").read_bytes() == (there.data_dir / "owner.key").read_bytes()
        assert stat.S_IMODE((here.data_dir / "owner.key").stat().st_mode) == 0o600
        assert (await _caller(empty_database_url, here.data_dir)).role == "owner"

    async def test_positions_of_before_are_refused(
        self, there: Settings, file: Path, empty_database_url: str, tmp_path: Path
    ) -> None:
        await make_backup(there, file, overwrite=False)

        await restore_backup(_settings(empty_database_url, tmp_path / "here"), file, replace=False)

        async with (
            connect(empty_database_url, role="dcf_app") as database,
            PostgresLog(database, empty_database_url, role="dcf_app") as log,
        ):
            with pytest.raises(PositionOfAnotherEpoch):
                await Tokens(log).read(format_position(1, 1), "cursor")

    async def test_twice_begins_two_epochs(self, there: Settings, file: Path) -> None:
        """One backup may have two lives; a token of one must not be taken for a token of the other."""
        await make_backup(there, file, overwrite=False)

        first = await restore_backup(there, file, replace=True)
        second = await restore_backup(there, file, replace=True)

        assert second.epoch > first.epoch > 1

    async def test_replaces_nothing_unasked(self, there: Settings, file: Path) -> None:
        await make_backup(there, file, overwrite=False)

        with pytest.raises(Trouble) as refused:
            await restore_backup(there, file, replace=False)

        assert "--force" in refused.value.then

    async def test_replaces_no_other_key_unasked(
        self, there: Settings, file: Path, empty_database_url: str, tmp_path: Path
    ) -> None:
        await make_backup(there, file, overwrite=False)
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "owner.key").write_text("another\n")

        with pytest.raises(Trouble, match=r"another owner\.key"):
            await restore_backup(_settings(empty_database_url, tmp_path / "here"), file, replace=False)

    async def test_waits_for_the_service_to_be_stopped(self, there: Settings, file: Path) -> None:
        await make_backup(there, file, overwrite=False)
        assert there.database_url is not None
        connection = await asyncpg.connect(
            there.database_url.reveal(), server_settings={"application_name": "dcf runner"}
        )
        try:
            with pytest.raises(Trouble, match="in use by dcf runner"):
                await restore_backup(there, file, replace=True)
        finally:
            await connection.close()

    async def test_changes_nothing_when_the_dump_cannot_be_restored(self, there: Settings, file: Path) -> None:
        assert there.database_url is not None
        url = there.database_url.reveal()
        await _run(url, "CREATE TABLE notes (text text)")
        await make_backup(there, file, overwrite=False)
        before = await _epochs_and_events(url)

        # The table is not ours to drop, and the dump cannot make it a second time.
        with pytest.raises(Trouble, match="psql failed"):
            await restore_backup(there, file, replace=True)

        assert await _epochs_and_events(url) == before

    @pytest.mark.parametrize("kept", [10, 3000])
    async def test_a_file_cut_short_is_refused(self, there: Settings, file: Path, kept: int) -> None:
        await make_backup(there, file, overwrite=False)
        file.write_bytes(file.read_bytes()[:kept])

        with pytest.raises(Trouble, match="not a whole backup"):
            await restore_backup(there, file, replace=True)

    async def test_a_damaged_file_is_refused(self, there: Settings, file: Path) -> None:
        await make_backup(there, file, overwrite=False)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

        with pytest.raises(Trouble, match="damaged"):
            await restore_backup(there, file, replace=True)

    async def test_another_master_key_is_refused(self, there: Settings, file: Path) -> None:
        await make_backup(there, file, overwrite=False)
        other = msgspec.structs.replace(there, master_key=Secret("o" * 40))

        with pytest.raises(Trouble, match="not the key the backup was made with"):
            await restore_backup(other, file, replace=True)

    async def test_a_master_key_kept_apart_must_be_given(self, there: Settings, file: Path) -> None:
        (there.data_dir / "master.key").unlink()
        await make_backup(msgspec.structs.replace(there, master_key=MASTER), file, overwrite=False)

        with pytest.raises(Trouble) as refused:
            await restore_backup(there, file, replace=True)

        assert "DCF_MASTER_KEY" in refused.value.then

    async def test_a_key_service_that_wraps_keys_in_it_must_be_given(self, there: Settings, file: Path) -> None:
        assert there.database_url is not None
        async with connect(there.database_url.reveal(), role="dcf_engine", size_max=1) as engine:
            await KeyRing(PostgresWrappedKeys(engine), current=MemoryKeyService()).key(UUID(int=1), "person-keys")
        made = await make_backup(there, file, overwrite=False)

        with pytest.raises(Trouble, match="memory:one") as refused:
            await restore_backup(there, file, replace=True)
        given = msgspec.structs.replace(there, former_master_key_services="memory:one")
        restored = await restore_backup(given, file, replace=True)

        assert made.shown()["keyServices"] == restored.shown()["keyServices"] == ["memory:one"]
        assert "DCF_MASTER_KEY_SERVICE" in refused.value.then
