"""Histories to project: facts as the log stores them, one second apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from domain.catalogue import AGGREGATES
from domain.event import Fact, StreamRef
from eventstore.codec import Codec
from eventstore.log import Append, Appended, Log, NewEvent, StoredEvent
from eventstore.memory import MemoryLog
from eventstore.meta import Actor, Meta
from projections.memory_reader import MemoryReader
from projections.query import Found
from projections.read_model import AnyModel
from tests.support import a

CODEC = Codec(AGGREGATES)
META = Meta(actor=Actor("key", "key-1"), command="Sample", correlation_id=UUID(int=77), causation_id="command/1")
APPEND_EVENTS_MAX = 500


class Clock:
    """A second passes with every look."""

    def __init__(self) -> None:
        self.at = a.AT

    def __call__(self) -> Any:
        self.at += timedelta(seconds=1)
        return self.at


def memory_log() -> MemoryLog:
    return MemoryLog(Clock())


class History:
    """Writes facts to a log, each at the next version of its stream."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._versions: Counter[StreamRef] = Counter()

    async def record(self, *facts: Fact) -> int:
        """Each fact as a command of its own; the position reached."""
        position = 0
        for fact in facts:
            position = await self.append(self.event(fact))
        return position

    async def record_together(self, facts: Iterable[Fact]) -> int:
        """Many at once, for when only their order matters; the position reached."""
        events = [self.event(fact) for fact in facts]
        position = 0
        for first in range(0, len(events), APPEND_EVENTS_MAX):
            position = await self.append(*events[first : first + APPEND_EVENTS_MAX])
        return position

    async def append(self, *events: NewEvent) -> int:
        outcome = await self.log.append(Append(tenant_id=a.TENANT_ID, command_id=uuid4(), events=events))
        assert isinstance(outcome, Appended), outcome
        return outcome.last_position

    def event(self, fact: Fact) -> NewEvent:
        self._versions[fact.stream] += 1
        return CODEC.new_event(fact.stream, self._versions[fact.stream], fact.event, META)

    def foreign(self) -> NewEvent:
        """An event of somebody else's application."""
        stream = StreamRef(a.TENANT_ID, "foreign", uuid4())
        return NewEvent(stream, 1, "orders:Order.Placed", 1, b"", b"\x80pickled")

    def unreadable(self, fact: Fact) -> NewEvent:
        """The fact, its data spoilt."""
        return msgspec.structs.replace(self.event(fact), data=b"{spoilt")


async def stored(*facts: Fact) -> list[StoredEvent]:
    log = memory_log()
    await History(log).record(*facts)
    return await log.read(0, limit=len(facts))


async def rows_of(model: AnyModel, *facts: Fact) -> list[Any]:
    """The model's rows after the facts, in the order they were made."""
    log = memory_log()
    await History(log).record(*facts)
    table = await fold(log, model)
    return [found.row for found in sorted(table.values(), key=lambda found: found.first_position)]


async def fold(log: Log, model: AnyModel) -> dict[tuple[UUID, UUID], Found[Any]]:
    """All rows of the model by the plainest fold there is: one event at a time, in memory, from the beginning."""
    reader = MemoryReader(log, CODEC, (model,))
    await reader.wait_for(0, seconds_max=0)
    return reader.table(model)
