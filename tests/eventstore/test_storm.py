"""Whatever dies, a reader of the log misses nothing; and the same look at a log without our order finds what it misses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg
import msgspec
import pytest

from eventstore import embedded
from eventstore.database import connect
from eventstore.embedded import Place
from eventstore.postgres import PostgresLog
from eventstore.server import postgres
from migrations.upgrade import migrate
from process.settings import Settings
from tests.eventstore.storm import library
from tests.eventstore.storm.order import Order, entries
from tests.eventstore.storm.witness import Findings, Sight, findings

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
WRITERS = 4
LOOK_SECONDS = 0.05
AT = datetime(2026, 3, 1, tzinfo=UTC)


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """How bad it gets. `kills` of writers and `crashes` of the server come in a random order, spread over the work."""

    seed: int
    lanes: int
    commands: int
    rivals: int
    slow: int
    kills: int
    crashes: int
    seconds_max: float


SHORT = Storm(seed=7, lanes=4, commands=40, rivals=15, slow=8, kills=3, crashes=1, seconds_max=200)
LONG = Storm(seed=11, lanes=8, commands=1_000, rivals=200, slow=60, kills=40, crashes=6, seconds_max=750)
# How many of them a log without order may need to lose something.
STORMS_MAX = 5


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dcf-storm-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


async def test_a_reader_of_our_log_misses_nothing(data_dir: Path) -> None:
    """*Method:* four writer processes with rivals, rollbacks and slow commits; some are killed, the server crashes in the
    middle, and transactions stand open elsewhere; a subscription follows all the while."""
    found = await ours(data_dir, SHORT)

    assert found.is_clean, found
    assert found.acknowledged >= WRITERS * (SHORT.lanes * SHORT.commands + SHORT.rivals)


async def test_the_same_look_finds_what_a_log_without_order_loses(data_dir: Path) -> None:
    """*Goal:* the check can fail. *Method:* the library's recorder in its function mode, which takes no lock; again, until it
    has lost something, as it takes chance to lose."""
    lost = 0
    for number in range(STORMS_MAX):
        (folder := data_dir / str(number)).mkdir()
        found = await librarys(folder, msgspec.structs.replace(SHORT, kills=1, crashes=0, slow=20))
        assert found.acknowledged > len(found.missing)
        if lost := len(found.missing):
            break

    assert lost > 0


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_a_reader_of_our_log_misses_nothing_for_minutes(data_dir: Path) -> None:
    found = await ours(data_dir, LONG)

    assert found.is_clean, found
    assert found.acknowledged >= WRITERS * (LONG.lanes * LONG.commands + LONG.rivals)


async def ours(data_dir: Path, storm: Storm) -> Findings:
    async with postgres(Settings(data_dir=data_dir)) as url, AsyncExitStack() as exits:
        await migrate(url)
        database = await exits.enter_async_context(connect(url, role="dcf_engine", size_max=2))
        log = await exits.enter_async_context(PostgresLog(database, url, role="dcf_engine"))
        seen: list[Sight] = []
        following = asyncio.create_task(follow(log, seen))
        diaries = await blow(storm, "ours", url, data_dir)
        async with asyncio.timeout(120):
            while len(seen) < await log.head():
                await asyncio.sleep(LOOK_SECONDS)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return findings(seen, diaries)


async def follow(log: PostgresLog, seen: list[Sight]) -> None:
    async for batch in log.subscribe(0):
        seen += [Sight(e.position, e.stream_id, e.version, e.data.decode(), e.recorded_at) for e in batch]


async def librarys(data_dir: Path, storm: Storm) -> Findings:
    async with postgres(Settings(data_dir=data_dir)) as url:
        with library.recorder(url) as recorder:
            await asyncio.to_thread(recorder.create_table)
            seen: list[Sight] = []

            def read() -> bool:
                last = seen[-1].position if seen else 0
                new = recorder.select_notifications(last + 1, 1_000)
                seen.extend(Sight(n.id, n.originator_id, n.originator_version, bytes(n.state).decode()) for n in new)
                return bool(new)

            blowing = asyncio.create_task(blow(storm, "library", url, data_dir))
            while not blowing.done():
                await asyncio.to_thread(read)
            while await asyncio.to_thread(read):
                pass
            return findings(seen, await blowing)


async def blow(storm: Storm, store: str, url: str, data_dir: Path) -> Sequence[Path]:
    """Let the writers write everything, through whatever comes; their diaries."""
    orders = [
        Order(
            store=store,
            url=url,
            writer=n,
            lanes=storm.lanes,
            commands=storm.commands,
            rivals=storm.rivals,
            slow=storm.slow,
            diary=str(data_dir / f"writer-{n}"),
        )
        for n in range(WRITERS)
    ]
    async with asyncio.timeout(storm.seconds_max), AsyncExitStack() as exits:
        for database in ("postgres", "dcf"):
            await exits.enter_async_context(standing_open(Place.of(data_dir).url(database)))
        running = [await started(order) for order in orders]
        exits.callback(kill_all, running)
        await strike(storm, orders, running, data_dir)
        ended = await asyncio.gather(*(process.communicate() for process in running))
        assert [p.returncode for p in running] == [0] * WRITERS, "\n".join(said.decode()[-1500:] for _, said in ended)
    return [Path(order.diary) for order in orders]


async def strike(storm: Storm, orders: Sequence[Order], running: list[Process], data_dir: Path) -> None:
    """Kill and crash what there is, in an order that the seed gives; whoever was killed is started again."""
    random = Random(storm.seed)
    strikes = ["kill"] * storm.kills + ["crash"] * storm.crashes
    random.shuffle(strikes)
    total = sum(
        len(keys) for order in orders for keys in (*map(order.lane_keys, range(order.lanes)), order.rival_keys())
    )
    for number, blow in enumerate(strikes, start=1):
        while written(orders) < total * number / (len(strikes) + 1):
            await asyncio.sleep(LOOK_SECONDS)
        if blow == "crash":
            crash(data_dir)
            continue
        victim = random.randrange(WRITERS)
        with suppress(ProcessLookupError):
            running[victim].kill()
        await running[victim].communicate()
        running[victim] = await started(orders[victim])


def written(orders: Sequence[Order]) -> int:
    """How many commands have had their answer."""
    return sum(1 for order in orders for _ in entries(Path(order.diary)))


async def started(order: Order) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.eventstore.storm",
        msgspec.json.encode(order).decode(),
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=PIPE,
        stderr=PIPE,
    )


def kill_all(running: Sequence[Process]) -> None:
    for process in running:
        if process.returncode is None:
            process.kill()


def crash(data_dir: Path) -> None:
    """The server ends at once, without a checkpoint; its guardian starts it again."""
    server = embedded.running(Place.of(data_dir))
    if server is not None:
        server.send_signal(signal.SIGQUIT)


@asynccontextmanager
async def standing_open(url: str) -> AsyncIterator[None]:
    """A transaction with an id and a snapshot, for as long as the server lets it, and then another."""
    holding = asyncio.create_task(_hold_open(url))
    try:
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def _hold_open(url: str) -> None:
    while True:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(url)
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _connection, lost=lost: lost.set())
            try:
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")
                await lost.wait()
            finally:
                connection.terminate()
        await asyncio.sleep(LOOK_SECONDS)


class TestFindings:
    """Each thing that can be wrong is found."""

    @pytest.fixture
    def diary(self, tmp_path: Path) -> Path:
        path = tmp_path / "diary"
        path.write_text("+ one 1\n+ two 2\n- three 0\n")
        return path

    SEEN = (Sight(1, UUID(int=1), 1, "one", AT), Sight(2, UUID(int=1), 2, "two", AT))

    def test_nothing_is_wrong_with_what_was_told_and_seen(self, diary: Path) -> None:
        assert findings(self.SEEN, [diary]).is_clean

    @pytest.mark.parametrize(
        ("wrong", "seen"),
        [
            ("missing", SEEN[:1]),
            ("doubled", (*SEEN, SEEN[1])),
            ("undead", (*SEEN, Sight(3, UUID(int=3), 1, "three", AT))),
            ("misplaced", (Sight(1, UUID(int=1), 1, "two", AT), Sight(2, UUID(int=1), 2, "one", AT))),
            ("gaps", (SEEN[0], Sight(3, UUID(int=1), 2, "two", AT))),
            ("disordered", (SEEN[0], Sight(2, UUID(int=1), 3, "two", AT))),
            ("backwards", (SEEN[0], Sight(2, UUID(int=1), 2, "two", AT - timedelta(seconds=1)))),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_wrong_is_named(self, diary: Path, wrong: str, seen: Sequence[Sight]) -> None:
        found = findings(seen, [diary])

        assert not found.is_clean
        assert getattr(found, wrong) != []
