"""How many rows each tenant has of what a question finds: counted where they are, however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

import msgspec

from projections.query import AnyQuery, Found, Query
from projections.read_model import AnyModel


class Tally(msgspec.Struct, frozen=True):
    """Of one tenant."""

    count: int


# In place of a row: the tenant's number of them.
_TALLIES = """
    SELECT t.tenant_id, t.tenant_id, min(t.first_position), max(t.position),
           convert_to('{{"count":' || count(*) || '}}', 'UTF8')
      FROM {table} t
     WHERE """


def tally(name: str, model: AnyModel, *, where: str, having: AnyQuery) -> Query[Tally]:
    """The number of rows by tenant, of all tenants. `having` is the list of these rows, which begins with the one
    argument that `where` has too."""

    def select(rows: Iterable[Found[object]], wanted: str) -> list[Found[Tally]]:
        all_rows = list(rows)
        by_tenant: defaultdict[UUID, list[Found[object]]] = defaultdict(list)
        for found in having.select(all_rows, wanted, having.beginning, len(all_rows)):
            by_tenant[found.tenant_id].append(found)
        return [_counted(tenant_id, theirs) for tenant_id, theirs in by_tenant.items()]

    return Query(
        name=name,
        model=model,
        answer=Tally,
        parameters=having.parameters[:1],
        sql=f"{_TALLIES}{where} GROUP BY t.tenant_id ORDER BY min(t.first_position)",
        select=select,
        audience="anyone",
    )


def _counted(tenant_id: UUID, theirs: list[Found[object]]) -> Found[Tally]:
    counted = Tally(len(theirs))
    first, last = min(f.first_position for f in theirs), max(f.position for f in theirs)
    return Found(tenant_id, tenant_id, first, last, msgspec.json.encode(counted), counted)
