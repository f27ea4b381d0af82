"""An export as a folder: written part by part, taken up again where it stopped, and read."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from audit.export_format import MANIFEST, Manifest, Part, Plan
from process.private_file import sync_directory

# What stands in place of the manifest until there is one.
PROGRESS = "progress.json"


class Progress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is going to be exported, and the parts of events that are done."""

    plan: Plan
    parts: tuple[Part, ...] = ()

    @property
    def reached(self) -> int:
        """The position up to which there is nothing left to write."""
        return self.parts[-1].last_position or self.plan.after if self.parts else self.plan.after


class FolderInUse(Exception):
    """The folder holds something else. The message says what."""


class ExportFolder:
    """A folder that only this user can read. A part stands under its name when all of it does, durably."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begun(self) -> Progress | None:
        """What was begun here and not finished. Raises FolderInUse."""
        if (self.path / MANIFEST).exists():
            raise FolderInUse(f"{self.path} holds a whole export already")
        if (self.path / PROGRESS).exists():
            return msgspec.json.decode((self.path / PROGRESS).read_bytes(), type=Progress)
        if self.path.exists() and any(self.path.iterdir()):
            raise FolderInUse(f"{self.path} is not empty, and no export was begun there")
        return None

    def begin(self, plan: Plan) -> Progress:
        """Make the folder, and keep what is going to be written."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._kept(Progress(plan=plan))

    def add(self, progress: Progress, part: Part, content: bytes) -> Progress:
        """Write a part of events, and remember that it is done."""
        self.write(part.name, content)
        return self._kept(msgspec.structs.replace(progress, parts=(*progress.parts, part)))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest; from then on it is whole."""
        self.write(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        (self.path / PROGRESS).unlink(missing_ok=True)
        sync_directory(self.path)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        fresh = self.path / f".{name}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / name)
        sync_directory(self.path)

    def _kept(self, progress: Progress) -> Progress:
        self.write(PROGRESS, msgspec.json.encode(progress))
        return progress
