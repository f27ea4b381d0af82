"""What one deployment has in a simulated cloud: as it is, and as it shows."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Shown(Generic[T]):
    """A value that changes at once and shows the change later, in the order of the changes. Times are in seconds."""

    def __init__(self) -> None:
        self.actual: T | None = None
        self._changes: list[tuple[float, T | None]] = []

    def change(self, value: T | None, visible_at: float) -> None:
        self.actual = value
        latest = self._changes[-1][0] if self._changes else visible_at
        self._changes.append((max(visible_at, latest), value))

    def at(self, time: float) -> T | None:
        shown: T | None = None
        for visible_at, value in self._changes:
            if visible_at <= time:
                shown = value
        return shown


class FoundFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a storage, and since when it has been there."""

    content: bytes
    at: datetime


class MadeBundle(msgspec.Struct, frozen=True):
    location: str
    digest: str


class MadeBuild(msgspec.Struct, frozen=True):
    id: str
    started_at: float
    ends_at: float
    complaint: str = ""
    stopped: bool = False


class MadeImage(msgspec.Struct, frozen=True):
    reference: str
    digest: str


class MadeService(msgspec.Struct, frozen=True):
    url: str
    revision: str
    healthy_at: float
    last_words: str = ""
    serving: bool = False
    stopped: bool = False


class Made:
    """Everything that carries one deployment's id."""

    def __init__(self) -> None:
        self.bundle: Shown[MadeBundle] = Shown()
        self.build: Shown[MadeBuild] = Shown()
        self.image: Shown[MadeImage] = Shown()
        self.service: Shown[MadeService] = Shown()
        self.builds_started = 0
        self.builds_stopped = 0
        self.services_started = 0
        self.secret_names: tuple[str, ...] = ()
        self.withdrawals = 0

    def remains(self, time: float) -> tuple[str, ...]:
        """The names of what is really there."""
        build = self.build.actual
        return tuple(
            name
            for name, there in (
                ("bundle", self.bundle.actual),
                ("build", build and not build.stopped and build.ends_at > time),
                ("image", self.image.actual),
                ("service", self.service.actual),
            )
            if there
        )
