"""Replays: the recorded steps of a deployment against a plan, today's or another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from audit.decisions import Judgement, Plan, Recorded, judge, seen_version
from audit.replay import Replay, replay, replay_all
from domain.deployment import DEPLOYMENT, Deployment, DeploymentUnknown
from domain.event import Fact
from eventstore.log import StoredEvent
from eventstore.meta import Meta, encode_meta
from providers.provider import Observation
from runner import plan
from runner.plan import Step, next_step
from tests.eventstore.bridge.environments import environment
from tests.projections.history import CODEC, History, stored
from tests.projections.stories import STORIES, about_others
from tests.runner.simulation import play
from tests.runner.town import Town
from tests.support import a


def judged(events: Sequence[StoredEvent], decide: Plan = next_step) -> list[Judgement]:
    """A deployment's events judged, the states folded without any library."""
    states, recorded = [DEPLOYMENT.initial], []
    for number, event in enumerate(events):
        fact: Any = CODEC.decode(event)
        before = states[seen_version(event, events[:number])]
        recorded.append(Recorded(fact, event.version, event.position, event.recorded_at, before))
        states.append(DEPLOYMENT.evolve(states[-1], fact))
    return judge(recorded, decide)


async def _judged(facts: Sequence[Fact], decide: Plan = next_step) -> list[Judgement]:
    own = [fact for fact in facts if fact.stream == DEPLOYMENT.stream(a.TENANT_ID, a.DEPLOYMENT_ID)]
    # As a runner does, each names the position before it as what it had seen.
    events = await stored(*own)
    metas = [encode_meta(Meta(causation_id=str(event.position - 1))) for event in events]
    return judged([msgspec.structs.replace(e, meta=meta) for e, meta in zip(events, metas, strict=True)], decide)


def _by_deployment(town: Town) -> Iterable[list[StoredEvent]]:
    found: dict[UUID, list[StoredEvent]] = {}
    for event in asyncio.run(town.log.read(0, limit=100_000)):
        if event.type.startswith("deployment."):
            found.setdefault(event.stream_id, []).append(event)
    return found.values()


class TestJudge:
    @pytest.mark.parametrize("seed", range(6))
    def test_agrees_with_all_that_runners_record_in_a_storm(self, seed: int) -> None:
        """Goal: no false alarm. Method: runners that die, clouds that lie and people who change their minds make the
        log; whoever recorded something had decided so from what it had seen."""
        every = [one for events in _by_deployment(play(seed)) for one in judged(events)]

        assert [one for one in every if not one.agrees] == []
        assert [one for one in every if one.decided]

    async def test_says_where_another_plan_would_have_done_otherwise(self) -> None:
        def eager(recorded: Deployment, observed: Observation | None, at: datetime) -> Step:
            step = next_step(recorded, observed, at)
            return plan.NoteActivated() if isinstance(step, plan.NoteVerified) else step

        judged = await _judged(STORIES["deployed and undeployed"], eager)

        otherwise = [one for one in judged if not one.agrees]
        assert [one.event for one in otherwise] == ["deployment.release_verified"]
        assert otherwise[0].decided == "NoteActivated"
        assert "NoteActivated" in otherwise[0].because

    async def test_what_nobody_decides_is_not_judged(self) -> None:
        judged = await _judged((a.deployment_queued(), a.cancel_requested(), a.deployment_canceled()))

        assert [(one.event, one.decided, one.agrees) for one in judged] == [
            ("deployment.queued", "", True),
            ("deployment.cancel_requested", "", True),
            ("deployment.canceled", "", True),
        ]

    async def test_a_step_out_of_order_is_found(self) -> None:
        facts = (a.deployment_queued(), a.deployment_claimed(), a.deployment_bundled(), a.image_pushed())

        judged = await _judged(facts)

        assert [one.event for one in judged if not one.agrees] == ["deployment.pushed"]

    async def test_another_reason_to_fail_is_another_decision(self) -> None:
        def impatient(recorded: Deployment, observed: Observation | None, at: datetime) -> Step:
            step = next_step(recorded, observed, at)
            late = plan.NoteFailure(failure=msgspec.structs.replace(a.FAILURE, code="step_timed_out"))
            return late if isinstance(step, plan.NoteBuildFailed) else step

        judged = await _judged(STORIES["did not compile"], impatient)

        assert "deployment.build_failed" in [one.event for one in judged if not one.agrees]


class TestReplay:
    async def _replay(self, url: str, **parts: Any) -> Replay:
        return await asyncio.to_thread(replay, environment(url, None), a.DEPLOYMENT_ID, **parts)

    async def test_folds_the_past_with_the_library_as_we_do(self, database_url: str, history: History) -> None:
        await history.record(*STORIES["deployed and undeployed"])

        found = await self._replay(database_url)

        state = DEPLOYMENT.initial
        for event in (await history.log.load([DEPLOYMENT.stream(a.TENANT_ID, a.DEPLOYMENT_ID)]))[0]:
            state = DEPLOYMENT.evolve(state, CODEC.decode(event))
        assert found.state == state
        assert [one.version for one in found.judgements] == list(range(1, len(found.judgements) + 1))

    async def test_of_all_follows_the_log_to_its_end(self, database_url: str, history: History) -> None:
        await history.record(*STORIES["did not compile"])
        await history.record_together(about_others(STORIES["deployed and undeployed"], 5))
        await history.record(a.project_renamed("Shop 2"))

        def every() -> list[Replay]:
            return list(replay_all(environment(database_url, None)))

        found = await asyncio.to_thread(every)

        assert found[0] == await self._replay(database_url)
        assert [len(one.judgements) for one in found] == [len(found[0].judgements), 16]

    async def test_of_an_empty_log_is_none(self, database_url: str) -> None:
        assert await asyncio.to_thread(lambda: list(replay_all(environment(database_url, None)))) == []

    async def test_knows_nothing_of_other_ids(self, database_url: str, history: History) -> None:
        await history.record(a.project_created())

        with pytest.raises(DeploymentUnknown):
            await self._replay(database_url)
