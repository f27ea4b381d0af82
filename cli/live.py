"""An event stream of the service, read beside whoever waits for its messages and has other things to do meanwhile."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from typing import Self

import httpx
import msgspec

from cli.client import Api, Json
from cli.trouble import Trouble

# No message of the service is longer; what is, is not from it.
MESSAGE_BYTES_MAX = 8_000_000
# The service says something every quarter of a minute, if only that there is nothing new.
SILENCE_SECONDS_MAX = 40.0


class Message(msgspec.Struct, frozen=True):
    """One message. Without `data` it only says that the stream lives; `id`, where there is one, is a place in it."""

    id: str = ""
    event: str = ""
    data: Json | None = None


class Live:
    """Opened by `with`. Whatever goes wrong ends the stream: who needs more asks again from the last `id`."""

    def __init__(self, api: Api, path: str, *, after: str | None) -> None:
        self._api, self._path, self._after = api, path, after
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._answer: httpx.Response | None = None
        self.is_over = False
        # The stream said something, so this is a service that streams.
        self.was_heard = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, name="stream", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._answer is not None:
            self._api.hang_up(self._answer)

    def next(self, seconds: float) -> Message | None:
        """The next message; None when there is none in that time, or none any more: then `is_over`."""
        try:
            message = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            self.is_over = True
            return None
        self.was_heard = True
        return message

    def _read(self) -> None:
        try:
            with self._api.streamed(self._path, last_seen=self._after, silence_seconds=SILENCE_SECONDS_MAX) as answer:
                self._answer = answer
                for message in messages(answer.iter_bytes()):
                    self._messages.put(message)
        except (Trouble, httpx.HTTPError, httpx.StreamError, OSError, RuntimeError, ValueError):
            pass  # RuntimeError: the client was closed before the stream was open.
        finally:
            self._messages.put(None)


def messages(chunks: Iterator[bytes]) -> Iterator[Message]:
    """The messages in a stream's bytes, however they are cut. Raises ValueError for what is none."""
    fields: dict[str, bytes] = {}
    for line in _lines(chunks):
        if line:
            name, _, value = line.partition(b":")
            fields[name.decode()] = value.removeprefix(b" ")
        elif fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Message(fields.get("id", b"").decode(), fields.get("event", b"").decode(), data)
            fields = {}


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        # Only the line feed ends a line: JSON may hold the other characters that Python takes for line ends.
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")
        if len(rest) > MESSAGE_BYTES_MAX:
            raise ValueError("a message is too long")
