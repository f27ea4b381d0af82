"""One read: whose it is, how new it must be, and what it means when nothing is found."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from litestar import Request

from api.exchange import exchange_of
from api.principal import Principal
from api.refusals import NotYetVisible
from api.services import Services, services_of
from domain.project import ProjectUnknown
from domain.refusal import Refusal
from projections.projects import PROJECT
from projections.query import Found

A = TypeVar("A")


def tenant_of(request: Request[Any, Any, Any]) -> UUID:
    """The tenant whose things the caller may see."""
    return principal_of(request).tenant_id


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """Who asks."""
    principal = exchange_of(request.scope).principal
    assert principal is not None, "a route with a permission has a caller"
    return principal


def require_within(request: Request[Any, Any, Any], project_id: UUID) -> None:
    """Raise ProjectUnknown for a key that is for other projects."""
    if not principal_of(request).is_for(project_id):
        raise ProjectUnknown


async def reached(request: Request[Any, Any, Any]) -> Services:
    """The services, once what can be read is at least as new as the If-Position header asks.

    Raises NotYetVisible when that takes too long, and what reading the token raises.
    """
    services = services_of(request)
    token = exchange_of(request.scope).header(b"if-position")
    if token is not None:
        position = await services.tokens.read(token, "If-Position")
        if not await services.reader.wait_for(position, seconds_max=services.wait_seconds_max):
            raise NotYetVisible
    return services


def found_or(unknown: type[Refusal], found: Found[A] | None) -> Found[A]:
    """What was found. Raises the refusal when there is nothing: of another tenant, or nowhere at all."""
    if found is None:
        raise unknown
    return found


async def require_project(services: Services, tenant_id: UUID, project_id: UUID) -> None:
    """Raise ProjectUnknown unless the tenant has the project."""
    found_or(ProjectUnknown, await services.reader.one(PROJECT, tenant_id, project_id))
