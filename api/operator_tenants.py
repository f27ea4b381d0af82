"""Tenants as operators keep them: created, given an owner, suspended, resumed."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.params import FromPath

from api.answer import Answer
from api.body import read
from api.invitations import InvitationMade, InvitationRequest, invite
from api.operation import Operation
from api.reading import found_or
from api.services import services_of
from api.tenant_reply import tenant_reply
from api.writing import Reply, Writing, recorded_time
from commands.claimed import TenantNameTaken
from commands.tenant import CreateTenant, ResumeTenant, SuspendTenant
from domain.naming import NameNotAllowed, slug
from domain.plan import PlanUnknown
from domain.tenant import TENANT, TenantIsClosed, TenantUnknown, TooManyInvitations
from projections.tenants import TENANT as TENANT_GET
from projections.tenants import Tenant

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=63, examples=["acme"])]
Reason = Annotated[str, msgspec.Meta(max_length=500, examples=["The invoice of October is open."])]


class TenantRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A new tenant; its name becomes the first segment of its functions' addresses."""

    name: Name
    plan: Annotated[str, msgspec.Meta(min_length=1, max_length=63, examples=["standard"])]


class SuspensionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Why, as the tenant's callers are told."""

    reason: Reason = ""


_CREATE = Operation(
    name="createTenant",
    permission="operate",
    summary="Create a tenant; invite its first owner next",
    tag="Operations",
    takes=TenantRequest,
    answers={201: Tenant},
    example={"name": "acme", "plan": "standard"},
    writes=True,
    refusals=(TenantNameTaken, NameNotAllowed, PlanUnknown),
)


@post("/operations/tenants", status_code=201, opt=_CREATE.as_opt())
async def create_tenant(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, TenantRequest)
    writing = Writing(request, content)
    # What a key was used for is kept in the tenant it was about, so it must be the same one each time.
    tenant_id = writing.own_id("tenant")
    command = CreateTenant(tenant_id=tenant_id, at=writing.asked["at"], name=asked_for.name, plan=asked_for.plan)
    body = Tenant(
        tenant_id=tenant_id,
        name=asked_for.name,
        slug=slug(asked_for.name),
        plan=asked_for.plan,
        created_at=recorded_time(None),
        updated_at=recorded_time(None),
    )
    return await writing.do(command, lambda _: Reply(status=201, body=body))


_INVITE = Operation(
    name="inviteOwner",
    permission="operate",
    summary="Invite somebody into a tenant, its first owner for one; the text to send them is shown this once",
    tag="Operations",
    takes=InvitationRequest,
    answers={201: InvitationMade},
    example={"email": "ada@example.com", "role": "owner"},
    writes=True,
    refusals=(TenantUnknown, TenantIsClosed, TooManyInvitations),
)


@post("/operations/tenants/{tenant_id:uuid}/invitations", status_code=201, opt=_INVITE.as_opt())
async def invite_owner(request: Request[Any, Any, Any], tenant_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, InvitationRequest)
    writing, services = Writing(request, content), services_of(request)
    found_or(TenantUnknown, await services.reader.one(TENANT_GET, tenant_id))
    return await invite(services, writing, tenant_id, asked_for, asked_by=None)


_SUSPEND = Operation(
    name="suspendTenant",
    permission="operate",
    summary="Let nothing of a tenant be changed; what is deployed goes on serving",
    tag="Operations",
    takes=SuspensionRequest,
    answers={200: Tenant},
    example={"reason": "The invoice of October is open."},
    writes=True,
    if_match=True,
    refusals=(TenantUnknown, TenantIsClosed),
)


@post("/operations/tenants/{tenant_id:uuid}/suspend", status_code=200, opt=_SUSPEND.as_opt())
async def suspend_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, SuspensionRequest)
    writing = Writing(request, content)
    command = SuspendTenant(tenant_id=tenant_id, at=writing.asked["at"], reason=asked_for.reason)
    return await _changed(request, writing, command)


_RESUME = Operation(
    name="resumeTenant",
    permission="operate",
    summary="Let a suspended tenant go on",
    tag="Operations",
    answers={200: Tenant},
    writes=True,
    if_match=True,
    refusals=(TenantUnknown, TenantIsClosed),
)


@post("/operations/tenants/{tenant_id:uuid}/resume", status_code=200, opt=_RESUME.as_opt())
async def resume_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[UUID]) -> Answer:
    writing = Writing(request, b"")
    return await _changed(request, writing, ResumeTenant(tenant_id=tenant_id, at=writing.asked["at"]))


async def _changed(request: Request[Any, Any, Any], writing: Writing, command: SuspendTenant | ResumeTenant) -> Answer:
    tenant_id = command.tenant_id
    services = services_of(request)
    known = found_or(TenantUnknown, await services.reader.one(TENANT_GET, tenant_id)).row
    stream = TENANT.stream(tenant_id, tenant_id)
    answered = await writing.do(command, lambda states: tenant_reply(known, stream, states), entity=stream)
    services.rate_limits.look_again(tenant_id)
    return answered


OPERATOR_TENANT_ROUTES = (create_tenant, invite_owner, suspend_tenant, resume_tenant)
