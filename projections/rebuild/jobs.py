"""Jobs that make a build of a read model, or go back to one: asked for by operators, or by the code having changed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

import msgspec

from eventstore.database import Queries
from projections.checkpoints import Superseded
from projections.read_model import AnyModel, kind_of

# `verify` makes a build, compares it with the one that is served, and drops it again; `drop_old` drops what is not served.
Purpose = Literal["rebuild", "verify", "switch_back", "replay_parked", "drop_old"]
Step = Literal["queued", "scanning", "indexing", "catching_up", "verifying", "switching", "done", "failed", "canceled"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `scanned` is how far all lanes have come, of `scan_to`; `resumed_from` is where they were at
    `resumed_at`, when whoever works on it began. `ended_at` is None while it is open."""

    id: UUID
    model: str
    version: int
    build: int
    purpose: Purpose
    step: Step
    scan_to: int
    epoch: int
    cancel_requested: bool
    findings: bytes | None
    problem: str
    requested_by: str
    requested_at: datetime
    resumed_at: datetime | None
    resumed_from: int
    ended_at: datetime | None
    lanes: int
    scanned: int
    now: datetime

    @property
    def kind(self) -> str:
        """The build it makes, or goes back to."""
        return kind_of(self.model, self.version, self.build)

    @property
    def share(self) -> float:
        """How much of the scan is done, from 0 to 1."""
        if self.step == "queued":
            return 0.0
        return self.scanned / self.scan_to if self.step == "scanning" and self.scan_to else 1.0

    @property
    def events_per_second(self) -> float | None:
        """The rate of the scan since it was begun or taken up again; None while there is nothing to tell it by."""
        if self.step != "scanning" or self.resumed_at is None or self.scanned <= self.resumed_from:
            return None
        return (self.scanned - self.resumed_from) / max(1e-3, (self.now - self.resumed_at).total_seconds())

    @property
    def seconds_left(self) -> float | None:
        """How long the scan will still take at that rate."""
        rate = self.events_per_second
        return (self.scan_to - self.scanned) / rate if rate else None


_FIELDS = """
    SELECT r.id, r.model, r.version, r.build, r.purpose, r.step, r.scan_to, r.epoch, r.cancel_requested, r.findings,
           r.problem, r.requested_by, r.requested_at, r.resumed_at, r.resumed_from, r.ended_at, l.lanes,
           CASE WHEN r.step IN ('queued', 'scanning') THEN l.scanned ELSE r.scan_to END AS scanned,
           clock_timestamp() AS now
      FROM views.rebuilds r
     CROSS JOIN LATERAL (SELECT count(*)::int AS lanes, coalesce(avg(n.position), 0)::bigint AS scanned
                           FROM views.rebuild_lanes n WHERE n.rebuild_id = r.id) l"""
_BY_ID = _FIELDS + " WHERE r.id = $1"
_NEWEST = _FIELDS + " WHERE r.model = $1 ORDER BY r.requested_at DESC LIMIT 1"
_NEWEST_OF_ALL = (
    _FIELDS + " WHERE r.requested_at = (SELECT max(o.requested_at) FROM views.rebuilds o WHERE o.model = r.model)"  # noqa: S608 - constants of this file
)
_OPEN = _FIELDS + " WHERE r.ended_at IS NULL ORDER BY r.requested_at"
# A build's number is never given twice, so that nobody mistakes one for another.
_REQUEST = """
    INSERT INTO views.rebuilds (id, requested_by, model, version, build, purpose, step)
    SELECT $1, $7, $2, $3, coalesce($4, (SELECT coalesce(max(b.build) + 1, 0)
                                       FROM (SELECT c.build FROM views.checkpoints c
                                              WHERE c.model = $2 AND c.version = $3
                                              UNION ALL
                                             SELECT r.build FROM views.rebuilds r
                                              WHERE r.model = $2 AND r.version = $3) b)), $5, $6
        ON CONFLICT DO NOTHING
"""
_CANCEL = "UPDATE views.rebuilds SET cancel_requested = true WHERE id = $1 AND ended_at IS NULL"
_TAKE = """
    WITH taken AS (
        UPDATE views.rebuilds SET epoch = $2 WHERE id = $1 AND ended_at IS NULL AND epoch < $2 RETURNING id
    ), lanes AS (
        UPDATE views.rebuild_lanes n SET epoch = $2 FROM taken WHERE n.rebuild_id = taken.id
    )
    SELECT id FROM taken
"""
_MOVE = """
    UPDATE views.rebuilds
       SET step = $3, findings = coalesce($4, findings), problem = $5,
           ended_at = CASE WHEN $3 IN ('done', 'failed', 'canceled') THEN clock_timestamp() END
     WHERE id = $1 AND epoch = $2 AND ended_at IS NULL
    RETURNING id
"""
_LOCK = "SELECT r.id FROM views.rebuilds r WHERE r.id = $1 AND r.epoch = $2 AND r.ended_at IS NULL FOR UPDATE"


async def find_job(queries: Queries, id: UUID) -> Job | None:
    """The job as it stands now."""
    return _job(await queries.fetchrow(_BY_ID, id))


async def newest_job(queries: Queries, name: str) -> Job | None:
    """The last job that was asked for of a read model."""
    return _job(await queries.fetchrow(_NEWEST, name))


async def newest_jobs(queries: Queries) -> dict[str, Job]:
    """The last job that was asked for of each read model."""
    return {row["model"]: Job(**dict(row)) for row in await queries.fetch(_NEWEST_OF_ALL)}


async def open_jobs(queries: Queries) -> list[Job]:
    """The jobs that have not ended, the oldest first; at most one a read model."""
    return [Job(**dict(row)) for row in await queries.fetch(_OPEN)]


async def request_job(
    queries: Queries,
    model: AnyModel,
    purpose: Purpose,
    *,
    back_to: int | None = None,
    id: UUID | None = None,
    requested_by: str = "",
) -> Job:
    """Ask for a job. Asking again under one `id` gives the job asked for first; while one is open for the model, that
    one is the answer. `back_to` is the build to go back to."""
    step: Step = "catching_up" if purpose == "switch_back" else "queued"
    id = id or uuid4()
    while True:
        await queries.execute(_REQUEST, id, model.name, model.version, back_to, purpose, step, requested_by)
        job = await find_job(queries, id) or await open_job(queries, model.name)
        if job is not None:
            return job
        # The one that was open has ended since.


async def open_job(queries: Queries, name: str) -> Job | None:
    """The job of a read model that has not ended."""
    return next((job for job in await open_jobs(queries) if job.model == name), None)


async def cancel_job(queries: Queries, id: UUID) -> None:
    """Ask that it be given up; one that has ended stays as it is."""
    await queries.execute(_CANCEL, id)


async def take_job(queries: Queries, job: Job, epoch: int) -> Job:
    """The job, which from now on only this epoch can move. Raises Superseded when it has ended or a newer one has it."""
    if await queries.fetchrow(_TAKE, job.id, epoch) is None:
        raise Superseded(f"epoch {epoch} cannot take {job.kind}")
    taken = await find_job(queries, job.id)
    assert taken is not None, "jobs are never deleted"
    return taken


async def move_job(queries: Queries, job: Job, step: Step, *, findings: bytes | None = None, problem: str = "") -> Job:
    """The job at another step. Raises Superseded when somebody else has it by now."""
    if await queries.fetchrow(_MOVE, job.id, job.epoch, step, findings, problem) is None:
        raise Superseded(f"epoch {job.epoch} no longer has {job.kind}")
    moved = await find_job(queries, job.id)
    assert moved is not None, "jobs are never deleted"
    return moved


async def hold_job(queries: Queries, job: Job) -> None:
    """Keep everybody else from taking the job until the transaction ends. Raises Superseded when somebody has."""
    if await queries.fetchrow(_LOCK, job.id, job.epoch) is None:
        raise Superseded(f"epoch {job.epoch} no longer has {job.kind}")


def _job(row: object) -> Job | None:
    return None if row is None else Job(**dict(row))  # type: ignore[call-overload]  # a record of exactly these fields
