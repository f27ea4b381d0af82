"""The stand-in Dart VM as an engine: it compiles to a kernel file and runs that, and it has no package resolution."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from domain.release import Toolchain
from providers.local.artifact import file_digest
from providers.local.command import Finished, run
from providers.local.engine import Command, EngineName, EngineUnavailable, Launch, Surroundings
from providers.local.procfs import boot_id
from providers.local.pubspec import packages_needed
from providers.local.stand_in_fetch import REMEDY, VM_VERSION, StandInFiles, fetch
from providers.provider import ProviderRefused

PROBE_SECONDS_MAX = 30.0
_PROBE = "void main() => print('the stand-in ' 'works');\n"
_ANSWER = "the stand-in works"


class StandIn:
    """Dart 3.7.3 from a published package. Sources may import `dart:` libraries only."""

    name: EngineName = "standin"
    output = "main.dill"

    def __init__(self, files: StandInFiles) -> None:
        self._vm = files.command
        self._folder = files.dart.parent
        self.build_needs: tuple[Path, ...] | None = (self._folder,)
        self.toolchain = Toolchain(engine=self.name, version=VM_VERSION, stand_in=True)

    @classmethod
    async def probe(cls, surroundings: Surroundings) -> Self:
        """Fetch the VM if need be, compile a program and run it. Raises EngineUnavailable.

        What worked since the machine was started is only asked for its version.
        """
        files = await fetch(surroundings)
        engine = cls(files)
        proof = files.dart.with_name("works")
        if proof.exists() and proof.read_text() == boot_id():
            finished = await run((*engine._vm, "--version"), cwd=files.dart.parent, seconds_max=PROBE_SECONDS_MAX)
            works = VM_VERSION in finished.output
        else:
            finished = await engine._try()
            works = _ANSWER in finished.output
        if not works:
            raise EngineUnavailable(
                f"The stand-in Dart VM does not work here: {finished.output.strip()[-600:]}", REMEDY
            )
        with suppress(OSError):  # The folder may be another user's; then it is tried again the next time.
            proof.write_text(boot_id())
        return engine

    async def _try(self) -> Finished:
        with tempfile.TemporaryDirectory(prefix="dcf-probe-") as name:
            folder = Path(name)
            (folder / "main.dart").write_text(_PROBE)
            (compile_it,) = self.build_steps(folder, "probe")
            finished = await run(compile_it, cwd=folder, seconds_max=PROBE_SECONDS_MAX)
            if finished.succeeded:
                finished = await run((*self._vm, self.output), cwd=folder, seconds_max=PROBE_SECONDS_MAX)
            return finished

    def check(self, folder: Path) -> None:
        if needed := packages_needed(folder / "pubspec.yaml"):
            raise ProviderRefused(
                "packages_unavailable",
                f"pubspec.yaml asks for {', '.join(needed)}, but this machine has only the stand-in Dart VM {VM_VERSION}, "
                "which cannot resolve packages.",
                "Remove these dependencies, or install a Dart SDK, podman or docker on the machine of the service.",
            )

    def build_steps(self, folder: Path, name: str) -> tuple[tuple[str, ...], ...]:
        return ((*self._vm, f"--snapshot={self.output}", "--snapshot-kind=kernel", "main.dart"),)

    def digest(self, output: Path) -> str:
        return file_digest(output)

    def launch(self, launch: Launch) -> Command:
        return Command(
            argv=(*self._vm, str(launch.artifact)),
            environment={**launch.machine, **launch.environment},
            needs=(launch.artifact, self._folder),
        )

    def discard(self, name: str, *, built: bool) -> tuple[tuple[str, ...], ...]:
        return ()
