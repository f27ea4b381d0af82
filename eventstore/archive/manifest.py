"""What one archived range holds: written beside its file, last, so that a range with a manifest is whole."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from process.private_file import write_private

FORMAT = 1
SUFFIX = ".json"


class ArchiveDamaged(Exception):
    """The archive is not what was written; the message names the file."""


class Block(msgspec.Struct, frozen=True, rename="camel"):
    """Events that are compressed together, so that they can be read without those before them."""

    first_position: int
    offset_bytes: int
    size_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`sha256` is of the file; `canonical_sha256` of the events, one after another in their canonical encoding."""

    format: int = FORMAT
    epoch: int
    first_position: int
    last_position: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    file: str
    size_bytes: int
    sha256: str
    canonical_sha256: str
    blocks: list[Block]

    @property
    def events(self) -> int:
        """How many: positions are dense."""
        return self.last_position - self.first_position + 1


def name_of(first: int, last: int) -> str:
    """What the files of a range are called, without their endings."""
    return f"events-{first:012}-{last:012}"


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write it, durably."""
    path = directory / (name_of(manifest.first_position, manifest.last_position) + SUFFIX)
    write_private(path, msgspec.json.format(msgspec.json.encode(manifest)).decode())


def read_manifest(path: Path) -> Manifest:
    """Raises ArchiveDamaged, also for one of a newer format."""
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArchiveDamaged(f"{path} is no manifest: {error}") from error
    if manifest.format > FORMAT:
        raise ArchiveDamaged(f"{path} was written by a newer release")
    if Path(manifest.file).name != manifest.file:
        raise ArchiveDamaged(f"{path} names a file in another directory")
    return manifest
