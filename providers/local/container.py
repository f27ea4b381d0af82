"""Podman or docker as an engine: the image is built from the function's own Dockerfile and runs as a container."""

from __future__ import annotations

import platform
import shutil
import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal, Self

from domain.release import Toolchain
from providers.local import tiny_program
from providers.local.command import run
from providers.local.engine import Command, EngineName, EngineUnavailable, Launch, Surroundings
from providers.provider import ProviderRefused

PROBE_SECONDS_MAX = 30.0
BASE_SECONDS_MAX = 20.0
# What the standard Dockerfile of a Dart function begins with.
BASE_IMAGE = "dart:stable"
PORT_INSIDE = 8080
# A sandboxed machine may refuse to raise limits, so they are stated; runc copes with control groups that crun refuses.
_RUN_VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "docker": ((),),
    "podman": (
        (),
        ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
        ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--network", "host"),
    ),
}
_GLOBAL_VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "docker": ((),),
    "podman": ((), ("--runtime", "runc", "--cgroup-manager", "cgroupfs")),
}
# What the engine's own client looks at; a function that sets one of these gets it by value instead.
_CLIENT_VARIABLES = (
    "PATH",
    "HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "CONTAINER_HOST",
)
# Where every large cloud tells its machines, and whoever can ask as one, who they are and with which credentials.
METADATA = (IPv4Address("169.254.169.254"), 80)


# What docker's builder takes for `--network`: it builds in no network of the operator's own (docs.docker.com, "docker buildx build").
_NETWORKS_OF_BUILDKIT = ("default", "none", "host")
# What the program that connects exits with when it could not; another code is the engine's own.
_NOT_CONNECTED = 1


class Container:
    """One of the two container engines. The image lives in the engine; the output file holds its digest."""

    output = "image.digest"

    def __init__(self, name: Literal["podman", "docker"], surroundings: Surroundings, version: str) -> None:
        self.name: EngineName = name
        self.toolchain = Toolchain(engine=name, version=version)
        self._client = {
            key: surroundings.environment[key] for key in _CLIENT_VARIABLES if key in surroundings.environment
        }
        self._client["PATH"] = surroundings.search_path
        self._program: tuple[str, ...] = (name,)
        self.build_needs: tuple[Path, ...] | None = None
        self._run_options: tuple[str, ...] = ()
        # What the operator wants builds and functions to be put into, instead of the engine's own network.
        self._own_network = ("--network", surroundings.network) if surroundings.network else ()
        builds_in_it = name == "podman" or surroundings.network in _NETWORKS_OF_BUILDKIT
        self._build_network = self._own_network if builds_in_it else ()

    @classmethod
    async def probe(cls, name: Literal["podman", "docker"], surroundings: Surroundings) -> Self:
        """Build an image from scratch and run it. Raises EngineUnavailable, soon when the engine behind the client is not running."""
        program = shutil.which(name, path=surroundings.search_path)
        if program is None:
            raise EngineUnavailable(f"There is no `{name}` on PATH.", f"Install {name}.")
        with tempfile.TemporaryDirectory(prefix="dcf-probe-") as place:
            engine = cls(name, surroundings, await _version(program, Path(place), surroundings))
            await engine._find_options(program, Path(place))
        return engine

    async def _find_options(self, program: str, folder: Path) -> None:
        (folder / "exit").write_bytes(_exiting_program())
        (folder / "exit").chmod(0o755)
        (folder / "Dockerfile").write_text('FROM scratch\nCOPY exit /exit\nENTRYPOINT ["/exit"]\n')
        words = ""
        for global_options in _GLOBAL_VARIANTS[self.name]:
            self._program = (program, *global_options)
            built = await self._try(self.build_steps(folder, "dcf-probe")[0], folder)
            if built is not None:
                words = built
                continue
            image = (folder / self.output).read_text().strip()
            for options in _RUN_VARIANTS[self.name]:
                if self._own_network and "--network" in options:
                    continue
                self._run_options = (*self._own_network, *options)
                asked = (*self._program, "run", "--rm", *self._network(1), *self._run_options, image)
                words = await self._try(asked, folder) or ""
                if not words:
                    return
        raise EngineUnavailable(
            f"{self.name} cannot build and run an image here: {words[-600:]}",
            f"Make `{self.name} run` work for this user.",
        )

    async def require_base_image(self) -> None:
        """Raise EngineUnavailable unless the image most Dockerfiles begin with is here or can be had.

        An engine that runs but reaches no registry would fail every build; another engine of the machine may do better.
        """
        with tempfile.TemporaryDirectory(prefix="dcf-probe-") as place:
            for question in (("image", "inspect", BASE_IMAGE), ("manifest", "inspect", BASE_IMAGE)):
                if await self._ask((*self._program, *question), Path(place), BASE_SECONDS_MAX) is None:
                    return
        raise EngineUnavailable(
            f"{self.name} works, but the image {BASE_IMAGE} is neither here nor in a registry it reaches.",
            f"Run `{self.name} pull {BASE_IMAGE}`; or set DCF_LOCAL_ENGINE={self.name} where no Dockerfile needs it.",
        )

    async def reaches(self, address: IPv4Address, port: int) -> bool | None:
        """Whether what this engine builds or runs, each in the network it has, can connect to somebody; None: it cannot be told."""
        program = tiny_program.connecting(address, port)
        if program is None:
            return None
        with tempfile.TemporaryDirectory(prefix="dcf-probe-") as place:
            folder = Path(place)
            (folder / "connect").write_bytes(program)
            (folder / "connect").chmod(0o755)
            (folder / "Dockerfile").write_text('FROM scratch\nCOPY connect /connect\nENTRYPOINT ["/connect"]\n')
            if await self._try(self.build_steps(folder, "dcf-probe-network")[0], folder) is not None:
                return None
            image = (folder / self.output).read_text().strip()
            of_builds = self._run_options if self._build_network else self._run_options[len(self._own_network) :]
            reached = [
                await self._connects((*self._program, "run", "--rm", *options, image), folder)
                for options in dict.fromkeys((self._run_options, of_builds))
            ]
            return True if True in reached else None if None in reached else False

    async def _connects(self, argv: tuple[str, ...], folder: Path) -> bool | None:
        finished = await run(argv, cwd=folder, seconds_max=PROBE_SECONDS_MAX, environment=self._client)
        return {0: True, _NOT_CONNECTED: False}.get(finished.code) if finished.code is not None else None

    async def _try(self, argv: tuple[str, ...], folder: Path) -> str | None:
        """None when it succeeded, else what it said."""
        return await self._ask(argv, folder, PROBE_SECONDS_MAX)

    async def _ask(self, argv: tuple[str, ...], folder: Path, seconds_max: float) -> str | None:
        finished = await run(argv, cwd=folder, seconds_max=seconds_max, environment=self._client)
        return None if finished.succeeded else finished.output.strip() or "it took too long"

    def check(self, folder: Path) -> None:
        if not (folder / "Dockerfile").exists():
            raise ProviderRefused(
                "dockerfile_missing",
                f"This machine builds with {self.name}, which needs a Dockerfile.",
                "Upload a Dockerfile.",
            )

    def build_steps(self, folder: Path, name: str) -> tuple[tuple[str, ...], ...]:
        return ((*self._program, "build", *self._build_network, "--iidfile", self.output, "-t", _tag(name), "."),)

    def digest(self, output: Path) -> str:
        found = output.read_text().strip()
        return found if found.startswith("sha256:") else f"sha256:{found}"

    def launch(self, launch: Launch) -> Command:
        on_host = "host" in self._run_options
        inside = {**launch.environment, "PORT": str(launch.port if on_host else PORT_INSIDE)}
        passed = (
            option
            for key, value in inside.items()
            for option in ("-e", f"{key}={value}" if key in self._client else key)
        )
        limits = ("--memory", f"{launch.memory_mb_max}m", "--pids-limit", "512")
        argv = (
            *self._program,
            "run",
            "--rm",
            "--name",
            launch.name,
            *self._network(launch.port),
            *self._run_options,
            *limits,
            *passed,
        )
        return Command(argv=(*argv, self.digest(launch.artifact)), environment={**inside, **self._client}, needs=None)

    def _network(self, port: int) -> tuple[str, ...]:
        return () if "host" in self._run_options else ("-p", f"127.0.0.1:{port}:{PORT_INSIDE}")

    def discard(self, name: str, *, built: bool) -> tuple[tuple[str, ...], ...]:
        container = (*self._program, "rm", "--force", name)
        return (container, (*self._program, "rmi", "--force", _tag(name))) if built else (container,)


def _tag(name: str) -> str:
    return f"{name}:latest"


async def _version(program: str, folder: Path, surroundings: Surroundings) -> str:
    template = "{{.Client.Version}}" if program.endswith("podman") else "{{.Server.Version}}"
    environment = {**surroundings.environment, "PATH": surroundings.search_path}
    finished = await run(
        (program, "version", "--format", template), cwd=folder, seconds_max=10, environment=environment
    )
    if not finished.succeeded:
        words = finished.output.strip()[-600:] or "no answer"
        raise EngineUnavailable(
            f"{Path(program).name} does not answer: {words}",
            f"Start the {Path(program).name} engine, or let this user reach it.",
        )
    return finished.output.strip()


def _exiting_program() -> bytes:
    program = tiny_program.exiting()
    if program is None:
        raise EngineUnavailable(f"Containers are not tried on {platform.machine()}.", "Use a Dart SDK on this machine.")
    return program
