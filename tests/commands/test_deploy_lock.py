"""A project's deploy lock: what it keeps from beginning, what it leaves alone, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from commands.command import Command
from commands.execute import Done
from commands.progress import ClaimDeployment
from domain.deployment import DeploymentWaiting
from domain.event import Fact
from domain.project import (
    LOCK_DAYS_MAX,
    LockExpiryNotAllowed,
    ProjectDeploymentsLocked,
    ProjectIsArchived,
    ProjectUnknown,
)
from eventstore.log import Log
from eventstore.memory import MemoryLog
from tests.commands.test_contention import process, race
from tests.commands.test_execute import clock, record
from tests.support import a
from tests.support.limits import replay
from tests.support.scenario import given

HOUR = timedelta(hours=1)
LOCKED = (*a.function_ready(), a.deployments_locked())
QUEUED = (*a.function_ready(), a.deployment_requested(), a.deployment_queued())
FAILED = (*a.deployment_under_way(), a.deployment_failed(), a.deployment_ended())
REPLACED = (*a.deployment_active(), a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID))
RIVALS = 30

Again = Callable[..., Command]


class TestLockDeployments:
    def test_ends_by_itself_though_nobody_says_when(self) -> None:
        given(a.project_created()).when(a.lock_deployments()).then(
            a.deployments_locked(expires_at=a.AT + timedelta(days=LOCK_DAYS_MAX))
        )

    def test_replaces_the_lock_there_was(self) -> None:
        given(*LOCKED).when(a.lock_deployments(reason="audit", expires_at=a.AT + 2 * HOUR)).then(
            a.deployments_locked("audit", a.AT + 2 * HOUR)
        )

    def test_asking_for_what_is_so_changes_nothing(self) -> None:
        given(*LOCKED).when(a.lock_deployments(expires_at=a.AT + HOUR)).then_nothing()

    @pytest.mark.parametrize("after", [timedelta(), -HOUR, timedelta(days=LOCK_DAYS_MAX, seconds=1)])
    def test_refuses_an_end_that_has_passed_or_is_too_far(self, after: timedelta) -> None:
        given(a.project_created()).when(a.lock_deployments(expires_at=a.AT + after)).then_refused(
            LockExpiryNotAllowed, fields=("expiresAt",)
        )

    def test_refuses_a_project_that_is_archived_or_never_was(self) -> None:
        given(a.project_created(), a.project_archived()).when(a.lock_deployments()).then_refused(ProjectIsArchived)
        given().when(a.lock_deployments()).then_refused(ProjectUnknown)


class TestUnlockDeployments:
    def test_takes_the_lock_away_whoever_made_it(self) -> None:
        given(*LOCKED).when(a.unlock_deployments()).then(a.deployments_unlocked())

    def test_asking_twice_changes_nothing(self) -> None:
        given(a.project_created()).when(a.unlock_deployments()).then_nothing()
        given(*LOCKED, a.deployments_unlocked()).when(a.unlock_deployments()).then_nothing()

    def test_has_nothing_to_do_once_the_lock_has_ended_by_itself(self) -> None:
        given(*LOCKED).when(a.unlock_deployments(at=a.AT + HOUR)).then_nothing()


class TestALock:
    @pytest.mark.parametrize(
        ("before", "ask"),
        [
            pytest.param(a.function_ready(), a.queue_deployment, id="deploy"),
            pytest.param(FAILED, a.retry_deployment, id="retry"),
            pytest.param(FAILED, a.redeploy_deployment, id="redeploy"),
            pytest.param(REPLACED, a.rollback_deployment, id="roll back"),
        ],
    )
    def test_refuses_whatever_would_be_begun_and_says_who_why_and_until_when(
        self, before: tuple[Fact, ...], ask: Again
    ) -> None:
        refusal = given(*before, a.deployments_locked()).when(ask()).then_refused(ProjectDeploymentsLocked)

        assert refusal.detail == (
            f"Deployments of the project are locked by person {a.PERSON_ID} until 2026-03-01T13:00:00Z: stocktaking"
        )
        assert "dcf projects unlock" in refusal.remedy

    def test_leaves_canceling_and_undeploying_alone(self) -> None:
        given(*QUEUED, a.deployments_locked()).when(a.cancel_deployment()).then(
            a.cancel_requested(), a.deployment_canceled(), a.deployment_ended()
        )
        given(*a.deployment_active(), a.deployments_locked()).when(a.undeploy_deployment()).then(a.undeploy_requested())
        undeploying = (*a.deployment_active(), a.undeploy_requested(), a.deployments_locked())
        given(*undeploying).when(a.report(ClaimDeployment, epoch=2)).then(
            a.deployment_claimed(epoch=2), a.undeploy_started()
        )

    def test_ends_by_itself(self) -> None:
        given(*QUEUED, a.deployments_locked()).when(a.report(ClaimDeployment, at=a.AT + HOUR)).then(
            a.deployment_claimed()
        )

    def test_lets_what_was_begun_go_on_when_its_runner_dies(self) -> None:
        given(*a.deployment_under_way(), a.deployments_locked()).when(a.report(ClaimDeployment, epoch=2)).then(
            a.deployment_claimed(epoch=2, account="")
        )

    def test_holds_back_what_is_queued_and_tells_its_timeline_once_for_each_lock(self) -> None:
        locked = (*QUEUED, a.deployments_locked())
        waiting = held_back("stocktaking", "2026-03-01T13:00:00Z", 3600.0)

        given(*locked).when(a.report(ClaimDeployment)).then(waiting, claims=(), counters=())
        given(*locked, waiting).when(a.report(ClaimDeployment)).then_refused(ProjectDeploymentsLocked)
        given(*locked, waiting, a.deployments_locked("audit")).when(a.report(ClaimDeployment)).then(
            held_back("audit", "2026-03-01T13:00:00Z", 3600.0)
        )


def held_back(reason: str, until: str, seconds: float) -> Fact:
    message = f"Deployments of the project are locked by person {a.PERSON_ID} until {until}: {reason}"
    event = DeploymentWaiting(epoch=0, step="queue", message=message, retry_in_seconds=seconds)
    return Fact(a.deployment_queued().stream, event)


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Log]:
    async with AsyncExitStack() as exits:
        yield await process(exits, database_url)


class TestLockAgainstDeploy:
    """*Method:* many ask to deploy, runners claim, and somebody locks and unlocks, all at once; the log must show nothing
    queued or begun while it was locked."""

    async def test_lets_nothing_through_in_memory(self) -> None:
        await self._race(MemoryLog(clock))

    async def test_lets_nothing_through_in_postgresql(self, postgres: Log) -> None:
        await self._race(postgres)

    async def _race(self, log: Log) -> None:
        await record(log, *a.function_ready(), a.plan_defined(queued_deployments=RIVALS, concurrent_deployments=RIVALS))
        deployments = [a.id_of(300 + n) for n in range(RIVALS)]
        until = clock() + HOUR

        async def asked(number: int, **ids: Any) -> list[Done | BaseException]:
            """What came of asking to deploy, and of claiming it, again and again between locks."""
            random, outcomes = Random(number), []
            for n in range(10):
                begin = [a.queue_deployment(at=clock(), **ids), a.report(ClaimDeployment, at=clock(), epoch=1, **ids)]
                lock = a.lock_deployments(at=clock(), reason=f"lock {number}.{n}", expires_at=until)
                command = random.choice([*begin, lock, a.unlock_deployments(at=clock())])
                [result] = await race(log, [command], first_id=5_000 + 10 * number + n)
                outcomes += [result] if command in begin else []
            return outcomes

        outcomes = await asyncio.gather(*(asked(n, deployment_id=id) for n, id in enumerate(deployments)))

        kinds = {type(one) for some in outcomes for one in some}
        assert {Done, ProjectDeploymentsLocked} <= kinds, "they did race"
        await replay(log)
