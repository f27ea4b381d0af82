"""Persons: names and e-mails, sealed as the log has them; whoever shows one opens it with the person's key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.person import PersonErased, PersonRegistered
from domain.sealed import Sealed
from projections.query import ROWS, Found, Query
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded


class Person(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An erased person has neither name nor e-mail; `former_identity` is what they signed in as, which the log keeps as a hash."""

    person_id: UUID
    name: Sealed | None
    email: Sealed | None
    identity: str = ""
    registered_at: datetime
    erased_at: datetime | None = None
    former_identity: str = ""


def project(row: Person | None, recorded: Recorded) -> Person | None:
    match recorded.event:
        case PersonRegistered() as event:
            return Person(
                person_id=recorded.stream_id,
                name=event.name,
                email=event.email,
                identity=event.identity,
                registered_at=recorded.at,
            )
        case PersonErased():
            known = present(row)
            return msgspec.structs.replace(
                known,
                name=None,
                email=None,
                identity="",
                erased_at=recorded.at,
                former_identity=known.identity or known.former_identity,
            )
        case _:
            return row


PERSONS = ReadModel(
    name="persons",
    version=4,
    row=Person,
    interests=(PersonRegistered, PersonErased),
    keys=own_stream,
    project=project,
    columns=(
        Column("identity", "text", lambda row: row.identity),
        Column("former_identity", "text", lambda row: row.former_identity),
    ),
    indexes=(
        Index("by_identity", "identity", where="identity <> ''"),
        Index("by_former_identity", "former_identity, position", where="former_identity <> ''"),
    ),
)


def _one(rows: Iterable[Found[Person]], person_id: UUID) -> list[Found[Person]]:
    return [found for found in rows if found.id == person_id]


# One person. Asked for the tenant of the service itself. Arguments: the person's id.
PERSON = Query(
    name="person",
    model=PERSONS,
    answer=Person,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)


def _among(rows: Iterable[Found[Person]], person_ids: Sequence[UUID]) -> list[Found[Person]]:
    return [found for found in rows if found.id in person_ids]


# Several persons. Asked for the tenant of the service itself. Arguments: their ids.
PERSONS_AMONG = Query(
    name="persons_among",
    model=PERSONS,
    answer=Person,
    parameters=("uuid[]",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = ANY($2)",
    select=_among,
)


def _identified(rows: Iterable[Found[Person]], identity: str) -> list[Found[Person]]:
    return [found for found in rows if found.row.identity == identity]


# Who signs in, before anything else is known of them. Arguments: the SHA-256 of issuer and subject.
PERSON_IDENTIFIED = Query(
    name="person_identified",
    model=PERSONS,
    answer=Person,
    parameters=("text",),
    sql=ROWS + " WHERE t.identity = $1 AND t.identity <> ''",
    select=_identified,
    audience="anyone",
)


def _erased(rows: Iterable[Found[Person]], identity: str) -> list[Found[Person]]:
    found = (one for one in rows if one.row.former_identity == identity)
    return sorted(found, key=lambda one: -one.position)[:1]


# Who was erased last of those who signed in this way. Arguments: the SHA-256 of issuer and subject.
PERSON_ERASED = Query(
    name="person_erased",
    model=PERSONS,
    answer=Person,
    parameters=("text",),
    sql=ROWS + " WHERE t.former_identity = $1 AND t.former_identity <> '' ORDER BY t.position DESC LIMIT 1",
    select=_erased,
    audience="anyone",
)
