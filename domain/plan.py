"""A plan: the limits and entitlements a tenant has, as data."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID, uuid5

import msgspec

from domain.event import SYSTEM_TENANT, Aggregate, Event, StreamRef
from domain.refusal import NotFound

MEBIBYTE = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a tenant on the plan may have at most."""

    projects: int
    functions_per_project: int
    members: int
    concurrent_deployments: int
    queued_deployments: int
    upload_bytes: int = 2 * MEBIBYTE
    requests_per_minute: int = 600
    log_retention_days: int = 7
    # Of each function and target, besides the active one: the newest that succeeded.
    releases_kept: int = 5
    # Files that no function names and no kept release was made from.
    artifact_retention_days: int = 30
    webhooks_per_project: int = 20
    # In one account and region of a cloud; None: as many as the tenant may have under way at all.
    concurrent_deployments_per_account: int | None = None

    @property
    def per_account(self) -> int:
        """How many deployments may be under way in one account and region."""
        of_account, of_tenant = self.concurrent_deployments_per_account, self.concurrent_deployments
        return of_tenant if of_account is None else min(of_account, of_tenant)


class PlanDefined(Event, frozen=True, kw_only=True, tag="plan.defined"):
    name: str
    limits: Limits
    # Runtime targets that not every plan may use, such as `gke`.
    entitlements: tuple[str, ...] = ()


PlanEvent = PlanDefined


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    limits: Limits | None = None
    entitlements: tuple[str, ...] = ()


class PlanUnknown(NotFound):
    """There is no such plan."""

    code = "plan_not_found"
    remedy = "GET /api/v1/operations/plans lists those there are."


def evolve(plan: Plan, event: PlanEvent) -> Plan:
    match event:
        case PlanDefined():
            return Plan(name=event.name, limits=event.limits, entitlements=event.entitlements)
        case _:
            assert_never(event)


PLAN = Aggregate(name="plan", events=(PlanDefined,), initial=Plan(), evolve=evolve)


def plan_stream(name: str) -> StreamRef:
    """Plans belong to the operators, one stream a name."""
    return PLAN.stream(SYSTEM_TENANT, uuid5(UUID(int=0), f"plan/{name}"))
