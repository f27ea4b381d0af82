"""What a function writes to its standard output and error: a file, bounded, with one older part beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

PART_BYTES_MAX = 1024 * 1024
_READ_BYTES = 8 * 1024
_MARGIN_BYTES = 32 * 1024


class FunctionLog:
    """The process appends to `path` by itself, whether the agent lives or not."""

    def __init__(self, path: Path, *, hide: Callable[[str], str] = str) -> None:
        """`hide` is given what is shown of the log, with more before it than is shown."""
        self.path = path
        self._hide = hide

    def add(self, line: str) -> None:
        """A line of our own between those of the function."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def turn(self) -> None:
        """When the file is full, start over and keep the full one as the older part.

        The process has it open for appending, so it is copied and emptied; what is written in between is lost.
        """
        if self.path.exists() and self.path.stat().st_size > PART_BYTES_MAX:
            with self.path.open("rb") as full, self.path.with_suffix(".log.1").open("wb") as older:
                full.seek(-PART_BYTES_MAX, 2)
                shutil.copyfileobj(full, older)
            with self.path.open("r+b") as file:
                file.truncate(0)

    def tail(self, lines_max: int) -> str:
        """The last lines."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            begins = max(0, size - _READ_BYTES - _MARGIN_BYTES)
            file.seek(begins)
            text = self._hide(file.read().decode(errors="replace"))
        # A value that the beginning cut in two stands in the margin, which is not shown.
        shown = text[-_READ_BYTES:] if begins else text
        return "\n".join(shown.splitlines()[-lines_max:])
