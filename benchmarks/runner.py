"""`runner`: many deployments in flight in one runner on a slow cloud: its memory, its processor time, and how soon it begins."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import msgspec

from benchmarks.effort import Effort
from benchmarks.figures import Figures, note, percentile_ms, ratio, rounded
from benchmarks.ground import Ground, ground
from benchmarks.slow_cloud import BUILD_SECONDS_VARIABLE, Report
from benchmarks.started import started
from commands.artifact import StageArtifact
from commands.command import Command
from commands.deployment import QueueDeployment
from commands.execute import Context, execute
from commands.function import CreateFunction
from commands.ids import new_id
from commands.integration import (
    ConfigureStorage,
    ConnectProvider,
    RecordIdentityChecked,
    RecordStorageChecked,
)
from commands.plan import DefinePlan
from commands.project import CreateProject
from commands.runtime import AddRuntime
from commands.tenant import CreateTenant
from domain.artifact import artifact_id
from domain.clouds import LocalIdentity, LocalStorage, LocalTarget
from domain.event import SYSTEM_TENANT
from domain.function import ArtifactFiles, Authored
from domain.plan import Limits
from domain.release import ArtifactKind, Trigger
from domain.runtime import Dates
from eventstore.contents import PostgresContents
from eventstore.database import Pool, connect
from eventstore.log import Log
from eventstore.meta import Actor
from eventstore.postgres import PostgresLog

IN_FLIGHT = (100, 1_000, 3_000)
IN_FLIGHT_QUICK = (5,)
# What the figures without a number are of.
HEADLINE = 1_000
BUILD_SECONDS = 35.0
BUILD_SECONDS_QUICK = 0.5
TENANTS = 10
# Single deployments, one after the other, while all the others are in flight.
PROBES = 60
PROBES_QUICK = 3
PROBE_SECONDS = 0.15
COMMANDS_AT_ONCE = 200
END_SECONDS_MAX = 200.0

_VERSION = "3.11.0"
_CONTENT = b"void main() {}\n"
_DIGEST = f"sha256:{hashlib.sha256(_CONTENT).hexdigest()}"
_FILES: tuple[tuple[ArtifactKind, str], ...] = (("code", "main.dart"), ("yaml", "pubspec.yaml"))
_ACTOR = Actor("system", "benchmark")

_TIMES = """
    SELECT type, stream_id, extract(epoch FROM recorded_at)::float8 AS at
      FROM log.events
     WHERE position > $1 AND type = ANY ('{deployment.queued,deployment.claimed,deployment.succeeded}')
"""


# Of one that is not as far as the others.
_STORY = """
    SELECT type, version, recorded_at::time::text, convert_from(data, 'UTF8')
      FROM log.events
     WHERE stream_id = (SELECT stream_id FROM log.events
                         WHERE position > $1 AND type = 'deployment.queued' AND stream_id <> ALL ($2::uuid[]) LIMIT 1)
     ORDER BY version
"""


async def runner(effort: Effort) -> Figures:
    """Each number of deployments in a database and a runner process of its own. The cloud is slow, and the same for all."""
    sizes = IN_FLIGHT_QUICK if effort.quick else IN_FLIGHT
    found: dict[int, Figures] = {}
    for size in sizes:
        async with ground() as place, _scene(place, size, effort) as scene:
            found[size] = await scene.play()
        note(f"{size} in flight: {found[size]}")
    headline = found.get(HEADLINE, found[sizes[-1]])
    least, most = found[sizes[0]], found[sizes[-1]]
    told = ("peak_memory_mb", "claim_p99_ms", "cpu_ms_per_deployment")
    return {name: headline[name] for name in told} | {
        "cpu_growth": ratio(most["cpu_ms_per_deployment"], least["cpu_ms_per_deployment"]),
        "memory_growth": ratio(most["memory_kb_per_deployment"], least["memory_kb_per_deployment"]),
        "in_flight": {str(size): figures for size, figures in found.items()},
    }


@asynccontextmanager
async def _scene(place: Ground, size: int, effort: Effort) -> AsyncIterator[_Scene]:
    environment = {
        "DCF_DATABASE_URL": place.url,
        "DCF_DATA_DIR": str(place.data_dir),
        "DCF_PROJECTIONS_PORT": "0",
        "DCF_LOG_FORMAT": "json",
        "DCF_RUNNER_DEPLOYMENTS_MAX": str(2 * max(IN_FLIGHT)),
        BUILD_SECONDS_VARIABLE: str(BUILD_SECONDS_QUICK if effort.quick else BUILD_SECONDS),
    }
    said = place.data_dir / "service.log"
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        await enter(started("projections", environment, log=said))
        database = await enter(connect(place.url, role="dcf_engine", size_max=8))
        log = await enter(PostgresLog(database, place.url, role="dcf_engine"))
        at_work = await enter(started("benchmarks.slow_cloud", environment, talks=True, line_bytes_max=2**22, log=said))
        yield _Scene(log, database, at_work, size, PROBES_QUICK if effort.quick else PROBES)


class _Scene:
    """Tenants with functions, all deployed at once, and a few more one by one."""

    def __init__(self, log: Log, database: Pool, at_work: asyncio.subprocess.Process, size: int, probes: int) -> None:
        self._log, self._database, self._at_work = log, database, at_work
        self._size, self._probes = size, probes

    async def play(self) -> Figures:
        functions = await self._found(self._size + self._probes)
        before, beginning = await self._report(), await self._log.head()
        await self._all(self._queue(*one) for one in functions[: self._size])
        await self._until("deployment.claimed", self._size, beginning)
        under_way = await self._report()
        probes = [await self._probe(*one) for one in functions[self._size :]]
        await self._until("deployment.succeeded", len(functions), beginning)
        after = await self._report()
        times = await self._times(beginning)
        firsts = [(after.first_steps[id], id) for id in probes]
        cpu_ms = (after.cpu_seconds - before.cpu_seconds) * 1_000 / len(functions)
        memory_kb = (after.peak_memory_mb - before.memory_mb) * 1_024 / self._size
        return {
            "peak_memory_mb": rounded(after.peak_memory_mb),
            "memory_mb_at_rest": rounded(before.memory_mb),
            "memory_kb_per_deployment": rounded(memory_kb),
            "claim_p99_ms": percentile_ms([at - times["deployment.claimed"][id] for at, id in firsts], 99),
            "queue_to_first_step_p99_ms": percentile_ms([at - times["deployment.queued"][id] for at, id in firsts], 99),
            "cpu_ms_per_deployment": rounded(cpu_ms),
            "in_flight_when_probed": sum(
                times["deployment.succeeded"][id] > times["deployment.queued"][probes[0]]
                for id in times["deployment.claimed"]
            ),
            "memory_mb_in_flight": rounded(under_way.memory_mb),
        }

    async def _probe(self, tenant_id: UUID, project_id: UUID, function_id: UUID) -> UUID:
        await asyncio.sleep(PROBE_SECONDS)
        return await self._queue(tenant_id, project_id, function_id)

    async def _report(self) -> Report:
        reader, writer = self._at_work.stdout, self._at_work.stdin
        assert reader is not None
        assert writer is not None
        writer.write(b"\n")
        return msgspec.json.decode(await reader.readline(), type=Report)

    async def _until(self, type: str, count: int, beginning: int) -> None:
        """Wait until so many deployments have had such an event. Raises TimeoutError."""
        deadline = time.monotonic() + END_SECONDS_MAX
        while len(found := (await self._times(beginning)).get(type, {})) < count:
            if time.monotonic() > deadline:
                story = await self._database.fetch(_STORY, beginning, list(found))
                raise TimeoutError(f"{len(found)} of {count}: {type}; of one that has none: {list(map(tuple, story))}")
            await asyncio.sleep(0.5)

    async def _times(self, beginning: int) -> dict[str, dict[UUID, float]]:
        found: dict[str, dict[UUID, float]] = {}
        for row in await self._database.fetch(_TIMES, beginning):
            found.setdefault(row["type"], {}).setdefault(row["stream_id"], row["at"])
        return found

    # What there is to deploy.

    async def _found(self, functions: int) -> list[tuple[UUID, UUID, UUID]]:
        """So many functions, of several tenants: each with its tenant and project."""
        many = Limits(
            projects=1,
            functions_per_project=2 * functions,
            members=1,
            concurrent_deployments=2 * functions,
            queued_deployments=2 * functions,
        )
        await self._do(DefinePlan(tenant_id=SYSTEM_TENANT, at=_now(), name="large", limits=many))
        dates = Dates(released_at=datetime(2026, 1, 1, tzinfo=UTC))
        await self._do(AddRuntime(tenant_id=SYSTEM_TENANT, at=_now(), version=_VERSION, dates=dates))
        places = [await self._settle(number) for number in range(TENANTS)]
        made = [(*places[number % TENANTS], new_id(), number) for number in range(functions)]
        await self._all(self._create(*one) for one in made)
        return [(tenant_id, project_id, function_id) for tenant_id, project_id, function_id, _ in made]

    async def _settle(self, number: int) -> tuple[UUID, UUID]:
        tenant_id, project_id = new_id(), new_id()
        asked: dict[str, Any] = {"tenant_id": tenant_id, "at": _now()}
        of_project = {**asked, "project_id": project_id}
        of_local = {**of_project, "provider": "local"}
        await self._do(CreateTenant(**asked, name=f"tenant {number}", plan="large"))
        await self._do(CreateProject(**of_project, name="shop"))
        await PostgresContents(self._database).put(tenant_id, _DIGEST, BytesIO(_CONTENT))
        for kind, name in _FILES:
            constraint = ">=3.0.0 <4.0.0" if kind == "yaml" else None
            size = len(_CONTENT)
            staged: dict[str, Any] = {"kind": kind, "file_name": name, "digest": _DIGEST, "size_bytes": size}
            await self._do(StageArtifact(**of_project, **staged, sdk_constraint=constraint))
        await self._do(ConnectProvider(**of_local, identity=LocalIdentity()))
        await self._do(RecordIdentityChecked(**of_local, identity=LocalIdentity(), status="verified", steps=()))
        await self._do(
            RecordStorageChecked(
                **of_local, identity=LocalIdentity(), storage=LocalStorage(), status="verified", steps=()
            )
        )
        await self._do(ConfigureStorage(**of_local, storage=LocalStorage()))
        return tenant_id, project_id

    async def _create(self, tenant_id: UUID, project_id: UUID, function_id: UUID, number: int) -> None:
        code, yaml = (artifact_id(project_id, kind, name, _DIGEST) for kind, name in _FILES)
        authored = Authored(
            name=f"f{number}",
            trigger=Trigger(),
            runtime=_VERSION,
            artifact_files=ArtifactFiles(code_file=code, yaml_file=yaml),
        )
        ids: dict[str, Any] = {"tenant_id": tenant_id, "project_id": project_id, "function_id": function_id}
        await self._do(CreateFunction(**ids, at=_now(), authored=authored))

    async def _queue(self, tenant_id: UUID, project_id: UUID, function_id: UUID) -> UUID:
        deployment_id = new_id()
        ids: dict[str, Any] = {"tenant_id": tenant_id, "project_id": project_id, "function_id": function_id}
        await self._do(
            QueueDeployment(**ids, at=_now(), deployment_id=deployment_id, provider="local", target=LocalTarget())
        )
        return deployment_id

    async def _all(self, doing: Iterable[Awaitable[object]]) -> None:
        waiting = list(doing)
        for start in range(0, len(waiting), COMMANDS_AT_ONCE):
            await asyncio.gather(*waiting[start : start + COMMANDS_AT_ONCE])

    async def _do(self, command: Command) -> None:
        await execute(self._log, command, Context(actor=_ACTOR, command_id=new_id(), correlation_id=new_id()))


def _now() -> datetime:
    return datetime.now(UTC)
