"""What operators see of the read models, and what they can have done: jobs, which a projections process carries out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.refusal import Conflict, NotFound
from eventstore.database import Queries
from projections.active import Served, active_versions, previous_version, previous_versions
from projections.catalogue import READ_MODELS
from projections.checkpoints import positions
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job, Purpose, cancel_job, find_job, newest_jobs, open_job, request_job

PARKED_SHOWN_MAX = 200


class ReadModelUnknown(NotFound):
    """There is no read model of this name."""

    code = "read_model_not_found"
    remedy = "GET /api/v1/operations/projections lists them."


class JobUnknown(NotFound):
    """There is no job of this id."""

    code = "projection_job_not_found"
    remedy = "GET /api/v1/operations/projections shows what is under way."


class ReadModelBusy(Conflict):
    """Another job of the read model is under way."""

    code = "read_model_busy"
    remedy = "Wait until it is over, or cancel it."


class NoJobOpen(Conflict):
    """No job of the read model is under way."""

    code = "no_projection_job"
    remedy = "GET /api/v1/operations/projections shows what is under way."


class NothingToSwitchBackTo(Conflict):
    """The build that was served before is not kept, or is of another version of the code."""

    code = "nothing_to_switch_back_to"
    remedy = "Rebuild the read model instead."


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One read model. `served` is the build that is asked, `version` that of this code; `job` is the last one asked for."""

    name: str
    version: int
    served: Served | None
    previous: Served | None
    position: int
    parked_streams: int
    parked_events: int
    job: Job | None


class ParkedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is set aside. `error` is empty for one that only waits behind another."""

    tenant_id: UUID
    stream_id: UUID
    position: int
    error: str
    parked_at: datetime


class Upkeep(Protocol):
    """All of it raises ReadModelUnknown for a name that is none."""

    async def standings(self) -> list[Standing]:
        """Every read model, in the order of the catalogue."""
        ...

    async def standing(self, name: str) -> Standing: ...

    async def request(self, name: str, purpose: Purpose, *, id: UUID, requested_by: str) -> Job:
        """Ask for a job; the same `id` again gives the same job. Raises ReadModelBusy or NothingToSwitchBackTo."""
        ...

    async def cancel(self, name: str) -> Job:
        """Ask that the open job be given up; it ends soon after. Raises NoJobOpen."""
        ...

    async def job(self, id: UUID) -> Job:
        """Raises JobUnknown."""
        ...

    async def parked(self, name: str) -> list[ParkedEvent]:
        """The events set aside for what is served, the oldest first, at most PARKED_SHOWN_MAX."""
        ...


_COUNTS = "SELECT kind, streams, events FROM views.parked_counts()"
_PARKED = "SELECT tenant_id, stream_id, position, error, parked_at FROM views.parked_first($1, $2)"


class PostgresUpkeep:
    """The Upkeep over a pool, which may act as dcf_app."""

    def __init__(self, queries: Queries, models: Sequence[AnyModel] = READ_MODELS) -> None:
        self._queries = queries
        self._models = {model.name: model for model in models}

    async def standings(self) -> list[Standing]:
        queries = self._queries
        served, previous = await active_versions(queries), await previous_versions(queries)
        reached, jobs = await positions(queries), await newest_jobs(queries)
        counts = {row["kind"]: (row["streams"], row["events"]) for row in await queries.fetch(_COUNTS)}
        found = []
        for name, model in self._models.items():
            kind = served[name].kind(name) if name in served else ""
            streams, events = counts.get(kind, (0, 0))
            found.append(
                Standing(
                    name=name,
                    version=model.version,
                    served=served.get(name),
                    previous=previous.get(name),
                    position=reached.get(kind, 0),
                    parked_streams=streams,
                    parked_events=events,
                    job=jobs.get(name),
                )
            )
        return found

    async def standing(self, name: str) -> Standing:
        self._model(name)
        return next(standing for standing in await self.standings() if standing.name == name)

    async def request(self, name: str, purpose: Purpose, *, id: UUID, requested_by: str) -> Job:
        model = self._model(name)
        back_to = await self._build_for(model, purpose)
        job = await request_job(self._queries, model, purpose, back_to=back_to, id=id, requested_by=requested_by)
        if job.id != id and job.purpose != purpose:
            raise ReadModelBusy(f"A job of {name} is under way: {job.purpose}, {job.step}.")
        return job

    async def cancel(self, name: str) -> Job:
        self._model(name)
        job = await open_job(self._queries, name)
        if job is None:
            raise NoJobOpen
        await cancel_job(self._queries, job.id)
        return await self.job(job.id)

    async def job(self, id: UUID) -> Job:
        job = await find_job(self._queries, id)
        if job is None:
            raise JobUnknown
        return job

    async def parked(self, name: str) -> list[ParkedEvent]:
        self._model(name)
        served = (await active_versions(self._queries)).get(name)
        if served is None:
            return []
        rows = await self._queries.fetch(_PARKED, served.kind(name), PARKED_SHOWN_MAX)
        return [ParkedEvent(**dict(row)) for row in rows]

    async def _build_for(self, model: AnyModel, purpose: Purpose) -> int | None:
        """The build that the job is about; None: a new one."""
        match purpose:
            case "switch_back":
                previous = await previous_version(self._queries, model.name)
                if previous is None or previous.version != model.version:
                    raise NothingToSwitchBackTo
                return previous.build
            case "replay_parked" | "drop_old":
                served = (await active_versions(self._queries)).get(model.name)
                return served.build if served else 0
            case "rebuild" | "verify":
                return None

    def _model(self, name: str) -> AnyModel:
        try:
            return self._models[name]
        except KeyError:
            raise ReadModelUnknown from None
