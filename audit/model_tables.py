"""The tables of a read model's build, read in pieces: rows, history, what is parked, and how far it has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import msgspec

from eventstore.database import Queries, Row
from projections.read_model import AnyModel, RowKey
from projections.row_changes import LINE, restored

PAGE_ROWS = 1_000

_FIRST = UUID(int=0)


class TableGone(Exception):
    """The build that was looked at has been dropped meanwhile."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One build's tables, or a part of them: one tenant's rows, a lane of them by their ids, or the named ones. The rows
    have the model's columns behind what all have, unless `columns` are not its own."""

    kind: str
    columns: tuple[str, ...] = ()
    tenant_id: UUID | None = None
    keys: frozenset[RowKey] | None = None
    lane: int = 0
    lanes: int = 1

    @classmethod
    def of(cls, model: AnyModel, kind: str, *, tenant_id: UUID | None, keys: frozenset[RowKey] | None) -> Table:
        return cls(kind=kind, columns=tuple(c.name for c in model.columns), tenant_id=tenant_id, keys=keys)


_POSITION = "SELECT c.position FROM views.checkpoints c WHERE c.kind = $1"
_SIZE = "SELECT coalesce(sum(pg_table_size(to_regclass(n))), 0)::bigint FROM unnest($1::text[]) n"
_PARKED = """
    SELECT p.tenant_id, p.stream_id, p.position, p.ids, p.error
      FROM views.parked p
     WHERE p.kind = $1 AND ($2::uuid IS NULL OR p.tenant_id = $2)
     ORDER BY p.position
"""


async def position_of(queries: Queries, table: Table) -> int:
    """How far the build has come. Raises TableGone."""
    position: int | None = await queries.fetchval(_POSITION, table.kind)
    if position is None:
        raise TableGone(table.kind)
    return position


async def bytes_of(queries: Queries, table: Table) -> int:
    """What all rows and their history take."""
    size: int = await queries.fetchval(_SIZE, [f"views.{table.kind}", f"views.{table.kind}_history"])
    return size


async def parked_in(queries: Queries, table: Table) -> list[Row]:
    """The events that are set aside: tenant id, stream id, position, the ids of the rows they change, error."""
    return await queries.fetch(_PARKED, table.kind, table.tenant_id)


_ROW = "t.tenant_id, t.id, t.first_position, t.position, t.row"
_ROWS = """
    SELECT {row}
      FROM views.{kind} t
     WHERE (t.tenant_id, t.id) > ($1, $2)
       AND ($3::uuid IS NULL OR t.tenant_id = $3)
       AND ($4 = 1 OR get_byte(uuid_send(t.id), 15) % $4 = $5)
     ORDER BY t.tenant_id, t.id
     LIMIT $6
"""
_ROWS_OF = """
    SELECT {row}
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, id)
     CROSS JOIN LATERAL (SELECT r.* FROM views.{kind} r
                          WHERE r.tenant_id = w.tenant_id AND r.id = w.id LIMIT 1) t
"""
_COUNT = "SELECT count(*) FROM views.{kind} t WHERE t.position <= $1 AND ($2::uuid IS NULL OR t.tenant_id = $2)"


async def rows_in(queries: Queries, table: Table) -> AsyncIterator[list[Row]]:
    """The rows, in pages: tenant id, id, first position, position, row, then the columns."""
    if table.keys is not None:
        yield await rows_of(queries, table, table.keys)
        return
    text = _ROWS.format(kind=table.kind, row=_selected(table))
    after = (_FIRST, _FIRST)
    while rows := await queries.fetch(text, *after, table.tenant_id, table.lanes, table.lane, PAGE_ROWS):
        yield rows
        after = (rows[-1]["tenant_id"], rows[-1]["id"])


async def rows_of(queries: Queries, table: Table, keys: Iterable[RowKey]) -> list[Row]:
    """These rows, as far as they exist."""
    named = list(keys)
    text = _ROWS_OF.format(kind=table.kind, row=_selected(table))
    return await queries.fetch(text, [key[0] for key in named], [key[1] for key in named])


async def count_up_to(queries: Queries, table: Table, position: int) -> int:
    """How many rows were last changed at the position or before."""
    count: int = await queries.fetchval(_COUNT.format(kind=table.kind), position, table.tenant_id)
    return count


def _selected(table: Table) -> str:
    return ", ".join((_ROW, *(f"t.{name}" for name in table.columns)))


_VERSIONS = """
    SELECT h.tenant_id, h.id, h.valid_from, h.valid_to, h.row
      FROM views.{kind}_history h
     WHERE (h.tenant_id, h.id, h.valid_from) > ($1, $2, $3)
       AND ($4::uuid IS NULL OR h.tenant_id = $4)
       AND ($5 = 1 OR get_byte(uuid_send(h.id), 15) % $5 = $6)
     ORDER BY h.tenant_id, h.id, h.valid_from
     LIMIT $7
"""
_VERSIONS_OF = """
    SELECT h.tenant_id, h.id, h.valid_from, h.valid_to, h.row
      FROM unnest($1::uuid[], $2::uuid[]) w (tenant_id, id)
     CROSS JOIN LATERAL (SELECT r.* FROM views.{kind}_history r
                          WHERE r.tenant_id = w.tenant_id AND r.id = w.id OFFSET 0) h
"""


_VERSION = """
    SELECT v.row FROM views.{kind}_versions v
     WHERE v.tenant_id = $1 AND v.id = $2 AND v.valid_from = $3
     LIMIT 1
"""


async def history_in(queries: Queries, table: Table) -> AsyncIterator[list[Row]]:
    """The versions that stand no longer, in pages: tenant id, id, valid from, valid to, and the row as it is kept."""
    if table.keys is not None:
        named = list(table.keys)
        text = _VERSIONS_OF.format(kind=table.kind)
        yield await queries.fetch(text, [key[0] for key in named], [key[1] for key in named])
        return
    text = _VERSIONS.format(kind=table.kind)
    after: tuple[UUID, UUID, int] = (_FIRST, _FIRST, 0)
    while rows := await queries.fetch(text, *after, table.tenant_id, table.lanes, table.lane, PAGE_ROWS):
        yield rows
        after = (rows[-1]["tenant_id"], rows[-1]["id"], rows[-1]["valid_from"])


async def version_in(queries: Queries, table: Table, key: RowKey, valid_from: int) -> bytes:
    """The whole row of a version that stands no longer; as much as is told of it, when what follows it is missing."""
    chain: bytes = await queries.fetchval(_VERSION.format(kind=table.kind), *key, valid_from)
    return restored(b"{}" + chain if chain.startswith(LINE) else chain)
