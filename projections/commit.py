"""A batch's rows, history, parked events and checkpoints: one statement, which does all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from eventstore.database import Queries
from projections.checkpoints import Checkpoint, Superseded
from projections.fold import Folded
from projections.read_model import AnyModel

CHANNEL = "dcf_projected"

# Only who holds the epoch, and stands where the rows were read, may write. The check locks the checkpoints and is part of
# the statement, so a worker that was overtaken meanwhile changes nothing at all.
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


async def commit(queries: Queries, move: Move, parts: Sequence[tuple[AnyModel, Folded]]) -> None:
    """Write everything, or raise Superseded and write nothing."""
    statement, values = _statement(move, parts)
    row = await queries.fetchrow(statement, *values)
    if row is None or not row["may"]:
        raise Superseded(f"epoch {move.epoch} cannot move on from {move.from_position}")


class _Statement:
    """A statement under way: its text so far, and its values."""

    def __init__(self, head: str, values: list[Any]) -> None:
        self._text = [head]
        self._values = values

    def add(self, name: str, template: str, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """One more part, `{values}` standing for the rows."""
        if not rows:
            return
        first = len(self._values) + 1
        casts = ", ".join(f"${n}::{type}[]" for n, type in enumerate(types, first))
        self._values.extend(list(column) for column in zip(*rows, strict=True))
        self._text.append(f", {name} AS ({template.format(values=f'unnest({casts})')})")

    def finish(self) -> tuple[str, list[Any]]:
        return "".join(self._text) + _END, self._values


def _statement(move: Move, parts: Sequence[tuple[AnyModel, Folded]]) -> tuple[str, list[Any]]:
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
    statement.add("unparked", _UNPARKED, ("bigint",), [(position,) for position in move.applied_parked])
    for number, (model, folded) in enumerate(parts):
        _add_rows(statement, number, model, folded)
        _add_history(statement, number, model, folded)
    parked = [
        (model.kind, p.tenant_id, p.position, p.stream_id, "{" + ",".join(map(str, p.ids)) + "}", p.error)
        for model, folded in parts
        for p in folded.parked
    ]
    statement.add("parked", _PARKED, ("text", "uuid", "bigint", "uuid", "text", "text"), parked)
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


def _add_rows(statement: _Statement, number: int, model: AnyModel, folded: Folded) -> None:
    names = ["tenant_id", "id", "first_position", "position", *(column.name for column in model.columns), "row"]
    types = ["uuid", "uuid", "bigint", "bigint", *(column.sql_type for column in model.columns), "bytea"]
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in names[2:])
    conflict = "" if model.append_only else f"ON CONFLICT (tenant_id, id) DO UPDATE SET {changes}"
    statement.add(
        f"kept_{number}",
        f"""
        INSERT INTO views.{model.kind} ({", ".join(names)})
        SELECT u.* FROM {{values}} u WHERE (SELECT may FROM own)
        {conflict}""",  # noqa: S608 - every name is the model's own
        types,
        folded.kept,
    )
    statement.add(
        f"gone_{number}",
        f"""
        DELETE FROM views.{model.kind} t
         USING {{values}} u (tenant_id, id)
         WHERE t.tenant_id = u.tenant_id AND t.id = u.id AND (SELECT may FROM own)""",  # noqa: S608 - as above
        ("uuid", "uuid"),
        folded.gone,
    )


def _add_history(statement: _Statement, number: int, model: AnyModel, folded: Folded) -> None:
    statement.add(
        f"standing_{number}",
        f"""
        INSERT INTO views.{model.kind}_history (kind, tenant_id, id, valid_from, valid_to, row)
        SELECT '{model.kind}', u.* FROM {{values}} u WHERE (SELECT may FROM own)""",  # noqa: S608 - as above
        ("uuid", "uuid", "bigint", "bigint", "bytea"),
        folded.standing,
    )
    statement.add(
        f"ended_{number}",
        f"""
        UPDATE views.{model.kind}_history h
           SET valid_to = u.valid_to
          FROM {{values}} u (tenant_id, id, valid_from, valid_to)
         WHERE h.kind = '{model.kind}' AND h.tenant_id = u.tenant_id AND h.id = u.id
           AND h.valid_from = u.valid_from AND (SELECT may FROM own)""",  # noqa: S608 - as above
        ("uuid", "uuid", "bigint", "bigint"),
        folded.ended,
    )
