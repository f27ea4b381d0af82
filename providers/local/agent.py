"""The agent: does what the runner asks of a deployment, and after a crash makes true again what should be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import assert_never
from uuid import UUID

import msgspec
import structlog

from domain.release import ArtifactKind, PinnedImage
from providers.local.artifact import content_digest
from providers.local.builder import Builder
from providers.local.engine import Engine, EngineUnavailable
from providers.local.fleet import Fleet
from providers.local.keeper import Keeper
from providers.local.ledger import Ledger
from providers.local.messages import SentSource
from providers.local.records import Deployment
from providers.local.routes import RouteTable
from providers.local.secrets import AgentSecrets
from providers.local.store import Store
from providers.local.toolchain import NoEngine, Toolchains
from providers.provider import (
    Build,
    Bundle,
    Image,
    LogChunk,
    Observation,
    Order,
    ProviderBusy,
    ProviderRefused,
    Service,
)

WITHDRAW_SECONDS_MAX = 2.0
ENGINE_SECONDS_MAX = 1.0

_FILE_NAMES: dict[ArtifactKind, str] = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}

log = structlog.get_logger()


class Agent:
    """The provider's verbs, each keyed by the deployment's id, one of a deployment at a time: twice is once.

    All raise ProviderRefused, or ProviderBusy when what they need is not there yet.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        toolchains: Toolchains,
        builder: Builder,
        fleet: Fleet,
        routes: RouteTable,
        secrets: AgentSecrets,
    ) -> None:
        self._secrets = secrets
        self._store = store
        self._ledger = ledger
        self._toolchains = toolchains
        self._builder = builder
        self._fleet = fleet
        self._routes = routes
        self._turns: defaultdict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._resuming: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        """Adopt what an agent before us left running, start what should run, end what should not, build on."""
        self._fleet.start()
        self.close_anew()
        for deployment in self._ledger:
            await self._resume(deployment)
        log.info("agent_started", deployments=len(self._ledger), running=len(self._fleet))

    async def stop(self, seconds_max: float) -> None:
        """End builds and functions. What should be is remembered, and made so again by the next agent."""
        for task in self._resuming:
            task.cancel()
        await self._toolchains.stop()
        await self._builder.halt_all()
        await self._fleet.stop(seconds_max)
        self._store.disown()

    async def bundle(self, order: Order, sources: tuple[SentSource, ...]) -> Bundle:
        """Keep the sources to build from."""
        async with self._turns[order.deployment_id]:
            deployment = self._ledger.open(order)
            if deployment.bundle:
                return deployment.bundle
            files = {_FILE_NAMES[source.kind]: self._keep(source) for source in sources}
            if len(files) < len(sources):
                raise ProviderRefused("sources_duplicate", "Two sources are of one kind.", "Give one file of a kind.")
            digest = content_digest(msgspec.json.encode(files, order="sorted"))
            bundle = Bundle(location=f"local/sources/{digest}", digest=digest)
            self._ledger.change(deployment.id, bundle=bundle, files=files)
            return bundle

    async def start_build(self, order: Order) -> Build:
        """Begin, or return the build begun before."""
        async with self._turns[order.deployment_id]:
            deployment = self._ledger.open(order)
            if deployment.build:
                return deployment.build
            if not deployment.bundle:
                raise ProviderRefused("not_bundled", "There are no sources to build from.", "Deploy again.")
            return self._builder.start(deployment, await self._engine())

    async def stop_build(self, order: Order) -> None:
        """End a running build and its processes."""
        async with self._turns[order.deployment_id]:
            if deployment := self._ledger.find(order.deployment_id):
                await self._builder.stop(deployment)

    async def build_log(self, order: Order, cursor: int) -> LogChunk:
        """What the build wrote from `cursor` on."""
        return self._builder.log_of(order.deployment_id).read(cursor)

    async def push(self, order: Order) -> Image:
        """Name what was built by its content."""
        async with self._turns[order.deployment_id]:
            deployment = self._ledger.open(order)
            if deployment.image:
                return deployment.image
            if not deployment.built_digest:
                raise ProviderRefused("not_built", "There is no finished build to push.", "Deploy again.")
            engine = await self._engine_of(deployment)
            digest = engine.digest(self._store.artifact(deployment.built_digest))
            image = Image(reference=f"local/artifacts/{digest}", digest=digest)
            self._ledger.change(deployment.id, image=image)
            return image

    async def apply(self, order: Order, secrets: Mapping[str, str]) -> Service:
        """Start the release, beside whatever serves. The secrets are kept closed, for when it is started again."""
        async with self._turns[order.deployment_id]:
            deployment = self._ledger.open(order)
            if not deployment.image and order.release.image:
                deployment = self._borrow(deployment, order.release.image)
            if not deployment.image:
                raise ProviderRefused("not_pushed", "There is nothing built to run.", "Deploy again.")
            if deployment.wanted == "nothing":
                closed = self._secrets.close(deployment.id, secrets)
                deployment = self._ledger.change(deployment.id, wanted="running", sealed_secrets=closed)
                self._fleet.keep(deployment, serving=False)
            return self._service(deployment)

    async def promote(self, order: Order) -> Service:
        """Lead the function's requests here, then begin to stop the deployment that had them before."""
        async with self._turns[order.deployment_id]:
            deployment = self._ledger.open(order)
            if not self._routes.serves(order):
                keeper = self._healthy(deployment)
                former = self._routes.point_to(order)
                keeper.serving = True
                self._retire(former)
            return self._service(deployment)

    async def withdraw(self, order: Order) -> tuple[str, ...]:
        """Remove everything of the deployment; what has not ended after a moment is returned."""
        async with self._turns[order.deployment_id]:
            deployment = self._ledger.find(order.deployment_id)
            if deployment is None:
                return ()
            deployment = self._ledger.change(deployment.id, wanted="withdrawn")
            self._routes.remove(order)
            await self._builder.halt(deployment)
            ending = self._fleet.end(deployment)
            await asyncio.wait([ending], timeout=WITHDRAW_SECONDS_MAX)
            if not ending.done():
                return (f"process {deployment.process.pid}" if deployment.process else "process",)
            ending.result()
            self._ledger.remove(deployment.id)
            return ()

    async def observe(self, order: Order) -> Observation:
        """All there is of the deployment."""
        deployment = self._ledger.find(order.deployment_id)
        if deployment is None:
            return Observation()
        return Observation(
            bundle=deployment.bundle,
            build=deployment.build,
            image=deployment.image,
            service=None if deployment.wanted == "nothing" else self._service(deployment),
        )

    def _keep(self, source: SentSource) -> str:
        digest = self._store.keep_source(source.content)
        if digest != source.digest:
            raise ProviderRefused(
                "digest_differs", f"{source.file_name} is not what its digest says.", "Upload it again."
            )
        return digest

    async def _engine(self) -> Engine:
        choosing = self._toolchains.start()
        await asyncio.wait([choosing], timeout=ENGINE_SECONDS_MAX)
        if not choosing.done():
            raise ProviderBusy(f"The engine is not ready: {self._toolchains.progress}.")
        try:
            return choosing.result()
        except NoEngine as error:
            raise ProviderRefused("no_engine", error.message, error.remedy) from error

    async def _engine_of(self, deployment: Deployment) -> Engine:
        assert deployment.engine is not None
        try:
            return await self._toolchains.named(deployment.engine)
        except EngineUnavailable as error:
            raise ProviderRefused("no_engine", error.message, error.remedy) from error

    def _borrow(self, deployment: Deployment, pinned: PinnedImage) -> Deployment:
        """Take what an earlier deployment built; from here on neither's removal takes it from the other."""
        for lender in self._ledger:
            kept = lender.image and lender.image.digest == pinned.digest and lender.wanted != "withdrawn"
            if kept and self._store.artifact(lender.built_digest).exists():
                return self._ledger.change(
                    deployment.id, image=lender.image, engine=lender.engine, built_digest=lender.built_digest
                )
        raise ProviderRefused(
            "image_missing", "What the release ran is no longer kept here.", "Redeploy it: it is built again."
        )

    def _healthy(self, deployment: Deployment) -> Keeper:
        keeper = self._fleet.find(deployment.id)
        if keeper is None or keeper.status in ("unhealthy", "stopped"):
            words = keeper.message if keeper else "The release does not run."
            raise ProviderRefused("not_healthy", words, "Mend it and deploy again.")
        if keeper.status == "starting":
            raise ProviderBusy("The release is not healthy yet.")
        return keeper

    def _retire(self, deployment_id: UUID | None) -> None:
        if deployment_id and (former := self._ledger.find(deployment_id)) and former.wanted == "running":
            self._fleet.end(self._ledger.change(former.id, wanted="stopped"))

    def _service(self, deployment: Deployment) -> Service:
        keeper = self._fleet.find(deployment.id)
        message = keeper.message if keeper else ""
        return Service(
            status=keeper.status if keeper else "stopped",
            url="",  # The client knows under which origin functions answer.
            revision=deployment.image.digest if deployment.image else "",
            serving=self._routes.serves(deployment.order),
            message=message,
            remedy="Read the function's last words, mend it and deploy again." if message else "",
        )

    def close_anew(self) -> None:
        """Close every function's secrets under the current key, as far as they can be opened."""
        for deployment in tuple(self._ledger):
            self._close_anew(deployment)

    def _close_anew(self, deployment: Deployment) -> None:
        """So that a former master key is not needed any more once the agent was started with the new one."""
        with suppress(EngineUnavailable):  # Starting the function says so.
            closed = self._secrets.renewed(deployment.id, deployment.sealed_secrets)
            if closed != deployment.sealed_secrets:
                self._ledger.change(deployment.id, sealed_secrets=closed)

    async def _resume(self, deployment: Deployment) -> None:
        """One line for each point at which the agent before us may have died."""
        match deployment.wanted:
            case "running" if self._routes.is_past(deployment.order):
                self._retire(deployment.id)
            case "running":
                self._fleet.keep(deployment, serving=self._routes.serves(deployment.order))
            case "stopped":
                self._fleet.end(deployment)
            case "withdrawn":
                self._later(asyncio.create_task(self.withdraw(deployment.order)))
            case "nothing":
                if deployment.build and deployment.build.status == "running":
                    self._later(asyncio.create_task(self._build_again(deployment)))
            case _:
                assert_never(deployment.wanted)

    def _later(self, task: asyncio.Task[object]) -> None:
        self._resuming.add(task)
        task.add_done_callback(self._resuming.discard)

    async def _build_again(self, deployment: Deployment) -> None:
        async with self._turns[deployment.id]:
            if self._ledger.find(deployment.id) != deployment:
                return  # It was stopped or removed in the meantime.
            await self._builder.halt(deployment)
            self._builder.log_of(deployment.id).add(b"-- the agent was interrupted; starting over\n")
            try:
                self._builder.start(deployment, await self._engine_of(deployment))
            except ProviderRefused as error:
                self._builder.fail(deployment, error.message, error.remedy)
