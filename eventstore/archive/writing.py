"""Write a range of the log into one file of compressed lines, and its manifest after it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

from eventstore.archive.lines import encode_line
from eventstore.archive.manifest import ArchiveDamaged, Block, Manifest, name_of, write_manifest
from eventstore.canonical import encode_canonical
from eventstore.log import StoredEvent
from process.private_file import sync_directory

ENDING = ".ndjson.gz"
# Smaller blocks are read faster, larger ones are smaller together.
BLOCK_EVENTS = 1_000


async def write_range(
    directory: Path, first: int, last: int, blocks: AsyncIterator[Sequence[StoredEvent]], *, epoch: int
) -> Manifest:
    """Write the events, at most BLOCK_EVENTS at a time, under a name of their own; whatever a crash left there is
    written anew. Raises ArchiveDamaged when they are not exactly those of the range."""
    target = directory / (name_of(first, last) + ENDING)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    writing = _Writing(fresh, first)
    try:
        async for events in blocks:
            await asyncio.to_thread(writing.add, events)
        if writing.next != last + 1:
            raise ArchiveDamaged(f"there are no events from position {writing.next} to {last}")
        await asyncio.to_thread(writing.finish)
        fresh.replace(target)
    finally:
        writing.close()
        fresh.unlink(missing_ok=True)
    sync_directory(directory)
    manifest = writing.manifest(target.name, epoch)
    write_manifest(directory, manifest)
    return manifest


class _Writing:
    def __init__(self, path: Path, first: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._first, self.next = first, first
        self._size = 0
        self._digest, self._canonical = hashlib.sha256(), hashlib.sha256()
        self._blocks: list[Block] = []
        self._began: datetime | None = None
        self._ended: datetime | None = None

    def add(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            if event.position != self.next:
                raise ArchiveDamaged(f"there is no event at position {self.next}")
            self.next += 1
            self._canonical.update(encode_canonical(event))
        self._began = self._began or events[0].recorded_at
        self._ended = events[-1].recorded_at
        compressed = gzip.compress(b"".join(map(encode_line, events)), mtime=0)
        self._blocks.append(Block(events[0].position, self._size, len(compressed)))
        self._file.write(compressed)
        self._digest.update(compressed)
        self._size += len(compressed)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def manifest(self, file: str, epoch: int) -> Manifest:
        assert self._began is not None, "a range has events"
        assert self._ended is not None, "a range has events"
        return Manifest(
            epoch=epoch,
            first_position=self._first,
            last_position=self.next - 1,
            first_recorded_at=self._began,
            last_recorded_at=self._ended,
            file=file,
            size_bytes=self._size,
            sha256=self._digest.hexdigest(),
            canonical_sha256=self._canonical.hexdigest(),
            blocks=self._blocks,
        )
