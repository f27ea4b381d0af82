"""What a decision stands on: the streams it looks at, folded, and the versions they then had."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from commands.command import States
from domain.catalogue import AGGREGATES
from domain.event import Aggregate, Decision, StreamRef
from eventstore.codec import Codec
from eventstore.folds import Confirmed, Folded
from eventstore.log import Append, Appended, Expected, Log, NewEvent, StoredEvent

CODEC = Codec(AGGREGATES)
AGGREGATE_OF: dict[str, Aggregate[Any]] = {aggregate.name: aggregate for aggregate in AGGREGATES}


class Basis:
    """Loads what is asked for, each stream once.

    What this process knows is taken for what is, but for the `doubted` streams; `fresh` doubts them all. Where something
    was `remembered`, a refusal must not be believed; an append says itself whether it was right.
    """

    def __init__(self, log: Log, *, fresh: bool, doubted: Collection[StreamRef] = ()) -> None:
        self._log, self._fresh, self._doubted = log, fresh, doubted
        self._forgotten = log.folds.forgotten
        self._found: dict[StreamRef, Folded] = {}
        self.folded: dict[StreamRef, Any] = {}
        self.remembered: set[StreamRef] = set()

    async def load(self, wanted: Iterable[tuple[Aggregate[Any], StreamRef]]) -> None:
        """See that these streams are folded."""
        missing = [(aggregate, stream) for aggregate, stream in wanted if not self._has(stream)]
        if missing:
            for (_, stream), found in zip(missing, await self._log.folds.of(CODEC, missing), strict=True):
                self._take(stream, found)

    async def still_stands(self) -> bool:
        """Whether nothing came since to any of the streams: all are asked for at one moment, if memory was trusted."""
        if not self.remembered:
            return True
        wanted = [(AGGREGATE_OF[stream.category], stream) for stream in self._found]
        now = await self._log.folds.of(CODEC, wanted)
        return all(found.version == before.version for found, before in zip(now, self._found.values(), strict=True))

    def version(self, stream: StreamRef) -> int:
        """The version it had; NO_STREAM when there is nothing of it."""
        return self._found[stream].version

    def position(self, stream: StreamRef) -> int:
        """Where its last event stands; 0 when there is none."""
        return self._found[stream].position

    @property
    def expected(self) -> tuple[Expected, ...]:
        """What must still be so when the decision is recorded."""
        return tuple(Expected(stream=stream, version=found.version) for stream, found in self._found.items())

    @property
    def states(self) -> States:
        """What a decision may look at: what is loaded, and whatever else is remembered."""
        return States(self.folded, self._has)

    def after(self, decision: Decision) -> Mapping[StreamRef, Any]:
        """The states once the decision is recorded, but for the time of that."""
        folded = dict(self.folded)
        for fact in decision.facts:
            folded[fact.stream] = AGGREGATE_OF[fact.stream.category].evolve(folded[fact.stream], fact.event)
        return folded

    def keep(self, append: Append, appended: Appended) -> None:
        """Remember what was relied on and recorded: the log has just said that it was so."""
        events: dict[StreamRef, list[StoredEvent]] = {stream: [] for stream in self._found}
        for position, event in enumerate(append.events, start=appended.first_position):
            events[event.stream].append(_stored(event, position, appended))
        confirmed = [
            Confirmed(AGGREGATE_OF[stream.category], stream, self._found[stream].version, written)
            for stream, written in events.items()
        ]
        self._log.folds.confirm(CODEC, confirmed, forgotten=self._forgotten)

    def _has(self, stream: StreamRef) -> bool:
        if stream in self._found:
            return True
        if self._fresh or stream in self._doubted:
            return False
        found = self._log.folds.recent(stream)
        if found is None:
            return False
        self.remembered.add(stream)
        self._take(stream, found)
        return True

    def _take(self, stream: StreamRef, found: Folded) -> None:
        self._found[stream], self.folded[stream] = found, found.state


async def fold(log: Log, aggregate: Aggregate[Any], stream: StreamRef) -> Any:
    """The aggregate's present state, as the log has it now."""
    [found] = await log.folds.of(CODEC, [(aggregate, stream)])
    return found.state


def _stored(event: NewEvent, position: int, appended: Appended) -> StoredEvent:
    return StoredEvent(
        position,
        event.stream.tenant_id,
        event.stream.id,
        event.version,
        event.type,
        event.schema_version,
        appended.recorded_at,
        event.meta,
        event.data,
    )
