"""The same questions, asked of the past: each query's twin that answers as of a position of the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from projections.api_keys import API_KEY_GET, API_KEYS_LIST
from projections.artifacts import ARTIFACT, ARTIFACT_BY_DIGEST, ARTIFACTS_LIST
from projections.deployment_lists import (
    DEPLOYMENT,
    DEPLOYMENTS_BY_STATUS,
    DEPLOYMENTS_OF_FUNCTION,
    DEPLOYMENTS_OF_PROJECT,
)
from projections.functions import FUNCTION_GET, FUNCTIONS_LIST
from projections.integrations import INTEGRATION_GET, INTEGRATIONS_LIST
from projections.invitations import INVITATION, INVITATIONS_LIST
from projections.members import MEMBER, MEMBERS_LIST
from projections.plans import PLAN, PLANS_LIST
from projections.projects import PROJECT, PROJECTS_LIST
from projections.query import ROWS, AnyQuery, Found, Page, Query
from projections.reader import Reader
from projections.runtimes import RUNTIMES_LIST
from projections.tenants import TENANT
from projections.webhooks import WEBHOOK_GET, WEBHOOKS_LIST

A = TypeVar("A")

# Rows are found by what never changes of them, through the indexes of the present ones; each is then shown as it was.
# So this is for models whose rows stay once they are made. All parameters of the query itself come one later.
_ROWS = """
    SELECT t.tenant_id, t.id, t.first_position, h.valid_from, h.row
      FROM {table} t
     CROSS JOIN LATERAL (SELECT v.valid_from, v.row
                           FROM {chains} v
                          WHERE v.tenant_id = t.tenant_id AND v.id = t.id
                            AND v.valid_from <= $2 AND (v.valid_to IS NULL OR v.valid_to > $2)
                          ORDER BY v.valid_from DESC
                          LIMIT 1) h"""
# Where rows go, the present ones do not show which there were. What stands is looked for among all versions the tenant
# has of such rows, which are few; a row that went and came back is another one, made when it came back.
_ROWS_THAT_GO = """
    SELECT t.tenant_id, t.id, t.first_position, t.position, t.row
      FROM (SELECT v.tenant_id, v.id, v.valid_from AS position, v.row,
                   (SELECT max(b.valid_from)
                      FROM {chains} b
                     WHERE b.tenant_id = v.tenant_id AND b.id = v.id AND b.valid_from <= v.valid_from
                       AND NOT EXISTS (SELECT FROM {chains} e
                                        WHERE e.tenant_id = v.tenant_id AND e.id = v.id
                                          AND e.valid_to = b.valid_from)) AS first_position
              FROM {chains} v
             WHERE v.tenant_id = $1 AND v.valid_from <= $2 AND (v.valid_to IS NULL OR v.valid_to > $2)) t"""
_TENANT = "t.tenant_id = $1"
# What a list filters by and what changes, taken from the row as it was: from the last link of its chain that tells of it.
_CHANGING = {
    "t.status": """(SELECT l.link::jsonb ->> 'status'
           FROM string_to_table(convert_from(h.row, 'UTF8'), chr(10)) WITH ORDINALITY l (link, number)
          WHERE l.link::jsonb ? 'status'
          ORDER BY l.number DESC
          LIMIT 1)"""
}


def _twin(query: Query[A], rows: str) -> Query[A]:
    """The query with the position before its own parameters."""
    sql = re.sub(r"\$(\d+)", _shifted, query.sql.removeprefix(ROWS))
    for now, then in _CHANGING.items():
        sql = sql.replace(now, then)
    return msgspec.structs.replace(
        query,
        name=f"{query.name}_as_of",
        over="as_of",
        parameters=("bigint", *query.parameters),
        sql=rows + sql.replace(_TENANT, f"{_TENANT} AND t.first_position <= $2", 1),
    )


def _shifted(found: re.Match[str]) -> str:
    number = int(found[1])
    return f"${number + 1 if number > 1 else number}"


_STAYING: tuple[AnyQuery, ...] = (
    TENANT,
    PLAN,
    PLANS_LIST,
    API_KEY_GET,
    API_KEYS_LIST,
    INVITATION,
    INVITATIONS_LIST,
    PROJECT,
    PROJECTS_LIST,
    RUNTIMES_LIST,
    ARTIFACT,
    ARTIFACT_BY_DIGEST,
    ARTIFACTS_LIST,
    INTEGRATION_GET,
    INTEGRATIONS_LIST,
    FUNCTION_GET,
    FUNCTIONS_LIST,
    DEPLOYMENT,
    DEPLOYMENTS_OF_PROJECT,
    DEPLOYMENTS_BY_STATUS,
    DEPLOYMENTS_OF_FUNCTION,
    WEBHOOK_GET,
    WEBHOOKS_LIST,
)
_GOING: tuple[AnyQuery, ...] = (MEMBER, MEMBERS_LIST)

_TWINS: Mapping[str, AnyQuery] = {
    **{query.name: _twin(query, _ROWS) for query in _STAYING},
    **{query.name: _twin(query, _ROWS_THAT_GO) for query in _GOING},
}
AS_OF_QUERIES: tuple[AnyQuery, ...] = tuple(_TWINS.values())


def as_of(query: Query[A]) -> Query[A]:
    """The query's twin, whose first argument is a position. Raises KeyError for one that has none."""
    return _TWINS[query.name]


class PastReader:
    """A Reader that answers as of a position, which the read models must have reached."""

    def __init__(self, reader: Reader, position: int) -> None:
        self._reader, self._position = reader, position

    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        return await self._reader.rows(as_of(query), tenant_id, self._position, *args)

    async def one(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> Found[A] | None:
        return await self._reader.one(as_of(query), tenant_id, self._position, *args)

    async def page(self, query: Query[A], tenant_id: UUID | None, *args: Any, after: int | None, limit: int) -> Page[A]:
        return await self._reader.page(as_of(query), tenant_id, self._position, *args, after=after, limit=limit)

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        return await self._reader.wait_for(position, queries, seconds_max=seconds_max)
