"""A whole service in memory, in virtual time, over a simulated cloud: tenants, functions and what is asked of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from prometheus_client import CollectorRegistry

from commands.basis import CODEC, fold
from commands.command import Command
from commands.deployment import AgainCommand, CancelDeployment, QueueDeployment, UndeployDeployment
from commands.execute import Context, Done, execute
from commands.progress import ClaimDeployment
from domain.artifact import ARTIFACT, ArtifactStaged, artifact_id
from domain.clouds import LocalTarget
from domain.deployment import DEPLOYMENT, Deployment
from domain.event import Aggregate, Event, Fact, StreamRef
from domain.function import FUNCTION, ArtifactFiles, Function
from domain.release import ArtifactKind, Trigger
from eventstore.log import NO_STREAM, Append
from eventstore.meta import Actor, Meta
from eventstore.ticks import Ticks
from process.secret import Secret
from providers.provider import Order, Provider
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import FAIR, Behaviour, Weather
from runner.composition import Stores, make_runner, stores_in_memory
from runner.loop import Runner
from runner.metrics import Metrics
from runner.plan import next_step
from runner.seen import order_of
from runner.world import Held, Plan, World
from tests.runner.mailbox import Mailbox
from tests.support import a, virtual_time
from tests.support.kept import put_bytes

CONTENT = b"void main() {}\n"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

_PERSON = Actor("person", "somebody")
_FILES: tuple[tuple[ArtifactKind, str], ...] = (("code", "main.dart"), ("yaml", "pubspec.yaml"))


class Town:
    """One project with one function a tenant, unless more are made; every random thing comes from the seed.

    With `stores` of its own, and `now`, it may stand on PostgreSQL and in real time.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        weather: Weather = FAIR,
        plan: Plan = next_step,
        cloud: type[SimulatedProvider] = SimulatedProvider,
        stores: Stores | None = None,
        ticks: Ticks | None = None,
        now: Callable[[], datetime] = virtual_time.now,
    ) -> None:
        self.random = Random(seed)
        self.now = now
        self.stores = stores or stores_in_memory(now)
        if ticks is not None:
            self.stores = msgspec.structs.replace(self.stores, ticks=ticks)
        self.log = self.stores.log
        self.contents = self.stores.contents
        self.build_logs = self.stores.build_logs
        self.cloud = cloud(seed, clock=virtual_time.seconds, weather=weather)
        self.mailbox = Mailbox()
        self.providers: dict[str, Provider] = {"local": self.cloud}
        self.tenants: list[UUID] = []
        self.functions: list[tuple[UUID, UUID]] = []
        self.deployments: list[tuple[UUID, UUID]] = []
        self._plan = plan

    def new_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def world(self, redact: Callable[[str], str] = str) -> World:
        """What one runner works with."""
        return World(
            log=self.log,
            providers=self.providers,
            contents=self.contents,
            secrets=self.stores.secrets,
            sealing=self.stores.sealing,
            build_logs=self.build_logs,
            clock=self.now,
            random=Random(self.random.random()),
            new_id=self.new_id,
            metrics=Metrics(CollectorRegistry()),
            redact=redact,
            plan=self._plan,
        )

    def runner(
        self, *, deployments_max: int = 20, drift_seconds: float = 300.0, retention_seconds: float = 3600.0
    ) -> Runner:
        """A runner of its own, on the town's stores and cloud."""
        return make_runner(
            self.stores,
            self.providers,
            clock=self.now,
            random=Random(self.random.random()),
            new_id=self.new_id,
            registry=CollectorRegistry(),
            sender=self.mailbox,
            deployments_max=deployments_max,
            drift_seconds=drift_seconds,
            retention_seconds=retention_seconds,
            plan=self._plan,
        )

    async def settled(
        self, *, seconds_max: float, look_seconds: float = 5.0, of: Collection[UUID] | None = None
    ) -> bool:
        """Wait until nothing (`of` these) is under way or waits; False when that took too long."""
        try:
            async with asyncio.timeout(seconds_max):
                while await self.unsettled(of):
                    await asyncio.sleep(look_seconds)
        except TimeoutError:
            return False
        return True

    async def unsettled(self, of: Collection[UUID] | None = None) -> list[UUID]:
        """The deployments a runner still has something to do for."""
        looked_at = [id for _, id in self.deployments] if of is None else of
        return [id for id in looked_at if (await self.deployment(id)).is_claimable]

    async def found(self, *, concurrent: int = 2, **limits: int | None) -> None:
        """What belongs to no tenant. `concurrent` deployments may be under way in each."""
        given: dict[str, Any] = {"concurrent_deployments": concurrent, "queued_deployments": 50, **limits}
        await self.record(a.plan_defined(**given), a.runtime_added())

    async def settle(self, functions: int = 1, trigger: Trigger | None = None) -> UUID:
        """A tenant that can deploy functions, all with the same trigger."""
        tenant_id = self.new_id()
        self.tenants.append(tenant_id)
        facts = (a.tenant_created(), a.project_created(), *a.integration_ready())
        await self.record(*facts, tenant_id=tenant_id)
        await put_bytes(self.contents, tenant_id, DIGEST, CONTENT)
        for kind, name in _FILES:
            staged = ArtifactStaged(
                project_id=a.PROJECT_ID,
                kind=kind,
                file_name=name,
                digest=DIGEST,
                size_bytes=15,
                sdk_constraint=">=3.0.0 <4.0.0" if kind == "yaml" else None,
            )
            stream = ARTIFACT.stream(tenant_id, artifact_id(a.PROJECT_ID, kind, name, DIGEST))
            await self.record(Fact(stream, staged), tenant_id=tenant_id)
        for number in range(functions):
            function_id = self.new_id()
            created = a.function_created(artifact_files=_files(), name=f"f{number}", trigger=trigger or Trigger()).event
            created = msgspec.structs.replace(created, slug=f"f{number}-{tenant_id.hex[:6]}")
            await self.record(Fact(FUNCTION.stream(tenant_id, function_id), created))
            self.functions.append((tenant_id, function_id))
        return tenant_id

    async def queue(
        self,
        tenant_id: UUID | None = None,
        function_id: UUID | None = None,
        behaviour: Behaviour | None = None,
        files: ArtifactFiles | None = None,
    ) -> UUID:
        """Ask for a deployment of the (first) function, made from the files it names or from others."""
        if tenant_id is None or function_id is None:
            tenant_id, function_id = self.functions[0]
        deployment_id = self.new_id()
        self.cloud.behaviour[deployment_id] = behaviour or Behaviour()
        await self.ask(
            QueueDeployment(
                tenant_id=tenant_id,
                at=self.now(),
                project_id=a.PROJECT_ID,
                function_id=function_id,
                deployment_id=deployment_id,
                provider="local",
                target=LocalTarget(),
                artifact_files=files or ArtifactFiles(),
            )
        )
        self.deployments.append((tenant_id, deployment_id))
        return deployment_id

    async def again(
        self, verb: type[AgainCommand], source_deployment_id: UUID, behaviour: Behaviour | None = None
    ) -> UUID:
        """Ask to retry, redeploy or roll back to a deployment."""
        tenant_id, deployment_id = self.tenant_of(source_deployment_id), self.new_id()
        self.cloud.behaviour[deployment_id] = behaviour or Behaviour()
        await self.ask(
            verb(
                tenant_id=tenant_id,
                at=self.now(),
                project_id=a.PROJECT_ID,
                deployment_id=deployment_id,
                source_deployment_id=source_deployment_id,
            )
        )
        self.deployments.append((tenant_id, deployment_id))
        return deployment_id

    async def set_secret(self, tenant_id: UUID, function_id: UUID, value: str) -> None:
        """Give the function a secret, TOKEN; deployments queued from then on have it."""
        value_id = self.new_id()
        await self.stores.secrets.close(tenant_id, function_id, value_id, Secret(value))
        await self.record(Fact(FUNCTION.stream(tenant_id, function_id), a.secret_set(value_id=value_id).event))

    async def cancel(self, deployment_id: UUID) -> None:
        tenant_id, at = self.tenant_of(deployment_id), self.now()
        await self.ask(
            CancelDeployment(tenant_id=tenant_id, at=at, project_id=a.PROJECT_ID, deployment_id=deployment_id)
        )

    async def undeploy(self, deployment_id: UUID) -> None:
        tenant_id, at = self.tenant_of(deployment_id), self.now()
        await self.ask(
            UndeployDeployment(tenant_id=tenant_id, at=at, project_id=a.PROJECT_ID, deployment_id=deployment_id)
        )

    async def lock(self, tenant_id: UUID, seconds: float) -> None:
        """Lock the tenant's project for so long."""
        at = self.now()
        await self.ask(a.lock_deployments(tenant_id=tenant_id, at=at, expires_at=at + timedelta(seconds=seconds)))

    async def unlock(self, tenant_id: UUID) -> None:
        await self.ask(a.unlock_deployments(tenant_id=tenant_id, at=self.now()))

    async def claim(self, deployment_id: UUID, epoch: int = 1, runner_id: str = "runner") -> Held:
        """Take it for a runner, without a lease."""
        tenant_id = self.tenant_of(deployment_id)
        function_id = (await self.release_order(deployment_id)).release.function_id
        held = Held(
            tenant_id=tenant_id,
            deployment_id=deployment_id,
            function_id=function_id,
            epoch=epoch,
            runner_id=runner_id,
        )
        await self.ask(
            ClaimDeployment(
                tenant_id=tenant_id,
                at=self.now(),
                deployment_id=deployment_id,
                function_id=function_id,
                epoch=epoch,
                runner_id=runner_id,
            )
        )
        return held

    async def ask(self, command: Command) -> Done:
        return await execute(
            self.log, command, Context(actor=_PERSON, command_id=self.new_id(), correlation_id=self.new_id())
        )

    async def record(self, *facts: Fact, tenant_id: UUID | None = None) -> None:
        """Facts as they are, each after what its stream has already; those of `a`'s tenant become the one given."""
        for fact in facts:
            stream = fact.stream
            if tenant_id is not None and stream.tenant_id == a.TENANT_ID:
                id = tenant_id if stream.id == a.TENANT_ID else stream.id
                stream = msgspec.structs.replace(stream, tenant_id=tenant_id, id=id)
            [before] = await self.log.load([stream])
            version = (before[-1].version if before else NO_STREAM) + 1
            event = CODEC.new_event(stream, version, fact.event, Meta(actor=_PERSON))
            await self.log.append(Append(tenant_id=stream.tenant_id, command_id=self.new_id(), events=(event,)))

    def tenant_of(self, deployment_id: UUID) -> UUID:
        return next(tenant_id for tenant_id, id in self.deployments if id == deployment_id)

    async def fold(self, aggregate: Aggregate[Any], stream: StreamRef) -> Any:
        """The state of any stream."""
        return await fold(self.log, aggregate, stream)

    async def deployment(self, deployment_id: UUID) -> Deployment:
        state: Deployment = await fold(
            self.log, DEPLOYMENT, DEPLOYMENT.stream(self.tenant_of(deployment_id), deployment_id)
        )
        return state

    async def function(self, tenant_id: UUID, function_id: UUID) -> Function:
        state: Function = await fold(self.log, FUNCTION, FUNCTION.stream(tenant_id, function_id))
        return state

    async def release_order(self, deployment_id: UUID) -> Order:
        """The deployment as the cloud sees it."""
        tenant_id = self.tenant_of(deployment_id)
        held = Held(tenant_id=tenant_id, deployment_id=deployment_id, function_id=tenant_id, epoch=0, runner_id="")
        order = order_of(held, await self.deployment(deployment_id))
        assert order is not None
        return order

    async def said(self, deployment_id: UUID) -> str:
        """What is stored by now of what the deployment's build said."""
        return (await self.build_logs.read(self.tenant_of(deployment_id), deployment_id)).text

    async def story(self, deployment_id: UUID) -> list[str]:
        """The types of the deployment's events, in order."""
        return [type(event).__struct_config__.tag for event in await self.events(deployment_id)]  # type: ignore[misc]

    async def events(self, deployment_id: UUID) -> list[Event]:
        stream = DEPLOYMENT.stream(self.tenant_of(deployment_id), deployment_id)
        [events] = await self.log.load([stream])
        return [CODEC.decode(stored) for stored in events]


def _files() -> ArtifactFiles:
    ids = [artifact_id(a.PROJECT_ID, kind, name, DIGEST) for kind, name in _FILES]
    return ArtifactFiles(code_file=ids[0], yaml_file=ids[1])
