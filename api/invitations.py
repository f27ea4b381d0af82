"""Invitations: asking somebody into the tenant, and accepting it when signed in."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath

from api.answer import Answer, encoded, entity
from api.as_of import AS_OF, reached_as_of
from api.auth import Authenticator
from api.body import read
from api.example_ids import INVITATION_ID, TENANT_ID
from api.exchange import exchange_of
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation
from api.patterns import whole
from api.persons import signed_in
from api.reading import found_or, tenant_of
from api.refusals import OnlyPeople
from api.services import Services, services_of
from api.writing import SHOWN_ONCE, Reply, Writing, recorded_time
from commands.basis import fold
from commands.command import States
from commands.tenant import AcceptInvitation, InviteMember, RemoveMember, WithdrawInvitation
from domain.refusal import FieldError, Invalid, LimitReached
from domain.tenant import (
    TENANT,
    AlreadyMember,
    InvitationExpired,
    InvitationForAnother,
    InvitationUnknown,
    LastOwner,
    MemberUnknown,
    Role,
    RoleAboveOwn,
    Tenant,
    TenantUnknown,
    TooManyInvitations,
)
from eventstore.sealing import Erased
from projections.invitations import INVITATION, INVITATIONS_LIST
from projections.invitations import Invitation as Row
from projections.query import Found

SECRET_BYTES = 32
DAYS_MAX = 90
# How long whoever was invited a moment ago waits for the read models to know of it.
VISIBLE_SECONDS_MAX = 5.0
_TEXT = re.compile(r"dcfi_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
# Python and JSON Schema do not agree on all that is a space; what either calls one is left out.
_EMAIL = r"^[^@\s\x00-\x1f\x7f-\x9f\ufeff]{1,64}@[^@\s\x00-\x1f\x7f-\x9f\ufeff]{1,255}$"

Email = Annotated[str, msgspec.Meta(min_length=3, max_length=320, pattern=whole(_EMAIL), examples=["ada@example.com"])]
Days = Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)]


class InvitationMalformed(Invalid):
    """This is no invitation."""

    code = "invitation_malformed"
    remedy = "Send the whole text, as it was shown when the invitation was made: dcfi_…"


InvitationStatus = Literal["open", "accepted", "withdrawn", "expired"]


class InvitationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Whom to invite, and the role they are to have; the invitation ends by itself after `expiresInDays`."""

    email: Email
    role: Role
    expires_in_days: Days = 7


class AcceptRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The text of the invitation."""

    invitation: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Invitation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`status` is open, accepted, withdrawn or expired. `email` is shown while it is open."""

    invitation_id: UUID
    email: str | None
    role: Role
    status: InvitationStatus
    invited_at: datetime
    expires_at: datetime
    person_id: UUID | None


class InvitationMade(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`invitation` is the text to send to whom is invited. Only the first answer has it; the same request repeated finds
    null in its place."""

    invitation_id: UUID
    role: Role
    invited_at: datetime
    expires_at: datetime
    invitation: str | None


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The invitation nobody can accept any more."""

    invitation_id: UUID


class Joined(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The tenant the caller belongs to from here on; its id goes into the header Dcf-Tenant."""

    tenant_id: UUID
    name: str
    role: Role


class Left(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The tenant the caller does not belong to any more."""

    tenant_id: UUID


_INVITE = Operation(
    name="inviteMember",
    permission="members:write",
    summary="Invite somebody into the tenant; the text to send them is shown this once",
    tag="Tenant",
    takes=InvitationRequest,
    answers={201: InvitationMade},
    example={"email": "ada@example.com", "role": "developer"},
    writes=True,
    refusals=(
        RoleAboveOwn,
        TooManyInvitations,
    ),
)


@post("/tenant/invitations", status_code=201, opt=_INVITE.as_opt())
async def invite_member(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, InvitationRequest)
    writing = Writing(request, content)
    principal = writing.principal
    return await invite(services_of(request), writing, principal.tenant_id, asked_for, asked_by=principal.role)


async def invite(
    services: Services, writing: Writing, tenant_id: UUID, asked_for: InvitationRequest, *, asked_by: str | None
) -> Answer:
    """Record the invitation and answer with its text. `asked_by` is the role of who asks; None: an operator."""
    invitation_id, secret = writing.new_id(), secrets.token_urlsafe(SECRET_BYTES)
    command = InviteMember(
        tenant_id=tenant_id,
        at=writing.asked["at"],
        invitation_id=invitation_id,
        email=await services.sealing.seal(tenant_id, invitation_id, "email", asked_for.email),
        role=asked_for.role,
        secret_hash=_hashed(secret),
        expires_at=services.clock() + timedelta(days=asked_for.expires_in_days),
        asked_by=asked_by,
    )
    # What a request is answered with is kept, so the e-mail is no part of it.
    body = InvitationMade(
        invitation_id=invitation_id,
        role=command.role,
        invited_at=recorded_time(None),
        expires_at=command.expires_at,
        invitation=SHOWN_ONCE,
    )
    reply = Reply(status=201, location=f"/api/v1/tenant/invitations/{invitation_id}", body=body)
    text = f"dcfi_{tenant_id.hex}_{invitation_id.hex}_{secret}"
    return await writing.do(command, lambda _: reply, secret=text)


_LIST = Operation(
    name="listInvitations",
    permission="members:write",
    summary="List the invitations of the tenant, newest first, those that are over too",
    tag="Tenant",
    answers={200: Listed[Invitation]},
    query=(*PAGE_PARAMETERS, AS_OF),
)


@get("/tenant/invitations", opt=_LIST.as_opt())
async def list_invitations(request: Request[Any, Any, Any]) -> Answer:
    services = await reached_as_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(INVITATIONS_LIST, tenant_of(request), after=wanted.after, limit=wanted.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([encoded(await _shown(services, item)) for item in found.items], cursor)


_GET = Operation(
    name="getInvitation",
    permission="members:write",
    summary="Get an invitation, without its text",
    tag="Tenant",
    answers={200: Invitation},
    query=(AS_OF,),
    refusals=(InvitationUnknown,),
)


@get("/tenant/invitations/{invitation_id:uuid}", opt=_GET.as_opt())
async def get_invitation(request: Request[Any, Any, Any], invitation_id: FromPath[UUID]) -> Answer:
    services = await reached_as_of(request)
    found = found_or(InvitationUnknown, await services.reader.one(INVITATION, tenant_of(request), invitation_id))
    return entity(request, encoded(await _shown(services, found)), found.position)


_WITHDRAW = Operation(
    name="withdrawInvitation",
    permission="members:write",
    summary="Take an invitation back",
    tag="Tenant",
    answers={200: Withdrawn},
    writes=True,
    refusals=(
        InvitationUnknown,
        RoleAboveOwn,
    ),
)


@delete("/tenant/invitations/{invitation_id:uuid}", status_code=200, opt=_WITHDRAW.as_opt())
async def withdraw_invitation(request: Request[Any, Any, Any], invitation_id: FromPath[UUID]) -> Answer:
    writing = Writing(request, b"")
    command = WithdrawInvitation(**writing.asked, invitation_id=invitation_id, asked_by=writing.principal.role)
    body = Withdrawn(invitation_id=invitation_id)
    answer = await writing.do(command, lambda _: Reply(body=body))
    if answer.status == 200:
        await services_of(request).sealing.erase(command.tenant_id, invitation_id)
    return answer


_ACCEPT = Operation(
    name="acceptInvitation",
    permission="self",
    summary="Join the tenant one was invited into; for people who are signed in",
    tag="Tenant",
    takes=AcceptRequest,
    answers={200: Joined},
    example={"invitation": f"dcfi_{TENANT_ID.hex}_{INVITATION_ID.hex}_" + "A" * 43},
    writes=True,
    refusals=(
        OnlyPeople,
        InvitationMalformed,
        InvitationUnknown,
        InvitationForAnother,
        InvitationExpired,
        AlreadyMember,
        LimitReached,
    ),
)


@post("/me/memberships", status_code=200, opt=_ACCEPT.as_opt())
async def accept_invitation(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, AcceptRequest)
    person_id = signed_in(request)
    parts = _TEXT.fullmatch(asked_for.invitation.strip())
    if parts is None:
        raise InvitationMalformed(errors=(FieldError(field="invitation", message="no invitation"),))
    writing, services = Writing(request, content), services_of(request)
    tenant_id, invitation_id = UUID(hex=parts[1]), UUID(hex=parts[2])
    command = AcceptInvitation(
        tenant_id=tenant_id,
        at=services.clock(),
        invitation_id=invitation_id,
        secret_hash=_hashed(parts[3]),
        person_id=person_id,
    )

    def answer(states: States) -> Reply:
        tenant = states.of(TENANT, tenant_id, tenant_id)
        return Reply(body=Joined(tenant_id=tenant_id, name=tenant.name, role=tenant.members[person_id]))

    # Whoever made an invitation up leaves no trace, least of all in the tenant they named.
    writing.records_nothing()
    await _require_addressed(request, services, command)
    try:
        answered = await writing.do(command, answer, record_refusals=False)
    except TenantUnknown:
        raise InvitationUnknown from None
    services.authenticator.forget(person_id)
    if answered.status == 200:
        await services.sealing.erase(tenant_id, invitation_id)
    return answered


async def _require_addressed(request: Request[Any, Any, Any], services: Services, command: AcceptInvitation) -> None:
    """Raise InvitationForAnother when its text came to somebody else than it was sent to.

    Who does not know its secret, or comes when it is over, learns nothing here; the decision answers them.
    """
    tenant: Tenant = await fold(services.log, TENANT, TENANT.stream(command.tenant_id, command.tenant_id))
    made = tenant.invitations.get(command.invitation_id)
    if made is None or not hmac.compare_digest(made.secret_hash, command.secret_hash):
        return
    await services.reader.wait_for(await services.log.head(), [INVITATION], seconds_max=VISIBLE_SECONDS_MAX)
    found = found_or(InvitationUnknown, await services.reader.one(INVITATION, command.tenant_id, command.invitation_id))
    invited = (await _shown(services, found)).email
    authenticator: Authenticator = request.app.state["authenticator"]
    vouched = await authenticator.vouched_email(exchange_of(request.scope).header(b"authorization"))
    if invited is not None and (vouched is None or vouched.casefold() != invited.casefold()):
        raise InvitationForAnother


_LEAVE = Operation(
    name="leaveTenant",
    permission="self",
    summary="End one's own membership of a tenant; the last owner cannot go",
    tag="Tenant",
    answers={200: Left},
    writes=True,
    refusals=(
        OnlyPeople,
        MemberUnknown,
        LastOwner,
    ),
)


@delete("/me/memberships/{tenant_id:uuid}", status_code=200, opt=_LEAVE.as_opt())
async def leave_tenant(request: Request[Any, Any, Any], tenant_id: FromPath[UUID]) -> Answer:
    person_id, writing = signed_in(request), Writing(request, b"")
    command = RemoveMember(tenant_id=tenant_id, at=services_of(request).clock(), person_id=person_id)
    body = Left(tenant_id=tenant_id)
    is_member = _is_member(request, tenant_id)
    if not is_member:
        writing.records_nothing()
    try:
        answered = await writing.do(command, lambda _: Reply(body=body), record_refusals=is_member)
    except TenantUnknown:
        # Whether there is such a tenant is none of a stranger's business.
        raise MemberUnknown from None
    services_of(request).authenticator.forget(person_id)
    return answered


def _is_member(request: Request[Any, Any, Any], tenant_id: UUID) -> bool:
    principal = exchange_of(request.scope).principal
    return principal is not None and any(m.tenant_id == tenant_id for m in principal.memberships)


async def _shown(services: Services, found: Found[Row]) -> Invitation:
    row = found.row
    is_expired = row.status == "open" and row.expires_at <= services.clock()
    email = None
    if row.email is not None:
        opened = await services.sealing.open(found.tenant_id, row.invitation_id, "email", row.email)
        email = None if isinstance(opened, Erased) else opened
    return Invitation(
        invitation_id=row.invitation_id,
        email=email,
        role=row.role,
        status="expired" if is_expired else row.status,
        invited_at=row.invited_at,
        expires_at=row.expires_at,
        person_id=row.person_id,
    )


def _hashed(secret: str) -> str:
    """SHA-256, hexadecimal. The secret is random, so a plain hash keeps it."""
    return hashlib.sha256(secret.encode()).hexdigest()


INVITATION_ROUTES = (
    invite_member,
    list_invitations,
    get_invitation,
    withdraw_invitation,
    accept_invitation,
    leave_tenant,
)
