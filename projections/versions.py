"""Every version a row ever had, as the history keeps them: each stood from one event on until another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from projections.api_keys import API_KEY_GET
from projections.artifacts import ARTIFACT
from projections.deployment_lists import DEPLOYMENT
from projections.functions import FUNCTION_GET
from projections.integrations import INTEGRATION_GET
from projections.members import MEMBER
from projections.plans import PLAN
from projections.projects import PROJECT
from projections.query import AnyQuery, Found, Query, page_of
from projections.runtimes import RUNTIMES_LIST
from projections.tenants import TENANT
from projections.webhooks import WEBHOOK_GET

_OF_ROW = """
    SELECT v.tenant_id, v.id, v.valid_from, v.valid_from, v.row
      FROM {chains} v
     WHERE v.tenant_id = $1"""


_ENDINGS = """
    SELECT v.tenant_id, v.id, v.valid_to, v.valid_to, v.row
      FROM {chains} v
     WHERE v.tenant_id = $1 AND v.id = $2 AND v.valid_to > $3
       AND NOT EXISTS (SELECT FROM {chains} n
                        WHERE n.tenant_id = v.tenant_id AND n.id = v.id AND n.valid_from = v.valid_to)
     ORDER BY v.valid_to
     LIMIT $4"""


class Versions(msgspec.Struct, frozen=True):
    """What can be asked about the past of one kind of row, shown as the API shows it.

    Both positions of a version are those of the event that made it. `all` takes the row's id and is a list; `at` takes a
    position and the row's id, and finds the version that stood then. `endings`, for rows that may go, is as `all`: each
    last version before the row went, its positions those of the event by which it did.
    """

    all: AnyQuery
    at: AnyQuery
    endings: AnyQuery | None = None


def _of(shown: AnyQuery, *, goes: bool = False) -> Versions:
    name = shown.model.name
    every = Query(
        name=f"{name}_versions",
        model=shown.model,
        answer=shown.answer,
        parameters=("uuid", "bigint", "integer"),
        sql=_OF_ROW + " AND v.id = $2 AND v.valid_from > $3 ORDER BY v.valid_from LIMIT $4",
        select=_page,
        order="oldest_first",
        over="versions",
    )
    at = Query(
        name=f"{name}_version_at",
        model=shown.model,
        answer=shown.answer,
        parameters=("bigint", "uuid"),
        sql=_OF_ROW
        + """
       AND v.id = $3 AND v.valid_from <= $2 AND (v.valid_to IS NULL OR v.valid_to > $2)
     ORDER BY v.valid_from DESC
     LIMIT 1""",
        select=_one,
        over="as_of",
    )
    return Versions(every, at, _endings(shown) if goes else None)


def _endings(shown: AnyQuery) -> AnyQuery:
    return Query(
        name=f"{shown.model.name}_endings",
        model=shown.model,
        answer=shown.answer,
        parameters=("uuid", "bigint", "integer"),
        sql=_ENDINGS,
        select=_page,
        order="oldest_first",
        over="endings",
    )


def _page(rows: Iterable[Found[Any]], id: UUID, after: int, limit: int) -> list[Found[Any]]:
    return page_of((found for found in rows if found.id == id), "oldest_first", after, limit)


def _one(rows: Iterable[Found[Any]], id: UUID) -> list[Found[Any]]:
    return [msgspec.structs.replace(found, first_position=found.position) for found in rows if found.id == id]


# By the aggregate whose streams have the rows' ids.
VERSIONS: Mapping[str, Versions] = {
    "tenant": _of(TENANT),
    "plan": _of(PLAN),
    "api_key": _of(API_KEY_GET),
    "project": _of(PROJECT),
    "artifact": _of(ARTIFACT),
    "integration": _of(INTEGRATION_GET),
    "function": _of(FUNCTION_GET),
    "deployment": _of(DEPLOYMENT),
    "webhook": _of(WEBHOOK_GET),
}
# By a name of their own: rows that have no stream under their id.
VERSIONS_APART: Mapping[str, Versions] = {"member": _of(MEMBER, goes=True), "runtime": _of(RUNTIMES_LIST)}
VERSION_QUERIES: tuple[AnyQuery, ...] = tuple(
    query
    for versions in (*VERSIONS.values(), *VERSIONS_APART.values())
    for query in (versions.all, versions.at, versions.endings)
    if query is not None
)
