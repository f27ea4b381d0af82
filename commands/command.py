"""A request to change something, and what deciding about it needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from domain.event import Aggregate, Decision, Event, Fact, StreamRef

S = TypeVar("S")


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command"):
    """Asked by a tenant's caller at an instant. The tag is the command's name in the audit trail."""

    tenant_id: UUID
    at: datetime


class NotLoaded(Exception):
    """A decision asked for a stream that was not loaded; it is loaded and the decision made again."""

    def __init__(self, aggregate: Aggregate[Any], stream: StreamRef) -> None:
        super().__init__(f"{stream.category} {stream.id} is not loaded")
        self.aggregate, self.stream = aggregate, stream


class States:
    """The folded streams a decision may look at, and nothing else.

    `recall` is asked for what is not among them: whether it is now. `moved` are the streams the decision adds to, and
    `stood` says where the last event of a stream was before it.
    """

    def __init__(
        self,
        folded: Mapping[StreamRef, Any],
        recall: Callable[[StreamRef], bool] | None = None,
        *,
        moved: Collection[StreamRef] = (),
        stood: Callable[[StreamRef], int] | None = None,
    ) -> None:
        self._folded = folded
        self._recall = recall
        self._moved = moved
        self._stood = stood

    def of(self, aggregate: Aggregate[S], tenant_id: UUID, id: UUID) -> S:
        """The aggregate's present state; its initial one when nothing was ever recorded. Raises NotLoaded."""
        return self.at(aggregate, aggregate.stream(tenant_id, id))

    def moved(self, stream: StreamRef) -> bool:
        """Whether the decision these states come after adds to the stream."""
        return stream in self._moved

    def stood(self, stream: StreamRef) -> int:
        """Where the last event stands that the stream had before the decision; 0: there was none, or it is not known."""
        return self._stood(stream) if self._stood is not None and stream in self._folded else 0

    def at(self, aggregate: Aggregate[S], stream: StreamRef) -> S:
        try:
            state: S = self._folded[stream]
        except KeyError:
            if self._recall is None or not self._recall(stream):
                raise NotLoaded(aggregate, stream) from None
            state = self._folded[stream]
        return state


# The streams a command is known to need before its decision is made, each with how to fold it.
Reads = Iterable[tuple[Aggregate[Any], StreamRef]]


class Decider(msgspec.Struct, frozen=True, kw_only=True):
    """One aggregate's commands: `decide` answers with what to record, or raises a Refusal; both functions are pure."""

    commands: tuple[type[Command], ...]
    reads: Callable[[Any], Reads]
    decide: Callable[[Any, States], Decision]


def facts(stream: StreamRef, *events: Event) -> tuple[Fact, ...]:
    """The events as facts of one stream."""
    return tuple(Fact(stream=stream, event=event) for event in events)
