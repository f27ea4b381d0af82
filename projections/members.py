"""Members: which person has which role in a tenant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.tenant import MemberAdded, MemberRemoved, MemberRoleChanged, Role
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Index, ReadModel, present
from projections.recorded import Recorded


class Member(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    person_id: UUID
    role: Role
    added_at: datetime


def keys(recorded: Recorded) -> Sequence[UUID]:
    match recorded.event:
        case (
            MemberAdded(person_id=person_id)
            | MemberRoleChanged(person_id=person_id)
            | MemberRemoved(person_id=person_id)
        ):
            return (person_id,)
        case _:
            return ()


def project(row: Member | None, recorded: Recorded) -> Member | None:
    match recorded.event:
        case MemberAdded() as event:
            return Member(person_id=event.person_id, role=event.role, added_at=recorded.at)
        case MemberRoleChanged() as event:
            return msgspec.structs.replace(present(row), role=event.role)
        case MemberRemoved():
            return None
        case _:
            return row


MEMBERS = ReadModel(
    name="members",
    version=3,
    row=Member,
    interests=(MemberAdded, MemberRoleChanged, MemberRemoved),
    keys=keys,
    sources=lambda tenant_id, _id, _row: (tenant_id,),
    project=project,
    indexes=(Index("in_order", "tenant_id, first_position"), Index("by_person", "id")),
)


def _one(rows: Iterable[Found[Member]], person_id: UUID) -> list[Found[Member]]:
    return [found for found in rows if found.id == person_id]


def _page(rows: Iterable[Found[Member]], after: int, limit: int) -> list[Found[Member]]:
    return page_of(rows, "oldest_first", after, limit)


# One member of the tenant. Arguments: the person's id.
MEMBER = Query(
    name="member",
    model=MEMBERS,
    answer=Member,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# The tenant's members.
MEMBERS_LIST = Query(
    name="members_list",
    model=MEMBERS,
    answer=Member,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.first_position > $2 ORDER BY t.first_position LIMIT $3",
    select=_page,
    order="oldest_first",
)


# Every tenant a person is a member of, the oldest membership first. Arguments: the person's id.
MEMBERSHIPS = Query(
    name="memberships",
    model=MEMBERS,
    answer=Member,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.id = $1 ORDER BY t.first_position",
    select=lambda rows, person_id: sorted(_one(rows, person_id), key=lambda found: found.first_position),
    audience="anyone",
)
