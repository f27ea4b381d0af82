"""Calls functions when their schedule is due: each tick once, by whoever takes it.

A tick that comes at most LATE_SECONDS_MAX late is fired still; of several that are, only the newest. What is older was
missed, and is written down as that. A function that certainly was not reached is tried again within the same time; one that
was, or may have been, is never called twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import structlog

from domain.cron import Cron, CronInvalid, ZoneUnknown, next_tick, parse, zone
from domain.trigger import TICK_TYPE
from eventstore.ticks import Tick, Ticks, TickStatus
from projections.query import Found
from projections.reader import PAGE_ROWS_MAX, Reader
from projections.schedules import SCHEDULES_KEPT, Scheduled
from providers.provider import Call, Calling, NoAnswer, Provider, ProviderBusy, ProviderRefused
from runner.metrics import Metrics
from runner.patience import retry_seconds

LATE_SECONDS_MAX = 300.0
# How far back it is looked for ticks that nobody took, and how many of one schedule are written down.
LOOK_BACK = timedelta(days=1)
MISSED_MAX = 100
# How soon a schedule that begins or ends is heard of.
READ_SECONDS = 5.0
PAUSE_SECONDS_MIN = 0.05
TAKE_MAX = 500
CALLS_MAX = 200
TENANT_CALLS_MAX = 20
# What a call may take beyond the function's own limit before its tick counts as lost.
LOST_SECONDS_MORE = 60.0

TELLINGS_MAX = 5

_LATE_MAX = timedelta(seconds=LATE_SECONDS_MAX)
_SUCCESS, _REDIRECT = 200, 300
STOPPED = "The runner was stopped while the function was at work."

log = structlog.get_logger()


class _End(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call."""

    status: TickStatus
    http_status: int | None = None
    message: str = ""


class _Kept(msgspec.Struct, kw_only=True):
    """A schedule that is being kept; `next_at` is its first tick not looked at."""

    tenant_id: UUID
    row: Scheduled
    cron: Cron
    place: ZoneInfo
    next_at: datetime | None

    def due(self, now: datetime) -> list[datetime]:
        """Its ticks up to now, each named once."""
        found: list[datetime] = []
        while self.next_at is not None and self.next_at <= now:
            found.append(self.next_at)
            self.next_at = next_tick(self.cron, self.place, self.next_at)
        return found[-MISSED_MAX - 1 :]


class Schedules:
    """A Duty. Several runners that both believe to have it call nothing twice: a tick is taken by one of them."""

    name = "schedules"

    def __init__(
        self,
        reader: Reader,
        ticks: Ticks,
        providers: Mapping[str, Provider],
        *,
        clock: Callable[[], datetime],
        random: Random,
        metrics: Metrics,
    ) -> None:
        self._reader = reader
        self._ticks = ticks
        self._providers = providers
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._kept: dict[UUID, _Kept] = {}
        self._read_at: datetime | None = None
        self._firing: dict[asyncio.Task[None], Tick] = {}
        self._calling: set[Tick] = set()
        self._stopping = asyncio.Event()
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._calls_of: defaultdict[UUID, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(TENANT_CALLS_MAX))

    @property
    def pause_seconds(self) -> float:
        """Until something is due, or it is time to look which schedules there are."""
        now = self._clock()
        due = [kept.next_at for kept in self._kept.values() if kept.next_at is not None]
        read = now if self._read_at is None else self._read_at + timedelta(seconds=READ_SECONDS)
        return max((min([read, *due]) - now).total_seconds(), PAUSE_SECONDS_MIN)

    def begin(self) -> None:
        self._kept, self._read_at = {}, None

    async def round(self) -> None:
        now = self._clock()
        if self._read_at is None or now >= self._read_at + timedelta(seconds=READ_SECONDS):
            await self._read(now)
            self._read_at = now
        try:
            await self._fire([(kept, at) for kept in list(self._kept.values()) for at in kept.due(now)], now)
        except BaseException:
            self.begin()  # What could not be taken is found again by what was taken last.
            raise

    async def hand_over(self, seconds_max: float) -> None:
        """Functions that have not been called are left to others; for the calls under way there is so much time."""
        self._stopping.set()
        if not self._firing:
            return
        _, slow = await asyncio.wait(self._firing, timeout=seconds_max)
        for task in slow:
            tick = self._firing[task]
            task.cancel()
            with suppress(Exception):  # Then it is given up as lost when its time is over.
                if tick in self._calling:
                    await self._ticks.end(tick, "unknown", message=STOPPED)
                else:
                    await self._ticks.give_back(tick)

    # Which schedules there are.

    async def _read(self, now: datetime) -> None:
        await self._ticks.give_up_lost()
        found = {row.id: row async for row in self._rows()}
        fresh = [row for id, row in found.items() if id not in self._kept]
        self._kept = {id: kept for id, kept in self._kept.items() if id in found}
        newest = await self._ticks.newest([(row.tenant_id, row.row.function_id) for row in fresh]) if fresh else {}
        for row in fresh:
            with suppress(CronInvalid, ZoneUnknown):  # Refused at the door, unless this machine knows fewer zones.
                self._kept[row.id] = _kept(row, newest.get(row.row.function_id), now)
        self._metrics.schedules.set(len(self._kept))

    async def _rows(self) -> AsyncIterator[Found[Scheduled]]:
        after: int | None = None
        while True:
            page = await self._reader.page(SCHEDULES_KEPT, None, after=after, limit=PAGE_ROWS_MAX)
            for found in page.items:
                yield found
            after = page.next_after
            if after is None:
                return

    # Firing what is due.

    async def _fire(self, due: list[tuple[_Kept, datetime]], now: datetime) -> None:
        latest = {kept.row.deployment_id: at for kept, at in due}
        wanted = [
            _tick(kept, at, fires=at == latest[kept.row.deployment_id] and now - at <= _LATE_MAX) for kept, at in due
        ]
        kept_by_id = {kept.row.deployment_id: kept for kept, _ in due}
        for start in range(0, len(wanted), TAKE_MAX):
            longest = max(kept.row.request_seconds_max for kept in kept_by_id.values())
            seconds = LATE_SECONDS_MAX + longest + LOST_SECONDS_MORE
            for tick in await self._ticks.take(wanted[start : start + TAKE_MAX], seconds=seconds):
                if tick.status == "firing":
                    self._start(kept_by_id[tick.deployment_id], tick)
                else:
                    self._metrics.ticks.labels(tick.status).inc()

    def _start(self, kept: _Kept, tick: Tick) -> None:
        task = asyncio.create_task(self._fired(kept, tick), name=f"tick {tick.function_id}")
        self._firing[task] = tick
        task.add_done_callback(self._firing.pop)

    async def _fired(self, kept: _Kept, tick: Tick) -> None:
        """Take it to its end, whatever that is."""
        failures, busy = 0, ProviderBusy("Too many functions are being called.")
        while not self._stopping.is_set():
            try:
                async with self._calls_of[tick.tenant_id], self._calls:
                    if _lateness(tick, self._clock()) > LATE_SECONDS_MAX:
                        return await self._end(tick, _End(status="missed", message=busy.message))
                    end = await self._called(kept, tick)
            except ProviderBusy as put_off:
                failures, busy = failures + 1, put_off
                await self._rest(retry_seconds(failures, busy.retry_in_seconds, self._random))
            else:
                return await self._end(tick, end)
        return await self._insist(lambda: self._ticks.give_back(tick))

    async def _called(self, kept: _Kept, tick: Tick) -> _End:
        """Call the function. Raises ProviderBusy when it certainly was not reached."""
        lateness = _lateness(tick, self._clock())
        self._calling.add(tick)
        try:
            answered = await self._provider(kept).call(_call(kept, tick))
        except ProviderBusy:
            raise
        except (NoAnswer, ProviderRefused) as problem:
            return _End(status="failed", message=str(problem))
        except Exception as error:  # Not foreseen by the provider, so nobody knows.
            log.exception("provider_failed", call="call")
            return _End(status="unknown", message=f"The provider failed: {type(error).__name__}.")
        finally:
            self._calling.discard(tick)
        self._metrics.tick_lateness.observe(lateness)
        succeeded = _SUCCESS <= answered.status < _REDIRECT
        return _End(status="succeeded" if succeeded else "failed", http_status=answered.status)

    def _provider(self, kept: _Kept) -> Calling:
        provider: object = self._providers.get(kept.row.provider)
        if not isinstance(provider, Calling):
            message = f"This runner cannot call functions of “{kept.row.provider}”."
            raise ProviderRefused("provider_unavailable", message, "Deploy to a provider the service offers.")
        return provider

    async def _end(self, tick: Tick, end: _End) -> None:
        self._metrics.ticks.labels(end.status).inc()
        await self._insist(lambda: self._ticks.end(tick, end.status, http_status=end.http_status, message=end.message))

    async def _insist(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Tell the store, which may be in trouble; what it never hears is given up as lost when its time is over."""
        for failures in range(1, TELLINGS_MAX + 1):
            try:
                await tell()
            except Exception as error:  # noqa: BLE001 - whatever the store raises passes
                log.warning("runner_hindered", doing="tell of a tick", problem=repr(error))
                await asyncio.sleep(retry_seconds(failures, 0.0, self._random))
            else:
                return

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _kept(found: Found[Scheduled], newest: datetime | None, now: datetime) -> _Kept:
    row = found.row
    assert row.active_since is not None
    cron, place = parse(row.cron), zone(row.time_zone)
    after = max(row.active_since, now - LOOK_BACK, *((newest,) if newest else ()))
    return _Kept(tenant_id=found.tenant_id, row=row, cron=cron, place=place, next_at=next_tick(cron, place, after))


def _tick(kept: _Kept, at: datetime, *, fires: bool) -> Tick:
    return Tick(
        tenant_id=kept.tenant_id,
        function_id=kept.row.function_id,
        due_at=at,
        deployment_id=kept.row.deployment_id,
        status="firing" if fires else "missed",
    )


def _lateness(tick: Tick, now: datetime) -> float:
    return max((now - tick.due_at).total_seconds(), 0.0)


def _call(kept: _Kept, tick: Tick) -> Call:
    """A CloudEvent in HTTP's binary mode. Source and id tell the tick apart from every other."""
    row, due_at = kept.row, tick.due_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = (
        ("ce-specversion", "1.0"),
        ("ce-id", due_at),
        ("ce-source", f"/projects/{row.project_id}/functions/{row.function_id}"),
        ("ce-type", TICK_TYPE),
        ("ce-time", due_at),
        ("content-type", "application/json"),
        ("user-agent", "dcf-schedules"),
    )
    body = msgspec.json.encode({"dueAt": due_at, "cron": row.cron, "timeZone": row.time_zone})
    return Call(address=row.address, headers=headers, body=body, seconds_max=float(row.request_seconds_max))
