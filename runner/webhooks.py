"""Tells webhooks what happens to deployments: in order, again and again until each has answered.

Every event is told at least once, under the same id each time. While an address does not answer, what follows waits for
it; one that refuses an event is asked some more times and then told what follows. One that has not answered for
FAILING_MAX, or says that it is gone, is switched off, and goes on where it was once it is switched on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID, uuid5

import msgspec
import structlog

from commands.execute import Context, execute
from commands.webhook import SwitchWebhookOff
from domain.refusal import Refusal
from eventstore.meta import Actor
from eventstore.positions import format_position
from eventstore.secret_values import SecretLost
from eventstore.webhook_deliveries import Deliveries, Delivery, DeliveryStatus, Progress
from process.key_service import KeyServiceUnusable
from process.secret import Secret
from projections.deployment_events import TIMELINE_NEWS, TIMELINE_OF_PROJECT, ProjectTimelineEvent
from projections.query import Found
from projections.reader import PAGE_ROWS_MAX, Reader
from projections.webhooks import WEBHOOKS_ACTIVE, WebhookRow
from runner.webhook_sender import Answered, Message, Sender
from runner.world import World

# How soon something new is told, and how soon a webhook that is made or changed is heard of.
PAUSE_SECONDS = 1.0
READ_SECONDS = 5.0
SENDING_MAX = 50
TENANT_SENDING_MAX = 5
PAGE_EVENTS = 100
# Then others have their turn.
EVENTS_AT_ONCE_MAX = 500

RETRY_SECONDS_MIN = 5.0
RETRY_GROWTH = 3.0
RETRY_SECONDS_MAX = 3600.0
JITTER = 0.2
FAILING_MAX = timedelta(hours=72)
# Of one event, by an address that answers: an hour and a half.
REFUSALS_MAX = 8

TEST_TYPE = "webhook.test"

# Refusals that say nothing of the event itself.
_FOR_NOW = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SUCCESS, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = 200, 300, 400, 500

log = structlog.get_logger()


class _Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is sent, as the Standard Webhooks shape it."""

    type: str
    timestamp: datetime
    data: dict[str, object]


class _Kept(msgspec.Struct, kw_only=True):
    """A webhook that is being kept. While it `is_told`, whoever tells it has the progress to themselves."""

    found: Found[WebhookRow]
    progress: Progress
    is_told: bool = False
    is_over: bool = False

    @property
    def row(self) -> WebhookRow:
        return self.found.row

    @property
    def asked_at(self) -> int:
        """The position of the newest wish of its owner's."""
        return max(self.row.resumed_at, self.row.tested_at, self.row.replayed_at)

    @property
    def has_wish(self) -> bool:
        return self.asked_at > self.progress.heeded

    def is_due(self, now: datetime) -> bool:
        return self.has_wish or self.progress.next_at is None or self.progress.next_at <= now


class Webhooks:
    """A Duty. Two runners that both believe to have it may tell an event twice, and never leave one out."""

    name = "webhooks"
    pause_seconds = PAUSE_SECONDS

    def __init__(
        self, reader: Reader, deliveries: Deliveries, sender: Sender, world: World, *, runner_id: UUID
    ) -> None:
        self._reader = reader
        self._deliveries = deliveries
        self._sender = sender
        self._world = world
        self._runner_id = runner_id
        self._kept: dict[UUID, _Kept] = {}
        self._read_at: datetime | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._places = asyncio.Semaphore(SENDING_MAX)
        self._places_of: defaultdict[UUID, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(TENANT_SENDING_MAX)
        )

    def begin(self) -> None:
        for kept in self._kept.values():
            kept.is_over = True
        self._kept, self._read_at = {}, None

    async def round(self) -> None:
        now = self._world.clock()
        if self._read_at is None or now >= self._read_at + timedelta(seconds=READ_SECONDS):
            await self._read()
            self._read_at = now
        due = [kept for kept in self._kept.values() if not kept.is_told and kept.is_due(now)]
        for kept in await self._with_news(due):
            self._start(kept)

    async def hand_over(self, seconds_max: float) -> None:
        """What is being sent has so much time; what has not answered by then is told again by others."""
        self._stopping = True
        if not self._telling:
            return
        _, slow = await asyncio.wait(self._telling, timeout=seconds_max)
        for task in slow:
            task.cancel()

    # Which webhooks there are, and which have something to be told.

    async def _read(self) -> None:
        found: dict[UUID, Found[WebhookRow]] = {}
        after: int | None = None
        while True:
            page = await self._reader.page(WEBHOOKS_ACTIVE, None, after=after, limit=PAGE_ROWS_MAX)
            await self._keep(page.items)
            found.update((one.id, one) for one in page.items)
            after = page.next_after
            if after is None:
                break
        for id in self._kept.keys() - found.keys():
            self._kept.pop(id).is_over = True

    async def _keep(self, rows: Sequence[Found[WebhookRow]]) -> None:
        for one in rows:
            if one.id in self._kept:
                self._kept[one.id].found = one
        fresh = [one for one in rows if one.id not in self._kept]
        begun = await self._deliveries.progress([(one.tenant_id, one.id, one.first_position) for one in fresh])
        self._kept.update((one.id, _Kept(found=one, progress=begun[one.id])) for one in fresh)

    async def _with_news(self, due: Sequence[_Kept]) -> list[_Kept]:
        behind: dict[tuple[UUID, UUID], int] = {}
        for kept in due:
            project = kept.found.tenant_id, kept.row.project_id
            behind[project] = min(behind.get(project, kept.progress.position), kept.progress.position)
        newest: set[tuple[UUID, UUID]] = set()
        projects = list(behind)
        for start in range(0, len(projects), PAGE_ROWS_MAX):
            some = projects[start : start + PAGE_ROWS_MAX]
            tenants, ids = [tenant for tenant, _ in some], [id for _, id in some]
            rows = await self._reader.rows(TIMELINE_NEWS, None, tenants, ids, [behind[one] for one in some])
            newest.update((row.tenant_id, row.row.project_id) for row in rows if row.row.project_id is not None)
        return [kept for kept in due if kept.has_wish or (kept.found.tenant_id, kept.row.project_id) in newest]

    # Telling one.

    def _start(self, kept: _Kept) -> None:
        kept.is_told = True
        task = asyncio.create_task(self._told(kept), name=f"webhook {kept.found.id}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _told(self, kept: _Kept) -> None:
        try:
            async with self._places_of[kept.found.tenant_id], self._places:
                await self._tell(kept)
        except Exception as error:  # noqa: BLE001 - whatever the store raises passes; the next round goes on
            log.warning("runner_hindered", doing=self.name, problem=repr(error))
            with suppress(Exception):
                await self._look_again(kept)
        finally:
            kept.is_told = False

    async def _look_again(self, kept: _Kept) -> None:
        """Somebody else may have told it meanwhile."""
        one = kept.found
        kept.progress = (await self._deliveries.progress([(one.tenant_id, one.id, one.first_position)]))[one.id]

    async def _tell(self, kept: _Kept) -> None:
        if kept.has_wish and not await self._heed(kept):
            return
        end, told = kept.progress, 0
        while told < EVENTS_AT_ONCE_MAX:
            page = await self._reader.page(
                TIMELINE_OF_PROJECT,
                kept.found.tenant_id,
                kept.row.project_id,
                after=kept.progress.position,
                limit=PAGE_EVENTS,
            )
            for event in page.items:
                if self._stopping or kept.is_over or kept.has_wish:
                    return
                if kept.row.types and event.row.type not in kept.row.types:
                    end = msgspec.structs.replace(kept.progress, position=event.position)
                elif not await self._tell_of(kept, event):
                    return
            # What was passed over need not be looked at again.
            if end.position > kept.progress.position and not await self._move(kept, end):
                return
            told += len(page.items)
            if page.next_after is None:
                return

    async def _heed(self, kept: _Kept) -> bool:
        """Do what its owner asked for since; False when it was told otherwise meanwhile."""
        row, before = kept.row, kept.progress
        after = msgspec.structs.replace(
            before,
            heeded=kept.asked_at,
            position=row.replay_after if row.replayed_at > before.heeded else before.position,
            failures=0,
            failing_since=None,
            next_at=None,
        )
        if row.tested_at <= before.heeded:
            return await self._move(kept, after)
        now = self._world.clock()
        data: dict[str, object] = {"webhookId": kept.found.id, "projectId": row.project_id}
        answered = await self._send(kept, row.tested_at, _Told(type=TEST_TYPE, timestamp=now, data=data))
        status: DeliveryStatus = "delivered" if _is_success(answered) else "failed"
        return await self._move(kept, after, self._delivery(kept, row.tested_at, TEST_TYPE, status, answered))

    async def _tell_of(self, kept: _Kept, event: Found[ProjectTimelineEvent]) -> bool:
        """Tell it of one event, once; whether the next may follow."""
        row, before = event.row, kept.progress
        shown: dict[str, object] = msgspec.to_builtins(row, builtin_types=(datetime, UUID))
        data = {"projectId": kept.row.project_id, "position": await self._token(event.position), **shown}
        answered = await self._send(kept, event.position, _Told(type=row.type, timestamp=row.at, data=data))
        status = _status(answered, before.failures)
        after = self._after(before, event.position, status, answered)
        delivery = self._delivery(kept, event.position, row.type, status, answered, row.deployment_id)
        if not await self._move(kept, after, delivery):
            return False
        if status == "waiting":
            await self._give_up(kept, answered)
        return status != "waiting"

    async def _send(self, kept: _Kept, position: int, told: _Told) -> Answered:
        id = uuid5(kept.found.id, await self._token(position))
        try:
            secrets = await self._secrets(kept)
        except SecretLost as problem:
            log.warning("webhook_secret_lost", webhook_id=str(kept.found.id), problem=str(problem))
            return Answered(message="Its secret cannot be opened; rotate it.")
        except KeyServiceUnusable as problem:
            log.warning("key_service_unusable", problem=problem.message, remedy=problem.remedy)
            return Answered(message="The master key that opens its secret cannot be had now.")
        message = Message(id=f"msg_{id.hex}", body=msgspec.json.encode(told))
        return await self._sender.send(kept.row.url, message, secrets, at=self._world.clock())

    async def _secrets(self, kept: _Kept) -> list[Secret]:
        row, stream = kept.row, (kept.found.tenant_id, kept.found.id)
        secrets = [await self._world.secrets.open(*stream, row.secret_id)]
        if (
            row.former_secret_id is not None
            and row.former_ends_at is not None
            and self._world.clock() < row.former_ends_at
        ):
            with suppress(SecretLost):  # Which may be why there is another.
                secrets.append(await self._world.secrets.open(*stream, row.former_secret_id))
        return secrets

    async def _token(self, position: int) -> str:
        return format_position(await self._world.log.epoch(), position)

    def _after(self, before: Progress, position: int, status: DeliveryStatus, answered: Answered) -> Progress:
        now = self._world.clock()
        if status == "waiting":
            seconds = self._retry_seconds(before.failures + 1, answered.retry_after_seconds)
            return msgspec.structs.replace(
                before,
                failures=before.failures + 1,
                failing_since=before.failing_since or now,
                next_at=now + timedelta(seconds=seconds),
                message=answered.message,
            )
        return msgspec.structs.replace(
            before,
            position=position,
            failures=0,
            failing_since=None,
            next_at=None,
            delivered_at=now if status == "delivered" else before.delivered_at,
            message="" if status == "delivered" else answered.message,
        )

    def _retry_seconds(self, failures: int, asked_seconds: float) -> float:
        own = min(RETRY_SECONDS_MIN * RETRY_GROWTH ** min(failures - 1, 20), RETRY_SECONDS_MAX)
        return max(own * self._world.random.uniform(1 - JITTER, 1 + JITTER), min(asked_seconds, RETRY_SECONDS_MAX))

    def _delivery(
        self,
        kept: _Kept,
        position: int,
        type: str,
        status: DeliveryStatus,
        answered: Answered,
        deployment_id: UUID | None = None,
    ) -> Delivery:
        now = self._world.clock()
        self._world.metrics.webhooks.labels(status).inc()
        return Delivery(
            tenant_id=kept.found.tenant_id,
            webhook_id=kept.found.id,
            position=position,
            type=type,
            deployment_id=deployment_id,
            status=status,
            first_at=now,
            last_at=now,
            http_status=answered.status,
            message=answered.message,
        )

    async def _move(self, kept: _Kept, after: Progress, delivery: Delivery | None = None) -> bool:
        if await self._deliveries.move(kept.progress, after, delivery):
            kept.progress = after
            return True
        await self._look_again(kept)
        return False

    async def _give_up(self, kept: _Kept, answered: Answered) -> None:
        """Switch it off when it is gone, or was away for too long."""
        since = kept.progress.failing_since
        if answered.status == HTTPStatus.GONE:
            reason = "It answered 410: it is gone."
        elif since is not None and self._world.clock() - since >= FAILING_MAX:
            reason = f"It took nothing for {FAILING_MAX.total_seconds() / 3600:.0f} hours. {answered.message}"
        else:
            return
        command = SwitchWebhookOff(
            tenant_id=kept.found.tenant_id,
            at=self._world.clock(),
            project_id=kept.row.project_id,
            webhook_id=kept.found.id,
            reason=reason,
        )
        context = Context(
            actor=Actor("runner", str(self._runner_id)),
            command_id=self._world.new_id(),
            correlation_id=kept.found.id,
            record_refusals=False,
        )
        try:
            await execute(self._world.log, command, context)
        except Refusal as refusal:
            log.info("webhook_stays_on", webhook_id=str(kept.found.id), code=refusal.code)
            return
        kept.is_over = True
        log.warning("webhook_switched_off", webhook_id=str(kept.found.id), reason=reason)


def _is_success(answered: Answered) -> bool:
    return answered.status is not None and _SUCCESS <= answered.status < _REDIRECT


def _status(answered: Answered, failures: int) -> DeliveryStatus:
    if _is_success(answered):
        return "delivered"
    status = answered.status or 0
    of_the_event = _CLIENT_ERROR <= status < _SERVER_ERROR and status not in _FOR_NOW and status != HTTPStatus.GONE
    return "refused" if of_the_event and failures + 1 >= REFUSALS_MAX else "waiting"
