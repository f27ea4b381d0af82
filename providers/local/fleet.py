"""The processes of all releases that should run: started, adopted, watched and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import aiohttp
from msgspec.structs import replace

from providers.local import procfs
from providers.local.command import run
from providers.local.confinement import Confinement
from providers.local.engine import Command, EngineUnavailable, Launch
from providers.local.function_log import FunctionLog
from providers.local.keeper import Charge, Keeper, Patience
from providers.local.ledger import Ledger
from providers.local.network import Network
from providers.local.outbound import Outbound, proxy_variables
from providers.local.process_group import ProcessGroup
from providers.local.records import Deployment, ProcessMark
from providers.local.secrets import AgentSecrets
from providers.local.store import Store
from providers.local.toolchain import Toolchains

WATCH_SECONDS = 0.5
DISCARD_SECONDS_MAX = 30.0
# Every process we start carries these, so that those a crash made us lose are found again.
AGENT_VARIABLE = "DCF_AGENT"
DEPLOYMENT_VARIABLE = "DCF_DEPLOYMENT_ID"


class Fleet:
    """One keeper for each deployment that should run. `name` is the agent's, the same for the life of its folder."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        toolchains: Toolchains,
        session: aiohttp.ClientSession,
        *,
        name: str,
        environment: Mapping[str, str],
        confinement: Confinement,
        outbound: Outbound | None,
        patience: Patience,
        secrets: AgentSecrets,
    ) -> None:
        self._secrets = secrets
        self._store = store
        self._ledger = ledger
        self._toolchains = toolchains
        self._session = session
        self._name = name
        self._environment = environment
        self._search_path = environment.get("PATH", os.defpath)
        self._confinement = confinement
        self._outbound = outbound
        self._patience = patience
        self._keepers: dict[UUID, Keeper] = {}
        self._ending: dict[UUID, asyncio.Task[None]] = {}
        self._restarts_of_former = 0
        self._watching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._keepers)

    def find(self, deployment_id: UUID) -> Keeper | None:
        return self._keepers.get(deployment_id)

    def keepers(self) -> tuple[Keeper, ...]:
        """All of them."""
        return tuple(self._keepers.values())

    @property
    def restarts(self) -> int:
        """How often a process that died was started again, by this agent."""
        return self._restarts_of_former + sum(keeper.restarts for keeper in self._keepers.values())

    def start(self) -> None:
        """End what a crash left behind unrecorded, and begin to watch."""
        self._end_strays()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self, seconds_max: float) -> None:
        """End every process."""
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        keepers = [keeper.stop(seconds_max, drain_seconds_max=seconds_max) for keeper in self._keepers.values()]
        await asyncio.gather(*keepers, *self._ending.values())

    def keep(self, deployment: Deployment, *, serving: bool) -> None:
        """Keep the deployment's process running; one found running is adopted."""
        release = deployment.order.release
        place = self._store.place(deployment.id)
        charge = Charge(
            name=deployment.name,
            command=lambda port: self._command(deployment, port),
            cwd=place / "run",
            store=self._store.folder,
            log=FunctionLog(place / "function.log", hide=lambda text: self._hidden(deployment, text)),
            health_path=release.health_path,
            start_seconds_max=release.start_seconds_max,
            memory_mb_max=release.memory_mb_max,
            free_port=self._free_port,
            note=self._noting(deployment.id),
            enter=self._enter,
        )
        keeper = self._keepers[deployment.id] = Keeper(charge, self._session, self._patience)
        keeper.serving = serving
        keeper.start(ProcessGroup.adopt(deployment.process) if deployment.process else None, deployment.port)

    def end(self, deployment: Deployment) -> asyncio.Task[None]:
        """Begin to end all that runs of the deployment; the task that does so, the same one if it is under way."""
        task = self._ending.get(deployment.id)
        if task is None:
            task = self._ending[deployment.id] = asyncio.create_task(self._end(deployment))
        return task

    async def _end(self, deployment: Deployment) -> None:
        try:
            if keeper := self._keepers.get(deployment.id):
                await keeper.stop()
                self._restarts_of_former += keeper.restarts
                del self._keepers[deployment.id]
            # Some may have left the process group.
            self._kill(procfs.with_variable(DEPLOYMENT_VARIABLE, str(deployment.id)))
            await self._discard(deployment)
        finally:
            del self._ending[deployment.id]

    async def _discard(self, deployment: Deployment) -> None:
        if deployment.engine is None:
            return
        shared = any(one.built_digest == deployment.built_digest for one in self._ledger if one.id != deployment.id)
        built = deployment.wanted == "withdrawn" and not shared
        with suppress(EngineUnavailable):
            for argv in (await self._toolchains.named(deployment.engine)).discard(deployment.name, built=built):
                await run(argv, cwd=self._store.folder, environment=self._environment, seconds_max=DISCARD_SECONDS_MAX)

    def _noting(self, deployment_id: UUID) -> Callable[[ProcessMark | None, int], None]:
        def note(process: ProcessMark | None, port: int) -> None:
            self._ledger.change(deployment_id, process=process, port=port)

        return note

    async def _command(self, deployment: Deployment, port: int) -> Command:
        assert deployment.engine is not None
        engine = await self._toolchains.named(deployment.engine)
        order = deployment.order
        place = self._store.place(deployment.id) / "run"
        machine = {"PATH": self._search_path, "LANG": "C.UTF-8", "HOME": str(place), "TMPDIR": str(place)}
        if self._outbound and self._confinement.own_network:
            machine |= proxy_variables()
        ours = {
            "PORT": str(port),
            "DCF_FUNCTION_ID": str(order.release.function_id),
            "DCF_PROJECT_ID": str(order.project_id),
            **self._marks(deployment.id),
        }
        launch = Launch(
            name=deployment.name,
            artifact=self._store.artifact(deployment.built_digest),
            port=port,
            machine=machine,
            environment={**order.release.environment, **self._secrets_of(deployment), **ours},
            memory_mb_max=order.release.memory_mb_max,
        )
        command = self._confined(engine.launch(launch), place)
        return replace(command, environment={"PATH": self._search_path, **self._marks(deployment.id)})

    def _secrets_of(self, deployment: Deployment) -> dict[str, str]:
        return self._secrets.open(deployment.id, deployment.sealed_secrets)

    def _hidden(self, deployment: Deployment, text: str) -> str:
        return self._secrets.hide(deployment.id, deployment.sealed_secrets, text)

    def _marks(self, deployment_id: UUID) -> dict[str, str]:
        return {DEPLOYMENT_VARIABLE: str(deployment_id), AGENT_VARIABLE: self._name}

    def _confined(self, command: Command, place: Path) -> Command:
        apart = self._confinement.own_network and command.needs is not None
        argv = self._confinement.around(
            command.argv, cwd=place, environment=command.environment, kept=command.needs, own_network=apart
        )
        return replace(command, argv=argv, apart=apart)

    async def _enter(self, process_id: int, started_apart: bool) -> Network | None:
        enter = Network.entered if started_apart else Network.of
        return await enter(process_id, self._confinement.tools, self._outbound)

    def _free_port(self) -> int:
        given = {keeper.port for keeper in self._keepers.values()}
        while True:
            with socket.socket() as candidate:
                candidate.bind(("127.0.0.1", 0))
                port: int = candidate.getsockname()[1]
            if port not in given:
                return port

    def _end_strays(self) -> None:
        known = {one.process.pid for one in self._ledger if one.process and one.wanted == "running"}
        ours = procfs.with_variable(AGENT_VARIABLE, self._name)
        self._kill({pid: variables for pid, variables in ours.items() if procfs.group(pid) not in known})

    def _kill(self, processes: Mapping[int, Mapping[str, str]]) -> None:
        for pid, variables in processes.items():
            if variables.get(AGENT_VARIABLE) == self._name:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            sizes = procfs.resident_bytes_by_group()
            for keeper in self._keepers.values():
                keeper.watch(sizes.get(keeper.group.mark.pid, 0) if keeper.group else 0)
