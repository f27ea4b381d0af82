"""Events a read model could not apply: set aside with their stream, so that the rest goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self
from uuid import UUID

import msgspec

from eventstore.database import Queries
from projections.read_model import RowKey

ERROR_LENGTH_MAX = 2_000


class Parked(msgspec.Struct, frozen=True):
    """One event set aside. `error` is empty for one that only waits behind another; `ids` are the rows it touches."""

    tenant_id: UUID
    stream_id: UUID
    position: int
    ids: tuple[UUID, ...]
    error: str


class ParkedStreams:
    """What one read model must not touch: streams with a parked event, and rows a parked event touches.

    Rows count too, since a row may hear of several streams: when the parked events are applied at last, each row still
    sees all of its events in order.
    """

    __slots__ = ("_rows", "_streams")

    def __init__(self) -> None:
        self._streams: set[tuple[UUID, UUID]] = set()
        self._rows: set[RowKey] = set()

    def __bool__(self) -> bool:
        return bool(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def copy(self) -> Self:
        fresh = type(self)()
        fresh._streams |= self._streams
        fresh._rows |= self._rows
        return fresh

    def hold(self, tenant_id: UUID, stream_id: UUID, ids: Sequence[UUID]) -> bool:
        """Whether an event of the stream that touches these rows must wait."""
        rows = self._rows
        return (tenant_id, stream_id) in self._streams or any((tenant_id, id) in rows for id in ids)

    def add(self, tenant_id: UUID, stream_id: UUID, ids: Sequence[UUID]) -> None:
        self._streams.add((tenant_id, stream_id))
        self._rows.update((tenant_id, id) for id in ids)


_STREAMS = """
    SELECT p.kind, p.tenant_id, p.stream_id, p.ids
      FROM views.parked p
     WHERE p.kind = ANY($1)
"""
_OF_KIND = """
    SELECT p.tenant_id, p.stream_id, p.position, p.ids, p.error
      FROM views.parked p
     WHERE p.kind = $1
     ORDER BY p.position
     LIMIT $2
"""


async def parked_streams(queries: Queries, kinds: Sequence[str]) -> dict[str, ParkedStreams]:
    """What each version of a read model must not touch."""
    found = {kind: ParkedStreams() for kind in kinds}
    for row in await queries.fetch(_STREAMS, list(kinds)):
        found[row["kind"]].add(row["tenant_id"], row["stream_id"], row["ids"])
    return found


async def parked_events(queries: Queries, kind: str, *, limit: int) -> list[Parked]:
    """The events set aside for a version of a read model, oldest first. Needs the engine's role."""
    rows = await queries.fetch(_OF_KIND, kind, limit)
    return [Parked(r["tenant_id"], r["stream_id"], r["position"], tuple(r["ids"]), r["error"]) for r in rows]


def error_text(error: BaseException) -> str:
    """What is kept of an error. PostgreSQL's texts cannot hold the zero byte."""
    return f"{type(error).__name__}: {error}".replace("\0", "\\0")[:ERROR_LENGTH_MAX]
