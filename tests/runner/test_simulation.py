"""Many seeds of a town in a storm; see simulation.py for what must hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import pytest

from domain.deployment import Deployment
from eventstore.log import Append, Appended, Duplicate, Outcome
from projections.audit_trail import AUDIT_TRAIL
from projections.commit import Move, Part
from projections.memory_views import MemoryViewsReader
from projections.query import AnyQuery, Found, Page, Query
from providers.provider import Observation
from runner import discretion, plan
from tests.runner.remote import RemoteLog, RemoteViews
from tests.runner.simulation import Parts, play
from tests.support import virtual_time
from tests.support.limits import Violated

A = TypeVar("A")

# `make test` plays some times as many as any defect below needs; the proof begins where it ends.
SEEDS = 200
SEEDS_PER_TEST = 20
SEEDS_OF_PROOF = 2_200
SEEDS_PER_TEST_OF_PROOF = 500
# How many seeds a defect may need to show.
DEFECT_SEEDS_MAX = 30


class TestAStorm:
    @pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
    def test_leaves_every_deployment_with_one_outcome_and_no_duplicate(self, first: int) -> None:
        for seed in range(first, first + SEEDS_PER_TEST):
            play(seed)

    @pytest.mark.proof
    @pytest.mark.parametrize("first", range(SEEDS, SEEDS_OF_PROOF, SEEDS_PER_TEST_OF_PROOF))
    def test_leaves_none_of_thousands_otherwise(self, first: int) -> None:
        for seed in range(first, first + SEEDS_PER_TEST_OF_PROOF):
            play(seed)


def fails_at_once(recorded: Deployment, observed: Observation | None, at: datetime) -> plan.Step:
    """A defect: does not take away what a failing deployment made."""
    step = plan.next_step(recorded, observed, at)
    if isinstance(step, plan.Withdraw) and recorded.failing is not None and recorded.status != "undeploying":
        return plan.Fail(failure=recorded.failing)
    return step


def succeeds_too_early(recorded: Deployment, observed: Observation | None, at: datetime) -> plan.Step:
    """A defect: reports success before the release serves."""
    step = plan.next_step(recorded, observed, at)
    return plan.NoteActivated() if isinstance(step, plan.Promote) else step


def deaf_to_cancel(recorded: Deployment, observed: Observation | None, at: datetime) -> plan.Step:
    """A defect: goes on with what was asked to be canceled."""
    return plan.next_step(msgspec.structs.replace(recorded, cancel_requested=False), observed, at)


class Forgetful(RemoteLog):
    """A defect: what is asked again under its key is done again."""

    async def append(self, append: Append) -> Outcome:
        return await super().append(msgspec.structs.replace(append, command_id=uuid4()))

    async def find(self, tenant_id: UUID, command_id: UUID) -> Duplicate | None:
        return None


class Hasty(RemoteLog):
    """A defect: answers that a deployment is queued before the log has it, which it then has not always."""

    async def append(self, append: Append) -> Outcome:
        head = await self.head()
        if head % 5 == 0 and any(event.type == "deployment.queued" for event in append.events):
            return Appended(head + 1, head + len(append.events), virtual_time.now())
        return await super().append(append)


class Torn(RemoteViews):
    """A defect: the checkpoint moves before the rows are written."""

    async def commit(self, move: Move, parts: Sequence[Part]) -> None:
        await super().commit(move, ())
        self.views.write(parts)


class Partial(RemoteViews):
    """A defect: a read model that no other check looks at moves on without its rows."""

    async def commit(self, move: Move, parts: Sequence[Part]) -> None:
        await super().commit(move, [part for part in parts if part[0] is not AUDIT_TRAIL])


class Stale(MemoryViewsReader):
    """A defect: waits for nothing."""

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        return True


class Backdated(MemoryViewsReader):
    """A defect: names an older version than it shows."""

    async def one(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> Found[A] | None:
        found = await super().one(query, tenant_id, *args)
        return found and msgspec.structs.replace(found, position=found.first_position)


class Skipping(MemoryViewsReader):
    """A defect: leaves rows out of pages."""

    async def page(self, query: Query[A], tenant_id: UUID | None, *args: Any, after: int | None, limit: int) -> Page[A]:
        page = await super().page(query, tenant_id, *args, after=after, limit=limit)
        return msgspec.structs.replace(page, items=page.items[:2] + page.items[3:])


DEFECTS = {
    "what a failing deployment made is not taken away": (Parts(plan=fails_at_once), "behind, unnamed|serves, and"),
    "success is told too early": (Parts(plan=succeeds_too_early), "serves"),
    "requests to cancel are not heard": (
        Parts(plan=deaf_to_cancel),
        "beyond the limit of its step withdraw|was not canceled",
    ),
    "keys are not remembered": (Parts(log=Forgetful), r"ask \d+ was (recorded 2 times|answered differently)"),
    "what was accepted is not recorded": (
        Parts(log=Hasty),
        r"ask \d+ was answered (with .* of \[\]|differently)",
    ),
    "rows and checkpoint part": (
        Parts(views=Torn),
        "is not the fold of the log|has waited .* for nothing|was asked for|and not seen",
    ),
    "a read model is not written": (Parts(views=Partial), "is not the fold of the log"),
    "a read does not wait for If-Position": (Parts(reader=Stale), "was asked for|and not seen"),
    "a status names another position": (Parts(reader=Backdated), "was never so|was asked for"),
    "an event is left out": (Parts(reader=Skipping), "events .* were told"),
}


def play_many(parts: Parts) -> None:
    for seed in range(DEFECT_SEEDS_MAX):
        play(seed, parts)


class TestADefect:
    """The checks can fail: a defect put in by hand is found."""

    @pytest.mark.parametrize("defect", DEFECTS)
    def test_is_found(self, defect: str) -> None:
        parts, found = DEFECTS[defect]

        with pytest.raises(Violated, match=rf"(?s)({found}).*python -m tests\.runner\.simulation"):
            play_many(parts)

    def test_that_tells_what_a_program_said_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(discretion, "hide_in_excerpt", lambda text, _: text)

        with pytest.raises(Violated, match="a secret stands in"):
            play_many(Parts())
