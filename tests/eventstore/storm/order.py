"""What one writer process is told to write, and the diary in which it says what it was told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

# So many events make a stream, then another is begun.
STREAM_EVENTS = 5


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`lanes` write side by side, `commands` each; `rivals` go to one stream of all writers; `slow` are transactions
    that keep what they wrote to themselves for a while, and then commit or roll back."""

    store: str
    url: str
    writer: int
    lanes: int
    commands: int
    rivals: int
    slow: int
    diary: str

    def lane_keys(self, lane: int) -> list[str]:
        return [f"{self.writer}.{lane}.{n}" for n in range(self.commands)]

    def rival_keys(self) -> list[str]:
        return [f"{self.writer}.rival.{n}" for n in range(self.rivals)]

    def slow_keys(self) -> list[str]:
        return [f"{self.writer}.slow.{n}" for n in range(self.slow)]


class Diary:
    """One line a command, written at once: it outlives whoever is killed. `+` recorded, at which position; `-` rolled back."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def recorded(self, key: str, position: int) -> None:
        self._note(f"+ {key} {position}")

    def rolled_back(self, key: str) -> None:
        self._note(f"- {key} 0")

    def _note(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


def entries(path: Path) -> Iterator[tuple[str, str, int]]:
    """Mark, key and position of every line."""
    for line in path.read_text().splitlines() if path.exists() else ():
        mark, key, position = line.split()
        yield mark, key, int(position)


def id_of(name: str) -> UUID:
    """The same for the same name, in every process."""
    return uuid5(NAMESPACE_OID, name)


def place_of(key: str) -> tuple[UUID, int]:
    """The stream and the version that a lane's command writes."""
    writer, lane, n = key.split(".")
    return id_of(f"{writer}.{lane}.{int(n) // STREAM_EVENTS}"), int(n) % STREAM_EVENTS + 1
