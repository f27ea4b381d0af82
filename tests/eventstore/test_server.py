"""The embedded PostgreSQL serves many, survives crashes, and goes with the last who used it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest

from eventstore import embedded
from eventstore.embedded import Place, PostgresUnavailable
from eventstore.log import OutcomeUnknown, StoreUnavailable
from eventstore.server import once_there, postgres
from migrations.upgrade import DatabaseUnreachable
from process.secret import Secret
from process.settings import Settings

ROOT = Path(__file__).parents[2]
# On a machine that is busy with other tests.
SECONDS_MAX = 60

# Uses the server until a line comes in, or until it is killed.
_USER = """
import asyncio, sys
from pathlib import Path
from eventstore.server import postgres
from process.settings import Settings

async def main() -> None:
    async with postgres(Settings(data_dir=Path(sys.argv[1]))) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dcf-server-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def _settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, database_durable=False)


def _user(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _USER, str(data_dir)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def _line(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return (await asyncio.to_thread(user.stdout.readline)).strip()


def _leave(user: subprocess.Popen[str]) -> None:
    user.communicate("\n", timeout=SECONDS_MAX)


async def _eventually_stopped(data_dir: Path) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while embedded.running(Place.of(data_dir)):
            await asyncio.sleep(0.05)


async def _guarded_again(data_dir: Path, former: psutil.Process) -> None:
    """Return once there is another guardian: each holds a lock for as long as it lives."""
    async with asyncio.timeout(SECONDS_MAX):
        while _lives(former) or not _is_guarded(data_dir):
            await asyncio.sleep(0.05)


def _is_guarded(data_dir: Path) -> bool:
    with Place.of(data_dir).guard.open("ab") as guard:
        return not embedded.lock(guard, shared=True)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _ask(url: str, query: str = "SELECT 1") -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _ask_until_answered(url: str, query: str) -> object:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                return await _ask(url, query)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)


def _server(data_dir: Path) -> psutil.Process:
    server = embedded.running(Place.of(data_dir))
    assert server is not None
    return server


class TestPostgres:
    async def test_is_the_given_one_when_there_is_one(self, data_dir: Path) -> None:
        async with postgres(Settings(data_dir=data_dir, database_url=Secret("postgresql://given/dcf"))) as url:
            assert url == "postgresql://given/dcf"

        assert list(data_dir.iterdir()) == []

    async def test_answers_both_drivers_and_stops_with_the_block(self, data_dir: Path) -> None:
        async with postgres(_settings(data_dir)) as url:
            assert await _ask(url) == 1
            async with await psycopg.AsyncConnection.connect(url) as connection:
                assert await (await connection.execute("SELECT 1")).fetchone() == (1,)

        assert embedded.running(Place.of(data_dir)) is None

    async def test_is_durable_unless_told_otherwise(self, data_dir: Path) -> None:
        async with postgres(Settings(data_dir=data_dir)) as url:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert await _ask(url, f"SHOW {setting}") == "on"

    async def test_listens_on_no_address(self, data_dir: Path) -> None:
        async with postgres(_settings(data_dir)) as url:
            assert await _ask(url, "SHOW listen_addresses") == ""

    async def test_keeps_what_it_was_given(self, data_dir: Path) -> None:
        async with postgres(_settings(data_dir)) as url:
            await _ask(url, "CREATE TABLE kept AS SELECT 7 AS n")
        async with postgres(_settings(data_dir)) as url:
            assert await _ask(url, "SELECT n FROM kept") == 7

    async def test_works_where_the_path_is_too_long_for_a_socket(self, data_dir: Path) -> None:
        deep = data_dir / ("d" * 120)

        async with postgres(_settings(deep)) as url:
            assert await _ask(url) == 1

        Place.of(deep).sockets.rmdir()

    async def test_says_what_to_change_when_the_directory_cannot_be_used(self, data_dir: Path) -> None:
        (data_dir / "file").touch()

        with pytest.raises(PostgresUnavailable, match="DCF_DATA_DIR"):
            async with postgres(_settings(data_dir / "file")):
                pass

    async def test_says_why_when_the_data_is_not_a_clusters(self, data_dir: Path) -> None:
        place = Place.of(data_dir)
        place.data.mkdir(mode=0o700)
        (place.data / "something").touch()

        with pytest.raises(PostgresUnavailable, match=r"(?s)ended .* in a row.*postgresql\.conf"):
            async with postgres(_settings(data_dir)):
                pass


# Of these the server writes everything out after SIGINT alone, and takes its file away after all but SIGKILL.
ENDINGS = pytest.mark.parametrize(
    "ending", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT], ids=lambda ending: str(ending.name)
)


class TestSharing:
    async def test_two_that_start_at_once_share_one_server(self, data_dir: Path) -> None:
        users = [_user(data_dir) for _ in range(3)]

        urls = {await _line(user) for user in users}

        assert len(urls) == 1
        assert await _ask(urls.pop()) == 1
        for user in users:
            _leave(user)
        assert embedded.running(Place.of(data_dir)) is None

    async def test_the_one_that_started_it_may_be_killed(self, data_dir: Path) -> None:
        first = _user(data_dir)
        url = await _line(first)

        async with postgres(_settings(data_dir)):
            first.kill()
            first.communicate()
            await asyncio.sleep(0.5)  # Longer than the guardian takes to notice that somebody left.
            assert await _ask(url) == 1

    async def test_it_goes_when_the_last_one_is_killed(self, data_dir: Path) -> None:
        user = _user(data_dir)
        await _line(user)

        user.kill()
        user.communicate()

        await _eventually_stopped(data_dir)

    async def test_a_newcomer_waits_for_a_server_that_is_being_stopped(self, data_dir: Path) -> None:
        for _ in range(3):
            user = _user(data_dir)
            await _line(user)
            user.kill()
            user.communicate()
            await asyncio.sleep(0.1)

            async with postgres(_settings(data_dir)) as url:
                assert await _ask(url) == 1


class TestCrash:
    @ENDINGS
    async def test_a_server_is_known_to_have_come_up_however_it_was_ended_before_anybody_looked(
        self, data_dir: Path, ending: signal.Signals
    ) -> None:
        async with postgres(Settings(data_dir=data_dir)) as url:
            await _ask(url, "SELECT 1")
            server, place = _server(data_dir), Place.of(data_dir)
            guardian = server.parent()
            assert guardian is not None
            guardian.suspend()  # It would start the next one.
            try:
                server.send_signal(ending)
                async with asyncio.timeout(30):
                    while embedded.running(place):
                        await asyncio.sleep(0.01)
                assert embedded.said_ready(place, 0)
                assert not embedded.said_ready(place, place.log.stat().st_size)
            finally:
                guardian.resume()
            await _ask_until_answered(url, "SELECT 1")
            assert embedded.running(place) is not None

    async def test_a_killed_server_is_started_again_with_all_it_had(self, data_dir: Path) -> None:
        async with postgres(Settings(data_dir=data_dir)) as url:
            await _ask(url, "CREATE TABLE kept AS SELECT 7 AS n")
            _server(data_dir).kill()

            assert await _ask_until_answered(url, "SELECT n FROM kept") == 7

    async def test_a_killed_guardian_is_replaced_without_the_server_noticing(self, data_dir: Path) -> None:
        async with postgres(_settings(data_dir)) as url:
            server = _server(data_dir)
            connection = await asyncpg.connect(url)
            guardian = server.parent()
            assert guardian is not None
            guardian.kill()
            await _guarded_again(data_dir, guardian)

            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()

        assert not _lives(server)

    async def test_everything_killed_at_once_is_recovered_at_the_next_start(self, data_dir: Path) -> None:
        user = _user(data_dir)
        url = await _line(user)
        await _ask(url, "CREATE TABLE kept AS SELECT 7 AS n")
        server = _server(data_dir)
        guardian = server.parent()
        assert guardian is not None
        for pid in (guardian.pid, user.pid, server.pid):
            os.kill(pid, signal.SIGKILL)
        user.communicate()

        async with postgres(Settings(data_dir=data_dir)) as url:
            assert await _ask(url, "SELECT n FROM kept") == 7

    async def test_a_strangers_number_in_the_pid_file_is_no_obstacle(self, data_dir: Path) -> None:
        """After a restart of the machine the number may belong to any process, even to one of this user."""
        async with postgres(_settings(data_dir)):
            pass
        pid_file = Place.of(data_dir).data / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n0\n5432\n\n\n0 0\nready\n")

        async with postgres(_settings(data_dir)) as url:
            assert await _ask(url) == 1

    async def test_a_cluster_that_was_only_half_made_is_made_anew(self, data_dir: Path) -> None:
        place = Place.of(data_dir)
        (place.root / "data.new").mkdir()
        (place.root / "data.new" / "PG_VERSION").write_text("18\n")

        async with postgres(_settings(data_dir)) as url:
            assert await _ask(url) == 1


@pytest.mark.proof
class TestManyCrashes:
    @ENDINGS
    async def test_nothing_committed_is_lost_when_it_ends_seven_times_in_a_row(
        self, data_dir: Path, ending: signal.Signals
    ) -> None:
        async with postgres(Settings(data_dir=data_dir)) as url:
            await _ask(url, "CREATE TABLE kept (n integer)")
            guardian = _server(data_dir).parent()
            for n in range(7):
                await _ask_until_answered(url, f"INSERT INTO kept SELECT {n} RETURNING n")
                _server(data_dir).send_signal(ending)
                found = await _ask_until_answered(url, "SELECT array_agg(n ORDER BY n) FROM kept")
                assert found == list(range(n + 1))
            # Whoever gives it up says so to those who start meanwhile, and they end.
            assert _server(data_dir).parent() == guardian
            assert not Place.of(data_dir).trouble.exists()


class TestOnceThere:
    @pytest.mark.parametrize(
        "away",
        [
            asyncpg.CannotConnectNowError("the database system is shutting down"),
            ConnectionRefusedError(111, "Connection refused"),
            FileNotFoundError(2, "No such file or directory"),
            DatabaseUnreachable("connection failed: the database system is starting up"),
            asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
            asyncpg.InterfaceError("connection is closed"),
            asyncpg.AdminShutdownError("terminating connection due to administrator command"),
            StoreUnavailable(),
            OutcomeUnknown(),
        ],
        ids=lambda problem: type(problem).__name__,
    )
    async def test_begins_again_when_our_own_server_goes_away_meanwhile(self, tmp_path: Path, away: Exception) -> None:
        assert await _tries(Settings(data_dir=tmp_path), away) == 2

    @pytest.mark.parametrize(
        "problem",
        [FileNotFoundError(2, "No such file or directory", "key.pem"), PermissionError(13, "Permission denied")],
        ids=lambda problem: type(problem).__name__,
    )
    async def test_raises_what_is_no_matter_of_time(self, tmp_path: Path, problem: Exception) -> None:
        with pytest.raises(type(problem)):
            await _tries(Settings(data_dir=tmp_path), problem)

    async def test_does_not_begin_again_once_it_was_asked_to_stop(self, tmp_path: Path) -> None:
        away = ConnectionRefusedError(111, "Connection refused")

        assert await _tries(Settings(data_dir=tmp_path), away, asked_to_stop=True) == 1
        with pytest.raises(KeyError):
            await _tries(Settings(data_dir=tmp_path), KeyError("a defect"), asked_to_stop=True)

    async def test_waits_for_no_server_that_may_have_been_named_wrongly(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, database_url=Secret("postgresql://nowhere.invalid/dcf"))

        assert await _tries(settings, asyncpg.CannotConnectNowError("the database system is starting up")) == 2
        with pytest.raises(ConnectionRefusedError):
            await _tries(settings, ConnectionRefusedError(111, "Connection refused"))


async def _tries(settings: Settings, problem: Exception, *, asked_to_stop: bool = False) -> int:
    """How often it is run when this stops it the first time."""
    tries = 0

    async def run(stop: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if asked_to_stop:
            os.kill(os.getpid(), signal.SIGTERM)
            await stop.wait()
        if tries == 1:
            raise problem

    await once_there(settings, run, gone_seconds_max=60)
    return tries
