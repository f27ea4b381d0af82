"""`python -m benchmarks.steady_load`: so many requests a second, whatever becomes of those before, in a process of its own.

One order a line on standard input, one line of figures for each on standard output. A request's time counts from when it
was due: a server that stalls is charged for everybody who had to wait.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import uvloop

from benchmarks.http_load import NUMBER
from benchmarks.started import started

CONNECTIONS = 32
ANSWER_SECONDS_MAX = 30.0
_LINE_BYTES_MAX = 50_000_000
_EMPTY_LIST = b'{"items":[]'


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, each NUMBER in it replaced, and the status of a good answer. What `reads` must never be empty."""

    content: bytes
    status: int
    reads: bool


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The requests in turn, so many of them a second, for so many seconds."""

    port: int
    requests: list[Request]
    per_second: float
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that each read and write took; answers that were no good, by what was wrong with them."""

    reads: list[float]
    writes: list[float]
    failed: list[str]
    empty: int


class LoadFailed(Exception):
    """The process that asks has ended."""


class SteadyLoad:
    """The process that asks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, order: Order) -> Outcome:
        """What came of it. Raises LoadFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise LoadFailed("the clients' process ended; what it said stands above")
        return msgspec.json.decode(line, type=Outcome)


@asynccontextmanager
async def steady_load() -> AsyncIterator[SteadyLoad]:
    """The clients, for as long as the block runs."""
    async with started(__name__, talks=True, line_bytes_max=_LINE_BYTES_MAX) as process:
        yield SteadyLoad(process)


class _Connection(asyncio.Protocol):
    """One connection that is kept alive, with one request on its way at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes] | None = None
        self._received = bytearray()
        self._size: int | None = None
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, content: bytes) -> bytes:
        """The whole answer. Raises OSError when the connection is lost, TimeoutError when there is none."""
        self._answer = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._size = None
        self._transport.write(content)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._size is None:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(self._received[:head_end]).lower()
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._size = head_end + 4 + int(length or 0)
        if len(self._received) >= self._size and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(self._received))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(OSError(f"the connection was closed: {exc}"))


class _Callers:
    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        self._number = time.time_ns() % 10**12
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.failed: list[str] = []
        self.empty = 0

    async def open(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
            self._idle.put_nowait(connection)

    async def ask(self, request: Request, due: float) -> None:
        connection = await self._idle.get()
        while connection.is_lost:  # Whoever is not asked for long is let go by the service, as by any other.
            await self.open(1)
            connection = await self._idle.get()
        self._number += 1
        try:
            answer = await connection.ask(request.content.replace(NUMBER, b"%012d" % (self._number % 10**12)))
        except (OSError, TimeoutError) as problem:
            self.failed.append(repr(problem))
            await self.open(1)
            return
        self._idle.put_nowait(connection)
        (self.reads if request.reads else self.writes).append(time.perf_counter() - due)
        if not answer.startswith(b"HTTP/1.1 %d " % request.status):
            self.failed.append(answer[:1_000].decode("latin-1"))
        elif request.reads and answer.partition(b"\r\n\r\n")[2].startswith(_EMPTY_LIST):
            self.empty += 1


async def _run(order: Order) -> Outcome:
    callers = _Callers(order.port)
    await callers.open(CONNECTIONS)
    began, tasks = time.perf_counter(), []
    for number in range(max(1, int(order.per_second * order.seconds))):
        due = began + number / order.per_second
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(callers.ask(_turn(order.requests, number), due)))
    await asyncio.gather(*tasks)
    return Outcome(reads=callers.reads, writes=callers.writes, failed=callers.failed[:20], empty=callers.empty)


def _turn(requests: Sequence[Request], number: int) -> Request:
    return requests[number % len(requests)]


def main() -> int:
    """Until standard input ends."""
    decoder = msgspec.json.Decoder(Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            sys.stdout.buffer.write(msgspec.json.encode(runner.run(_run(decoder.decode(line)))) + b"\n")
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
