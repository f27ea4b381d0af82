"""Move one deployment one step forward: look, plan, act, record."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from commands.command import Command
from commands.execute import Context, execute
from commands.progress import RecordWaiting
from domain.deployment import Deployment, Failure, StaleEpoch
from domain.refusal import Busy, Conflict
from eventstore.codec import EventOfNewerCode
from eventstore.log import NO_STREAM, OutcomeUnknown
from eventstore.meta import Actor
from process.key_service import KeyServiceUnusable
from providers.provider import Observation, Order, ProviderBusy, ProviderRefused
from runner import plan
from runner.access import access_of
from runner.build_output import BuildOutput
from runner.discretion import no_master_key
from runner.patience import poll_seconds, retry_seconds
from runner.perform import Act, Note, NoteWithdrawn, Pause, observe, perform
from runner.report import report_of
from runner.seen import Seen, look, order_of, recorded_by_us
from runner.world import Held, World

# A report whose recording is in doubt is sent again under the same command id, which records it once.
SENDINGS_MAX = 3
# What a cloud makes us wait for is news when it lasts or recurs, and then again when its message changes.
WAITING_NEWS_SECONDS = 5.0
WAITING_NEWS_FAILURES = 2
WAITING_EVENTS_MAX = 20
# While nothing is heard of a deployment, what was read of it is taken for what is recorded for so long: a report is fenced
# by its epoch anyway, and of a request to cancel the runner hears.
READ_AGAIN_SECONDS = 10.0

log = structlog.get_logger()


class Turns:
    """What a runner keeps in mind of a deployment between its turns. Another runner goes on without it.

    The first turn follows a claim that was just recorded; `correlation_id` is that of the request behind it.
    """

    def __init__(self, correlation_id: UUID | None = None) -> None:
        self.seen = Seen(correlation_id=correlation_id)
        self.seen_at: datetime | None = None
        self.just_recorded = True
        self.output = BuildOutput()
        self.polls = 0
        self.failures = 0
        self._reported_at = NO_STREAM
        self._told: tuple[str, str] | None = None
        self._tellings = 0

    def reported(self) -> bool:
        """A report was sent. False when the one before changed nothing, so that this one may not either."""
        stuck, self._reported_at = self._reported_at == self.seen.version, self.seen.version
        if stuck:
            self.failures += 1
        else:
            self.polls = self.failures = 0
        return not stuck

    def is_news(self, step: str, message: str, seconds: float) -> bool:
        """Whether a wait belongs in the timeline. Says so once for each."""
        lasting = seconds >= WAITING_NEWS_SECONDS or self.failures >= WAITING_NEWS_FAILURES
        if not lasting or self._told == (step, message) or self._tellings >= WAITING_EVENTS_MAX:
            return False
        self._told = (step, message)
        self._tellings += 1
        return True


async def advance(held: Held, turns: Turns, world: World, *, news: bool) -> float | None:
    """One turn; with `news` something was heard of the deployment since the last one.

    Returns how many seconds to wait before the next; None when there is nothing more to do for this runner.

    Breaking it off anywhere loses nothing: the next turn, here or in another runner, looks first. Raises EventOfNewerCode,
    and what the store raises.
    """
    at = world.clock()
    if news or turns.seen_at is None or at - turns.seen_at > timedelta(seconds=READ_AGAIN_SECONDS):
        # What was recorded a moment ago is known, so that a turn need not wait for the store before it begins.
        known = recorded_by_us(world.log, held, turns.seen) if turns.just_recorded and not news else None
        turns.seen = known or await look(world.log, held, turns.seen)
        turns.seen_at, turns.just_recorded = at, False
    deployment = turns.seen.deployment
    order = order_of(held, deployment, await access_of(world.log, held, deployment))
    if order is None or deployment.epoch != held.epoch or not deployment.is_under_way:
        return None
    try:
        return await _turn(order, held, turns, world)
    except StaleEpoch:
        return None  # Another runner has taken it over.


async def _turn(order: Order, held: Held, turns: Turns, world: World) -> float | None:
    deployment = turns.seen.deployment
    observed: Observation | None = None
    trouble: ProviderBusy | None = None
    try:
        observed = await observe(order, world, needs_words=not plan.is_withdrawing(deployment))
        step = world.plan(deployment, observed, world.clock())
    except ProviderBusy as busy:
        trouble, step = busy, world.plan(deployment, None, world.clock())
    except ProviderRefused as refused:
        return await _refused(refused, None, held, turns, world)
    match step:
        case plan.Leave():
            return None
        case plan.AwaitBuild() | plan.AwaitHealthy() | plan.AwaitSettled() | plan.AwaitGone() | plan.LookAgain():
            return await _pause(step, order, trouble, held, turns, world)
        case plan.Bundle() | plan.StartBuild() | plan.Push() | plan.Apply() | plan.Promote() | plan.Withdraw():
            return await _act(step, order, observed, held, turns, world)
        case plan.NoteBuildSucceeded() | plan.NoteBuildFailed():
            try:
                await turns.output.carry(order, world, to_the_end=True)
            except KeyServiceUnusable as problem:
                if not plan.is_overdue(deployment, world.clock()):
                    return await _wait(no_master_key(problem), held, turns, world)
                await turns.output.withhold(order, world)
            return await _record(step, held, turns, world)
        case note:
            return await _record(note, held, turns, world)


async def _pause(
    step: Pause, order: Order, trouble: ProviderBusy | None, held: Held, turns: Turns, world: World
) -> float:
    if trouble is not None:
        return await _wait(trouble, held, turns, world)
    if isinstance(step, plan.AwaitBuild):
        with suppress(KeyServiceUnusable):  # What was read is kept, and written once the secrets in it are known.
            await turns.output.carry(order, world, to_the_end=False)
    turns.polls += 1
    return poll_seconds(turns.polls, world.random)


async def _act(act: Act, order: Order, observed: Observation | None, held: Held, turns: Turns, world: World) -> float:
    if isinstance(act, plan.Withdraw) and turns.seen.deployment.build_id:
        with suppress(KeyServiceUnusable):  # Taking away what is there never waits for what was said.
            await turns.output.carry(order, world, to_the_end=True)  # While there is still something to read.
    try:
        note = await perform(act, order, world)
    except ProviderBusy as busy:
        return await _wait(busy, held, turns, world)
    except ProviderRefused as refused:
        return await _refused(refused, observed, held, turns, world)
    if note is None:
        turns.polls += 1
        return poll_seconds(turns.polls, world.random)
    return await _record(note, held, turns, world)


async def _wait(busy: ProviderBusy, held: Held, turns: Turns, world: World) -> float:
    """Try again later: the step's own limit is the budget."""
    turns.failures += 1
    seconds = retry_seconds(turns.failures, busy.retry_in_seconds, world.random)
    step = plan.step_name(turns.seen.deployment)
    world.metrics.waits.labels(step).inc()
    if turns.is_news(step, busy.message, seconds):
        waiting = RecordWaiting(
            tenant_id=held.tenant_id,
            at=world.clock(),
            deployment_id=held.deployment_id,
            function_id=held.function_id,
            epoch=held.epoch,
            step=step,
            message=busy.message,
            retry_in_seconds=round(seconds, 1),
        )
        await _report(waiting, held, turns, world)
    return seconds


async def _refused(
    refused: ProviderRefused, observed: Observation | None, held: Held, turns: Turns, world: World
) -> float:
    """A cloud's no is final: it is why the deployment fails, and what cannot be taken away then is named."""
    deployment = turns.seen.deployment
    step = plan.step_name(deployment)
    failure = Failure(code=refused.code, step=step, message=refused.message, remedy=refused.remedy)
    return await _record(plan.after_refusal(deployment, observed, failure), held, turns, world)


async def _record(note: Note, held: Held, turns: Turns, world: World) -> float:
    deployment = turns.seen.deployment
    await _report(report_of(note, held, world.clock()), held, turns, world)
    if turns.just_recorded:
        log.info(
            "deployment_step",
            deployment_id=str(held.deployment_id),
            epoch=held.epoch,
            step=plan.step_name(deployment),
            found=type(note).__name__,
        )
        _count(note, deployment, world)
    if isinstance(note, NoteWithdrawn) and note.remaining:
        return retry_seconds(deployment.withdrawals + 1, 0.0, world.random)
    return 0.0 if turns.reported() else retry_seconds(turns.failures, 0.0, world.random)


async def _report(command: Command, held: Held, turns: Turns, world: World) -> None:
    """Record it. What no longer fits where the deployment stands is dropped: the next turn looks again. Raises StaleEpoch or
    EventOfNewerCode."""
    context = Context(
        actor=Actor("runner", held.runner_id),
        command_id=world.new_id(),
        correlation_id=turns.seen.correlation_id or held.deployment_id,
        causation_id=str(turns.seen.position),
    )
    turns.seen_at, turns.just_recorded = None, False
    for sending in range(1, SENDINGS_MAX + 1):
        try:
            await execute(world.log, command, context)
        except (StaleEpoch, EventOfNewerCode):
            raise
        except (OutcomeUnknown, Busy):
            if sending == SENDINGS_MAX:
                raise
        except Conflict as conflict:
            log.info("report_dropped", deployment_id=str(held.deployment_id), code=conflict.code)
            return
        else:
            turns.just_recorded = True
            return


def _count(note: Note, before: Deployment, world: World) -> None:
    if before.step_since is not None:
        seconds = (world.clock() - before.step_since).total_seconds()
        world.metrics.step_seconds.labels(plan.step_name(before)).observe(max(seconds, 0.0))
    match note:
        case plan.NoteActivated():
            world.metrics.ended.labels("succeeded").inc()
        case plan.Fail():
            world.metrics.ended.labels("failed").inc()
        case plan.Cancel():
            world.metrics.ended.labels("canceled").inc()
        case plan.NoteUndeployed():
            world.metrics.ended.labels("undeployed").inc()
        case plan.FailUndeploy():
            world.metrics.ended.labels("undeploy_failed").inc()
        case _:
            pass
