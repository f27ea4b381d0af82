"""Takes the read models through the log: read a batch, fold it in memory, write rows and checkpoints in one statement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec
import structlog

from eventstore.codec import Codec, tag_of
from eventstore.log import Log, StoredEvent
from projections.batch import Batch, fold_batch, set_aside
from projections.checkpoints import Checkpoint
from projections.commit import Move, Part
from projections.feed import Feed
from projections.monitor import Monitor
from projections.parking import ParkedStreams
from projections.read_model import AnyModel
from projections.recent_rows import RecentRows
from projections.views import Views

# Should a notification be missed, the log is looked at again after this long.
POLL_SECONDS = 1.0

REPORT_SECONDS = 1.0
# Where events come in crowds, the next batch is what comes while one is written: many small batches would take the processors
# from whoever makes the events. Who writes alone does not wait for that. While nobody waits for what is read, they are waited for
# longer: of sixty at a time each costs little more than half of what it costs of sixteen, and at twice that a twentieth more is
# written.
CROWD_EVENTS_MIN = 4
GATHER_UNAWAITED_SECONDS = 0.04
GATHER_EVENTS_MAX = 200
# So many batches in a row, before anything else is looked at.
BATCHES_MAX = 16

# The database refuses these values, and would refuse them again: the fault is in an event or its model.
_UNFIT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.StatementTooComplexError,
)

Moved = Callable[[Iterable[str], int], None]


class Worker:
    """The one at work under an epoch. `start` it, then call `turn` for ever, or `follow`.

    Every method may raise Superseded, after which the worker has to be started again or given up: nothing of the batch
    under way was written.
    """

    def __init__(
        self,
        views: Views,
        log: Log,
        codec: Codec,
        models: Sequence[AnyModel],
        *,
        epoch: int,
        monitor: Monitor,
        feed: Feed | None = None,
        moved: Moved | None = None,
        awaited: Callable[[], bool] = lambda: True,
    ) -> None:
        """`awaited` says whether anybody waits for the read models just now."""
        self._views = views
        self._log = log
        self._codec = codec
        self._models = {model.kind: model for model in models}
        self._epoch = epoch
        self._monitor = monitor
        self._feed = feed or Feed(log)
        self._moved = moved
        self._awaited = awaited
        self._checkpoints: dict[str, Checkpoint] = {}
        self._parked: dict[str, ParkedStreams] = {}
        self._of_no_interest: dict[tuple[str, ...], Sequence[str]] = {}
        self._recent = RecentRows()
        self._report_due = 0.0

    async def start(self) -> None:
        """Shut out every worker of an earlier epoch, and look where the read models stand."""
        kinds = sorted(self._models)
        self._recent.forget()
        self._checkpoints = await self._views.take_over(kinds, self._epoch)
        self._parked = await self._views.parked(kinds)
        self._monitor.parked({kind: len(parked) for kind, parked in self._parked.items()})

    @property
    def position(self) -> int:
        """Up to where every read model has come."""
        return min((checkpoint.position for checkpoint in self._checkpoints.values()), default=0)

    async def close(self) -> None:
        """Drop what was read ahead. `follow` does so by itself."""
        await self._feed.close()

    async def follow(self, stop: asyncio.Event) -> None:
        """Keep up with the log until asked to stop; the batch under way is finished."""
        try:
            await self._report()  # A turn may last, and until its end nobody would know how far behind all is.
            while not stop.is_set():
                applied = await self.turn()
                await self._report()
                if not applied:
                    await self._wait(stop)
        finally:
            await self._feed.close()

    async def turn(self, *, up_to: int | None = None) -> int:
        """Take every group of read models that stand together further, though not beyond `up_to`; how many events that
        were."""
        groups = self._groups()
        applied = 0
        for number, (position, kinds) in enumerate(groups):
            # None overtakes the group ahead of it, so that from there on both go on as one.
            ahead = groups[number + 1][0] if number + 1 < len(groups) else up_to
            if ahead is not None and ahead <= position:
                continue
            events = await self._read(position, kinds, up_to=ahead)
            if events:
                models = [self._models[kind] for kind in kinds]
                applied += await self._apply_all(models, position, events, up_to=ahead)
        return applied

    async def _read(self, position: int, kinds: Sequence[str], *, up_to: int | None) -> list[StoredEvent]:
        """What follows, less what these read models have no interest in. Types that are not known stay: of those that
        newer code knows something is said."""
        without = self._of_no_interest.get(tuple(kinds))
        if without is None:
            wanted = {tag_of(event) for kind in kinds for event in self._models[kind].interests}
            without = self._of_no_interest[tuple(kinds)] = sorted(set(self._codec.types) - wanted)
        return await self._feed.read(position, up_to=up_to, without=without)

    def _groups(self) -> list[tuple[int, list[str]]]:
        groups: dict[int, list[str]] = {}
        for kind, checkpoint in sorted(self._checkpoints.items()):
            groups.setdefault(checkpoint.position, []).append(kind)
        return sorted(groups.items())

    async def _apply_all(
        self, models: Sequence[AnyModel], position: int, events: Sequence[StoredEvent], *, up_to: int | None
    ) -> int:
        """The events, and while more follow a number of batches more, each read and folded while the one before it is
        being written; how many events that were."""
        began, applied = time.monotonic(), 0
        batch = await self._fold(models, position, events, self._parked)
        for number in range(1, BATCHES_MAX + 1):
            writing = asyncio.create_task(self._write_or_narrow(batch))
            following: Batch | None = None
            try:
                position = batch.last.position
                ends = number == BATCHES_MAX or (up_to is not None and position >= up_to)
                if not ends and await self._more_meanwhile(writing, batch):
                    more = await self._read(position, batch.kinds, up_to=up_to)
                    if more:
                        following = await self._fold(models, position, more, batch.parked, before=batch)
            finally:
                written = await writing
            self._tell_of_newer_code(batch)
            self._monitor.applied(batch.length, time.monotonic() - began)
            began, applied = time.monotonic(), applied + batch.length
            if following is None:
                break
            if not written:  # The rows are others than those the next batch was folded with.
                following = await self._fold(models, following.position, following.events, self._parked)
            batch = following
        return applied

    async def _more_meanwhile(self, writing: asyncio.Task[bool], batch: Batch) -> bool:
        """Whether there is more beyond the batch, or comes to be while it is being written."""
        if self._feed.has_more:
            return True
        position = batch.last.position
        if len(batch.events) >= CROWD_EVENTS_MIN:
            await asyncio.wait({writing})
            if not self._awaited():
                await self._log.wait_beyond(position + GATHER_EVENTS_MAX - 1, seconds_max=GATHER_UNAWAITED_SECONDS)
            return await self._log.wait_beyond(position, seconds_max=0)
        news = asyncio.create_task(self._log.wait_beyond(position, seconds_max=POLL_SECONDS))
        try:
            await asyncio.wait({writing, news}, return_when=asyncio.FIRST_COMPLETED)
            return news.done() and news.result()
        finally:
            news.cancel()

    async def _fold(
        self,
        models: Sequence[AnyModel],
        position: int,
        events: Sequence[StoredEvent],
        parked: Mapping[str, ParkedStreams],
        before: Batch | None = None,
    ) -> Batch:
        return await fold_batch(
            self._views.load, self._codec, models, parked, position, events, before=before, recent=self._recent
        )

    async def _write_or_narrow(self, batch: Batch) -> bool:
        """Write the batch. What the database refuses is narrowed down, first to a model, then to an event, and parked;
        then the answer is False."""
        try:
            await self._write(batch.kinds, batch.position, batch.last, batch.parts)
        except _UNFIT as error:
            await self._narrow(batch, error)
            return False
        self._parked.update(batch.parked)
        self._recent.wrote(batch.folds, events=len(batch.events))
        self._tell_parked(batch.parts)
        return True

    async def _narrow(self, batch: Batch, error: Exception) -> None:
        models = batch.models
        half = len(batch.events) // 2
        if len(models) > 1:
            for model in models:
                await self._write_again([model], batch.position, batch.events)
        elif half:
            await self._write_again(models, batch.position, batch.events[:half])
            await self._write_again(models, batch.events[half - 1].position, batch.events[half:])
        else:
            await self._park(models[0].kind, batch.position, batch.last, error)

    async def _write_again(self, models: Sequence[AnyModel], position: int, events: Sequence[StoredEvent]) -> None:
        await self._write_or_narrow(await self._fold(models, position, events, self._parked))

    async def _write(self, kinds: Sequence[str], position: int, last: StoredEvent, parts: Sequence[Part]) -> None:
        move = Move(
            checkpoints=[self._checkpoints[kind] for kind in kinds],
            epoch=self._epoch,
            from_position=position,
            to_position=last.position,
            reached_at=last.recorded_at,
        )
        await self._views.commit(move, parts)
        for kind in kinds:
            self._checkpoints[kind] = msgspec.structs.replace(self._checkpoints[kind], position=last.position)
        if self._moved is not None:
            self._moved(kinds, last.position)

    async def _park(self, kind: str, position: int, stored: StoredEvent, error: Exception) -> None:
        """Set the event aside, without the rows that the database refused."""
        model, parked = self._models[kind], self._parked[kind].copy()
        folded = set_aside(self._codec, model, stored, error)
        for refused in folded.parked:
            parked.add(refused.tenant_id, refused.stream_id, refused.ids)
        await self._write([kind], position, stored, [(model, folded)])
        self._parked[kind] = parked
        self._tell_parked([(model, folded)])

    def _tell_parked(self, parts: Sequence[Part]) -> None:
        told = False
        for model, folded in parts:
            for parked in folded.parked:
                told = True
                if parked.error:
                    structlog.get_logger().error(
                        "projection_parked",
                        model=model.kind,
                        tenant_id=str(parked.tenant_id),
                        stream_id=str(parked.stream_id),
                        position=parked.position,
                        problem=parked.error,
                    )
        if told:
            self._monitor.parked({kind: len(streams) for kind, streams in self._parked.items()})

    def _tell_of_newer_code(self, batch: Batch) -> None:
        """What only newer code knows is no row of ours. A newer worker makes its own read models from it."""
        for type in batch.types:
            if self._codec.is_of_newer_code(type):
                count = sum(stored.type == type for stored in batch.events)
                self._monitor.passed_over(type, count)
                structlog.get_logger().warning(
                    "events_of_newer_code", type=type, count=count, up_to=batch.last.position
                )

    async def _report(self) -> None:
        """Lag, looked at now and then: it costs the database a few questions. What is served although nobody feeds it,
        since this code has another version of it, counts too."""
        if time.monotonic() < self._report_due:
            return
        self._report_due = time.monotonic() + REPORT_SECONDS
        at = {kind: checkpoint.position for kind, checkpoint in self._checkpoints.items()}
        stored = await self._views.positions()
        served = await self._views.served()
        at |= {kind: stored[kind] for kind in served - at.keys() if kind in stored}
        head = await self._log.head()
        oldest: dict[int, datetime | None] = {}
        for kind, position in at.items():
            if position not in oldest:
                events = await self._log.read(position, limit=1) if head > position else []
                oldest[position] = events[0].recorded_at if events else None
            self._monitor.reached(kind, position, head=head, behind_since=oldest[position])
        self._monitor.forget_all_but(at)

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until there is more, or it is time to look again, or to stop."""
        more = asyncio.create_task(self._log.wait_beyond(self.position, seconds_max=POLL_SECONDS))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({more, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (more, stopping):
                task.cancel()
            await asyncio.gather(more, stopping, return_exceptions=True)
