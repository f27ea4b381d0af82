"""Looks whether clouds still show what was released, and records a difference when it comes, changes or goes.

Each cloud is asked a few things at a time and so many a second, however many deployments there are, and left alone for
as long as it asks. What differs is looked at twice before it is recorded: a release that is just being started again is
no news.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import structlog

from commands.execute import Context, execute
from commands.progress import RecordDrift
from domain.deployment import Deployment
from domain.refusal import Refusal
from eventstore.codec import EventOfNewerCode
from eventstore.meta import Actor
from projections.deployment_lists import DEPLOYMENTS_WATCHED, Watched
from projections.query import Found
from projections.reader import Reader
from providers.provider import Observation, ProviderBusy, ProviderRefused
from runner.access import access_of
from runner.patience import RETRY_SECONDS_ASKED_MAX
from runner.perform import observe
from runner.seen import Seen, look, order_of
from runner.world import Held, World

# Limits on what one cloud is asked.
LOOKS_AT_ONCE_MAX = 4
LOOKS_PER_SECOND_MAX = 10.0
PAGE_ROWS = 100
# A release that was activated a moment ago need not show everywhere yet.
SETTLED = timedelta(seconds=60)
# Between the two looks that have to agree.
CONFIRM_SECONDS = 10.0
DIFFERENCE_CHARS_MAX = 300

log = structlog.get_logger()


def differences(recorded: Deployment, observed: Observation) -> tuple[str, ...] | None:
    """What the cloud shows otherwise, of one that serves; None: at this instant that cannot be said."""
    service, image = observed.service, observed.image
    if service is None:
        return ("the service is gone",)
    if service.status == "starting":
        return None
    found: list[str] = []
    if service.status != "healthy":
        said = f": {service.message}" if service.message else ""
        found.append(f"the service is {service.status}{said}"[:DIFFERENCE_CHARS_MAX])
    elif not service.serving:
        found.append("requests for the function's address do not reach it")
    if service.status != "stopped" and service.revision != recorded.revision:
        found.append(f"revision {service.revision or 'none'} runs, and {recorded.revision or 'none'} was released")
    if service.url != recorded.url:
        found.append(f"it answers at {service.url}, and not at {recorded.url}")
    if image is None:
        found.append("the image is gone, so the service cannot be started anew")
    elif image.digest != recorded.image_digest:
        found.append(f"the image is {image.digest}, and {recorded.image_digest} was released")
    return tuple(found)


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as it is recorded and what the cloud shows otherwise."""

    found: Found[Watched]
    held: Held
    recorded: Deployment
    differences: tuple[str, ...]


class Drift:
    """A Duty."""

    name = "drift"

    def __init__(self, reader: Reader, world: World, *, runner_id: UUID, pause_seconds: float) -> None:
        self.pause_seconds = pause_seconds
        self._reader = reader
        self._world = world
        self._runner_id = runner_id

    def begin(self) -> None:
        """Nothing is remembered between rounds."""

    async def hand_over(self, seconds_max: float) -> None:
        """Nothing is under way between rounds."""

    async def round(self) -> None:
        """Everything that serves, once, page by page."""
        after: int | None = None
        while True:
            page = await self._reader.page(DEPLOYMENTS_WATCHED, None, after=after, limit=PAGE_ROWS)
            await self._compare(page.items)
            after = page.next_after
            if after is None:
                return

    async def _compare(self, rows: Sequence[Found[Watched]]) -> None:
        settled = [found for found in rows if self._is_settled(found.row)]
        looks = await self._looks(found for found in settled if found.row.active)
        doubtful = {one.found.id for one in looks if one.differences not in ((), one.recorded.drift)}
        for one in looks:
            if one.found.id not in doubtful:
                await self._record(one)
        for found in (found for found in settled if not found.row.active):
            if (gone := await self._no_more(found)) is not None:
                await self._record(gone)
        if doubtful:
            await asyncio.sleep(CONFIRM_SECONDS)
            for one in await self._looks(found for found in settled if found.id in doubtful):
                await self._record(one)

    def _is_settled(self, row: Watched) -> bool:
        return row.finished_at is not None and row.finished_at + SETTLED <= self._world.clock()

    # Looking.

    async def _looks(self, rows: Iterable[Found[Watched]]) -> list[_Look]:
        of_provider: defaultdict[str, list[Found[Watched]]] = defaultdict(list)
        for found in rows:
            of_provider[found.row.provider].append(found)
        looks = await asyncio.gather(*(self._looks_at_one_cloud(mine) for mine in of_provider.values()))
        return [one for each in looks for one in each]

    async def _looks_at_one_cloud(self, rows: Sequence[Found[Watched]]) -> list[_Look]:
        looks: list[_Look] = []
        for start in range(0, len(rows), LOOKS_AT_ONCE_MAX):
            few = rows[start : start + LOOKS_AT_ONCE_MAX]
            answers = await asyncio.gather(asyncio.sleep(len(few) / LOOKS_PER_SECOND_MAX), *map(self._look, few))
            looks += [answer for answer in answers if isinstance(answer, _Look)]
            away = max((answer for answer in answers if isinstance(answer, float)), default=0.0)
            await asyncio.sleep(min(away, RETRY_SECONDS_ASKED_MAX))
        return looks

    async def _look(self, found: Found[Watched]) -> _Look | float | None:
        """What there is to see; for how many seconds the cloud asks to be left alone; or nothing."""
        try:
            held, recorded = await self._recorded(found)
            order = order_of(held, recorded, await access_of(self._world.log, held, recorded))
            if order is None:
                return None
            observed = await observe(order, self._world)
        except ProviderBusy as busy:
            return busy.retry_in_seconds
        except (ProviderRefused, EventOfNewerCode) as refused:
            log.warning("drift_not_seen", deployment_id=str(found.id), code=refused.code)
            return None
        seen = differences(recorded, observed)
        return None if seen is None else _Look(found=found, held=held, recorded=recorded, differences=seen)

    async def _no_more(self, found: Found[Watched]) -> _Look | None:
        """One that serves no more differs from nothing."""
        try:
            held, recorded = await self._recorded(found)
        except EventOfNewerCode:
            return None
        return _Look(found=found, held=held, recorded=recorded, differences=())

    async def _recorded(self, found: Found[Watched]) -> tuple[Held, Deployment]:
        held = Held(
            tenant_id=found.tenant_id,
            deployment_id=found.id,
            function_id=found.row.function_id,
            epoch=0,
            runner_id=str(self._runner_id),
        )
        seen = await look(self._world.log, held, Seen())
        return msgspec.structs.replace(held, epoch=seen.deployment.epoch), seen.deployment

    # Recording.

    async def _record(self, one: _Look) -> None:
        if one.differences == one.recorded.drift:
            return
        command = RecordDrift(
            tenant_id=one.held.tenant_id,
            at=self._world.clock(),
            deployment_id=one.held.deployment_id,
            function_id=one.held.function_id,
            epoch=one.held.epoch,
            differences=one.differences,
        )
        context = Context(
            actor=Actor("runner", str(self._runner_id)),
            command_id=self._world.new_id(),
            correlation_id=one.held.deployment_id,
            record_refusals=False,
        )
        try:
            await execute(self._world.log, command, context)
        except Refusal as refusal:
            # It was replaced, undeployed or claimed in between; the next round sees what it is then.
            log.info("drift_not_recorded", deployment_id=str(one.held.deployment_id), code=refusal.code)
        else:
            self._world.metrics.drifts.labels("found" if one.differences else "cleared").inc()
