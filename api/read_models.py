"""What operators see of the read models, and the jobs they can have done on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from api.answer import Answer, encoded
from api.body import read
from api.listing import Listed
from api.operation import Operation
from api.reading import reached
from api.services import Services, services_of
from api.writing import Writing
from projections.rebuild.jobs import Job, Purpose, Step
from projections.upkeep import JobUnknown, NoJobOpen, NothingToSwitchBackTo, ReadModelBusy, ReadModelUnknown, Standing

_JOBS = "/api/v1/operations/projections/jobs"
_TAG = "Read models"
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Build(msgspec.Struct, frozen=True):
    """One build of one version of a read model."""

    version: int
    build: int


class ProjectionJob(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A job. `share` of the log has been scanned, at the rate and for as much longer as is told; `findings` is what
    verifying, replaying or dropping came to."""

    job_id: UUID
    name: str
    purpose: Purpose
    version: int
    build: int
    step: Step
    share: Share
    events: int
    events_scanned: int
    events_per_second: float | None
    seconds_left: float | None
    lanes: int
    cancel_requested: bool
    findings: dict[str, Any] | None
    problem: str
    requested_by: str
    requested_at: datetime
    ended_at: datetime | None


class ReadModelStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a read model stands: what is served of it, how far that is behind the log, what could not be applied."""

    name: str
    served: Build | None
    code_version: int
    previous: Build | None
    position: str
    lag_events: int
    lag_seconds: float
    parked_streams: int
    parked_events: int
    job: ProjectionJob | None


class ParkedEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event that could not be applied, or that waits behind one (then `error` is empty)."""

    tenant_id: UUID
    stream_id: UUID
    position: str
    error: str
    parked_at: datetime


class NoWishes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing needs to be said."""


_LIST = Operation(
    name="listReadModels",
    permission="operate",
    summary="How the read models stand",
    tag=_TAG,
    answers={200: Listed[ReadModelStatus]},
)


@get("/operations/projections", opt=_LIST.as_opt())
async def list_read_models(request: Request[Any, Any, Any]) -> Answer:
    services = await reached(request)
    items = [await _status(services, standing) for standing in await services.upkeep.standings()]
    return Answer(encoded(Listed(items=items, next_cursor=None)))


_GET = Operation(
    name="getReadModel",
    permission="operate",
    summary="How a read model stands",
    tag=_TAG,
    answers={200: ReadModelStatus},
    refusals=(ReadModelUnknown,),
)


@get("/operations/projections/{name:str}", opt=_GET.as_opt())
async def get_read_model(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
    services = await reached(request)
    return Answer(encoded(await _status(services, await services.upkeep.standing(name))))


_PARKED = Operation(
    name="listParkedEvents",
    permission="operate",
    summary="The events that a read model could not apply, the oldest first",
    tag=_TAG,
    answers={200: Listed[ParkedEvent]},
    refusals=(ReadModelUnknown,),
)


@get("/operations/projections/{name:str}/parked", opt=_PARKED.as_opt())
async def list_parked_events(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
    services = await reached(request)
    items = []
    for parked in await services.upkeep.parked(name):
        fields = msgspec.structs.asdict(parked) | {"position": await services.tokens.of(parked.position)}
        items.append(ParkedEvent(**fields))
    return Answer(encoded(Listed(items=items, next_cursor=None)))


_JOB = Operation(
    name="getProjectionJob",
    permission="operate",
    summary="How a job gets on",
    tag=_TAG,
    answers={200: ProjectionJob},
    refusals=(JobUnknown,),
)


@get("/operations/projections/jobs/{job_id:uuid}", opt=_JOB.as_opt())
async def get_projection_job(request: Request[Any, Any, Any], job_id: FromPath[UUID]) -> Answer:
    services = await reached(request)
    return Answer(encoded(shown(await services.upkeep.job(job_id))))


def _asking(name: str, path: str, summary: str, purpose: Purpose) -> Any:
    operation = Operation(
        name=name,
        permission="operate",
        summary=summary,
        tag=_TAG,
        takes=NoWishes,
        answers={202: ProjectionJob},
        example={},
        writes=True,
        refusals=(ReadModelUnknown, ReadModelBusy, NothingToSwitchBackTo),
    )

    @post(f"/operations/projections/{{name:str}}/{path}", status_code=202, opt=operation.as_opt())
    async def ask(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
        async def requested(services: Services, writing: Writing) -> Job:
            return await services.upkeep.request(
                name,
                purpose,
                # One key for two read models, or two things, is no repetition.
                id=uuid5(writing.command_id, f"{purpose} {name}"),
                requested_by=f"{writing.principal.actor.type} {writing.principal.actor.id}".strip(),
            )

        return await _accepted(request, requested)

    return ask


REBUILD = _asking(
    "rebuildReadModel", "rebuild", "Make a read model anew beside what is served, then serve it", "rebuild"
)
VERIFY = _asking("verifyReadModel", "verify", "Make a read model anew and compare it with what is served", "verify")
SWITCH_BACK = _asking(
    "switchReadModelBack", "switch-back", "Serve the build again that was served before", "switch_back"
)
REPLAY = _asking("replayParkedEvents", "replay-parked", "Apply what could not be applied before", "replay_parked")
DROP_OLD = _asking("dropOldBuilds", "drop-old", "Drop the builds of a read model that are not served", "drop_old")

_CANCEL = Operation(
    name="cancelProjectionJob",
    permission="operate",
    summary="Give up the job of a read model",
    tag=_TAG,
    takes=NoWishes,
    answers={202: ProjectionJob},
    example={},
    writes=True,
    refusals=(ReadModelUnknown, NoJobOpen),
)


@post("/operations/projections/{name:str}/cancel", status_code=202, opt=_CANCEL.as_opt())
async def cancel_projection_job(request: Request[Any, Any, Any], name: FromPath[str]) -> Answer:
    async def canceled(services: Services, _writing: Writing) -> Job:
        return await services.upkeep.cancel(name)

    return await _accepted(request, canceled)


async def _accepted(request: Request[Any, Any, Any], ask: Callable[[Services, Writing], Awaitable[Job]]) -> Answer:
    _, content = await read(request, NoWishes)
    services = services_of(request)
    writing = Writing(request, content)
    writing.records_nothing()
    job = await ask(services, writing)
    headers = (
        *writing.preferences,
        (b"location", f"{_JOBS}/{job.id}".encode()),
        # Nothing is recorded in the log: jobs change no fact.
        (b"event-position", (await services.tokens.of(await services.log.head())).encode()),
    )
    return Answer(encoded(shown(job)), status=202, headers=headers)


async def _status(services: Services, standing: Standing) -> ReadModelStatus:
    lag = max(0, await services.log.head() - standing.position)
    since = await services.instants.recorded_at(standing.position + 1) if lag else None
    return ReadModelStatus(
        name=standing.name,
        served=Build(standing.served.version, standing.served.build) if standing.served else None,
        code_version=standing.version,
        previous=Build(standing.previous.version, standing.previous.build) if standing.previous else None,
        position=await services.tokens.of(standing.position),
        lag_events=lag,
        lag_seconds=max(0.0, (services.clock() - since).total_seconds()) if since else 0.0,
        parked_streams=standing.parked_streams,
        parked_events=standing.parked_events,
        job=shown(standing.job) if standing.job else None,
    )


def shown(job: Job) -> ProjectionJob:
    """The job as the API shows it."""
    return ProjectionJob(
        job_id=job.id,
        name=job.model,
        purpose=job.purpose,
        version=job.version,
        build=job.build,
        step=job.step,
        share=job.share,
        events=job.scan_to,
        events_scanned=job.scanned,
        events_per_second=job.events_per_second,
        seconds_left=job.seconds_left,
        lanes=job.lanes,
        cancel_requested=job.cancel_requested,
        findings=None if job.findings is None else msgspec.json.decode(job.findings, type=dict[str, Any]),
        problem=job.problem,
        requested_by=job.requested_by,
        requested_at=job.requested_at,
        ended_at=job.ended_at,
    )


READ_MODEL_ROUTES = (
    list_read_models,
    get_read_model,
    list_parked_events,
    get_projection_job,
    REBUILD,
    VERIFY,
    SWITCH_BACK,
    REPLAY,
    DROP_OLD,
    cancel_projection_job,
)
