"""The image work behind every emulator's build service: sources become an image, and the image a process that answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

from tests.emulators.archives import unpack
from tests.emulators.processes import Running, Stopped, free_port, listens

BuildStatus = Literal["waiting", "running", "succeeded", "failed", "stopped"]


class BuildFailed(Exception):
    """The sources make no image; the build's log says why."""


class Craft(Protocol):
    """How images are made and run. Called by threads, one for each build; `running` belongs to that build."""

    stands_in_for: str  # What people who try a cloud must know of it, in a sentence.

    def build(self, folder: Path, arguments: Mapping[str, str], running: Running) -> str:
        """Make an image of the sources in the folder: its digest. Raises BuildFailed or Stopped."""
        ...

    def preceded(self, digest: str, program: str, running: Running) -> str:
        """The image with a Dart program before its own, which gets the other's command line as its arguments. Raises
        BuildFailed or Stopped."""
        ...

    def manifest(self, digest: str) -> str | None:
        """What the registry keeps of the image, to the byte; None where no registry keeps it."""
        ...

    def start(self, digest: str, environment: Mapping[str, str], running: Running) -> None:
        """Run the image with these variables and no others."""
        ...

    def close(self) -> None: ...


class Build:
    """One build, in a thread of its own; look at `status` as often as you like."""

    def __init__(
        self, craft: Craft, folder: Path, arguments: Mapping[str, str], gate: threading.Event, before: str
    ) -> None:
        self.id, self.folder = uuid4(), folder
        self._before = before
        self.status: BuildStatus = "waiting"
        self.digest = ""
        self.manifest: str | None = None
        self._craft, self._arguments, self._gate = craft, arguments, gate
        self._running = Running(folder.with_suffix(".log"))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def log(self) -> str:
        """What the build wrote so far."""
        return self._running.log

    @property
    def is_over(self) -> bool:
        return self.status not in ("waiting", "running")

    def stop(self) -> None:
        """End it for real, whatever it is doing; one that is over stays as it is."""
        self._running.stop()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            while not self._gate.wait(0.02):
                self._running.check()
            self.status = "running"
            digest = self._craft.build(self.folder, self._arguments, self._running)
            self.digest = self._craft.preceded(digest, self._before, self._running) if self._before else digest
            self._running.check()
            self.manifest = self._craft.manifest(self.digest)
            self.status = "succeeded"
        except Stopped:
            self.status = "stopped"
        except (BuildFailed, OSError) as error:
            self._running.write(f"{error}\n")
            self.status = "failed"


class Workshop:
    """All builds and containers of one emulator; `close` ends whatever still runs. Used from any thread."""

    def __init__(self, folder: Path, craft: Craft) -> None:
        self._folder, self._craft = folder, craft
        self._gate = threading.Event()
        self._gate.set()
        self._lock = threading.Lock()
        self.builds: list[Build] = []
        self.containers: list[Container] = []

    @property
    def stands_in_for(self) -> str:
        return self._craft.stands_in_for

    def build(self, sources: bytes, *, arguments: Mapping[str, str] | None = None, before: str = "") -> Build:
        """Begin to build what a `.zip` or `.tar.gz` holds, by the Dockerfile at its top. Raises ValueError for another file.

        `before` is a Dart program that is to start the image's own."""
        with self._lock:
            folder = self._folder / f"build-{len(self.builds)}"
            folder.mkdir(parents=True)
            unpack(sources, folder)
            made = Build(self._craft, folder, arguments or {}, self._gate, before)
            self.builds.append(made)
            return made

    def run(self, digest: str, environment: Mapping[str, str]) -> Container:
        """Start what a build of this workshop made; `PORT` in the environment is set to a free port of this machine."""
        with self._lock:
            place = self._folder / f"container-{len(self.containers)}"
            started = Container(self._craft, digest, environment, place)
            self.containers.append(started)
            return started

    @contextmanager
    def held(self) -> Iterator[None]:
        """No build goes on meanwhile, so that there is time to look at one, or to stop it."""
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()

    def close(self) -> None:
        for build in self.builds:
            build.stop()
        for container in self.containers:
            container.stop()
        self._craft.close()


class Container:
    """A running image. `port` is where it was told to listen."""

    def __init__(self, craft: Craft, digest: str, environment: Mapping[str, str], place: Path) -> None:
        self.digest, self.environment = digest, dict(environment)
        self.port = free_port()
        self._running = Running(place.with_suffix(".log"))
        craft.start(digest, {**environment, "PORT": str(self.port)}, self._running)

    @property
    def is_running(self) -> bool:
        return self._running.is_running

    @property
    def log(self) -> str:
        return self._running.log

    @property
    def answers(self) -> bool:
        """Whether something listens on its port."""
        return self.is_running and listens(self.port)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what does not heed it."""
        self._running.stop()
