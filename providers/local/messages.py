"""What the agent and its client say to each other."""

from __future__ import annotations

import msgspec

from domain.release import ArtifactKind
from providers.provider import Call, Order


class SentSource(msgspec.Struct, frozen=True, kw_only=True):
    """A Source on its way to the agent."""

    kind: ArtifactKind
    file_name: str
    digest: str
    content: bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a verb's request."""

    order: Order | None = None
    sources: tuple[SentSource, ...] = ()
    cursor: int = 0
    call: Call | None = None
    # In the clear, over a socket that only this user reaches.
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Asked(order={self.order!r}, secrets={sorted(self.secrets)})"


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A ProviderRefused on its way to the client."""

    code: str
    message: str
    remedy: str


class Unanswered(msgspec.Struct, frozen=True, kw_only=True, tag="unanswered"):
    """A NoAnswer on its way to the client."""

    message: str


class Busy(msgspec.Struct, frozen=True, kw_only=True, tag="busy"):
    """A ProviderBusy on its way to the client."""

    message: str
    retry_in_seconds: float
