"""A cloud that stands in for the real one, together with the customer who has an account there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from domain.clouds import ProviderName
from tests.emulators.late import LateShell


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the customer got wrong: what does it, which question shows it, and what is said of it then.

    `mend` gets the remedy as the service shows it, and does just what it says: a remedy that does not mend is a bug.
    """

    what: str
    act: Callable[[], object]
    asked: Literal["identity", "bucket", "diagnosis", "named"]
    step: str
    code: str
    mend: Callable[[str], object]


@runtime_checkable
class Spreads(Protocol):
    """What a cloud has beside, whose grants take their time to show."""

    shell: LateShell


@runtime_checkable
class KeepsTime(Protocol):
    """What a cloud has beside, whose scheduler calls functions by itself."""

    def tick(self, at: datetime) -> list[int]:
        """Let it call whatever is due in the minute: the answers' statuses."""
        ...


class Cloud(Protocol):
    """What the journey must know of a cloud. Used from other threads than the emulator's own.

    Every path is one below `/projects/{projectId}/integrations/`.
    """

    name: ProviderName

    @property
    def settings(self) -> Mapping[str, str]:
        """The variables of the service that lead it here."""
        ...

    @property
    def stands_in_for(self) -> str:
        """What is not as in the real cloud, in a sentence."""
        ...

    connect: str
    verify: str
    diagnose: str  # Empty where there is no such question.
    diagnosed: Mapping[str, Any]  # What the question names.
    bucket: str  # Followed by /check and /config.
    identity: Mapping[str, Any]
    storage: Mapping[str, Any]

    def target(self, name: str) -> dict[str, Any]:
        """A target for a function of this name."""
        ...

    def prepare(self, issuer: str, subject: str) -> None:
        """Do what the customer does before connecting: all of it, for the tokens of one project (their `sub`)."""
        ...

    def breaks(self) -> tuple[Break, ...]:
        """Each can be done, shown and mended on its own, in this order."""
        ...

    def slowly(self) -> AbstractContextManager[bytes]:
        """While it lasts, a main.dart of these bytes is not built to its end."""
        ...

    def builds_running(self) -> int: ...

    def remains(self) -> list[str]:
        """The names of all that deployments made there and that still exists, files in the bucket included."""
        ...

    def close(self) -> None: ...
