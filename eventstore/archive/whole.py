"""The whole log, for tools that look far back: what was archived, and on from there what is live."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from domain.event import StreamRef
from eventstore.archive.reading import Archive
from eventstore.archived import EventsArchived
from eventstore.log import Log, Since, StoredEvent

_REMEDY = "Set DCF_ARCHIVE_DIR to where the archived parts are, or put them back with: dcf log unarchive."


class Shelf:
    """The archive of a directory, looked at again when more is asked of it than it had; None: there is none."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._archive: Archive | None = None

    async def beyond(self, position: int) -> Archive:
        """The archive, which has events above the position. Raises EventsArchived when it has none; ArchiveDamaged."""
        if self._archive is None or self._archive.end <= position:
            if self._directory is None:
                raise EventsArchived(remedy=_REMEDY)
            self._archive = await asyncio.to_thread(Archive.open, self._directory)
        if self._archive.end <= position:
            raise EventsArchived(f"{self._directory} has no events above position {position}.")
        return self._archive

    async def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        """Archived events above a position. Raises as `beyond` does."""
        archive = await self.beyond(after)
        return await asyncio.to_thread(archive.read, after, limit=limit)

    async def stream(self, stream: StreamRef) -> list[StoredEvent]:
        """The archived events of a stream, at least one. Raises as `beyond` does."""
        archive = await self.beyond(0)
        events = await asyncio.to_thread(archive.stream, stream)
        if not events:
            raise EventsArchived(f"{self._directory} has no events of the stream {stream.id}.")
        return events


class WholeLog:
    """Reads on from the archive into the log, as if nothing had ever been taken out.

    Every method raises EventsArchived when neither has what is asked for, and ArchiveDamaged.
    """

    def __init__(self, log: Log, shelf: Shelf) -> None:
        self._log, self._shelf = log, shelf

    async def head(self) -> int:
        """As Log.head."""
        return await self._log.head()

    async def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        """As Log.read, though it may give fewer than there are where the archive ends."""
        try:
            return await self._log.read(after, limit=limit)
        except EventsArchived:
            return await self._shelf.read(after, limit=limit)

    async def load(self, streams: Sequence[StreamRef]) -> list[list[StoredEvent]]:
        """As Log.load, all of each stream."""
        return [await self._stream(stream) for stream in streams]

    async def _stream(self, stream: StreamRef) -> list[StoredEvent]:
        try:
            [events] = await self._log.load([stream])
        except EventsArchived:
            archived = await self._shelf.stream(stream)
            known = Since(stream, archived[-1].version, archived[-1].position)
            [news] = await self._log.load_since([known], epoch=await self._log.epoch(), worth=1)
            return [*archived, *news.events]
        return events
