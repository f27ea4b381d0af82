"""A batch's rows, history, parked events and checkpoints, written all at once or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from eventstore.columns import numbers, uuids_or_nulls
from eventstore.database import Connection, Database, Queries
from projections import past_versions
from projections.checkpoints import Checkpoint, Superseded
from projections.fold import Folded
from projections.read_model import AnyModel

CHANNEL = "dcf_projected"
# From so many rows on, copying them is faster although it takes more round trips.
COPIED_ROWS_MIN = 200

# Only who holds the epoch, and stands where the rows were read, may write. The check locks the checkpoints and is part of
# the statement that writes, so a worker that was overtaken meanwhile changes nothing at all.
#
# Losing the last moment of a read model in a crash is harmless, since rows and checkpoint are lost together and the log
# is not: so nothing here waits for the disk.
_GUARD = """
    WITH guard AS MATERIALIZED (
        SELECT c.kind
          FROM unnest($1::text[], $2::bigint[]) AS mine (kind, generation)
          JOIN views.checkpoints c ON c.kind = mine.kind
         WHERE c.epoch = $3 AND c.position = $4 AND c.generation = mine.generation
         ORDER BY c.kind
           FOR UPDATE OF c
    ), own AS MATERIALIZED (
        SELECT count(*) = cardinality($1::text[]) AS may FROM guard
    ), moved AS (
        UPDATE views.checkpoints c
           SET position = $5, reached_at = coalesce($6, c.reached_at), generation = c.generation + $7
         WHERE c.kind = ANY($1) AND (SELECT may FROM own)
    )"""
_END = f"""
    SELECT own.may,
           CASE WHEN own.may THEN pg_notify('{CHANNEL}', $8) END,
           set_config('synchronous_commit', 'off', true)
      FROM own"""  # noqa: S608 - the channel is a constant


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Where checkpoints that stand at one position go. `applied_parked`: events that are no longer to be parked, which
    changes rows behind the worker's back."""

    checkpoints: Sequence[Checkpoint]
    epoch: int
    from_position: int
    to_position: int
    reached_at: datetime | None
    applied_parked: Sequence[int] = ()


Part = tuple[AnyModel, Folded]


async def commit(database: Database, move: Move, parts: Sequence[Part]) -> None:
    """Write everything, or raise Superseded and write nothing.

    A small batch is one statement, and so one round trip; a large one is a transaction, in which rows that are only ever
    added are copied.
    """
    if _copied_count(parts) < COPIED_ROWS_MIN:
        await _run(database, move, parts, copied=False)
        return
    async with database.transaction() as connection:
        await commit_within(connection, move, parts)


async def commit_within(connection: Connection, move: Move, parts: Sequence[Part]) -> None:
    """The same within a transaction, which has to be rolled back when this raises."""
    await _run(connection, move, parts, copied=True)
    for model, folded in parts:
        await _copy(connection, model, folded)


async def write_unguarded(connection: Connection, model: AnyModel, folded: Folded) -> None:
    """Write what a batch did to a table that nobody else feeds, within a transaction that sees to its checkpoint."""
    statement = _Statement("WITH own AS MATERIALIZED (SELECT true AS may)", [])
    _add_kept(statement, 0, model, folded.changed)
    _add_gone(statement, 0, model, folded)
    _add_parked(statement, [(model, folded)])
    text, values = statement.finish(" SELECT FROM own")
    await connection.execute(text, *values)
    await _copy(connection, model, folded)


async def _copy(connection: Connection, model: AnyModel, folded: Folded) -> None:
    """Write what is only ever added: new rows, and the history."""
    if folded.added:
        await connection.copy_records_to_table(
            model.kind, schema_name="views", columns=_names(model), records=folded.added
        )
    if folded.closed:
        await connection.copy_to_table(
            f"{model.kind}_history",
            schema_name="views",
            columns=past_versions.COLUMNS,
            source=folded.closed.chunks(),
            format="binary",
        )


def _copied_count(parts: Sequence[Part]) -> int:
    return sum(len(folded.closed) + len(folded.added) for _, folded in parts)


async def _run(queries: Queries, move: Move, parts: Sequence[Part], *, copied: bool) -> None:
    statement, values = _statement(move, parts, copied=copied)
    row = await queries.fetchrow(statement, *values)
    if row is None or not row["may"]:
        raise Superseded(f"epoch {move.epoch} cannot move on from {move.from_position}")


class _Statement:
    """A statement under way: its text so far, and its values."""

    def __init__(self, head: str, values: list[Any]) -> None:
        self._text = [head]
        self._values = values

    def add(self, name: str, template: str, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """One more part, `{values}` standing for the rows, of which there is at least one."""
        first = len(self._values) + 1
        casts = ", ".join(_cast(n, type) for n, type in enumerate(types, first))
        self._values.extend(_column(type, values) for type, values in zip(types, zip(*rows, strict=True), strict=True))
        self._text.append(f", {name} AS ({template.format(values=f'unnest({casts})')})")

    def finish(self, end: str = _END) -> tuple[str, list[Any]]:
        return "".join(self._text) + end, self._values


# What goes as the text of an array (see eventstore/columns.py).
_AS_TEXT: Mapping[str, Callable[[Sequence[Any]], str]] = {"bigint": numbers, "uuid": uuids_or_nulls}


def _cast(number: int, type: str) -> str:
    return f"${number}::text::{type}[]" if type in _AS_TEXT else f"${number}::{type}[]"


def _column(type: str, values: Sequence[Any]) -> Any:
    as_text = _AS_TEXT.get(type)
    return list(values) if as_text is None else as_text(values)


def _statement(move: Move, parts: Sequence[Part], *, copied: bool) -> tuple[str, list[Any]]:
    kinds = [checkpoint.kind for checkpoint in move.checkpoints]
    statement = _Statement(
        _GUARD,
        [
            kinds,
            [checkpoint.generation for checkpoint in move.checkpoints],
            move.epoch,
            move.from_position,
            move.to_position,
            move.reached_at,
            1 if move.applied_parked else 0,
            f"{move.to_position} {' '.join(kinds)}",
        ],
    )
    if move.applied_parked:
        statement.add("unparked", _UNPARKED, ("bigint",), [(position,) for position in move.applied_parked])
    for number, (model, folded) in enumerate(parts):
        if copied:
            _add_kept(statement, number, model, folded.changed)
        else:
            _add_kept(statement, number, model, folded.added + folded.changed)
            _add_closed(statement, number, model, folded)
        _add_gone(statement, number, model, folded)
    _add_parked(statement, parts)
    return statement.finish()


# An event that is parked again has a new error.
_PARKED = """
    INSERT INTO views.parked (kind, tenant_id, position, stream_id, ids, error)
    SELECT u.kind, u.tenant_id, u.position, u.stream_id, u.ids::uuid[], u.error
      FROM {values} u (kind, tenant_id, position, stream_id, ids, error)
     WHERE (SELECT may FROM own)
        ON CONFLICT (kind, position) DO UPDATE SET ids = EXCLUDED.ids, error = EXCLUDED.error"""
_UNPARKED = """
    DELETE FROM views.parked p
     USING {values} u (position)
     WHERE p.kind = ANY($1) AND p.position = u.position AND (SELECT may FROM own)"""


def _add_parked(statement: _Statement, parts: Sequence[Part]) -> None:
    parked = [
        (model.kind, p.tenant_id, p.position, p.stream_id, "{" + ",".join(map(str, p.ids)) + "}", p.error)
        for model, folded in parts
        for p in folded.parked
    ]
    if parked:
        statement.add("parked", _PARKED, ("text", "uuid", "bigint", "uuid", "text", "text"), parked)


def _names(model: AnyModel) -> list[str]:
    """The columns of a kept row, in order."""
    return ["tenant_id", "id", "first_position", "position", *(column.name for column in model.columns), "row"]


def _add_kept(statement: _Statement, number: int, model: AnyModel, kept: Sequence[tuple[Any, ...]]) -> None:
    if not kept:
        return
    names = _names(model)
    types = ["uuid", "uuid", "bigint", "bigint", *(column.sql_type for column in model.columns), "bytea"]
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in names[2:])
    # The names are those of our own columns.
    conflict = "" if model.append_only else f"ON CONFLICT (tenant_id, id) DO UPDATE SET {changes}"  # nosec B608
    statement.add(
        f"kept_{number}",
        f"""
        INSERT INTO views.{model.kind} ({", ".join(names)})
        SELECT u.* FROM {{values}} u WHERE (SELECT may FROM own)
        {conflict}""",  # noqa: S608 - every name is the model's own
        types,
        kept,
    )


def _add_gone(statement: _Statement, number: int, model: AnyModel, folded: Folded) -> None:
    if not folded.gone:
        return
    statement.add(
        f"gone_{number}",
        f"""
        DELETE FROM views.{model.kind} t
         USING {{values}} u (tenant_id, id)
         WHERE t.tenant_id = u.tenant_id AND t.id = u.id AND (SELECT may FROM own)""",  # noqa: S608 - as above
        ("uuid", "uuid"),
        folded.gone,
    )


def _add_closed(statement: _Statement, number: int, model: AnyModel, folded: Folded) -> None:
    if not folded.closed:
        return
    statement.add(
        f"closed_{number}",
        f"""
        INSERT INTO views.{model.kind}_history ({", ".join(past_versions.COLUMNS)})
        SELECT u.* FROM {{values}} u WHERE (SELECT may FROM own)""",  # noqa: S608 - as above
        ("uuid", "uuid", "bigint", "bigint", "bytea"),
        list(folded.closed),
    )
