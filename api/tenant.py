"""The caller's tenant and its members."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.params import FromPath

from api.answer import Answer, encoded, etag
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.example_ids import PERSON_ID
from api.exchange import exchange_of
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation
from api.persons import persons_of
from api.reading import found_or, tenant_of
from api.services import Services, services_of
from api.writing import Reply, Writing, recorded_time
from commands.basis import CODEC
from commands.command import States
from commands.tenant import AddMember, ChangeRole, RemoveMember
from domain.deployment import IN_ACCOUNT
from domain.event import SYSTEM_TENANT, StreamRef
from domain.person import PersonUnknown
from domain.plan import Limits, plan_stream
from domain.refusal import LimitReached
from domain.tenant import (
    TENANT,
    AlreadyMember,
    LastOwner,
    MemberAdded,
    MemberRoleChanged,
    MemberUnknown,
    Role,
    RoleAboveOwn,
    TenantUnknown,
)
from projections.members import MEMBER, MEMBERS_LIST, Member
from projections.plans import PLAN
from projections.query import Found
from projections.tenants import TENANT as TENANT_GET
from projections.tenants import Tenant


class MemberRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A person this service knows, and the role it is to have."""

    person_id: UUID
    role: Role


class RoleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The member's role from here on."""

    role: Role


class MemberShown(Member, frozen=True, kw_only=True, rename="camel"):
    """`name` is null for who was erased. `email` is shown to who may change members, and to the member."""

    name: str | None
    email: str | None


class LimitUse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One limit of the plan, by its name there, and how much of it is used: of `functionsPerProject` by the project with the
    most, of `concurrentDeploymentsPerAccount` in the account with the most. `used` is null where nothing is counted, and for `requestsPerMinute`, of which the header `RateLimit` tells."""

    name: str
    used: int | None
    limit: int


class TenantShown(Tenant, frozen=True, kw_only=True, rename="camel"):
    """`limits` are those of now: null as of a moment of the past."""

    limits: list[LimitUse] | None


_TENANT = Operation(
    name="getTenant",
    permission="tenant:read",
    summary="Get the tenant the credential belongs to, and how much of its limits is used",
    tag="Tenant",
    answers={200: TenantShown},
    query=(AS_OF,),
    refusals=(TenantUnknown,),
)


@get("/tenant", opt=_TENANT.as_opt())
async def get_tenant(request: Request[Any, Any, Any]) -> Answer:
    services = await reached_as_of(request)
    found = found_or(TenantUnknown, await services.reader.one(TENANT_GET, tenant_of(request)))
    of_now = services.reader is services_of(request).reader
    limits = await _limits(services, found.row) if of_now else None
    # What is used changes without an event of the tenant's own: it is known by its bytes.
    return Answer(encoded(TenantShown(**msgspec.structs.asdict(found.row), limits=limits)))


async def _limits(services: Services, tenant: Tenant) -> list[LimitUse] | None:
    plan = await services.reader.one(PLAN, SYSTEM_TENANT, plan_stream(tenant.plan).id)
    if plan is None:
        return None
    counted = await services.log.counted(tenant.tenant_id)
    used = {
        "projects": counted.get(("projects", "tenant"), 0),
        "functions_per_project": max((n for (scope, _), n in counted.items() if scope == "functions"), default=0),
        "webhooks_per_project": max((n for (scope, _), n in counted.items() if scope == "webhooks"), default=0),
        "members": counted.get(("members", "tenant"), 0),
        "concurrent_deployments": counted.get(("deployments", "running"), 0),
        "concurrent_deployments_per_account": max(
            (n for (scope, _), n in counted.items() if scope == IN_ACCOUNT), default=0
        ),
        "queued_deployments": counted.get(("deployments", "queued"), 0),
    }
    limits = msgspec.structs.asdict(plan.row.limits) | {
        "concurrent_deployments_per_account": plan.row.limits.per_account
    }
    return [
        LimitUse(name=field.encode_name, used=used.get(field.name), limit=limits[field.name])
        for field in msgspec.structs.fields(Limits)
    ]


_LIST = Operation(
    name="listMembers",
    permission="tenant:read",
    summary="List the members of the tenant, oldest first",
    tag="Tenant",
    answers={200: Listed[MemberShown]},
    query=(*PAGE_PARAMETERS, AS_OF),
)


@get("/tenant/members", opt=_LIST.as_opt())
async def list_members(request: Request[Any, Any, Any]) -> Answer:
    services = await reached_as_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(MEMBERS_LIST, tenant_of(request), after=wanted.after, limit=wanted.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed(await members_shown(request, found.items), cursor)


_GET = Operation(
    name="getMember",
    permission="tenant:read",
    summary="Get a member of the tenant",
    tag="Tenant",
    answers={200: MemberShown},
    query=(AS_OF,),
    refusals=(MemberUnknown,),
)


@get("/tenant/members/{person_id:uuid}", opt=_GET.as_opt())
async def get_member(request: Request[Any, Any, Any], person_id: FromPath[UUID]) -> Answer:
    services = await reached_as_of(request)
    found = found_or(MemberUnknown, await services.reader.one(MEMBER, tenant_of(request), person_id))
    (shown,) = await members_shown(request, [found])
    # The name goes when the person is erased, which is no event of the membership: there is no 304 for it.
    return Answer(shown, headers=((b"etag", etag(found.position)), (b"cache-control", b"private, no-cache")))


async def members_shown(request: Request[Any, Any, Any], found: Sequence[Found[Member]]) -> list[bytes]:
    """The members with their names of today, for whoever is entitled to them."""
    principal = exchange_of(request.scope).principal
    assert principal is not None, "a route with a permission has a caller"
    persons = await persons_of(services_of(request), [item.id for item in found])

    def shown(member: Member) -> MemberShown:
        person = persons[member.person_id]
        entitled = "members:write" in principal.permissions or principal.actor.id == str(member.person_id)
        email = person.email if entitled else None
        return MemberShown(**msgspec.structs.asdict(member), name=person.name, email=email)

    return [encoded(shown(item.row)) for item in found]


_ADD = Operation(
    name="addMember",
    permission="members:write",
    summary="Make a person a member; nobody gives a role above their own",
    tag="Tenant",
    takes=MemberRequest,
    answers={201: Member},
    example={"personId": str(PERSON_ID), "role": "developer"},
    writes=True,
    refusals=(
        PersonUnknown,
        AlreadyMember,
        RoleAboveOwn,
        LimitReached,
    ),
)


@post("/tenant/members", status_code=201, opt=_ADD.as_opt())
async def add_member(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, MemberRequest)
    writing = Writing(request, content)
    command = AddMember(
        **writing.asked, person_id=asked_for.person_id, role=asked_for.role, asked_by=writing.principal.role
    )
    body = Member(person_id=command.person_id, role=command.role, added_at=recorded_time(None))
    reply = Reply(status=201, location=f"/api/v1/tenant/members/{command.person_id}", body=body)
    answered = await writing.do(command, lambda _: reply)
    services_of(request).authenticator.forget(command.person_id)
    return answered


_CHANGE = Operation(
    name="changeMemberRole",
    permission="members:write",
    summary="Give a member another role",
    tag="Tenant",
    takes=RoleRequest,
    answers={200: Member},
    example={"role": "admin"},
    writes=True,
    if_match=True,
    refusals=(
        MemberUnknown,
        RoleAboveOwn,
        LastOwner,
    ),
)


@patch("/tenant/members/{person_id:uuid}", opt=_CHANGE.as_opt())
async def change_member_role(request: Request[Any, Any, Any], person_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, RoleRequest)
    writing = Writing(request, content)
    command = ChangeRole(**writing.asked, person_id=person_id, role=asked_for.role, asked_by=writing.principal.role)
    return await _act(services_of(request), writing, command)


_REMOVE = Operation(
    name="removeMember",
    permission="members:write",
    summary="End a membership; the last owner cannot go",
    tag="Tenant",
    answers={200: Member},
    writes=True,
    if_match=True,
    refusals=(
        MemberUnknown,
        RoleAboveOwn,
        LastOwner,
    ),
)


@delete("/tenant/members/{person_id:uuid}", status_code=200, opt=_REMOVE.as_opt())
async def remove_member(request: Request[Any, Any, Any], person_id: FromPath[UUID]) -> Answer:
    writing = Writing(request, b"")
    command = RemoveMember(**writing.asked, person_id=person_id, asked_by=writing.principal.role)
    return await _act(services_of(request), writing, command)


class _Membership(msgspec.Struct, frozen=True):
    """The role, when it began, the last event about it, and the end of the tenant's stream."""

    role: Role
    added_at: datetime
    position: int
    end: int


async def _act(services: Services, writing: Writing, command: ChangeRole | RemoveMember) -> Answer:
    """Answers with the member as it is from here on, or as it was when it went."""
    stream = TENANT.stream(command.tenant_id, command.tenant_id)
    known = await _membership(services, stream, command.person_id)

    def answer(states: States) -> Reply:
        assert known is not None, "a decision about who was never a member is a refusal"
        role = states.at(TENANT, stream).members.get(command.person_id, known.role)
        changed = role != known.role
        body = Member(person_id=command.person_id, role=role, added_at=known.added_at)
        return Reply(body=body, position="last" if changed else "unchanged")

    # A member's ETag is the last event about the person; what If-Match is held against is the tenant's stream.
    versions = {known.position: known.end} if known else {}
    answered = await writing.do(command, answer, entity=stream, versions=versions)
    services.authenticator.forget(command.person_id)
    return answered


async def _membership(services: Services, stream: StreamRef, person_id: UUID) -> _Membership | None:
    (events,) = await services.log.load([stream])
    known: _Membership | None = None
    for stored in events:
        match CODEC.decode(stored):
            case MemberAdded(person_id=id, role=role) if id == person_id:
                known = _Membership(role, stored.recorded_at, stored.position, events[-1].position)
            case MemberRoleChanged(person_id=id, role=role) if id == person_id and known:
                known = msgspec.structs.replace(known, role=role, position=stored.position)
            case _:
                pass
    return known


TENANT_ROUTES = (get_tenant, list_members, get_member, add_member, change_member_role, remove_member)
