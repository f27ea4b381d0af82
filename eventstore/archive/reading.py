"""The archived ranges of a directory, read as the log is: in order, or one stream of them."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Self

from domain.event import StreamRef
from eventstore.archive.lines import LineDamaged, decode_line
from eventstore.archive.manifest import SUFFIX, ArchiveDamaged, Block, Manifest, read_manifest
from eventstore.canonical import encode_canonical
from eventstore.log import StoredEvent

_PIECE_BYTES = 1 << 20


class Archive:
    """Ranges that follow each other from the log's beginning. Every method blocks."""

    def __init__(self, directory: Path, manifests: Sequence[Manifest]) -> None:
        self.directory, self.manifests = directory, manifests
        self._firsts = [manifest.first_position for manifest in manifests]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Look what there is. Raises ArchiveDamaged when a range between others is missing, or a manifest is none."""
        found = sorted(
            (read_manifest(path) for path in directory.glob(f"events-*{SUFFIX}")), key=lambda m: m.first_position
        )
        expected = 1
        for manifest in found:
            if manifest.first_position != expected:
                raise ArchiveDamaged(f"{directory} has nothing of position {expected}, and of later ones it has")
            expected = manifest.last_position + 1
        return cls(directory, found)

    @property
    def end(self) -> int:
        """The last position there is; 0 when it is empty."""
        return self.manifests[-1].last_position if self.manifests else 0

    def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        """Events above a position, in order, at most `limit`. Raises ArchiveDamaged."""
        found: list[StoredEvent] = []
        for events in self._blocks_between(after + 1, self.end):
            found += [event for event in events if event.position > after]
            if len(found) >= limit:
                break
        return found[:limit]

    def stream(self, stream: StreamRef) -> list[StoredEvent]:
        """The stream's events, as far as the archive goes. Raises ArchiveDamaged."""
        id = str(stream.id).encode()
        return [
            event
            for manifest in self.manifests
            for block in manifest.blocks
            for line in self._lines(manifest, block)
            if id in line  # Most lines need not be decoded.
            and (event := _decoded(line, self.directory / manifest.file)).stream_id == stream.id
            and event.tenant_id == stream.tenant_id
        ]

    def check(self, manifest: Manifest) -> None:
        """Read the whole range, and see that it is what was written. Raises ArchiveDamaged."""
        path = self.directory / manifest.file
        digest = hashlib.sha256()
        with _opened(path) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
        if digest.hexdigest() != manifest.sha256:
            raise ArchiveDamaged(f"{path} is not what was written: its SHA-256 differs from its manifest's")
        canonical, expected = hashlib.sha256(), manifest.first_position
        for event in self.events(manifest):
            if event.position != expected:
                raise ArchiveDamaged(f"{path} has no event at position {expected}")
            canonical.update(encode_canonical(event))
            expected += 1
        if expected != manifest.last_position + 1 or canonical.hexdigest() != manifest.canonical_sha256:
            raise ArchiveDamaged(f"{path} has other events than its manifest says")

    def events(self, manifest: Manifest) -> Iterator[StoredEvent]:
        """All of one range. Raises ArchiveDamaged."""
        for block in manifest.blocks:
            yield from self._block(manifest, block)

    def _blocks_between(self, first: int, last: int) -> Iterator[list[StoredEvent]]:
        for manifest in self.manifests[max(0, bisect_right(self._firsts, first) - 1) :]:
            if manifest.first_position > last:
                return
            begins = [block.first_position for block in manifest.blocks]
            for block in manifest.blocks[max(0, bisect_right(begins, first) - 1) :]:
                if block.first_position > last:
                    return
                yield self._block(manifest, block)

    def _block(self, manifest: Manifest, block: Block) -> list[StoredEvent]:
        path = self.directory / manifest.file
        return [_decoded(line, path) for line in self._lines(manifest, block)]

    def _lines(self, manifest: Manifest, block: Block) -> list[bytes]:
        path = self.directory / manifest.file
        with _opened(path) as file:
            file.seek(block.offset_bytes)
            compressed = file.read(block.size_bytes)
        try:
            return gzip.decompress(compressed).splitlines()
        except (OSError, EOFError, zlib.error) as error:
            raise ArchiveDamaged(f"{path} cannot be read at byte {block.offset_bytes}: {error}") from error


def _decoded(line: bytes, path: Path) -> StoredEvent:
    try:
        return decode_line(line)
    except LineDamaged as error:
        raise ArchiveDamaged(f"{path} has a line that is no event: {error}") from error


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ArchiveDamaged(f"{path} is missing") from error
