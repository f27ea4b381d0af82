"""Builds: each runs as a task of the agent, in a folder of its own, a few at a time."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from providers.local import procfs
from providers.local.build_log import BuildLog
from providers.local.command import Finished, run
from providers.local.confinement import Confinement
from providers.local.engine import Engine
from providers.local.ledger import Ledger
from providers.local.network import Network
from providers.local.outbound import proxy_variables
from providers.local.package_host import way_to_packages
from providers.local.records import Deployment
from providers.local.store import Store
from providers.provider import Build

BUILD_SECONDS_MAX = 600.0
BUILDS_AT_ONCE_MAX = 2
MESSAGE_CHARACTERS_MAX = 4000
NICENESS = 10
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "PUB_HOSTED_URL", "DCF_AGENT")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")

log = structlog.get_logger()


class Builder:
    """Starts and stops builds; `environment` is what their commands see.

    A build is confined as the function itself will be: a compiler reads what sources name, wherever it lies, and shows the
    lines it does not understand. It has a network of its own as well, with a way out while packages are fetched.
    """

    def __init__(self, store: Store, ledger: Ledger, environment: Mapping[str, str], confinement: Confinement) -> None:
        self._store = store
        self._confinement = confinement
        self._ledger = ledger
        self._environment = environment
        self._way_to_packages = way_to_packages(environment)
        self._places = asyncio.Semaphore(BUILDS_AT_ONCE_MAX)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def start(self, deployment: Deployment, engine: Engine) -> Build:
        """Begin, under the id that a build of this deployment always has. Raises ProviderRefused for unfit sources."""
        folder = self._lay_out(deployment)
        engine.check(folder)
        build = Build(id=f"build-{deployment.id}", status="running", toolchain=engine.toolchain)
        begun = self._ledger.change(deployment.id, build=build, engine=engine.name)
        self._tasks[deployment.id] = asyncio.create_task(self._build(begun, engine, folder))
        return build

    async def stop(self, deployment: Deployment) -> None:
        """End the build's processes and note that it was stopped."""
        await self.halt(deployment)
        if deployment.build and deployment.build.status == "running":
            stopped = msgspec.structs.replace(deployment.build, status="stopped")
            self._ledger.change(deployment.id, build=stopped, build_process=None)

    async def halt(self, deployment: Deployment) -> None:
        """End the build's processes, here or left by an agent before us; what is noted of it stays."""
        task = self._tasks.pop(deployment.id, None)
        if task:
            task.cancel()
            await asyncio.wait([task])
        if deployment.build_process and procfs.lives(deployment.build_process):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(deployment.build_process.pid, signal.SIGKILL)

    async def halt_all(self) -> None:
        """End all builds; they start over with the next agent."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def fail(self, deployment: Deployment, message: str, remedy: str) -> None:
        """Note that the build cannot be done."""
        self._ledger.change(deployment.id, build_process=None, **_failed(deployment, message, remedy))

    def log_of(self, deployment_id: UUID) -> BuildLog:
        return BuildLog(self._store.place(deployment_id) / "build-log")

    def _lay_out(self, deployment: Deployment) -> Path:
        folder = self._store.place(deployment.id) / "build"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        for name, digest in deployment.files.items():
            shutil.copyfile(self._store.source(digest), folder / name)
        return folder

    async def _build(self, deployment: Deployment, engine: Engine, folder: Path) -> None:
        words = self.log_of(deployment.id)
        try:
            async with self._places:
                words.add(f"-- building with {engine.toolchain.engine} {engine.toolchain.version}\n".encode())
                failure = await self._run_steps(deployment, engine, folder, words)
            found = self._outcome(deployment, engine, folder, failure)
        except Exception as error:  # Whatever goes wrong, the build must come to an end.
            log.exception("build_broke", deployment_id=str(deployment.id))
            found = _failed(deployment, f"The build could not be done: {error}", "Deploy again.")
        build = self._ledger.change(deployment.id, build_process=None, **found).build
        assert build is not None
        words.add(f"-- {build.status}\n".encode())
        shutil.rmtree(folder, ignore_errors=True)
        self._tasks.pop(deployment.id, None)

    async def _run_steps(
        self, deployment: Deployment, engine: Engine, folder: Path, words: BuildLog
    ) -> Finished | None:
        """None when all went well, else the step that did not."""

        def note(pid: int) -> None:
            self._ledger.change(deployment.id, build_process=procfs.mark(pid))

        for step in engine.build_steps(folder, deployment.name):
            apart = self._confinement.builds_apart and engine.build_needs is not None
            argv, environment = self._confined(step, engine, folder, apart=apart)
            finished = await run(
                ("nice", "-n", str(NICENESS), *argv),
                cwd=folder,
                environment=environment,
                seconds_max=BUILD_SECONDS_MAX,
                write=words.add,
                started=note,
                held=self._entering(step) if apart else None,
            )
            if not finished.succeeded:
                return finished
        return None

    def _entering(self, step: tuple[str, ...]) -> Callable[[int], AbstractAsyncContextManager[object]]:
        outbound = self._way_to_packages if _fetches(step) else None
        return lambda process_id: Network.around(process_id, self._confinement.tools, outbound)

    def _confined(
        self, step: tuple[str, ...], engine: Engine, folder: Path, *, apart: bool
    ) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """The command, and the environment to start it with: a compiler can be made to show that as well."""
        if engine.build_needs is None:
            return step, self._environment
        passed = {name: self._environment[name] for name in _PASSED if name in self._environment}
        # Only what fetches packages has to know the way out, which may hold a password where builds share our network.
        shared = {name: text for name, text in self._environment.items() if name.lower() in _PROXIES}
        proxies = (proxy_variables(beside="") if apart else shared) if _fetches(step) else {}
        # Whatever is downloaded is this build's alone, and goes with its folder.
        own = {"HOME": str(folder), "TMPDIR": str(folder), "PUB_CACHE": str(folder / ".pub-cache")}
        argv = self._confinement.around(
            step,
            cwd=folder,
            environment={**passed, **proxies, **own},
            kept=engine.build_needs,
            own_network=apart,
        )
        return argv, passed

    def _outcome(
        self, deployment: Deployment, engine: Engine, folder: Path, failure: Finished | None
    ) -> dict[str, object]:
        assert deployment.build is not None
        output = folder / engine.output
        if failure is None and output.exists():
            digest = self._store.keep_artifact(output)
            return {"build": msgspec.structs.replace(deployment.build, status="succeeded"), "built_digest": digest}
        if failure is None:
            return _failed(deployment, f"The build left no {engine.output}.", "Deploy again.")
        if failure.code is None:
            return _failed(deployment, f"The build took longer than {BUILD_SECONDS_MAX:g} seconds.", "Make it smaller.")
        remedy = "Mend the sources and deploy again."
        if engine.toolchain.stand_in:
            remedy += (
                f" This machine builds with the stand-in Dart {engine.toolchain.version}, which knows nothing newer."
            )
        return _failed(deployment, failure.output.strip() or f"It ended with exit code {failure.code}.", remedy)


def _fetches(step: tuple[str, ...]) -> bool:
    return "pub" in step


def _failed(deployment: Deployment, message: str, remedy: str) -> dict[str, object]:
    assert deployment.build is not None
    shown = message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[:MESSAGE_CHARACTERS_MAX]}…"
    return {"build": msgspec.structs.replace(deployment.build, status="failed", message=shown, remedy=remedy)}
