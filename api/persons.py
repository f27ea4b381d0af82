"""People: what they are called, shown to whoever may see it, and gone for good when one is erased."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar import Request, delete
from litestar.params import FromPath

from api.answer import Answer
from api.exchange import exchange_of
from api.operation import Operation
from api.refusals import OnlyPeople
from api.services import Services, services_of
from api.writing import Reply, Writing
from commands.person import ErasePerson
from domain.event import SYSTEM_TENANT
from domain.person import PersonUnknown
from domain.tenant import LastOwner
from eventstore.sealing import SealedField
from projections.members import MEMBERSHIPS
from projections.persons import PERSONS_AMONG


class PersonShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`name` and `email` are null for somebody who was erased, `email` also for who never gave a verified one."""

    person_id: UUID
    name: str | None
    email: str | None


class PersonErased(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The person nobody can call by name any more."""

    person_id: UUID


async def persons_of(services: Services, person_ids: Collection[UUID]) -> Mapping[UUID, PersonShown]:
    """The persons opened, all that are asked for: two round trips however many they are."""
    rows = await services.reader.rows(PERSONS_AMONG, SYSTEM_TENANT, list(person_ids)) if person_ids else []
    sealed = [
        SealedField(found.id, field, value)
        for found in rows
        for field, value in (("name", found.row.name), ("email", found.row.email))
        if value is not None
    ]
    opened = await services.sealing.open_all(SYSTEM_TENANT, sealed) if sealed else []
    known = {
        (one.person_id, one.field): text for one, text in zip(sealed, opened, strict=True) if isinstance(text, str)
    }
    return {
        id: PersonShown(person_id=id, name=known.get((id, "name")), email=known.get((id, "email"))) for id in person_ids
    }


def signed_in(request: Request[Any, Any, Any]) -> UUID:
    """The person who asks. Raises OnlyPeople for an API key, which belongs to its tenant and to nobody."""
    principal = exchange_of(request.scope).principal
    if principal is None or principal.actor.type != "person":
        raise OnlyPeople
    return UUID(principal.actor.id)


_ERASE_SELF = Operation(
    name="eraseMe",
    permission="self",
    summary="Erase oneself: the name and the e-mail, everywhere and for good, and every membership",
    tag="Tenant",
    answers={200: PersonErased},
    writes=True,
    refusals=(OnlyPeople, PersonUnknown, LastOwner),
)


@delete("/me", status_code=200, opt=_ERASE_SELF.as_opt())
async def erase_me(request: Request[Any, Any, Any]) -> Answer:
    return await _erase(request, signed_in(request), leaving_owners=False)


_ERASE = Operation(
    name="erasePerson",
    permission="operate",
    summary="Erase a person, also the last owner of a tenant, who can be followed by inviting another",
    tag="Operations",
    answers={200: PersonErased},
    writes=True,
    refusals=(PersonUnknown,),
)


@delete("/operations/persons/{person_id:uuid}", status_code=200, opt=_ERASE.as_opt())
async def erase_person(request: Request[Any, Any, Any], person_id: FromPath[UUID]) -> Answer:
    return await _erase(request, person_id, leaving_owners=True)


async def _erase(request: Request[Any, Any, Any], person_id: UUID, *, leaving_owners: bool) -> Answer:
    """First the facts, then the key: cut off in between, the log's housekeeping destroys it within the hour."""
    writing, services = Writing(request, b""), services_of(request)
    command = ErasePerson(
        tenant_id=SYSTEM_TENANT,
        at=writing.asked["at"],
        person_id=person_id,
        tenant_ids=await _tenants_of(services, person_id),
        leaving_owners=leaving_owners,
    )
    answer = await writing.do(command, lambda _: Reply(body=PersonErased(person_id=person_id)))
    if answer.status == 200:
        await services.sealing.erase(SYSTEM_TENANT, person_id)
        structlog.get_logger().info("person_erased", person_id=str(person_id))
    return answer


async def _tenants_of(services: Services, person_id: UUID) -> tuple[UUID, ...]:
    """Where the person is a member, as of now."""
    await services.reader.wait_for(await services.log.head(), (MEMBERSHIPS,), seconds_max=services.wait_seconds_max)
    return tuple(found.tenant_id for found in await services.reader.rows(MEMBERSHIPS, None, person_id))


PERSON_ROUTES = (erase_me, erase_person)
