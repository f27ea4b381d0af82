"""A build's log on disk, bounded: when it grows too long its head and its tail are kept."""

from __future__ import annotations

from pathlib import Path

from providers.provider import LogChunk

SEGMENT_BYTES_MAX = 256 * 1024
CHUNK_BYTES_MAX = 64 * 1024
CHARACTER_BYTES_MAX = 4


class BuildLog:
    """A folder of segments, each named by the offset of its first byte: the first one, and the last two.

    A cursor is an offset in all that was ever written. One writer at a time; any number of readers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, content: bytes) -> None:
        """Append; bytes are on disk but not forced there when it returns."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while content:
            start, size = self._last()
            if size > SEGMENT_BYTES_MAX - CHARACTER_BYTES_MAX:
                start, size = start + size, 0
            piece = _whole_characters(content[: SEGMENT_BYTES_MAX - size])
            content = content[len(piece) :]
            with (self._folder / str(start)).open("ab") as file:
                file.write(piece)
            self._drop_middle()

    def read(self, cursor: int) -> LogChunk:
        """What was written from `cursor` on, as far as it is kept, at most CHUNK_BYTES_MAX of it at a time."""
        for start in self._starts():
            content = self._content(start)
            if cursor >= start + len(content):
                continue
            left_out = max(0, start - cursor)
            first = max(cursor, start)
            piece = _whole_characters(content[first - start : first - start + CHUNK_BYTES_MAX])
            note = f"\n[… {left_out} bytes left out …]\n" if left_out else ""
            return LogChunk(text=note + piece.decode(errors="replace"), next_cursor=first + len(piece))
        return LogChunk(text="", next_cursor=cursor)

    def _starts(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.glob("[0-9]*"))

    def _last(self) -> tuple[int, int]:
        starts = self._starts()
        return (starts[-1], (self._folder / str(starts[-1])).stat().st_size) if starts else (0, 0)

    def _content(self, start: int) -> bytes:
        try:
            return (self._folder / str(start)).read_bytes()
        except FileNotFoundError:
            return b""  # Dropped since it was listed, or nothing was ever written.

    def _drop_middle(self) -> None:
        for start in self._starts()[1:-2]:
            (self._folder / str(start)).unlink(missing_ok=True)


def _whole_characters(piece: bytes) -> bytes:
    """Without a character cut off at the end, unless there is nothing else."""
    for cut in range(1, min(4, len(piece))):
        lead = piece[-cut]
        if lead & 0xC0 == 0xC0:
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return piece if cut >= length else piece[:-cut]
        if lead < 0x80:
            return piece
    return piece
