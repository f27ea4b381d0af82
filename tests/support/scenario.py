"""Decisions told as stories: given these facts, when this is asked, then those facts follow, or a refusal."""

from __future__ import annotations

from typing import Any

from commands.catalogue import DECIDER_OF
from commands.command import Command, NotLoaded, States
from domain.catalogue import AGGREGATES
from domain.event import Claim, Counter, Decision, Fact, StreamRef
from domain.refusal import Refusal

_AGGREGATES = {aggregate.name: aggregate for aggregate in AGGREGATES}


class Given:
    """What was recorded before."""

    def __init__(self, facts: tuple[Fact, ...]) -> None:
        self._facts = facts

    def given(self, *facts: Fact) -> Given:
        """And this as well, after it."""
        return Given(self._facts + facts)

    def when(self, command: Command) -> Outcome:
        """Decide about the command. Nothing is recorded."""
        folded = fold(self._facts)
        try:
            return Outcome(decide(command, folded))
        except Refusal as refusal:
            return Outcome(refusal)


class Outcome:
    """What came of the command."""

    def __init__(self, result: Decision | Refusal) -> None:
        self._result = result

    def then(
        self, *facts: Fact, claims: tuple[Claim, ...] | None = None, counters: tuple[Counter, ...] | None = None
    ) -> None:
        """Exactly these facts, in this order; the same for claims and counters where they are given."""
        assert isinstance(self._result, Decision), self._result
        assert self._result.facts == facts
        assert claims is None or self._result.claims == claims
        assert counters is None or self._result.counters == counters

    def then_nothing(self) -> None:
        """No fact, no claim, no count."""
        assert self._result == Decision()

    def then_refused(self, refusal: type[Refusal], *, fields: tuple[str, ...] | None = None) -> Refusal:
        """Refused by exactly this type, naming exactly these fields where they are given."""
        assert type(self._result) is refusal, self._result
        assert fields is None or tuple(error.field for error in self._result.errors) == fields
        return self._result

    def refusal(self) -> Refusal:
        """Refused, whatever the reason."""
        assert isinstance(self._result, Refusal), self._result
        return self._result


def given(*facts: Fact) -> Given:
    return Given(facts)


def fold(facts: tuple[Fact, ...]) -> dict[StreamRef, Any]:
    """The state of every stream the facts are of."""
    folded: dict[StreamRef, Any] = {}
    for fact in facts:
        aggregate = _AGGREGATES[fact.stream.category]
        folded[fact.stream] = aggregate.evolve(folded.get(fact.stream, aggregate.initial), fact.event)
    return folded


def decide(command: Command, folded: dict[StreamRef, Any]) -> Decision:
    """Decide as the write path does, with streams nothing was written to in their initial state."""
    decider, known = DECIDER_OF[type(command)], dict(folded)
    for aggregate, stream in decider.reads(command):
        known.setdefault(stream, aggregate.initial)
    while True:
        try:
            return decider.decide(command, States(known))
        except NotLoaded as asked:
            known[asked.stream] = asked.aggregate.initial
