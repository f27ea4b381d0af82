"""A command that was refused: recorded too, on a stream of the command's own id."""

from __future__ import annotations

from typing import assert_never

import msgspec

from domain.event import Aggregate, Event


class CommandRefused(Event, frozen=True, kw_only=True, tag="command.refused"):
    """Names only: never the values the command carried."""

    command: str
    code: str
    fields: tuple[str, ...] = ()
    # What the command was about, as far as it said: ids by name.
    about: dict[str, str] = msgspec.field(default_factory=dict)


class Refused(msgspec.Struct, frozen=True):
    """Nothing follows from a refused command."""


def evolve(refused: Refused, event: CommandRefused) -> Refused:
    match event:
        case CommandRefused():
            return refused
        case _:
            assert_never(event)


def is_over(_refused: Refused) -> bool:
    """One event is all there is."""
    return True


REFUSED = Aggregate(name="command", events=(CommandRefused,), initial=Refused(), evolve=evolve, is_over=is_over)
