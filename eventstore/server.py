"""The PostgreSQL a process uses: the one it was given, or one of our own, shared by all processes on a data directory.

A guardian process (eventstore/guardian.py) keeps our own running. Every user holds a shared lock on one file; the kernel
gives that back when a user leaves or dies, and when nobody holds it any more the guardian stops the server.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import asyncpg
import structlog

from eventstore import embedded
from eventstore.embedded import DATABASE, Place, PostgresUnavailable
from eventstore.log import OutcomeUnknown, StoreUnavailable
from eventstore.session import CUT, LOST
from process.settings import Settings
from process.stopping import stop_requested

# Making the cluster, and recovering a crashed one, on a slow machine.
START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 20.0
_LOOK_SECONDS = 0.05
_AWAY_LOOK_SECONDS = 0.5
_GUARD_LOOK_SECONDS = 1.0
_GUARD_PAUSE_SECONDS_MAX = 30.0
_LOG_TAIL_BYTES = 2000


async def once_there(
    settings: Settings, run: Callable[[asyncio.Event], Awaitable[None]], *, gone_seconds_max: float
) -> None:
    """Run it until the process is asked to stop, which sets the event (see process.stopping.stop_requested); and once more
    from its beginning when the server went away while it began, START_SECONDS_MAX at most.

    What it raises then or otherwise is raised, but that the server is away of one that was asked to stop.
    """
    deadline = time.monotonic() + START_SECONDS_MAX
    with stop_requested(gone_seconds_max) as stop:
        while True:
            try:
                return await run(stop)
            except Exception as problem:
                is_away = _is_away_for_now(problem, ours=settings.database_url is None)
                if not is_away or (time.monotonic() > deadline and not stop.is_set()):
                    raise
                said = str(problem)
            structlog.get_logger().warning("database_away", problem=said)
            gc.collect()  # What the run had open, its ports among it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_AWAY_LOOK_SECONDS):
                    await stop.wait()
            if stop.is_set():
                return None


def _is_away_for_now(problem: Exception, *, ours: bool) -> bool:
    """Of our own it is known that it comes back; another may have been named wrongly."""
    if isinstance(problem, asyncpg.CannotConnectNowError):
        return True
    missing = isinstance(problem, FileNotFoundError) and problem.filename is None  # The server's socket.
    return ours and (missing or isinstance(problem, (ConnectionError, StoreUnavailable, OutcomeUnknown, *CUT)))


@asynccontextmanager
async def postgres(settings: Settings) -> AsyncIterator[str]:
    """The address of a running PostgreSQL, for asyncpg and psycopg, for as long as the block runs.

    Raises PostgresUnavailable when the embedded one does not start. A given one is not looked at here.
    """
    if settings.database_url is not None:
        yield settings.database_url.reveal()
        return
    place = _place(settings.data_dir)
    with place.users.open("ab") as users:
        await _arrive(place, users, durable=settings.database_durable)
        watch = asyncio.create_task(_keep_guarded(place, durable=settings.database_durable))
        try:
            yield place.url()
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await _leave(place, users)


def _place(data_dir: Path) -> Place:
    try:
        return Place.of(data_dir)
    except OSError as problem:
        raise PostgresUnavailable(
            f"the data directory {data_dir} cannot be used ({problem.strerror}); set DCF_DATA_DIR to one that can"
        ) from problem


async def _arrive(place: Place, users: IO[bytes], *, durable: bool) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not embedded.lock(users, shared=True):  # A server that is being stopped for the last user before us.
        await _pause(deadline, place)
    place.trouble.unlink(missing_ok=True)
    while not await _answers(place):
        if place.trouble.exists():
            raise PostgresUnavailable(_trouble(place))
        await _see_to_guard(place, durable=durable)
        await _pause(deadline, place)
    await _see_to_guard(place, durable=durable)


async def _leave(place: Place, users: IO[bytes]) -> None:
    """Go; and if nobody else is left, wait until the server has stopped."""
    embedded.unlock(users)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while _guarded(place) and time.monotonic() < deadline:
        alone = embedded.lock(users)
        others = not alone and embedded.lock(users, shared=True)
        embedded.unlock(users)
        if others:
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _keep_guarded(place: Place, *, durable: bool) -> None:
    """A guardian that was killed is replaced; the new one takes the running server over.

    Where none stays, as when the data directory is gone, the next ones are started ever later.
    """
    pause = _GUARD_LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        was_missing = await _see_to_guard(place, durable=durable)
        pause = min(2 * pause, _GUARD_PAUSE_SECONDS_MAX) if was_missing else _GUARD_LOOK_SECONDS


async def _see_to_guard(place: Place, *, durable: bool) -> bool:
    """Start a guardian if there is none; whether there was none."""
    if _guarded(place):
        return False
    await asyncio.to_thread(_start_guardian, place, durable=durable)
    return True


def _guarded(place: Place) -> bool:
    with place.guard.open("ab") as guard:
        return not embedded.lock(guard, shared=True)


def _start_guardian(place: Place, *, durable: bool) -> None:
    command = [
        sys.executable,
        "-m",
        "eventstore.guardian",
        str(place.root.parent),
        "durable" if durable else "forgetful",
    ]
    with place.log.open("ab") as log:
        # In a session of its own, so that it outlives the process that happened to start it.
        started = subprocess.run(
            command,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
        )
    if started.returncode != 0:
        raise PostgresUnavailable(_trouble(place))


async def _answers(place: Place) -> bool:
    try:
        connection = await asyncpg.connect(place.url("postgres"), timeout=2)
    except LOST:
        return False
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):  # Another process was faster.
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        await connection.close()
    except LOST:
        return False
    finally:
        connection.terminate()
    return True


async def _pause(deadline: float, place: Place) -> None:
    if time.monotonic() > deadline:
        raise PostgresUnavailable(f"PostgreSQL did not answer within {START_SECONDS_MAX:g} seconds. {_trouble(place)}")
    await asyncio.sleep(_LOOK_SECONDS)


def _trouble(place: Place) -> str:
    said = place.trouble.read_text().strip() if place.trouble.exists() else "It did not start"
    log = place.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace") if place.log.exists() else "(empty)"
    return f"{said}. The end of {place.log}:\n{log}"
