"""Images that are only recorded: the sources are checked and compiled by the stand-in Dart VM, which then runs them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from providers.local.engine import Surroundings
from providers.local.stand_in_fetch import StandInFiles, fetch
from tests.emulators.images import BuildFailed
from tests.emulators.processes import Running

# Names the folder where all processes of one run of the tests keep what they compiled, by its source: it takes seconds, and
# many tests build the same in clouds of their own.
SHELF_VARIABLE = "TESTS_COMPILED_DIR"

_INSTRUCTION = re.compile(r"^\s*(FROM|COPY|ADD|RUN|ENTRYPOINT|CMD)\s+(.+)$", re.IGNORECASE | re.MULTILINE)


def stand_in(toolchain_dir: Path) -> StandInFiles:
    """The stand-in Dart VM, fetched unless it is there. Raises EngineUnavailable."""
    surroundings = Surroundings(
        search_path=os.environ.get("PATH", ""), environment=dict(os.environ), toolchain_dir=toolchain_dir
    )
    return asyncio.run(fetch(surroundings))


class Recorded:
    """The craft for machines without a container engine, and for tests that are about something else than images."""

    stands_in_for = "Images are recorded, not built: the stand-in Dart VM compiles main.dart and runs it as a process of this machine."

    def __init__(self, folder: Path, vm: StandInFiles) -> None:
        self._folder, self._vm = folder, vm
        # What starts before an image, and which image that is.
        self._preceded: dict[str, tuple[Path, str]] = {}
        self._folder.mkdir(parents=True, exist_ok=True)

    def build(self, folder: Path, arguments: Mapping[str, str], running: Running) -> str:
        self._check(folder, arguments, running)
        compiled = self._compiled(folder, running)
        # As with a container engine, the same sources built twice make two images.
        digest = hashlib.sha256(compiled.read_bytes() + uuid4().bytes).hexdigest()
        self._place(digest).hardlink_to(compiled)
        return f"sha256:{digest}"

    def preceded(self, digest: str, program: str, running: Running) -> str:
        folder = self._folder / uuid4().hex
        folder.mkdir()
        (folder / "main.dart").write_text(program)
        made = f"sha256:{hashlib.sha256(digest.encode() + uuid4().bytes).hexdigest()}"
        self._preceded[made] = (self._compiled(folder, running), digest)
        return made

    def start(self, digest: str, environment: Mapping[str, str], running: Running) -> None:
        running.start(self._command(digest), environment=environment, cwd=self._folder)

    def manifest(self, digest: str) -> None:
        """There are no images, so that there is nothing of which it could be."""

    def _command(self, digest: str) -> tuple[str, ...]:
        if digest in self._preceded:
            before, digest = self._preceded[digest]
            return (*self._vm.command, str(before), *self._command(digest))
        return (*self._vm.command, str(self._place(digest.removeprefix("sha256:"))))

    def close(self) -> None:
        """Nothing is kept outside of the folder."""

    def _compiled(self, folder: Path, running: Running) -> Path:
        """The program as the VM runs it."""
        source = hashlib.sha256(str(self._vm.dart).encode() + (folder / "main.dart").read_bytes()).hexdigest()
        kept, compiled = self._folder / f"source-{source}.dill", folder / "main.dill"
        if not kept.exists():
            shelf = os.environ.get(SHELF_VARIABLE)
            shared = Path(shelf) / kept.name if shelf else None
            if shared is not None and shared.exists():
                shutil.copyfile(shared, compiled)
            else:
                argv = (*self._vm.command, f"--snapshot={compiled}", "--snapshot-kind=kernel", "main.dart")
                if running.run(argv, cwd=folder) != 0 or not compiled.exists():
                    raise BuildFailed("ERROR: build step failed: dart compile exe main.dart: non-zero status")
                if shared is not None:
                    _share(compiled, shared)
            compiled.replace(kept)
        return kept

    def _check(self, folder: Path, arguments: Mapping[str, str], running: Running) -> None:
        """What a container engine would refuse before Dart is asked. Raises BuildFailed."""
        dockerfile = folder / "Dockerfile"
        if not dockerfile.exists():
            raise BuildFailed("unable to prepare context: unable to evaluate symlinks in Dockerfile path: no such file")
        steps = _INSTRUCTION.findall(dockerfile.read_text())
        if not steps or steps[0][0].upper() != "FROM":
            raise BuildFailed("Error response from daemon: no build stage in current context")
        for number, (word, rest) in enumerate(steps, 1):
            running.write(f"Step {number}/{len(steps)} : {word.upper()} {_filled(rest, arguments)}\n")
            if word.upper() == "COPY" and "--from" not in rest:
                self._check_copied(folder, rest)
        if not any(word.upper() in ("ENTRYPOINT", "CMD") for word, _ in steps):
            raise BuildFailed("No command specified: the image would not start.")
        for name in ("main.dart", "pubspec.yaml"):
            if not (folder / name).exists():
                raise BuildFailed(f"Error: Could not find a file named {name!r}.")

    def _check_copied(self, folder: Path, rest: str) -> None:
        for source in [word for word in shlex.split(rest) if not word.startswith("--")][:-1]:
            if not list(folder.glob(source.rstrip("/") or ".")) and source not in (".", "./"):
                raise BuildFailed(f"COPY failed: file not found in build context: stat {source}: file does not exist")

    def _place(self, digest: str) -> Path:
        return self._folder / f"{digest}.dill"


def _share(compiled: Path, shared: Path) -> None:
    """Nobody finds half of it."""
    copy = shared.with_name(uuid4().hex)
    shutil.copyfile(compiled, copy)
    copy.replace(shared)


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    for name, value in arguments.items():
        text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return text.strip()
