"""Tenants: the workspaces, each with its plan."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from domain.tenant import PlanChosen, TenantClosed, TenantCreated, TenantResumed, TenantSuspended
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded


class Tenant(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    tenant_id: UUID
    name: str
    slug: str
    plan: str
    # Why nothing of it may be changed; null: it may.
    suspended: str | None = None
    # When it was closed for good; null: it is open.
    closed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


def project(row: Tenant | None, recorded: Recorded) -> Tenant | None:
    match recorded.event:
        case TenantCreated() as event:
            return Tenant(
                tenant_id=recorded.tenant_id,
                name=event.name,
                slug=event.slug,
                plan=event.plan,
                created_at=recorded.at,
                updated_at=recorded.at,
            )
        case PlanChosen() as event:
            return msgspec.structs.replace(present(row), plan=event.plan, updated_at=recorded.at)
        case TenantSuspended() as event:
            return msgspec.structs.replace(present(row), suspended=event.reason, updated_at=recorded.at)
        case TenantResumed():
            return msgspec.structs.replace(present(row), suspended=None, updated_at=recorded.at)
        case TenantClosed():
            return msgspec.structs.replace(present(row), closed_at=recorded.at, updated_at=recorded.at)
        case _:
            return row


TENANTS = ReadModel(
    name="tenants",
    version=4,
    row=Tenant,
    interests=(TenantCreated, PlanChosen, TenantSuspended, TenantResumed, TenantClosed),
    keys=own_stream,
    project=project,
    columns=(Column("slug", "text", lambda row: row.slug),),
    indexes=(Index("by_slug", "slug"), Index("in_order", "first_position")),
)


def _all(rows: Iterable[Found[Tenant]]) -> list[Found[Tenant]]:
    return list(rows)


def _by_slug(rows: Iterable[Found[Tenant]], segment: str) -> list[Found[Tenant]]:
    return [found for found in rows if found.row.slug == segment]


def _page(rows: Iterable[Found[Tenant]], after: int, limit: int) -> list[Found[Tenant]]:
    return page_of(rows, "oldest_first", after, limit)


# The tenant itself.
TENANT = Query(name="tenant", model=TENANTS, answer=Tenant, sql=ROWS + " WHERE t.tenant_id = $1", select=_all)

# The tenant that has a segment in addresses. Arguments: the segment.
TENANT_BY_SLUG = Query(
    name="tenant_by_slug",
    model=TENANTS,
    answer=Tenant,
    parameters=("text",),
    sql=ROWS + " WHERE t.slug = $1",
    select=_by_slug,
    audience="anyone",
)

# Every tenant: for operators.
TENANTS_LIST = Query(
    name="tenants_list",
    model=TENANTS,
    answer=Tenant,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_page,
    audience="anyone",
    order="oldest_first",
)
