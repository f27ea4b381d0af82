"""Every limit of a plan under a crowd: never passed, and all that fits gets through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from commands.claimed import QueueFull
from commands.command import Command
from commands.execute import Done, TooMuchContention, execute
from commands.progress import ClaimDeployment
from commands.webhook import CreateWebhook
from domain.deployment import TooManyInAccount, TooManyRunning
from domain.event import Fact
from domain.function import ArtifactFiles
from domain.refusal import LimitReached
from domain.tenant import INVITATIONS_MAX
from eventstore.log import Log
from eventstore.memory import MemoryLog
from tests.commands.test_contention import process
from tests.commands.test_execute import clock, context, record
from tests.support import a
from tests.support.limits import Violated, replay

FEW, MANY = 60, 1_000
_LATER = clock() + timedelta(days=1)
TRIES_MAX = 10


def _id(number: int) -> UUID:
    return UUID(int=0x0195_5000_0000_7000_8000_0000_0001_0000 + number)


class _Crowd(NamedTuple):
    """What is recorded before, what is asked before, and what everybody then asks at once."""

    facts: tuple[Fact, ...]
    before: Sequence[Sequence[Command]]
    at_once: Sequence[Command]


def _projects(count: int, limit: int) -> _Crowd:
    commands = [a.create_project(project_id=_id(n), name=f"project-{n}") for n in range(count)]
    return _Crowd((a.plan_defined(projects=limit), a.tenant_created()), [], commands)


def _functions(count: int, limit: int) -> _Crowd:
    commands = [a.create_function(_id(n), name=f"function-{n}") for n in range(count)]
    return _Crowd((*a.function_ready(), a.plan_defined(functions_per_project=limit)), [], commands)


def _members(count: int, limit: int) -> _Crowd:
    persons = tuple(a.person_registered(_id(n)) for n in range(count))
    commands = [a.add_member(person_id=_id(n)) for n in range(count)]
    return _Crowd((a.plan_defined(members=limit), a.tenant_created(), *persons), [], commands)


def _invited(count: int, limit: int) -> _Crowd:
    """Everybody accepts an invitation of their own at once; no more may be open than INVITATIONS_MAX."""
    persons = tuple(a.person_registered(_id(n)) for n in range(count))
    invited = [a.invite_member(invitation_id=_id(MANY + n), at=clock(), expires_at=_LATER) for n in range(count)]
    commands = [a.accept_invitation(invitation_id=_id(MANY + n), person_id=_id(n), at=clock()) for n in range(count)]
    return _Crowd((a.plan_defined(members=limit), a.tenant_created(), *persons), [invited], commands)


def _webhooks(count: int, limit: int) -> _Crowd:
    asked: dict[str, Any] = {"tenant_id": a.TENANT_ID, "project_id": a.PROJECT_ID, "secret_id": a.id_of(80)}
    commands = [CreateWebhook(webhook_id=_id(n), at=clock(), url=a.WEBHOOK_URL, **asked) for n in range(count)]
    facts = (*a.function_ready(), a.plan_defined(webhooks_per_project=limit))
    return _Crowd(facts, [], commands)


def _queued(count: int, limit: int) -> _Crowd:
    """One function each: of one function the newer would overtake the older."""
    plan = a.plan_defined(queued_deployments=limit, functions_per_project=count + 1, concurrent_deployments=count)
    files = ArtifactFiles(code_file=a.staged_id("code"), yaml_file=a.staged_id("yaml"))
    functions = [a.create_function(_id(n), name=f"function-{n}", artifact_files=files) for n in range(count)]
    commands = [a.queue_deployment(function_id=_id(n), deployment_id=_id(MANY + n)) for n in range(count)]
    return _Crowd((*a.function_ready(), plan), [functions], commands)


def _running(count: int, limit: int) -> _Crowd:
    facts, functions, queue = _queued(count, count)
    plan = a.plan_defined(queued_deployments=count, functions_per_project=count + 1, concurrent_deployments=limit)
    claims = [a.report(ClaimDeployment, function_id=_id(n), deployment_id=_id(MANY + n), epoch=1) for n in range(count)]
    return _Crowd((*facts[:-1], plan), [*functions, queue], claims)


def _in_account(count: int, limit: int) -> _Crowd:
    facts, before, claims = _running(count, count)
    plan = a.plan_defined(
        queued_deployments=count,
        functions_per_project=count + 1,
        concurrent_deployments=count,
        concurrent_deployments_per_account=limit,
    )
    return _Crowd((*facts[:-1], plan), before, claims)


Crowd = Callable[[int, int], _Crowd]
EVERY: tuple[Crowd, ...] = (_projects, _functions, _members, _invited, _webhooks, _queued, _running, _in_account)


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Log]:
    async with AsyncExitStack() as exits:
        yield await process(exits, database_url)


async def _crowd(log: Log, commands: Sequence[Command], *, first_id: int) -> list[Done | BaseException]:
    asked = (_answered(log, command, number) for number, command in enumerate(commands, start=first_id))
    return await asyncio.gather(*asked, return_exceptions=True)


async def _answered(log: Log, command: Command, number: int) -> Done:
    """Asks again when told to come again: a slow machine does not serve a thousand in the time that one may wait."""
    for _ in range(TRIES_MAX - 1):
        with suppress(TooMuchContention):
            return await execute(log, command, context(number))
    return await execute(log, command, context(number))


async def _tried(log: Log, crowd: Crowd, *, count: int, limit: int) -> None:
    facts, before, at_once = crowd(count, limit)
    await record(log, *facts)
    for number, commands in enumerate(before, start=1):
        for outcome in await _crowd(log, commands, first_id=number * 10_000):
            assert isinstance(outcome, Done), outcome

    outcomes = await _crowd(log, at_once, first_id=200_000)

    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    others = {type(outcome) for outcome in outcomes if not isinstance(outcome, Done)}
    assert len(done) == limit, others
    assert others in ({LimitReached}, {QueueFull}, {TooManyRunning}, {TooManyInAccount})


@pytest.mark.parametrize("crowd", EVERY, ids=lambda crowd: crowd.__name__.strip("_"))
class TestALimit:
    async def test_holds_in_memory(self, crowd: Crowd) -> None:
        await _tried(MemoryLog(clock), crowd, count=FEW, limit=FEW // 3)

    async def test_holds_in_postgresql(self, crowd: Crowd, postgres: Log) -> None:
        await _tried(postgres, crowd, count=FEW, limit=FEW // 3)

    @pytest.mark.proof
    async def test_holds_for_a_thousand_at_once(self, crowd: Crowd, postgres: Log) -> None:
        count = INVITATIONS_MAX if crowd is _invited else MANY
        await _tried(postgres, crowd, count=count, limit=count * 9 // 10)


class TestTheReplay:
    """The check can fail: what passes a limit is found in the log, whatever the counters said."""

    @pytest.mark.parametrize(
        ("limits", "bound"),
        [
            ({"concurrent_deployments": 1}, "tenant"),
            ({"concurrent_deployments": 2, "concurrent_deployments_per_account": 1}, "account"),
        ],
    )
    async def test_finds_more_under_way_than_a_plan_allows(self, limits: dict[str, Any], bound: str) -> None:
        log = MemoryLog(clock)
        await record(log, *a.function_ready(), a.plan_defined(**limits))
        for number in range(2):
            release = a.release(function_id=_id(number))
            await record(log, a.deployment_queued(_id(MANY + number), release=release))
            await record(log, a.deployment_claimed(_id(MANY + number)))

        with pytest.raises(Violated, match=f"2 of at most 1 under way of {bound}"):
            await replay(log)

    async def test_finds_what_was_begun_under_a_lock(self) -> None:
        log = MemoryLog(clock)
        locked = a.deployments_locked(expires_at=clock() + timedelta(hours=1))
        await record(log, *a.function_ready(), a.deployment_queued(), locked, a.deployment_claimed())

        with pytest.raises(Violated, match=r"claimed at position .* in a project locked"):
            await replay(log)
