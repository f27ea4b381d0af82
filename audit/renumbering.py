"""One tenant's events given the positions of a log of their own, one after another, with the commands behind them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from uuid import UUID

import msgspec

from audit.exporting import CommandLine
from domain.refused import CommandRefused
from eventstore.codec import tag_of
from eventstore.event_lines import instant_text
from eventstore.log import StoredEvent
from eventstore.meta import decode_meta

_REFUSED = tag_of(CommandRefused)
# In front of the position of a cause that is not among the events: it was another tenant's, or the service's.
ELSEWHERE = "elsewhere/"


class Renumbering:
    """Takes the events in order. A cause stands before its effect, so its new position is known by then."""

    def __init__(self) -> None:
        self._old = array("Q")
        self._command: CommandLine | None = None
        self._done: list[CommandLine] = []

    def moved(self, events: Iterable[StoredEvent]) -> list[StoredEvent]:
        """The next events at their new positions."""
        return [self._move(event) for event in events]

    def commands(self) -> list[CommandLine]:
        """The commands that are complete, once each: their answers are not known, only that they were recorded."""
        done, self._done = self._done, []
        return done

    def rest(self) -> list[CommandLine]:
        """The last of them."""
        return [] if self._command is None else [self._command]

    def _move(self, event: StoredEvent) -> StoredEvent:
        self._old.append(event.position)
        position = len(self._old)
        self._note_command(event, position)
        return msgspec.structs.replace(event, position=position, meta=self._with_cause(event.meta))

    def _with_cause(self, meta: bytes) -> bytes:
        if b'"causationId"' not in meta:
            return meta
        fields = msgspec.json.decode(meta)
        cause = fields.get("causationId", "")
        if not cause.isdecimal():
            return meta
        at = bisect_left(self._old, int(cause))
        known = at < len(self._old) and self._old[at] == int(cause)
        return msgspec.json.encode(fields | {"causationId": str(at + 1) if known else f"{ELSEWHERE}{cause}"})

    def _note_command(self, event: StoredEvent, position: int) -> None:
        command_id = decode_meta(event.meta).command_id
        if command_id is None:
            return
        if self._command is not None and self._command.command_id == command_id:
            self._command = msgspec.structs.replace(self._command, last_position=position)
            return
        self._done += self.rest()
        self._command = CommandLine(
            tenant_id=UUID(int=event.tenant_id.int),
            command_id=command_id,
            request_hash=b"",
            outcome="refused" if event.type == _REFUSED else "ok",
            reply="",
            first_position=position,
            last_position=position,
            at=instant_text(event.recorded_at),
        )
