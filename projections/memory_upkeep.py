"""The upkeep of read models that are folded from the log whenever they are asked: there is nothing left to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from eventstore.log import Log
from projections.active import Served
from projections.catalogue import READ_MODELS
from projections.read_model import AnyModel
from projections.rebuild.chores import Dropped
from projections.rebuild.jobs import Job, Purpose
from projections.rebuild.verification import Findings
from projections.replay import Replayed
from projections.upkeep import JobUnknown, NoJobOpen, NothingToSwitchBackTo, ParkedEvent, ReadModelUnknown, Standing


class MemoryUpkeep:
    """The Upkeep beside a MemoryReader. A job is over as soon as it is asked for."""

    def __init__(self, log: Log, clock: Callable[[], datetime], models: Sequence[AnyModel] = READ_MODELS) -> None:
        self._log, self._clock = log, clock
        self._models = {model.name: model for model in models}
        self._jobs: dict[UUID, Job] = {}

    async def standings(self) -> list[Standing]:
        return [await self.standing(name) for name in self._models]

    async def standing(self, name: str) -> Standing:
        model = self._model(name)
        return Standing(
            name=name,
            version=model.version,
            served=Served(model.version),
            previous=None,
            position=await self._log.head(),
            parked_streams=0,
            parked_events=0,
            job=next((job for job in reversed(self._jobs.values()) if job.model == name), None),
        )

    async def request(self, name: str, purpose: Purpose, *, id: UUID, requested_by: str) -> Job:
        model = self._model(name)
        if id in self._jobs:
            return self._jobs[id]
        if purpose == "switch_back":
            raise NothingToSwitchBackTo
        now, head = self._clock(), await self._log.head()
        self._jobs[id] = Job(
            id=id,
            model=name,
            version=model.version,
            build=0,
            purpose=purpose,
            step="done",
            scan_to=head,
            epoch=0,
            cancel_requested=False,
            findings=msgspec.json.encode(_came_to(purpose)),
            problem="",
            requested_by=requested_by,
            requested_at=now,
            resumed_at=None,
            resumed_from=0,
            ended_at=now,
            lanes=0,
            scanned=head,
            now=now,
        )
        return self._jobs[id]

    async def cancel(self, name: str) -> Job:
        self._model(name)
        raise NoJobOpen

    async def job(self, id: UUID) -> Job:
        try:
            return self._jobs[id]
        except KeyError:
            raise JobUnknown from None

    async def parked(self, name: str) -> list[ParkedEvent]:
        self._model(name)
        return []

    def _model(self, name: str) -> AnyModel:
        try:
            return self._models[name]
        except KeyError:
            raise ReadModelUnknown from None


def _came_to(purpose: Purpose) -> Findings | Replayed | Dropped:
    match purpose:
        case "replay_parked":
            return Replayed(applied=0, left=0)
        case "drop_old":
            return Dropped([])
        case _:
            return Findings()
