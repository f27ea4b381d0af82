"""A real server on a free port, in a thread of its own, for commands that speak HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import msgspec

from process import ports
from process.serving import serving

START_SECONDS_MAX = 30
App = Callable[[Any, Any, Any], Any]
Act = Callable[[Coroutine[Any, Any, Any]], Any]


class Answered(msgspec.Struct, frozen=True):
    """What a scripted server says to one request."""

    status: int = 200
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"


class Asked(msgspec.Struct, frozen=True):
    """What a scripted server was asked."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_live(self) -> bool:
        """Whether an event stream was asked for."""
        return self.headers.get("accept") == "text/event-stream"


class Script:
    """Answers requests in the given order, the last answer for ever, and remembers what was asked.

    `at` holds the answers of paths that end in a certain way, in an order of their own; `live` before the path: those
    to who asks for an event stream.
    """

    def __init__(self, *answers: Answered, at: Mapping[str, Sequence[Answered]]) -> None:
        self._answers = list(answers)
        self._at = {end: list(own) for end, own in at.items()}
        self.asked: list[Asked] = []

    def _next(self, path: str, headers: Mapping[str, str]) -> Answered:
        asked = f"live {path}" if headers.get("accept") == "text/event-stream" else path
        answers = next((own for end, own in self._at.items() if _ends(asked, end)), self._answers)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append(Asked(scope["method"], scope["path"], scope["query_string"].decode(), headers, body))
        answer = self._next(scope["path"], headers)
        content = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
        given = [(b"content-type", answer.media_type.encode())]
        given += [(name.encode(), value.encode()) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": given})
        await send({"type": "http.response.body", "body": content})


def _ends(asked: str, end: str) -> bool:
    return asked.startswith("live ") == end.startswith("live ") and asked.endswith(end.removeprefix("live "))


@contextmanager
def served(make: Callable[[], AbstractAsyncContextManager[tuple[Any, Any]]]) -> Iterator[tuple[str, Any, Act]]:
    """The address of the server, what `make` gave beside its application, and what runs something in the server."""
    ready, done = threading.Event(), threading.Event()
    found: list[Any] = []

    async def serve() -> None:
        listener = ports.listen("127.0.0.1", 0, variable="-")
        port = listener.getsockname()[1]
        async with make() as (app, beside), serving(app, listener):
            found.extend([f"http://127.0.0.1:{port}", beside, asyncio.get_running_loop()])
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(START_SECONDS_MAX), "the server did not start"
        yield (
            found[0],
            found[1],
            lambda work: asyncio.run_coroutine_threadsafe(work, found[2]).result(START_SECONDS_MAX),
        )
    finally:
        done.set()
        thread.join()


@contextmanager
def scripted(*answers: Answered, at: Mapping[str, Sequence[Answered]] | None = None) -> Iterator[tuple[str, Script]]:
    """A server that answers as told."""

    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[App, Script]]:
        script = Script(*answers, at=at or {})
        yield script, script

    with served(make) as (url, script, _):
        yield url, script


def problem(status: int, code: str, **more: object) -> Answered:
    """A refusal as the service makes them."""
    body = {
        "type": f"urn:dcf:problem:{code}",
        "title": "It is refused.",
        "status": status,
        "detail": "It is refused because.",
        "code": code,
        "errors": [],
        "remedy": "Ask otherwise.",
        "correlationId": "0192d3a4-5b6c-7d8e-9f00-112233445566",
        **more,
    }
    return Answered(status, body, media_type="application/problem+json")
