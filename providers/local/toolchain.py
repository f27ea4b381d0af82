"""The engine of this machine: the first whose probe succeeds, or the one named by the operator."""

from __future__ import annotations

import asyncio
from typing import assert_never

import msgspec
import structlog

from providers.local.container import METADATA, Container
from providers.local.dart_sdk import DartSdk
from providers.local.engine import Engine, EngineName, EngineUnavailable, Surroundings
from providers.local.stand_in import StandIn

ENGINES: tuple[EngineName, ...] = ("dart", "podman", "docker", "standin")

METADATA_REMEDY = (
    "Drop it in the machine's firewall (`iptables -I FORWARD -d 169.254.169.254 -j DROP`; DOCKER-USER instead of FORWARD for docker), or give"
    " containers a network without it by DCF_CONTAINER_NETWORK (podman; docker builds in its own network all the same), or have the cloud"
    " answer no hop further (AWS: a hop limit of 1)."
)

log = structlog.get_logger()


class NoEngine(Exception):
    """Nothing on this machine can build and run Dart."""

    def __init__(self, tried: dict[EngineName, EngineUnavailable]) -> None:
        self.message = "; ".join(f"{name}: {error.message}" for name, error in tried.items())
        self.remedy = list(tried.values())[-1].remedy
        super().__init__(self.message)


class Toolchains:
    """Probes engines, one at a time, and remembers those that work. `progress` says what it is at, in words."""

    def __init__(self, surroundings: Surroundings, only: EngineName | None = None) -> None:
        self.progress = "the engines of this machine are being tried"
        self._surroundings = msgspec.structs.replace(surroundings, report=self._report)
        self._order = ENGINES if only is None else (only,)
        self._working: dict[EngineName, Engine] = {}
        self._choosing: asyncio.Task[Engine] | None = None
        self._turn = asyncio.Lock()
        # Whether what the chosen engine builds and runs reaches a cloud's metadata.
        self.exposed = False

    def start(self) -> asyncio.Task[Engine]:
        """The choice under way or made; a choice that found nothing is made again, by the next call."""
        task = self._choosing
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._choosing = asyncio.create_task(self._choose())
        return task

    async def named(self, name: EngineName) -> Engine:
        """The engine that built something earlier. Raises EngineUnavailable when it works no more."""
        async with self._turn:
            if name not in self._working:
                self._working[name] = await self._probe(name)
            return self._working[name]

    async def stop(self) -> None:
        """End a choice that is still under way."""
        if self._choosing and not self._choosing.done():
            self._choosing.cancel()
            await asyncio.wait([self._choosing])
        if self._choosing and not self._choosing.cancelled():
            self._choosing.exception()  # Seen, if nobody else asked.

    def _report(self, words: str) -> None:
        self.progress = words
        log.info("toolchain_progress", doing=words)

    async def _choose(self) -> Engine:
        tried: dict[EngineName, EngineUnavailable] = {}
        for name in self._order:
            try:
                engine = await self.named(name)
                if len(self._order) > 1 and isinstance(engine, Container):
                    await engine.require_base_image()
            except EngineUnavailable as error:
                log.info("engine_unavailable", engine=name, because=error.message)
                tried[name] = error
            else:
                log.info("engine_chosen", engine=name, version=engine.toolchain.version)
                if isinstance(engine, Container):
                    await self._look_for_metadata(engine)
                return engine
        raise NoEngine(tried)

    async def _look_for_metadata(self, engine: Container) -> None:
        """Builds run what strangers wrote: they must not be able to ask a cloud for the machine's own credentials."""
        if await engine.reaches(*METADATA):
            self.exposed = True
            log.warning(
                "containers_reach_metadata", engine=engine.name, address=str(METADATA[0]), remedy=METADATA_REMEDY
            )

    async def _probe(self, name: EngineName) -> Engine:
        try:
            match name:
                case "dart":
                    return await DartSdk.probe(self._surroundings)
                case "podman" | "docker":
                    return await Container.probe(name, self._surroundings)
                case "standin":
                    return await StandIn.probe(self._surroundings)
                case _:
                    assert_never(name)
        except OSError as error:
            raise EngineUnavailable(f"{name} could not be started: {error}", f"Repair or remove {name}.") from error
