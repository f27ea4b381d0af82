"""Who and what caused an event: kept beside its data, in bytes of its own."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from domain.event import Claim, Counter

ActorType = Literal["person", "key", "runner", "operator", "system"]


class Actor(msgspec.Struct, frozen=True):
    """Whoever asked. `id` is the id of the person or key; for the service's own parts, their name."""

    type: ActorType
    id: str = ""


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Metadata of one event; the tenant stands in a column of its own.

    `causation_id` names the command or the event position that led to this command. `claims` and
    `counters` stand on the first event of an append, so that both can be rebuilt from the log.
    """

    actor: Actor = Actor("system")
    command: str = ""
    command_id: UUID | None = None
    correlation_id: UUID | None = None
    causation_id: str = ""
    reason: str = ""
    # The project that the event's stream belongs to, where it belongs to one.
    project_id: UUID | None = None
    claims: tuple[Claim, ...] = ()
    counters: tuple[Counter, ...] = ()


_DECODER = msgspec.json.Decoder(Meta)


def encode_meta(meta: Meta) -> bytes:
    return msgspec.json.encode(meta)


def decode_meta(data: bytes) -> Meta:
    """The metadata; nothing stored reads as nothing known. Raises msgspec.MsgspecError on other bytes."""
    return _DECODER.decode(data) if data else Meta()
