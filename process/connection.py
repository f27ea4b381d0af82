"""One client's connection: who sends too slowly, or no HTTP at all, does not keep it."""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
import sys
import termios
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4
from weakref import ref

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

# From the connection's beginning, or a request's first byte, until all of its headers are there.
HEAD_SECONDS_MAX = 20.0
# The address and all headers of a request; a signed token takes a few of these kilobytes.
HEAD_BYTES_MAX = 32 * 1024
HEADERS_MAX = 100
# Without a byte of a body that was announced.
BODY_SILENCE_SECONDS_MAX = 30.0
# What has to come of a body in every such stretch of time: a byte now and then would keep a connection for years.
BODY_STRETCH_SECONDS = 60.0
BODY_STRETCH_BYTES_MIN = 16 * 1024
# What a client has to take of an answer that is held back for it, in every such stretch of time.
TAKEN_SECONDS_MAX = 60.0
TAKEN_BYTES_MIN = 16 * 1024
# Looking later than meant by more than this part of the wait, it is we who were stopped: nobody is judged by that wait.
LATE_MAX = 0.25

# Where an application finds, in the extensions of its scope, how to give a whole answer at once: an `AtOnce`.
AT_ONCE = "dcf.at_once"

# As much of a method that nobody knows is repeated to whoever sent it.
_METHOD_SHOWN_MAX = 32
# A request whose method is one that HTTP allows, be it known to anybody or not (RFC 9110, 5.6.2 and 9.1).
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.[01]\r\n")

_ANSWER = b"HTTP/1.1 "
_NO_ANSWER_YET = b"HTTP/1.1 1"

_HEAD = (
    b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
    b"x-request-id: %b\r\nx-correlation-id: %b\r\nconnection: close\r\n\r\n"
)


class _HeadTooLarge(Exception):
    """More than HEAD_BYTES_MAX or HEADERS_MAX."""


class _Writing:
    """Sends the head of an answer along with the beginning of its body: every write by itself is a call of the system.

    What has no body to come in the same turn of the loop goes out at the end of that turn.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_ANSWER) and not data.startswith(_NO_ANSWER_YET):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


# What no header may hold (RFC 9110, 5.5), but for the end of its line.
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})


def lines_of(headers: Collection[tuple[bytes, bytes]]) -> bytes:
    """The headers as they go over the wire. Raises RuntimeError for one that cannot be one."""
    head = b"".join([b"%b: %b\r\n" % header for header in headers])
    if len(head.translate(None, _CONTROLS)) != len(head) - 2 * len(headers):
        raise RuntimeError("A header holds a control character.")
    return head


class AtOnce:
    """Gives a whole answer in one call and one write. uvicorn's own way takes its headers apart one by one for that."""

    __slots__ = ("_cycle", "_transport")

    def __init__(self, cycle: RequestResponseCycle, transport: asyncio.Transport) -> None:
        # Not held: the cycle holds the scope, which holds this. Whatever goes round stays until the garbage collector finds it,
        # and new requests get memory that the processor has not at hand.
        self._cycle = ref(cycle)
        self._transport = transport

    def __call__(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, standing: bytes = b""
    ) -> bool:
        """Whether it went out; if not, nothing was done, and it has to go the usual way. Names are in lower case, and
        content-length is among them unless the status has no body. `standing` are headers made by `lines_of` before.

        Raises RuntimeError for a header that cannot be one.
        """
        cycle = self._cycle()
        if (
            cycle is None
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or cycle.flow.write_paused
        ):
            return False
        head = lines_of((*cycle.default_headers, *headers))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self._transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, standing, body))
        cycle.message_event.set()
        cycle.on_response()
        return True


class Connection(HttpToolsProtocol):
    """uvicorn's own, with the time limits that it lacks, and with less to do for each request."""

    head_seconds_max = HEAD_SECONDS_MAX
    body_silence_seconds_max = BODY_SILENCE_SECONDS_MAX
    body_stretch_seconds = BODY_STRETCH_SECONDS
    taken_seconds_max = TAKEN_SECONDS_MAX
    # What is left when we have closed our end is the kernel's to give up.
    unacknowledged_seconds_max = TAKEN_SECONDS_MAX

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None
        self._awaits_body = False
        self._taking: asyncio.TimerHandle | None = None
        self._stretch_began, self._stretch_bytes = 0.0, 0
        self._in_head, self._head_bytes = False, 0
        self._piece, self._ended_in_piece = b"", 0
        # What is answered, and nothing after it, once all that was asked before it is.
        self._last_answer = b""
        # Since when nothing was asked; None while something is.
        self._idle_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows what asyncio passes
        self._allow(self.head_seconds_max)
        with suppress(OSError, AttributeError):
            self.transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.unacknowledged_seconds_max * 1000)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._allow(None)
        self._taken()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._last_answer:
            return  # Behind what could not be read nothing can be.
        self._piece, self._ended_in_piece = data, 0
        super().data_received(data)
        self._piece = b""
        if self._in_head:
            # Nearly every head comes in one piece, and nothing is awaited of it then.
            if self._patience is None:
                self._allow(self.head_seconds_max)
            # What is not complete is kept by the parser, which knows no end.
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._refuse_head()
        if self._awaits_body:
            self._stretch_bytes += len(data)
            if self._drips():
                self.transport.close()
            self._allow(self.body_silence_seconds_max)

    def pause_writing(self) -> None:
        """The client takes in nothing more for the moment."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """The client has taken what was held back."""
        self._taken()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        # It has no more bytes than came since it began, and these are nearly always few.
        if self._head_bytes + len(self._piece) > HEAD_BYTES_MAX or len(self.headers) > HEADERS_MAX:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > HEAD_BYTES_MAX or len(self.headers) > HEADERS_MAX:
                raise _HeadTooLarge
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # Else it asks for another protocol, and gets no answer of ours.
            self.cycle.transport = cast("asyncio.Transport", _Writing(self.transport, self.loop))
            self.cycle.scope["extensions"] = {AT_ONCE: AtOnce(self.cycle, self.transport)}  # type: ignore[dict-item]
        self._awaits_body = True
        self._stretch_began, self._stretch_bytes = self.loop.time(), 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._awaits_body = False
        self._ended_in_piece += 1
        if self._patience is not None:
            self._allow(None)

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the clock that runs while nothing is asked: one for the whole connection."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._last_answer:
            self._end_with(self._last_answer)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_request(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection once nothing was asked for so long; look again when that may be."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._await_request(left)
        else:
            super().timeout_keep_alive_handler()

    def _await_request(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an answer in the form of every other error, as does a method that the parser never heard of."""
        problem = sys.exception()
        if isinstance(getattr(problem, "__context__", None), _HeadTooLarge):
            self._refuse_head()
        elif isinstance(problem, httptools.HttpParserInvalidMethodError) and self._asks():
            # Where in the piece it stands the parser does not say.
            method = self._piece.partition(b" ")[0][:_METHOD_SHOWN_MAX].decode()
            self._refuse(
                b"501 Not Implemented",
                "method_unknown",
                "Nothing here takes this method.",
                f"No address takes {'it' if self._ended_in_piece else method}; methods are told apart by case.",
                "Send OPTIONS to an address to be told which methods it takes.",
            )
        else:
            remedy = "Send a request as RFC 9112 describes it."
            self._refuse(b"400 Bad Request", "request_malformed", "This is not HTTP.", msg, remedy)

    def _asks(self) -> bool:
        """Whether the piece is a request but for its method, or holds one behind others that ended in it."""
        if self._ended_in_piece:
            return len(_REQUEST_LINE.findall(self._piece)) > self._ended_in_piece
        return _REQUEST_LINE.match(self._piece) is not None

    def _refuse_head(self) -> None:
        said = f"A request has at most {HEADERS_MAX} headers, which have {HEAD_BYTES_MAX} bytes with its address."
        title = "The headers are too large."
        self._refuse(
            b"431 Request Header Fields Too Large", "headers_too_large", title, said, "Send fewer or shorter headers."
        )

    def _refuse(self, status: bytes, code: str, title: str, detail: str, remedy: str) -> None:
        # Nothing was read by which the caller could have named the request.
        request_id = str(uuid4())
        body = msgspec.json.encode(
            {
                "type": f"urn:dcf:problem:{code}",
                "title": title,
                "status": int(status[:3]),
                "detail": detail,
                "code": code,
                "errors": [],
                "remedy": remedy,
                "correlationId": request_id,
            }
        )
        named = request_id.encode()
        answer = _HEAD % (status, len(body), named, named) + body
        if self._awaits_body and self.pipeline:
            self.pipeline.popleft()  # The one that is refused, which waits behind others.
        elif self._awaits_body or getattr(self.cycle, "response_complete", True):
            self._end_with(answer)
            return
        self._last_answer, self._awaits_body, self._in_head = answer, False, False
        self._allow(None)

    def _end_with(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def _allow(self, seconds: float | None) -> None:
        """Wait that long for what comes next; None: nothing is awaited."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None
        if seconds is not None and not self.transport.is_closing():
            due = self.loop.time() + seconds
            self._patience = self.loop.call_at(due, self._run_out, seconds, due)

    def _drips(self) -> bool:
        """Whether the body comes too slowly to be waited for, and it is not we who take nothing in."""
        now = self.loop.time()
        if now - self._stretch_began < self.body_stretch_seconds:
            return False
        came, self._stretch_began, self._stretch_bytes = self._stretch_bytes, now, 0
        return came < BODY_STRETCH_BYTES_MIN and not self.flow.read_paused

    def _await_taking(self) -> None:
        self._taken()
        due = self.loop.time() + self.taken_seconds_max
        self._taking = self.loop.call_at(due, self._look_after_taking, self._held(), due)

    def _look_after_taking(self, held_before: int, due: float) -> None:
        was_stopped = self.loop.time() - due > LATE_MAX * self.taken_seconds_max
        if held_before - self._held() < TAKEN_BYTES_MIN and not was_stopped:
            self.transport.abort()
        else:
            self._await_taking()

    def _held(self) -> int:
        """The bytes that the client has not taken: ours, and the system's, which takes more of ours by the megabyte only."""
        held: int = self.transport.get_write_buffer_size()
        with suppress(OSError, AttributeError):
            sent = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            held += int.from_bytes(sent, sys.byteorder)
        return held

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _run_out(self, seconds: float, due: float) -> None:
        self._patience = None
        if self.loop.time() - due > LATE_MAX * seconds:
            self._allow(seconds)
        elif self.flow.read_paused:
            # It is we who take nothing in.
            self._allow(self.body_silence_seconds_max)
        elif not self.transport.is_closing():
            self.transport.close()
