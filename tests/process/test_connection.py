"""Connections over real sockets: how long a client may take, and what one gets that sends no HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from process.connection import AT_ONCE, HEAD_BYTES_MAX, HEADERS_MAX, Connection
from process.ports import listen
from process.serving import serving

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body, and with who the asker is said to be."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/once":
        length = b"%d" % len(body)
        assert scope["extensions"][AT_ONCE](201, [(b"x-once", b"1"), (b"content-length", length)], body)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-asker", scope["client"][0].encode())]})
    if scope["path"] == "/control":
        at_once = scope["extensions"][AT_ONCE]
        with pytest.raises(RuntimeError):
            at_once(200, [(b"x-said", b"one\r\nx-more: line"), (b"content-length", b"0")], b"")
        at_once(200, [(b"content-length", b"0")], b"")
        return
    if scope["path"] == "/slow":
        await EVENTS["go on"].wait()
    if scope["path"] == "/large":
        # What comes after it is held back until the client has taken that, or was cut.
        await send({"type": "http.response.body", "body": bytes(LARGE_BYTES), "more_body": True})
        EVENTS["answered"].set()
    await send({"type": "http.response.body", "body": body})
    EVENTS["ended"].set()


LARGE_BYTES = 64 * 1024 * 1024
EVENTS: dict[str, asyncio.Event] = {}
# Less than what any client is given outside of these tests, and as long as a busy machine needs.
BUSY_SECONDS = 15


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(Connection, "head_seconds_max", 0.4)
    monkeypatch.setattr(Connection, "body_silence_seconds_max", 0.4)
    monkeypatch.setattr(Connection, "body_stretch_seconds", 1.5)
    monkeypatch.setattr(Connection, "taken_seconds_max", 0.4)
    EVENTS.update({name: asyncio.Event() for name in ("answered", "ended", "go on")})
    listener = listen("127.0.0.1", 0, variable="DCF_PORT")
    number = listener.getsockname()[1]
    async with serving(echo, listener):
        yield number


async def said(port: int, *pieces: bytes, pause_seconds: float = 0.0) -> bytes:
    """All that is answered to the pieces, sent with a pause after each, until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause_seconds)
        if reader.at_eof():
            break  # The other side has closed.
    async with asyncio.timeout(BUSY_SECONDS):
        answer = await reader.read()
    writer.close()
    return answer


class TestConnection:
    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: he", HEAD, HEAD + b"bo"])
    async def test_is_closed_when_a_request_does_not_come_to_its_end(self, port: int, sent: bytes) -> None:
        began = time.monotonic()

        assert await said(port, sent) == b""
        assert time.monotonic() - began < BUSY_SECONDS

    async def test_is_closed_when_headers_come_drop_by_drop(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        while not reader.at_eof() and time.monotonic() - began < BUSY_SECONDS:
            writer.write(b"X-Drop: 1\r\n")
            done, _ = await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=0.1)
            # What was sent after the end resets the connection: closed all the same.
            if any(isinstance(read.exception(), ConnectionError) for read in done):
                break

        assert time.monotonic() - began < BUSY_SECONDS
        writer.close()

    async def test_stays_for_a_body_that_goes_on(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Longer in all than it may be silent, and never nearly as long."""
        monkeypatch.setattr(Connection, "body_silence_seconds_max", 1.5)
        monkeypatch.setattr(Connection, "body_stretch_seconds", 60.0)
        head = HEAD.replace(b"Host", b"Connection: close\r\nHost")

        answer = await said(port, head, b"b", b"o", b"d", b"y", pause_seconds=0.4)

        assert b"body" in answer

    async def test_is_closed_when_a_body_comes_drop_by_drop(self, port: int) -> None:
        """Never silent for long, and never done: what a few thousand connections hold a server with."""
        head = HEAD.replace(b"Content-Length: 4", b"Content-Length: 100000")
        began = time.monotonic()

        assert await said(port, head, *[b"x"] * 10, pause_seconds=0.2) == b""
        assert 1.4 < time.monotonic() - began < BUSY_SECONDS

    async def test_is_cut_when_the_client_takes_nothing_of_its_answer(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            await EVENTS["ended"].wait()  # Nobody is left waiting for it.

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(LARGE_BYTES), BUSY_SECONDS)
        writer.close()

    async def test_stays_for_a_client_that_takes_its_answer_slowly(self, port: int) -> None:
        """Slowly: in each stretch less than what the system takes of ours at once, once it has room."""
        taking = socket.socket()
        # It tells by so much what it has taken. By itself it may grow to megabytes, told of by the sixteenth.
        taking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        taking.connect(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=taking, limit=64 * 1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(BUSY_SECONDS):
            await EVENTS["answered"].wait()
        read, began = 0, time.monotonic()
        while chunk := await asyncio.wait_for(reader.read(64 * 1024), BUSY_SECONDS):
            read += len(chunk)
            if time.monotonic() - began < 1.5:
                await asyncio.sleep(0.05)

        assert read > LARGE_BYTES
        writer.close()

    async def test_with_something_else_than_http_gets_a_problem(self, port: int) -> None:
        head, _, body = (await said(port, b"\x16\x03\x01\r\n\r\n")).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 400")
        assert b"application/problem+json" in head
        problem = json.loads(body)
        assert problem["code"] == "request_malformed"
        assert f"x-request-id: {problem['correlationId']}".encode() in head

    @pytest.mark.parametrize("method", [b"BREW", b"get", b"GETTER", b"A" * 40])
    async def test_with_a_method_that_nobody_knows_is_told_so(self, port: int, method: bytes) -> None:
        answer = await said(port, method + b" / HTTP/1.1\r\nHost: here\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
        assert b"connection: close" in head
        assert json.loads(body)["code"] == "method_unknown"
        assert f"takes {method[:32].decode()};" in json.loads(body)["detail"]

    @pytest.mark.parametrize(
        ("behind", "status"),
        [
            (b"BREW /b HTTP/1.1\r\nHost: here\r\n\r\n", b"501 Not Implemented"),
            (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
            (b"GET / HTTP/1.1\r\nHost: here\r\n" + b"X: 1\r\n" * (HEADERS_MAX + 1) + b"\r\n", b"431 Request Header"),
            (b"GET / HTTP/1.1\r\nHost: here\r\nX-Endless: " + b"a" * (HEAD_BYTES_MAX + 1), b"431 Request Header"),
            (
                b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nno chunk",
                b"400 Bad Request",
            ),
        ],
        ids=["method", "no HTTP", "head", "endless", "body"],
    )
    @pytest.mark.parametrize("before", [1, 2])
    @pytest.mark.parametrize("pieces", ["one", "two"])
    async def test_behind_others_that_are_under_way_is_refused_once_these_are_answered(
        self, port: int, behind: bytes, status: bytes, before: int, pieces: str
    ) -> None:
        """A caller that sends several requests at once takes the first answer for that to the first."""
        first = HEAD.replace(b"POST / ", b"POST /slow ") + b"slow"
        second = HEAD.replace(b"4", b"6") + b"second"
        asked = b"".join((first, second)[:before])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (asked + behind,) if pieces == "one" else (asked, behind):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)

        EVENTS["go on"].set()
        answers = await asyncio.wait_for(reader.read(), BUSY_SECONDS)
        writer.close()

        heads = [part for part in answers.split(b"HTTP/1.1 ") if part]
        assert [head[:3] for head in heads] == [*[b"200"] * before, status[:3]]
        assert heads[-1].startswith(status)
        assert b"slow" in heads[0]
        assert b"takes POST" not in answers

    async def test_with_no_method_at_all_gets_a_problem(self, port: int) -> None:
        answer = await said(port, b"BR\x00EW / HTTP/1.1\r\nHost: here\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 400")

    @pytest.mark.parametrize(
        "headers",
        [
            b"X-Long: " + b"a" * HEAD_BYTES_MAX + b"\r\n",
            b"X-Some: 1\r\n" * (HEADERS_MAX + 1),
            b"X-Endless: " + b"a" * (HEAD_BYTES_MAX + 1),
        ],
        ids=["long", "many", "endless"],
    )
    async def test_with_too_much_of_a_head_gets_a_problem_at_once(self, port: int, headers: bytes) -> None:
        end = b"" if b"Endless" in headers else b"\r\n"

        head, _, body = (await said(port, b"GET / HTTP/1.1\r\nHost: here\r\n" + headers + end)).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 431")
        assert json.loads(body)["code"] == "headers_too_large"

    async def test_gives_a_whole_answer_at_once_and_takes_the_next_request(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"POST /once HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nbody"
        for _ in range(2):
            writer.write(request + request)
            for _ in range(2):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BUSY_SECONDS)

                assert head.startswith(b"HTTP/1.1 201 Created\r\ndate: ")
                assert head.endswith(b"x-once: 1\r\ncontent-length: 4\r\n\r\n")
                assert await reader.readexactly(4) == b"body"
        writer.close()

    @pytest.mark.parametrize("path", [b"/once", b"/"])
    async def test_leaves_nothing_of_a_request_to_the_garbage_collector(self, port: int, path: bytes) -> None:
        """Goal: no request is held by what it holds: its twenty objects go as soon as it is answered, in whichever way."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def ask(times: int) -> None:
            for _ in range(times):
                writer.write(b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nbody" % path)
                await asyncio.wait_for(reader.readuntil(b"body"), BUSY_SECONDS)
                if path == b"/":
                    await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), BUSY_SECONDS)

        async def left_by(times: int) -> int:
            gc.collect()
            gc.disable()
            try:
                await ask(times)
                return gc.collect()
            finally:
                gc.enable()

        await ask(2)
        # What else goes on in this process, such as the end of an earlier test's connections, leaves something now and then.
        assert min([await left_by(50) for _ in range(4)]) < 50
        writer.close()

    async def test_gives_no_header_that_would_be_two(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /control HTTP/1.1\r\nHost: here\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BUSY_SECONDS)

        assert head.startswith(b"HTTP/1.1 200")
        assert b"x-said" not in head
        writer.close()

    async def test_is_closed_when_nothing_is_asked_any_more(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            Connection, "timeout_keep_alive", property(lambda _: 1.0, lambda _, __: None), raising=False
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"POST /once HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
            assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BUSY_SECONDS)
            await asyncio.sleep(0.4)
        began = time.monotonic()

        assert await asyncio.wait_for(reader.read(), BUSY_SECONDS) == b""
        assert time.monotonic() - began < BUSY_SECONDS
        writer.close()

    async def test_takes_a_head_that_is_just_small_enough(self, port: int) -> None:
        headers = b"Connection: close\r\nX-Long: " + b"a" * (HEAD_BYTES_MAX - 100) + b"\r\n" + b"X: 1\r\n" * 5

        assert (await said(port, b"GET / HTTP/1.1\r\nHost: here\r\n" + headers + b"\r\n")).startswith(b"HTTP/1.1 200")

    async def test_is_whose_it_is_whatever_the_client_says(self, port: int) -> None:
        claims = b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n"

        answer = await said(port, b"GET / HTTP/1.1\r\nHost: here\r\n" + claims + b"\r\n")

        assert b"x-asker: 127.0.0.1" in answer

    async def test_sends_an_answer_in_one_piece(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(20):
            writer.write(HEAD + b"body")

            assert (await asyncio.wait_for(reader.read(2**16), BUSY_SECONDS)).endswith(
                b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
            )
        writer.close()

    async def test_sends_the_head_of_an_answer_whose_body_is_still_to_come(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")

        assert (await asyncio.wait_for(reader.readline(), BUSY_SECONDS)).startswith(b"HTTP/1.1 200")
        EVENTS["go on"].set()
        writer.close()

    async def test_asks_for_a_body_that_waits_to_be_asked_for(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.replace(b"Host", b"Expect: 100-continue\r\nHost"))

        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BUSY_SECONDS)).startswith(b"HTTP/1.1 100")
        writer.write(b"body")
        assert b"HTTP/1.1 200" in await asyncio.wait_for(reader.read(2**16), BUSY_SECONDS)
        writer.close()
