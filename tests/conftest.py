"""One PostgreSQL for the whole session, one migrated template, and a fresh database for each test that asks."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from eventstore.embedded import Place
from eventstore.server import postgres
from migrations.upgrade import upgrade
from process.garbage import collect_rarely
from process.settings import Settings
from tests.emulators.recorded import SHELF_VARIABLE
from tests.support.memory import temporary_files_in_memory
from tests.support.order import place

TEMPLATE = "template_migrated"

# Whoever starts the tests in the background of a script has them ignore interrupts, and all they start with them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes every example slow: that is no fault of the code, and no test here is about time.
hypothesis.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
hypothesis.load_profile("busy machine")

# A line for each request, thousands in a journey: with them nobody finds why a test failed.
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)


def pytest_configure(config: pytest.Config) -> None:
    """The long runs stay on the disk: some of them fill it. Workers find what the process that started them has set up."""
    if config.option.collectonly or "PYTEST_XDIST_WORKER" in os.environ:
        return
    exits = ExitStack()
    config.add_cleanup(exits.close)
    if config.option.markexpr == "not proof":
        exits.enter_context(temporary_files_in_memory())
    exits.callback(os.environ.pop, SHELF_VARIABLE, None)
    os.environ[SHELF_VARIABLE] = exits.enter_context(
        tempfile.TemporaryDirectory(prefix="dcf-compiled-", ignore_cleanup_errors=True)
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of what is collected goes before the end: looking for garbage meanwhile took an eighth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(item.path))


def pytest_collection_finish() -> None:
    """The thousands of tests stay to the end, and looking through them for garbage again and again took most of the time."""
    collect_rarely()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """The address of the session's server, shared by all workers, whose template database is migrated."""
    with _session_directory(tmp_path_factory, worker_id) as data_dir, _running(data_dir) as url:
        with _alone(data_dir):
            asyncio.run(_make_template(url, Place.of(data_dir).url(TEMPLATE)))
        yield url


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """The address of a database of this test's own, migrated and empty."""
    async with _database(postgres_url, template=TEMPLATE) as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """The address of a database of this test's own in which no migration has run."""
    async with _database(postgres_url, template="template1") as url:
        yield url


@asynccontextmanager
async def _database(server: str, *, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield server.replace("@/dcf?", f"@/{name}?")
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def _make_template(server: str, template: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate", TEMPLATE):
            return
        await connection.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
        await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        await asyncio.to_thread(upgrade, template)
        await connection.execute(f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE true")
    finally:
        await connection.close()


@contextmanager
def _running(data_dir: Path) -> Iterator[str]:
    # Nobody's data is in there, so a crash of the machine may take it.
    settings = Settings(data_dir=data_dir, database_durable=False)
    with asyncio.Runner() as runner:
        server = postgres(settings)
        url = runner.run(server.__aenter__())
        try:
            yield url
        finally:
            runner.run(server.__aexit__(None, None, None))


@contextmanager
def _session_directory(factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """A data directory all workers of this session share, removed with it."""
    if worker_id == "master":
        with tempfile.TemporaryDirectory(prefix="dcf-tests-", ignore_cleanup_errors=True) as directory:
            yield Path(directory)
        return
    # Each worker's temporary directory lies in the session's.
    session = factory.getbasetemp().parent / "service"
    session.mkdir(exist_ok=True)
    yield session


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    with (data_dir / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
