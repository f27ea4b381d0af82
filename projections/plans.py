"""Plans: the limits and entitlements there are to choose from."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from domain.plan import Limits, PlanDefined
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import ReadModel, own_stream
from projections.recorded import Recorded

PLANS_MAX = 1_000


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    limits: Limits
    entitlements: tuple[str, ...]


def project(row: Plan | None, recorded: Recorded) -> Plan | None:
    match recorded.event:
        case PlanDefined() as event:
            return Plan(name=event.name, limits=event.limits, entitlements=event.entitlements)
        case _:
            return row


PLANS = ReadModel(name="plans", version=4, row=Plan, interests=(PlanDefined,), keys=own_stream, project=project)


def _one(rows: Iterable[Found[Plan]], plan_id: UUID) -> list[Found[Plan]]:
    return [found for found in rows if found.id == plan_id]


def _all(rows: Iterable[Found[Plan]]) -> list[Found[Plan]]:
    return page_of(rows, "oldest_first", 0, PLANS_MAX)


# One plan. Asked for the tenant of the service itself. Arguments: the id of the plan's stream.
PLAN = Query(
    name="plan",
    model=PLANS,
    answer=Plan,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# Every plan. Asked for the tenant of the service itself.
PLANS_LIST = Query(
    name="plans_list",
    model=PLANS,
    answer=Plan,
    sql=ROWS + f" WHERE t.tenant_id = $1 ORDER BY t.first_position LIMIT {PLANS_MAX}",
    select=_all,
)
