"""How far each version of a read model has come, and which worker may take it further."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eventstore.database import Queries


class Superseded(Exception):
    """Another worker has taken over, or somebody else has changed the rows: nothing was written."""


class Checkpoint(msgspec.Struct, frozen=True):
    """Every event up to `position` is in the rows of `kind`, or parked. `generation` rises when someone other than the
    worker changes rows."""

    kind: str
    position: int
    generation: int


# Epochs of leases only rise, so the newest holder shuts out all before it, whatever these still have under way.
# All that lock several rows do so in the order of their kinds: two at once would wait for each other for ever.
_TAKE_OVER = """
    WITH held AS MATERIALIZED (
        SELECT c.kind FROM views.checkpoints c WHERE c.kind = ANY($1) ORDER BY c.kind FOR UPDATE
    )
    UPDATE views.checkpoints c
       SET epoch = $2
      FROM held h
     WHERE c.kind = h.kind AND c.epoch <= $2
    RETURNING c.kind, c.position, c.generation
"""
_LOCK = """
    SELECT c.kind, c.position, c.generation, c.epoch
      FROM views.checkpoints c
     WHERE c.kind = $1
       FOR UPDATE
"""
_POSITIONS = "SELECT c.kind, c.position FROM views.checkpoints c"


async def take_over(queries: Queries, kinds: Sequence[str], epoch: int) -> dict[str, Checkpoint]:
    """The checkpoints, which from now on only this epoch can move. Raises Superseded when a newer one has them."""
    rows = await queries.fetch(_TAKE_OVER, list(kinds), epoch)
    if len(rows) != len(kinds):
        raise Superseded(f"epoch {epoch} is not the newest")
    return {row["kind"]: Checkpoint(row["kind"], row["position"], row["generation"]) for row in rows}


async def lock(queries: Queries, kind: str) -> tuple[Checkpoint, int] | None:
    """The checkpoint and its worker's epoch, kept still until the transaction ends; None: there is no such kind."""
    rows = await queries.fetch(_LOCK, kind)
    if not rows:
        return None
    row = rows[0]
    return Checkpoint(row["kind"], row["position"], row["generation"]), row["epoch"]


async def positions(queries: Queries) -> dict[str, int]:
    """How far every version of every read model has come."""
    return {row["kind"]: row["position"] for row in await queries.fetch(_POSITIONS)}
