"""The HTTP API of a town: processes that answer, die at any await and come back, and requests that are given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Litestar

from api.access_log import note_nothing
from api.app import create_app, routed
from api.auth import Authenticator
from api.rate_limits import RateLimits
from api.refusal_cap import RefusalCap
from api.services import Services
from api.tokens import Tokens
from eventstore.instants import LogInstants
from eventstore.key_uses import MemoryKeyUses
from eventstore.log import Log
from eventstore.tenant_events import LogTenantEvents
from eventstore.tree.tree import MemoryTree
from eventstore.uploads import MemoryUploads
from process.outbound import Reachable
from projections.memory_upkeep import MemoryUpkeep
from projections.reader import Reader
from providers.issuer import ProjectedToken
from tests.runner.town import Town
from tests.support import virtual_time
from tests.support.mortal import Mortal

PROCESSES = 2
WAIT_SECONDS_MAX = 2.0
REQUEST_BYTES_MAX = 20_000
# How many clients lose patience, and of how many of these the server hears so.
IMPATIENT = 0.2
HEARD = 0.5
PATIENCE_SECONDS_MAX = 0.15

# Putting the routes together takes longer than a whole town does, and they hold nothing of it.
_FREE: list[Litestar] = []


class Answer(msgspec.Struct, frozen=True):
    """What came back, the names of the headers in lower case."""

    status: int
    body: bytes
    headers: dict[bytes, bytes]


class Api:
    """Those processes that are up just now."""

    def __init__(self, town: Town, random: Random, *, log: Callable[[Log, Random], Any], reader: Reader) -> None:
        self.town = town
        self.log = log
        self.reader = reader
        self.up: list[tuple[Mortal, Any]] = []
        self._random = random
        self._under_way: list[tuple[Mortal, asyncio.Task[Answer]]] = []

    async def finished(self) -> None:
        """Wait until nothing goes on for clients that went away."""
        while any(not process.dead and not request.done() for process, request in self._under_way):
            await asyncio.sleep(0.1)

    async def run(self, app: Litestar, random: Random, *, until: float) -> None:
        """One process after another: each is killed somewhere, until the storm is over."""
        while True:
            storm = virtual_time.seconds() < until
            process = Mortal(dies_at_step=random.randrange(5, 300) if storm and random.random() < 0.8 else None)
            one = (process, create_app(self._services(random), {}, note_nothing, app=app))
            self.up.append(one)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(random.uniform(5, 40) if storm else None):
                        await process.died.wait()
            finally:
                process.kill()
                self.up.remove(one)
            await asyncio.sleep(random.uniform(0, 2))

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b"", *, stormy: bool = True
    ) -> Answer | None:
        """The answer; None when there was none: nobody is up, the process died, or the client went away before."""
        random = self._random
        up = [one for one in self.up if not one[0].dead]
        if not up:
            return None
        process, app = random.choice(up)
        request = process.start(_call(app, method, path, headers, body))
        self._under_way.append((process, request))
        death = asyncio.create_task(process.died.wait())
        patience = random.uniform(0, PATIENCE_SECONDS_MAX) if stormy and random.random() < IMPATIENT else None
        try:
            await asyncio.wait([request, death], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            death.cancel()
        if request.done() and not request.cancelled():
            return request.result()
        if not process.dead and random.random() < HEARD:
            request.cancel()
        return None

    def _services(self, random: Random) -> Services:
        """Of a process that was just started: it remembers nothing."""
        town = self.town
        log, stores = cast("Log", self.log(town.log, random)), town.stores
        return Services(
            log=log,
            instants=LogInstants(log),
            tenant_events=LogTenantEvents(log),
            tree=MemoryTree(log, UUID(int=7)),
            reader=self.reader,
            upkeep=MemoryUpkeep(log, town.now),
            contents=stores.contents,
            uploads=MemoryUploads(town.now),
            build_logs=stores.build_logs,
            ticks=stores.ticks,
            deliveries=stores.deliveries,
            reachable=Reachable(),
            key_uses=MemoryKeyUses(),
            sealing=stores.sealing,
            secrets=stores.secrets,
            ring=None,
            providers=cast("Any", town.providers),
            token_source=ProjectedToken(Path("no token is asked for")),
            public_url=lambda: "https://api.dcf.example",
            authenticator=Authenticator(self.reader, log, MemoryKeyUses(), town.now, virtual_time.seconds),
            tokens=Tokens(log),
            refusal_cap=RefusalCap(virtual_time.seconds),
            rate_limits=RateLimits(self.reader, virtual_time.seconds),
            clock=town.now,
            new_id=town.new_id,
            request_bytes_max=REQUEST_BYTES_MAX,
            upload_bytes_max=REQUEST_BYTES_MAX,
            wait_seconds_max=WAIT_SECONDS_MAX,
        )


@contextmanager
def routes(count: int) -> Iterator[list[Litestar]]:
    """The API's routes, for so many processes of one town at a time."""
    while len(_FREE) < count:
        _FREE.append(routed())
    taken = [_FREE.pop() for _ in range(count)]
    try:
        yield taken
    finally:
        _FREE.extend(taken)


async def _call(app: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """One request to an ASGI application."""
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"api.test"), *((k.encode(), v.encode()) for k, v in headers.items())],
        "server": ("api.test", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], content, dict(sent[0]["headers"]))
