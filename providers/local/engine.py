"""What turns sources into a program and runs it on this machine: the port every engine implements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from domain.release import Toolchain

EngineName = Literal["dart", "podman", "docker", "standin"]


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Where engines are looked for. `report` is told, in sentences, what is being tried and how far it is."""

    search_path: str
    environment: Mapping[str, str]
    toolchain_dir: Path
    dart_home: str = ""
    # What podman or docker put builds and functions into; empty for the engine's own choice.
    network: str = ""
    report: Callable[[str], None] = lambda _: None


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """All an engine needs to know to start a built program. `name` is unique to the deployment; `environment` is the
    function's own, `machine` what a program on this machine needs besides and the function may override."""

    name: str
    artifact: Path
    port: int
    machine: Mapping[str, str]
    environment: Mapping[str, str]
    memory_mb_max: int


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program to start and the environment it sees. `needs` are the files and folders that it cannot do without;
    None: it confines by itself what it runs, and must see what the agent sees. `apart`: it waits, in a network of its own, to
    be released."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    needs: tuple[Path, ...] | None
    apart: bool = False


class EngineUnavailable(Exception):
    """This engine does not work here. `remedy` says what to install or set."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


class Engine(Protocol):
    """Builds in a folder that holds `main.dart`, `pubspec.yaml` and `Dockerfile`, as far as there are such sources."""

    name: EngineName
    toolchain: Toolchain
    output: str  # The file in the build folder that a successful build leaves.
    # What a build has to see of what is hidden from it; None: it confines by itself what it runs.
    build_needs: tuple[Path, ...] | None

    def check(self, folder: Path) -> None:
        """Raise ProviderRefused for sources that this engine can never build."""
        ...

    def build_steps(self, folder: Path, name: str) -> tuple[tuple[str, ...], ...]:
        """The commands, to be run in order in the folder, that make the output."""
        ...

    def digest(self, output: Path) -> str:
        """What the output is known by: `sha256:` and 64 hexadecimal digits."""
        ...

    def launch(self, launch: Launch) -> Command: ...

    def discard(self, name: str, *, built: bool) -> tuple[tuple[str, ...], ...]:
        """The commands that remove what the engine itself keeps for a deployment besides its process, and with `built`
        also what it keeps of the build."""
        ...
