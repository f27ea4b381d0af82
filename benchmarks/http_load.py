"""`python -m benchmarks.http_load`: clients in a process of their own, so that they take no turn of the server's loop.

One order a line on standard input, one line of figures for each on standard output.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import uvloop

from benchmarks.callers import Run
from benchmarks.started import started

# Each request has another number here, of as many digits.
NUMBER = b"#" * 12
_NUMBER_FORMAT = "%012d"
_SILENCE_SECONDS_MAX = 20.0
_LINE_BYTES_MAX = 50_000_000


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One client for each of the requests, which it sends again and again for so many seconds.

    Every NUMBER in a request is replaced. Any answer with another status than `status` ends the measurement.
    """

    port: int
    requests: list[bytes]
    status: int
    seconds: float


class LoadFailed(Exception):
    """The server answered otherwise than expected, or not at all."""


class Load:
    """The process that asks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, order: Order) -> Run:
        """What came of it. Raises LoadFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise LoadFailed("the clients' process ended; what it said stands above")
        return msgspec.json.decode(line, type=Run)


@asynccontextmanager
async def load() -> AsyncIterator[Load]:
    """The clients, for as long as the block runs."""
    async with started(__name__, talks=True, line_bytes_max=_LINE_BYTES_MAX) as process:
        yield Load(process)


class _Client(asyncio.Protocol):
    """One connection that is kept alive: sends, reads the answer to its end, and sends again."""

    def __init__(self, request: bytes, status: int, numbers: _Numbers, end: float, done: asyncio.Future[None]) -> None:
        self._parts = request.split(NUMBER)
        self._status = b"HTTP/1.1 %d " % status
        self._numbers, self._end, self._done = numbers, end, done
        self._received = b""
        self._size: int | None = None
        self._sent_at = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send(time.perf_counter())

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._size is None:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            self._size = head_end + 4 + _length(self._received[:head_end])
        if len(self._received) < self._size:
            return
        if not self._received.startswith(self._status):
            self._fail(self._received[:2_000].decode("latin-1"))
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent_at)
        if now < self._end:
            self._send(now)
        else:
            self._transport.close()
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was closed: {exc}")

    def _send(self, now: float) -> None:
        self._received, self._size, self._sent_at = b"", None, now
        self._transport.write(self._parts[0] if len(self._parts) == 1 else self._numbers.next().join(self._parts))

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(LoadFailed(why))


class _Numbers:
    """No number twice, whichever server and client it is for."""

    def __init__(self) -> None:
        self._last = time.time_ns() % 10**9 * 1000

    def next(self) -> bytes:
        self._last += 1
        return (_NUMBER_FORMAT % (self._last % 10**12)).encode()


def _length(head: bytes) -> int:
    """What content-length says. Raises LoadFailed when it says nothing."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        raise LoadFailed(f"an answer without a length: {head[:500]!r}")
    return int(lower[at + 17 :].partition(b"\r\n")[0])


async def _run(order: Order, numbers: _Numbers) -> Run:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    ends = [loop.create_future() for _ in order.requests]
    clients = []
    for request, end in zip(order.requests, ends, strict=True):
        client = _Client(request, order.status, numbers, began + order.seconds, end)
        clients.append(client)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", order.port)  # type: ignore[misc]
    async with asyncio.timeout(order.seconds + _SILENCE_SECONDS_MAX):
        await asyncio.gather(*ends)
    return Run(time.perf_counter() - began, [seconds for client in clients for seconds in client.latencies])


def main() -> int:
    """Until standard input ends; 1 when an order cannot be carried out."""
    decoder, numbers = msgspec.json.Decoder(Order), _Numbers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            try:
                found = runner.run(_run(decoder.decode(line), numbers))
            except (LoadFailed, OSError, TimeoutError) as problem:
                sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
                return 1
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
