"""The machine's own Dart SDK as an engine: pub resolves packages, and the program is compiled to native code."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Self

from domain.release import Toolchain
from providers.local.artifact import file_digest
from providers.local.command import run
from providers.local.engine import Command, EngineName, EngineUnavailable, Launch, Surroundings
from providers.local.pubspec import packages_needed, require_published

PROBE_SECONDS_MAX = 60.0
_PROBE = "void main() => print('the SDK ' 'works');\n"
_ANSWER = "the SDK works"
_VERSION = re.compile(r"Dart SDK version: (\S+)")
_REMEDY = "Put the `dart` of a working Dart SDK on PATH, or set DART_HOME to the SDK's folder."


class DartSdk:
    """The SDK named by DART_HOME, or the `dart` on PATH."""

    name: EngineName = "dart"
    output = "main"

    def __init__(self, dart: str, version: str) -> None:
        self._dart = dart
        self.build_needs: tuple[Path, ...] | None = (Path(dart).resolve().parent.parent,)
        self.toolchain = Toolchain(engine=self.name, version=version)

    @classmethod
    async def probe(cls, surroundings: Surroundings) -> Self:
        """Compile a program and run it. Raises EngineUnavailable."""
        dart = _find(surroundings)
        with tempfile.TemporaryDirectory(prefix="dcf-probe-") as place:
            folder = Path(place)
            finished = await run((dart, "--version"), cwd=folder, seconds_max=PROBE_SECONDS_MAX)
            found = _VERSION.search(finished.output)
            engine = cls(dart, found.group(1) if found else "unknown")
            (folder / "main.dart").write_text(_PROBE)
            for argv in (*engine.build_steps(folder, "probe"), (str(folder / engine.output),)):
                finished = await run(argv, cwd=folder, seconds_max=PROBE_SECONDS_MAX)
                if not finished.succeeded:
                    break
        if _ANSWER not in finished.output:
            raise EngineUnavailable(f"The Dart SDK at {dart} does not work: {finished.output.strip()[-600:]}", _REMEDY)
        return engine

    def check(self, folder: Path) -> None:
        packages_needed(folder / "pubspec.yaml")
        require_published(folder / "pubspec.yaml")

    def build_steps(self, folder: Path, name: str) -> tuple[tuple[str, ...], ...]:
        compile_it = (self._dart, "compile", "exe", "main.dart", "-o", self.output)
        if packages_needed(folder / "pubspec.yaml"):
            return ((self._dart, "pub", "get"), compile_it)
        return (compile_it,)

    def digest(self, output: Path) -> str:
        return file_digest(output)

    def launch(self, launch: Launch) -> Command:
        return Command(
            argv=(str(launch.artifact),), environment={**launch.machine, **launch.environment}, needs=(launch.artifact,)
        )

    def discard(self, name: str, *, built: bool) -> tuple[tuple[str, ...], ...]:
        return ()


def _find(surroundings: Surroundings) -> str:
    if surroundings.dart_home:
        dart = Path(surroundings.dart_home) / "bin" / "dart"
        if not dart.exists():
            raise EngineUnavailable(f"DART_HOME is {surroundings.dart_home}, which has no bin/dart.", _REMEDY)
        return str(dart)
    found = shutil.which("dart", path=surroundings.search_path)
    if found is None:
        raise EngineUnavailable("There is no `dart` on PATH.", _REMEDY)
    return found
