"""One runner: takes what waits under leases, and moves many deployments forward at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from uuid import UUID

import structlog

from commands.execute import Context, execute
from commands.progress import ClaimDeployment
from domain.deployment import SlotTaken, TooManyInAccount, TooManyRunning
from domain.project import ProjectDeploymentsLocked
from domain.refusal import Refusal
from eventstore.codec import EventOfNewerCode
from eventstore.leases import Lease, Leases, Wanted
from eventstore.meta import Actor
from runner.advance import Turns, advance
from runner.duties import Duties
from runner.news import Heard, News
from runner.patience import retry_seconds
from runner.put_off import PutOff
from runner.work_list import Task, WorkList
from runner.world import Held, World

# A runner that dies is missed after so long; one that cannot renew in time stops working before that.
LEASE_SECONDS = 6.0
HEARTBEAT_SECONDS = 1.5
LEASE_SECONDS_MARGIN = 1.5
# A runner whose leases take so long to be kept has as much as it can do, and takes nothing more until they do not.
BEAT_SECONDS_MAX = 1.0
# Between two looks for work, however much happens.
LOOK_SECONDS_MIN = 0.05
# How often what other runners have is looked through for what nobody holds any more.
TAKEOVER_SECONDS = 1.0
# Behind every wake-up there is a look after so long anyway.
POLL_SECONDS = 5.0
# A store in trouble is tried again at least so often.
HINDERED_SECONDS_MAX = 1.0
READY_MAX = 500
CLAIMS_AT_ONCE_MAX = 20
# A deployment that could not be begun is tried again after so long, sooner when something of its tenant ends.
PUT_OFF_SECONDS = 2.0
# One of a locked project is looked at again after so long, sooner when the lock ends or is taken away.
LOCKED_SECONDS_MAX = 30.0
GIVEN_UP_SECONDS = 60.0
# Where an account is said to be full, its tenant's counts are doubted, though not more often than this.
RECOUNT_SECONDS = 30.0
# What newer code has recorded of a deployment this code may never understand; it looks again after so long.
NEWER_CODE_SECONDS = 10.0
# Turns of one deployment that may break off in a row before it is left to another runner.
TURNS_FAILED_MAX = 10
STOP_SECONDS_MAX = 8.0
# Giving up leases is a courtesy, since they run out by themselves: what a store in trouble keeps beyond this is left to it.
LETTING_GO_SECONDS_MAX = 0.5

log = structlog.get_logger()


class _InHand:
    """A deployment this runner works on."""

    def __init__(self, task: Task, lease: Lease) -> None:
        self.task = task
        self.lease = lease
        self.nudged = asyncio.Event()
        self.driving: asyncio.Task[None] | None = None
        self.lost = False


class Runner:
    """Works until it is asked to stop. Any number of them may work on one log."""

    def __init__(
        self,
        world: World,
        work: WorkList,
        leases: Leases,
        duties: Duties,
        *,
        runner_id: UUID,
        deployments_max: int,
    ) -> None:
        self._world = world
        self._work = work
        self._leases = leases
        self._duties = duties
        self._runner_id = runner_id
        self._deployments_max = deployments_max
        self._in_hand: dict[UUID, _InHand] = {}
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._put_off = PutOff(_seconds)
        self._waiting_since: dict[UUID, float] = {}
        self._recounted_at: dict[UUID, float] = {}
        self._passed_over = 0
        self._leased_until = 0.0
        self._beat_seconds = 0.0
        self._took_over_at = -TAKEOVER_SECONDS
        self._claiming = asyncio.Semaphore(CLAIMS_AT_ONCE_MAX)

    async def run(self, stop: asyncio.Event, *, stop_seconds_max: float = STOP_SECONDS_MAX) -> None:
        """Work until `stop` is set, then finish the turns under way or hand them over within `stop_seconds_max`; what then
        cannot even be broken off, because the store does not answer, is given LETTING_GO_SECONDS_MAX more."""
        helpers = [
            asyncio.create_task(self._again(self._beat, HEARTBEAT_SECONDS), name="heartbeat"),
            asyncio.create_task(self._hear(), name="log"),
            asyncio.create_task(self._stop_on(stop), name="stop"),
        ]
        looking = asyncio.create_task(self._again(self._look_and_rest, LOOK_SECONDS_MIN), name="looking")
        duties = asyncio.create_task(self._duties.run(self._stopping, stop_seconds_max=stop_seconds_max), name="duties")
        try:
            await self._stopping.wait()
            await self._hand_over(looking, duties, stop_seconds_max)
        finally:
            tasks = [looking, duties, *self._drives(), *helpers]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=LETTING_GO_SECONDS_MAX)

    async def _again(self, action: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Repeat every so many seconds until it is time to stop (the heartbeat: until cancelled). A store in trouble ends
        nothing."""
        failures = 0
        while action == self._beat or not self._stopping.is_set():
            began = _seconds()
            try:
                await action()
                failures, wait = 0, max(began + seconds - _seconds(), 0.0)
            except Exception as error:  # noqa: BLE001 - whatever the store raises passes; the runner stays
                failures += 1
                wait = min(retry_seconds(failures, 0.0, self._world.random), HINDERED_SECONDS_MAX)
                log.warning("runner_hindered", doing=action.__name__.strip("_"), problem=repr(error))
            await asyncio.sleep(wait)

    async def _stop_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stopping.set()
        self._changed.set()
        for in_hand in self._in_hand.values():
            in_hand.nudged.set()

    # Looking for work.

    async def _look_and_rest(self) -> None:
        self._changed.clear()
        await self._look()
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEOVER_SECONDS if self._room() else POLL_SECONDS):
                await self._changed.wait()

    async def _look(self) -> None:
        if self._room() and _seconds() - self._took_over_at >= TAKEOVER_SECONDS:
            self._took_over_at = _seconds()
            await self._take(await self._abandoned())
        # What was passed over last time keeps nobody from what stands behind it.
        waiting = self._not_in_hand(await self._work.ready(READY_MAX + self._passed_over))
        self._measure(waiting)
        tasks = self._put_off.without(waiting)
        self._passed_over = len(waiting) - len(tasks)
        await self._take(self._fair(tasks))

    def _measure(self, waiting: list[Task]) -> None:
        now, metrics = _seconds(), self._world.metrics
        self._waiting_since = {task.deployment_id: self._waiting_since.get(task.deployment_id, now) for task in waiting}
        metrics.waiting.set(len(waiting))
        metrics.queue_age.set(now - min(self._waiting_since.values(), default=now))

    async def _abandoned(self) -> list[Task]:
        """What was begun and has no living runner."""
        tasks = self._put_off.without(self._not_in_hand(await self._work.under_way()))
        held = {lease.name for lease in await self._leases.held([_name(task) for task in tasks])} if tasks else set()
        return [task for task in tasks if _name(task) not in held]

    def _fair(self, tasks: list[Task]) -> list[Task]:
        """Tenants with little in hand come first, each tenant's own in their order."""
        in_hand = Counter(in_hand.task.tenant_id for in_hand in self._in_hand.values())
        turns: list[tuple[int, Task]] = []
        for task in tasks:
            turns.append((in_hand[task.tenant_id], task))
            in_hand[task.tenant_id] += 1
        return [task for _, task in sorted(turns, key=lambda turn: turn[0])]

    def _not_in_hand(self, tasks: Iterable[Task]) -> list[Task]:
        return [task for task in tasks if task.deployment_id not in self._in_hand]

    def _room(self) -> int:
        if self._stopping.is_set() or self._beat_seconds > BEAT_SECONDS_MAX:
            return 0
        return max(0, self._deployments_max - len(self._in_hand))

    async def _take(self, tasks: list[Task]) -> None:
        by_name = {_name(task): task for task in tasks[: self._room()]}
        if not by_name:
            return
        asked_at = _seconds()
        wanted = [Wanted(name, task.tenant_id) for name, task in by_name.items()]
        leases = await self._leases.acquire(wanted, holder=self._runner_id, seconds=LEASE_SECONDS)
        if not self._in_hand:
            self._leased_until = asked_at + LEASE_SECONDS
        await asyncio.gather(*(self._claim(by_name[lease.name], lease) for lease in leases))

    async def _claim(self, task: Task, lease: Lease) -> None:
        claim = ClaimDeployment(
            tenant_id=task.tenant_id,
            at=self._world.clock(),
            deployment_id=task.deployment_id,
            function_id=task.function_id,
            epoch=lease.epoch,
            runner_id=str(self._runner_id),
        )
        context = Context(
            actor=Actor("runner", str(self._runner_id)),
            command_id=self._world.new_id(),
            correlation_id=task.correlation_id or task.deployment_id,
            causation_id=str(task.due_position),
            record_refusals=False,  # Losing a race is no event.
        )
        in_hand = _InHand(task, lease)
        self._in_hand[task.deployment_id] = in_hand
        try:
            async with self._claiming:
                await execute(self._world.log, claim, context)
        except Refusal as refusal:
            await self._let_go(in_hand)
            if not (isinstance(refusal, TooManyInAccount) and await self._was_miscounted(task.tenant_id)):
                self._refused(task, refusal)
        except BaseException:
            # Whether it was claimed is not known; whoever takes it next sees.
            self._put_off.deployment(task, PUT_OFF_SECONDS)
            await self._let_go(in_hand)
            raise
        else:
            in_hand.driving = asyncio.create_task(self._drive(in_hand), name=f"deployment {task.deployment_id}")

    def _refused(self, task: Task, refusal: Refusal) -> None:
        match refusal:
            case TooManyRunning():
                self._put_off.tenant(task, PUT_OFF_SECONDS)
            case TooManyInAccount():
                self._put_off.account(task, PUT_OFF_SECONDS)
            case SlotTaken():
                self._put_off.deployment(task, PUT_OFF_SECONDS)
            case EventOfNewerCode():
                self._leave_to_newer_code(task, refusal)
            case ProjectDeploymentsLocked(until=until):
                left = (until - self._world.clock()).total_seconds() if until else LOCKED_SECONDS_MAX
                self._put_off.deployment(task, min(max(left, PUT_OFF_SECONDS), LOCKED_SECONDS_MAX))
            case _:
                log.info("claim_refused", deployment_id=str(task.deployment_id), code=refusal.code)
                self._put_off.deployment(task, PUT_OFF_SECONDS)

    async def _was_miscounted(self, tenant_id: UUID) -> bool:
        """Whether the counts of the tenant's accounts did not say what is under way there, as they do again now. Code from
        before there were such counts may have ended, during an upgrade, what was counted."""
        now = _seconds()
        for id in [id for id, at in self._recounted_at.items() if now - at >= RECOUNT_SECONDS]:
            del self._recounted_at[id]
        if tenant_id in self._recounted_at:
            return False
        self._recounted_at[tenant_id] = now
        changed = await self._world.log.recount_in_accounts(tenant_id)
        if changed:
            log.warning("accounts_recounted", tenant_id=str(tenant_id), counts=changed)
        return changed > 0

    def _leave_to_newer_code(self, task: Task, refusal: EventOfNewerCode) -> None:
        """Nothing is decided by half a story: a runner of the newer version takes it, or this one after its upgrade."""
        self._world.metrics.left_to_newer_code.inc()
        log.warning("left_to_newer_code", deployment_id=str(task.deployment_id), problem=refusal.detail)
        self._put_off.deployment(task, NEWER_CODE_SECONDS)

    # Driving what was taken.

    async def _drive(self, in_hand: _InHand) -> None:
        """Turn after turn, until it is over, taken by another runner, or time to stop."""
        task = in_hand.task
        held = Held(
            tenant_id=task.tenant_id,
            deployment_id=task.deployment_id,
            function_id=task.function_id,
            epoch=in_hand.lease.epoch,
            runner_id=str(self._runner_id),
        )
        self._world.metrics.in_flight.set(len(self._in_hand))
        try:
            await self._drive_on(in_hand, held)
        finally:
            await self._let_go(in_hand)
            self._put_off.tenant_moved(task.tenant_id)
            self._changed.set()

    async def _drive_on(self, in_hand: _InHand, held: Held) -> None:
        turns, failures = Turns(in_hand.task.correlation_id), 0
        while not self._stopping.is_set():
            news = in_hand.nudged.is_set()
            in_hand.nudged.clear()
            try:
                seconds = await advance(held, turns, self._world, news=news)
                failures = 0
            except EventOfNewerCode as refusal:
                self._leave_to_newer_code(in_hand.task, refusal)
                return
            except Exception:
                failures += 1
                self._world.metrics.turns_failed.inc()
                log.exception("turn_failed", deployment_id=str(held.deployment_id), failures=failures)
                if failures >= TURNS_FAILED_MAX:
                    self._put_off.deployment(in_hand.task, GIVEN_UP_SECONDS)
                    return
                seconds = retry_seconds(failures, 0.0, self._world.random)
            if seconds is None:
                return
            if seconds > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await in_hand.nudged.wait()

    async def _let_go(self, in_hand: _InHand) -> None:
        self._in_hand.pop(in_hand.task.deployment_id, None)
        self._world.metrics.in_flight.set(len(self._in_hand))
        if in_hand.lost:
            return
        try:
            await self._leases.release([in_hand.lease])
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            log.warning("lease_not_released", deployment_id=str(in_hand.task.deployment_id), problem=repr(error))

    # Keeping what was taken.

    async def _beat(self) -> None:
        """Renew all leases at once. What was lost, or could not be renewed in time, is not worked on any more."""
        if not self._in_hand:
            self._beat_seconds = 0.0
            return
        mine, asked_at = list(self._in_hand.values()), _seconds()
        try:
            async with asyncio.timeout(max(self._leased_until - LEASE_SECONDS_MARGIN - asked_at, 0.1)):
                kept = await self._leases.renew([one.lease for one in mine], seconds=LEASE_SECONDS)
        except Exception:
            self._beat_seconds = _seconds() - asked_at
            if _seconds() > self._leased_until - LEASE_SECONDS_MARGIN:
                self._drop(mine)
            raise
        self._leased_until, self._beat_seconds = asked_at + LEASE_SECONDS, _seconds() - asked_at
        epochs = {(lease.name, lease.epoch) for lease in kept}
        self._drop(one for one in mine if (one.lease.name, one.lease.epoch) not in epochs)

    def _drop(self, lost: Iterable[_InHand]) -> None:
        for in_hand in lost:
            if in_hand.driving is not None and not in_hand.driving.done():
                self._world.metrics.leases_lost.inc()
                log.warning("lease_lost", deployment_id=str(in_hand.task.deployment_id), epoch=in_hand.lease.epoch)
                in_hand.lost = True
                in_hand.driving.cancel()

    # Hearing of news.

    async def _hear(self) -> None:
        """Follow the log: new work, requests to cancel, and places that have become free."""
        news = News(self._world.log, self._work)
        while True:
            try:
                self._heed(await news.next(seconds_max=POLL_SECONDS))
            except Exception as error:  # noqa: BLE001 - the slow poll goes on meanwhile
                log.warning("runner_hindered", doing="hear", problem=repr(error))
                await asyncio.sleep(POLL_SECONDS)

    def _heed(self, heard: Heard) -> None:
        for deployment_id in heard.canceled & self._in_hand.keys():
            self._in_hand[deployment_id].nudged.set()
        for deployment_id in heard.asked:
            self._put_off.deployment_moved(deployment_id)
        for tenant_id in heard.tenants_with_room:
            self._put_off.tenant_moved(tenant_id)
        for project_id in heard.projects:
            self._put_off.project_moved(project_id)
        if heard.asked or heard.tenants_with_room or heard.projects:
            self._changed.set()

    # Stopping.

    async def _hand_over(self, looking: asyncio.Task[None], duties: asyncio.Task[None], seconds_max: float) -> None:
        """Let the turns under way end; those that take longer are broken off, and looked at by whoever goes on."""
        asked_at = _seconds()
        await asyncio.wait([looking], timeout=seconds_max)  # What it has just claimed is handed over as well.
        drives = self._drives()
        _, slow = await asyncio.wait([duties, *drives], timeout=max(asked_at + seconds_max - _seconds(), 0.0))
        broken_off = len(slow - {duties})
        seconds = round(_seconds() - asked_at, 3)
        log.info("runner_handed_over", finished=len(drives) - broken_off, broken_off=broken_off, seconds=seconds)

    def _drives(self) -> list[asyncio.Task[None]]:
        return [one.driving for one in self._in_hand.values() if one.driving is not None]


def _seconds() -> float:
    return asyncio.get_running_loop().time()


def _name(task: Task) -> str:
    return f"deployment/{task.deployment_id}"
