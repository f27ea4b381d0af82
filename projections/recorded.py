"""An event as read models see it: decoded, with what the log knows about it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from domain.event import Event
from eventstore.meta import Meta, decode_meta


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One event of the log. `at` is the log's own clock; `stored_meta` is decoded only when somebody asks."""

    event: Event
    tenant_id: UUID
    stream_id: UUID
    version: int
    position: int
    at: datetime
    stored_meta: bytes

    @property
    def meta(self) -> Meta:
        """Who and what caused the event."""
        return decode_meta(self.stored_meta)
