"""Invitations: whom a tenant has asked to join, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from domain.sealed import Sealed
from domain.tenant import InvitationAccepted, InvitationWithdrawn, MemberInvited, Role
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Index, ReadModel, present
from projections.recorded import Recorded


class Invitation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`email` is sealed under the invitation's own key, and gone when the invitation is over."""

    invitation_id: UUID
    email: Sealed | None
    role: Role
    status: Literal["open", "accepted", "withdrawn"]
    invited_at: datetime
    expires_at: datetime
    person_id: UUID | None = None


def keys(recorded: Recorded) -> Sequence[UUID]:
    match recorded.event:
        case (
            MemberInvited(invitation_id=id)
            | InvitationAccepted(invitation_id=id)
            | InvitationWithdrawn(invitation_id=id)
        ):
            return (id,)
        case _:
            return ()


def project(row: Invitation | None, recorded: Recorded) -> Invitation | None:
    match recorded.event:
        case MemberInvited() as event:
            return Invitation(
                invitation_id=event.invitation_id,
                email=event.email,
                role=event.role,
                status="open",
                invited_at=recorded.at,
                expires_at=event.expires_at,
            )
        case InvitationAccepted() as event:
            return msgspec.structs.replace(present(row), email=None, status="accepted", person_id=event.person_id)
        case InvitationWithdrawn():
            return msgspec.structs.replace(present(row), email=None, status="withdrawn")
        case _:
            return row


INVITATIONS = ReadModel(
    name="invitations",
    version=2,
    row=Invitation,
    interests=(MemberInvited, InvitationAccepted, InvitationWithdrawn),
    keys=keys,
    sources=lambda tenant_id, _id, _row: (tenant_id,),
    project=project,
    indexes=(Index("in_order", "tenant_id, first_position"),),
)


def _one(rows: Iterable[Found[Invitation]], invitation_id: UUID) -> list[Found[Invitation]]:
    return [found for found in rows if found.id == invitation_id]


def _page(rows: Iterable[Found[Invitation]], after: int, limit: int) -> list[Found[Invitation]]:
    return page_of(rows, "newest_first", after, limit)


# One of the tenant's invitations. Arguments: its id.
INVITATION = Query(
    name="invitation",
    model=INVITATIONS,
    answer=Invitation,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# The tenant's invitations, those that are over too.
INVITATIONS_LIST = Query(
    name="invitations_list",
    model=INVITATIONS,
    answer=Invitation,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.first_position < $2 ORDER BY t.first_position DESC LIMIT $3",
    select=_page,
    order="newest_first",
)
