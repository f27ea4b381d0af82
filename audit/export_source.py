"""An export read back, from its folder or from a tar of the same files; nothing in it is trusted."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol
from uuid import UUID

import msgspec

from audit.export_format import FORMAT, MANIFEST, PART_BYTES_MAX, VERSION, Damaged, Manifest, Part, digest_of_digests

MANIFEST_BYTES_MAX = 256_000_000

_NAME = re.compile(r"(events|commands|person-keys|secret-values|tenant-keys)-[0-9]{6,15}\.ndjson\.gz", re.ASCII)


class _Files(Protocol):
    def open(self, name: str) -> IO[bytes]:
        """The file. Raises KeyError or OSError when there is none."""
        ...


class ExportSource:
    """An open export, whose manifest agrees with itself."""

    def __init__(self, files: _Files) -> None:
        self._files = files
        self.manifest = _checked(_manifest(self._read(MANIFEST, MANIFEST_BYTES_MAX)))

    def content(self, part: Part) -> bytes:
        """The bytes of a part, as they are. Raises Damaged."""
        return self._read(part.name, PART_BYTES_MAX)

    def _read(self, name: str, bytes_max: int) -> bytes:
        try:
            with self._files.open(name) as file:
                content = file.read(bytes_max + 1)
        except (KeyError, OSError, EOFError, tarfile.TarError) as error:
            missing = "it is not whole, or no export" if name == MANIFEST else "the manifest names it"
            raise Damaged(f"there is no {name} that could be read: {missing}") from error
        if len(content) > bytes_max:
            raise Damaged(f"{name} is too large")
        return content


@contextmanager
def open_export(path: Path) -> Iterator[ExportSource]:
    """The export in a folder or a tar. Raises Damaged."""
    if path.is_dir():
        yield ExportSource(_Folder(path))
        return
    try:
        with tarfile.open(path, mode="r:") as tar:
            yield ExportSource(_Tar(tar))
    except tarfile.TarError as error:
        raise Damaged(f"{path} is neither a folder nor a tar: {error}") from error


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes]:
        return (self._path / name).open("rb")


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def open(self, name: str) -> IO[bytes]:
        member = self._tar.extractfile(name)
        if member is None:
            raise KeyError(name)
        return member


def _manifest(content: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise Damaged(f"its {MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT or manifest.version > VERSION:
        raise Damaged(f"it is a {manifest.format} of version {manifest.version}, and not a {FORMAT} up to {VERSION}")
    return manifest


def _checked(manifest: Manifest) -> Manifest:
    """The manifest, if its parts follow each other without a gap and make up what it says of the whole."""
    last = manifest.after
    for part in manifest.parts:
        if not _NAME.fullmatch(part.name):
            raise Damaged(f"{part.name[:80]!r} is no name of a part")
        if part.kind == "events":
            last = _follows(manifest.tenant_id, part, last)
    events = [part for part in manifest.parts if part.kind == "events"]
    if last > manifest.up_to or (manifest.tenant_id is None and last != manifest.up_to):
        raise Damaged(f"its events end at {last}, and it was made up to {manifest.up_to}")
    if sum(part.lines for part in events) != manifest.events:
        raise Damaged(f"it ought to have {manifest.events} events, and its parts have others")
    if digest_of_digests(part.canonical_sha256 for part in events) != manifest.canonical_sha256:
        raise Damaged("the digest over all events is not that of the parts")
    return manifest


def _follows(tenant_id: UUID | None, part: Part, last: int) -> int:
    """The last position of the part, which begins right behind `last`; behind it somewhere, for one tenant's."""
    first, end = part.first_position or 0, part.last_position or 0
    dense = tenant_id is None
    if first <= last or end < first or (dense and (first != last + 1 or end - first + 1 != part.lines)):
        raise Damaged(f"there is a gap: {part.name} has the positions {first} to {end}, after {last}")
    return end
