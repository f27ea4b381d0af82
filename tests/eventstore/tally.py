"""The smallest aggregate there is: it counts, and remembers the last word it was told."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.event import Aggregate, Event, StreamRef
from eventstore.codec import Codec
from eventstore.log import Append, Appended, Log
from eventstore.meta import Meta
from tests.eventstore.make import TENANT, a_stream, an_append


class Counted(Event, frozen=True, kw_only=True, tag="tally.counted"):
    word: str = ""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    count: int = 0
    word: str = ""


def evolve(tally: Tally, event: Any) -> Tally:
    folded_words.append(event.word)
    return Tally(count=tally.count + 1, word=event.word)


# The words of every event folded, for tests that ask how much was read.
folded_words: list[str] = []

TALLY = Aggregate(name="tally", events=(Counted,), initial=Tally(), evolve=evolve)
CODEC = Codec([TALLY])


def a_tally() -> StreamRef:
    return msgspec.structs.replace(a_stream(TENANT), category=TALLY.name)


def counting(stream: StreamRef, versions: range) -> Append:
    """The events of those versions; each has its version for a word."""
    return an_append(*(CODEC.new_event(stream, v, Counted(word=str(v)), Meta()) for v in versions))


async def count(log: Log, stream: StreamRef, versions: range) -> None:
    outcome = await log.append(counting(stream, versions))
    assert isinstance(outcome, Appended), outcome
