"""The present rows that a batch touches, of every read model, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.database import Queries
from projections.fold import Fold

# By the index for each key: a join could turn into a scan of the whole table.
_OF_ONE = """
    SELECT {number}::int AS number, t.tenant_id, t.id, t.first_position, t.position, t.row
      FROM unnest(${tenants}::uuid[], ${ids}::uuid[]) AS wanted (tenant_id, id)
     CROSS JOIN LATERAL (SELECT r.*
                           FROM views.{kind} r
                          WHERE r.tenant_id = wanted.tenant_id AND r.id = wanted.id
                          LIMIT 1) t"""


async def load_rows(queries: Queries, folds: Sequence[Fold]) -> None:
    """Give each fold the rows it wants, as far as they exist."""
    texts: list[str] = []
    values: list[object] = []
    for number, fold in enumerate(folds):
        if wanted := fold.wanted:
            texts.append(
                _OF_ONE.format(number=number, kind=fold.model.kind, tenants=len(values) + 1, ids=len(values) + 2)
            )
            values.extend(([tenant_id for tenant_id, _ in wanted], [id for _, id in wanted]))
    if not texts:
        return
    for number, *row in await queries.fetch("\n UNION ALL".join(texts), *values):
        folds[number].load(*row)
