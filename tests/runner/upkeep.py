"""A town through weeks of bad weather: schedules, drift, retention, and integrations whose cloud takes its time, one seed.

Runners come and die meanwhile, so that every duty passes from hand to hand. `python -m tests.runner.upkeep SEED` plays one
seed and tells every event of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from structlog.testing import capture_logs

from commands.basis import CODEC
from commands.deployment import RollbackDeployment
from commands.integration import (
    ConnectProvider,
    DisconnectProvider,
    RecordIdentityChecked,
    RecordStorageChecked,
)
from domain.artifact import ARTIFACT, ArtifactDiscarded, ArtifactStaged, artifact_id
from domain.clouds import Identity, LocalIdentity, LocalStorage, Storage, target_key
from domain.deployment import (
    DeploymentCanceled,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentRetired,
    DeploymentSucceeded,
    DriftCleared,
    DriftFound,
    UndeployRequested,
)
from domain.event import Event, Fact
from domain.function import ArtifactFiles, FunctionDeployed, FunctionUndeployed
from domain.integration import (
    INTEGRATION,
    CheckStep,
    IdentityChecked,
    Integration,
    IntegrationConnected,
    StorageChecked,
    integration_id,
)
from domain.refusal import Refusal
from domain.release import Trigger
from eventstore.log import StoredEvent
from eventstore.meta import decode_meta
from eventstore.ticks import Ticks
from providers.provider import Finding, ProviderUnreachable, Step
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import FAIR, STORMY, Behaviour
from runner.drift import differences
from tests.runner.simulation import check_logs, live, tell
from tests.runner.town import Town
from tests.support import a, virtual_time
from tests.support.kept import bytes_of, put_bytes
from tests.support.limits import Violated
from tests.support.limits import replay as limits_replay

RUNNERS = 2
KEPT = 2
FILE_DAYS = 3
DAY = 24 * 3600.0
STORM_SECONDS = 500.0
REQUESTS = 22
DRIFT_SECONDS = 40.0
RETENTION_SECONDS = 50.0
# After the storm: so much for what is under way, and for a few rounds of every duty.
SETTLED_SECONDS_MAX = 4 * 3600.0
QUIET_SECONDS = 240.0
# What is recorded in the instant in which a round looks is seen by the next one.
GRACE = timedelta(seconds=300)
# A release that is replaced or taken away may be seen in between, and that is over once it is recorded.
DRIFTS_BY_OURSELVES = 2
EVERY_MINUTE = Trigger(type="schedule", settings={"cron": "* * * * *", "timeZone": "Europe/Madrid"})
_PENDING = (CheckStep(name="grant", status="skipped", code="SPREADING", message="Not spread yet."),)


class Minded(SimulatedProvider):
    """Takes its time over integrations, and is meddled with; it counts how often, by deployment."""

    knows_at = 0.0

    def __init__(self, seed: int, **given: Any) -> None:
        super().__init__(seed, **given)
        self.meddled: Counter[UUID] = Counter()
        self._before: dict[UUID, Any] = {}

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        return await self._finding("identity")

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        return await self._finding("storage")

    async def _finding(self, what: str) -> Finding:
        await self._pass_time()
        if self._happens(self.weather.unreachable):
            raise ProviderUnreachable("nobody answers")
        if self._clock() < self.knows_at:
            return Finding(status="pending", steps=(Step(name=what, status="skipped", code="SPREADING"),))
        return Finding(status="verified", steps=(Step(name=what, status="passed"),))

    def change_behind_our_back(self, deployment_id: UUID) -> None:
        """What serves there runs something else from now on, or again what was released."""
        actual = self.made[deployment_id].service.actual
        if actual is None or not actual.serving:
            return
        self.meddled[deployment_id] += 1
        before = self._before.pop(deployment_id, None)
        if before is None:
            self._before[deployment_id] = actual.revision
        self.meddle(deployment_id, revision=before or f"somebody's {self.meddled[deployment_id]}")


def play(seed: int, *, ticks: Ticks | None = None) -> Town:
    """Play the seed to its end. Raises Violated, naming the seed and how to play it again."""
    try:
        with capture_logs() as lines:
            town = virtual_time.run(_play(seed, ticks))
        check_logs(lines)
    except Violated as violated:
        raise Violated(f"{violated}\nplay it again: python -m tests.runner.upkeep {seed}") from None
    return town


async def _play(seed: int, ticks: Ticks | None) -> Town:
    random = Random(seed)
    town = Town(seed, weather=STORMY, cloud=Minded, ticks=ticks)
    await town.found(concurrent=10, releases_kept=KEPT, artifact_retention_days=FILE_DAYS)
    for _ in range(2):
        await town.settle(1, trigger=EVERY_MINUTE)
    connecting = await town.settle(0)
    for _ in range(2):
        cloud(town).weather = STORMY
        async with _runners(town, random):
            await _people(town, connecting, random)
            await asyncio.sleep(STORM_SECONDS / 10)
        await asyncio.sleep(FILE_DAYS * DAY)
    cloud(town).weather = FAIR
    async with _runners(town, random, stormy=False):
        if not await town.settled(seconds_max=SETTLED_SECONDS_MAX):
            raise Violated(f"never ended: {[str(id) for id in await town.unsettled()]}")
        await asyncio.sleep(QUIET_SECONDS)
        await check(town, connecting)
    return town


def cloud(town: Town) -> Minded:
    assert isinstance(town.cloud, Minded)
    return town.cloud


@asynccontextmanager
async def _runners(town: Town, random: Random, *, stormy: bool = True) -> AsyncIterator[None]:
    ends = virtual_time.seconds() + (STORM_SECONDS if stormy else 0.0)
    lives = [
        asyncio.create_task(
            live(
                lambda _: town.runner(drift_seconds=DRIFT_SECONDS, retention_seconds=RETENTION_SECONDS),
                Random(random.random()),
                until=ends,
                lives_seconds=(20, 160),
                steps=(200, 6_000),
            )
        )
        for _ in range(RUNNERS)
    ]
    try:
        yield
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


async def _people(town: Town, connecting: UUID, random: Random) -> None:
    for number in range(REQUESTS):
        await asyncio.sleep(random.expovariate(REQUESTS / STORM_SECONDS))
        with suppress(Refusal):  # What they ask need not be possible.
            await _ask(town, connecting, random, number)


async def _ask(town: Town, connecting: UUID, random: Random, number: int) -> None:
    chance = random.random()
    if chance < 0.5 or not town.deployments:
        tenant_id, function_id = random.choice(town.functions)
        files = await _stage(town, tenant_id, f"// {random.random()}") if random.random() < 0.7 else None
        fails = random.random() < 0.15
        await town.queue(tenant_id, function_id, Behaviour(build_seconds=3, build_fails=fails), files=files)
    elif chance < 0.75:
        cloud(town).change_behind_our_back(random.choice(town.deployments)[1])
    elif chance < 0.82:
        await town.undeploy(random.choice(town.deployments)[1])
    elif chance < 0.9:
        await town.again(RollbackDeployment, random.choice(town.deployments)[1])
    else:
        cloud(town).knows_at = virtual_time.seconds() + random.uniform(0, 200)
        await _connect(town, connecting)


async def _stage(town: Town, tenant_id: UUID, remark: str) -> ArtifactFiles:
    """A main.dart of its own, uploaded anew."""
    content = f"void main() {{}} {remark}\n".encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    id = artifact_id(a.PROJECT_ID, "code", "main.dart", digest)
    await put_bytes(town.contents, tenant_id, digest, content)
    staged = ArtifactStaged(
        project_id=a.PROJECT_ID, kind="code", file_name="main.dart", digest=digest, size_bytes=len(content)
    )
    await town.record(Fact(ARTIFACT.stream(tenant_id, id), staged), tenant_id=tenant_id)
    return ArtifactFiles(code_file=id)


async def _connect(town: Town, tenant_id: UUID) -> None:
    """Connect the project anew; the cloud has not made up its mind."""
    of_local: Any = {"tenant_id": tenant_id, "at": town.now(), "project_id": a.PROJECT_ID, "provider": "local"}
    checked: Any = {**of_local, "identity": LocalIdentity(), "status": "pending", "steps": _PENDING}
    await town.ask(DisconnectProvider(**of_local))
    await town.ask(ConnectProvider(**of_local, identity=LocalIdentity()))
    await town.ask(RecordIdentityChecked(**checked))
    await town.ask(RecordStorageChecked(**checked, storage=LocalStorage()))


# What must hold.


async def check(town: Town, connecting: UUID) -> None:
    """What must hold once all is quiet. Raises Violated."""
    (await limits_replay(town.log)).check_end()
    if town.cloud.violations:
        raise Violated("; ".join(town.cloud.violations))
    _check_ticks(town)
    seen = Replay()
    for stored in await town.log.read(0, limit=100_000):
        seen.take(stored, CODEC.decode(stored))
    await _check_drift(town, seen)
    await _check_kept(town, seen)
    await _check_integration(town, connecting)


def _check_ticks(town: Town) -> None:
    """However many runners believed to keep a schedule, its function was called once for each tick at most."""
    for address, calls in town.cloud.calls.items():
        ticks = Counter(dict(call.headers)["ce-id"] for call in calls)
        [(tick, times)] = ticks.most_common(1)
        if times > 1:
            raise Violated(f"{address} was called {times} times for its tick of {tick}")


async def _check_drift(town: Town, seen: Replay) -> None:
    """What was recorded last is what the cloud shows, and nothing was recorded that did not change."""
    for id, count in seen.drifts.items():
        changes = cloud(town).meddled[id] + DRIFTS_BY_OURSELVES
        if count > changes:
            raise Violated(f"{id} has {count} events of drift, and changed {changes} times at most")
    for id in seen.active.values():
        order, recorded = await town.release_order(id), await town.deployment(id)
        if recorded.status != "succeeded":
            continue
        shown = differences(recorded, await town.cloud.observe(order))
        if shown is not None and shown != recorded.drift:
            raise Violated(f"{id} shows {shown}, and the log says {recorded.drift}")


async def _check_kept(town: Town, seen: Replay) -> None:
    """What serves, and what can be gone back to, has its image and the bytes it was made from."""
    for id in seen.kept:
        tenant_id, release = seen.releases[id]
        if town.cloud.made[id].image.actual is None:
            raise Violated(f"{id} is kept, and its image is gone")
        for source in release.sources:
            if await bytes_of(town.contents, tenant_id, source.digest) is None:
                raise Violated(f"{id} is kept, and {source.file_name} that it was made from is gone")


async def _check_integration(town: Town, tenant_id: UUID) -> None:
    stream = INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "local"))
    state: Integration = await town.fold(INTEGRATION, stream)
    if state.connected and "pending" in (state.identity_status, state.storage_status):
        raise Violated(f"the integration still waits: {state.identity_status}, {state.storage_status}")
    [events] = await town.log.load([stream])
    awaited: dict[type[Event], bool] = {}
    for stored in events:
        event, by = CODEC.decode(stored), decode_meta(stored.meta).actor.type
        match event:
            case IntegrationConnected():
                awaited = {}
            case IdentityChecked() | StorageChecked():
                if by == "runner" and (event.status == "pending" or not awaited.get(type(event))):
                    raise Violated(f"a runner recorded {event} of what it was not awaiting, or that was no news")
                awaited[type(event)] = event.status == "pending"
            case _:
                pass


class Replay:
    """Takes every event of the log in order. Raises Violated where something was taken away that is needed, or recorded
    as drift that was no change."""

    def __init__(self) -> None:
        self.releases: dict[UUID, tuple[UUID, Any]] = {}
        self.active: dict[tuple[UUID, str], UUID] = {}
        self.kept: set[UUID] = set()
        self.drifts: Counter[UUID] = Counter()
        self._numbers: dict[UUID, int] = {}
        self._needed_since: dict[UUID, datetime] = {}
        self._drift: dict[UUID, tuple[str, ...]] = defaultdict(tuple)

    def take(self, stored: StoredEvent, event: Event) -> None:
        id = stored.stream_id
        match event:
            case DeploymentQueued():
                self.releases[id], self._numbers[id] = (stored.tenant_id, event.release), event.number
                self._needed_since[id] = stored.recorded_at
            case DeploymentSucceeded():
                self.kept.add(id)
            case DeploymentFailed() | DeploymentCanceled() | UndeployRequested():
                self._let_go(id)
            case FunctionDeployed():
                self.active[id, event.target_key] = event.deployment_id
            case FunctionUndeployed():
                del self.active[id, event.target_key]
            case DeploymentRetired():
                self._check_retired(id)
                self._let_go(id)
            case ArtifactDiscarded():
                self._check_discarded(stored)
            case DriftFound() | DriftCleared():
                found = event.differences if isinstance(event, DriftFound) else ()
                self.drifts[id] += 1
                if found == self._drift[id]:
                    raise Violated(f"{stored.type} of {id} at position {stored.position} is no change")
                self._drift[id] = found
            case _:
                pass

    def _let_go(self, id: UUID) -> None:
        self.kept.discard(id)
        self._needed_since.pop(id, None)

    def _check_retired(self, id: UUID) -> None:
        slot = self._slot(id)
        if self.active.get(slot) == id:
            raise Violated(f"{id} was retired while it served")
        newer = [
            other
            for other in self.kept
            if self._slot(other) == slot and other != self.active.get(slot) and self._numbers[other] > self._numbers[id]
        ]
        if len(newer) < KEPT:
            raise Violated(f"{id} was retired, and of its last {KEPT} good ones")

    def _check_discarded(self, stored: StoredEvent) -> None:
        for id, since in self._needed_since.items():
            tenant_id, release = self.releases[id]
            names = {source.artifact_id for source in release.sources}
            if tenant_id == stored.tenant_id and stored.stream_id in names and stored.recorded_at - since > GRACE:
                raise Violated(f"a file of {id} was discarded at position {stored.position}")

    def _slot(self, id: UUID) -> tuple[UUID, str]:
        _, release = self.releases[id]
        return release.function_id, target_key(release.target)


def main() -> int:
    town = play(int(sys.argv[1]))
    for seconds, stream_id, event in virtual_time.run(tell(town)):
        sys.stdout.write(f"{seconds:10.3f}  {stream_id}  {type(event).__struct_config__.tag}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
