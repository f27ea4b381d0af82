"""Commands about people."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.tenant import CreateTenant, founded, membership_ended, require_other_owner
from domain.event import SYSTEM_TENANT, Claim, Decision, StreamRef
from domain.person import PERSON, Person, PersonErased, PersonExists, PersonRegistered, PersonUnknown
from domain.sealed import Sealed
from domain.tenant import TENANT


class RegisterPerson(Command, frozen=True, kw_only=True, tag="RegisterPerson"):
    """The values arrive sealed: the person's key exists before the person does."""

    person_id: UUID
    name: Sealed
    email: Sealed | None = None


class SignUp(Command, frozen=True, kw_only=True, tag="SignUp"):
    """Registers who signed in for the first time; `signs_in_as` is a hash of whom their issuer knows them as. With `workspace`, it makes a tenant of that name and id, and them its
    owner; `tenant_id` is always the service's own."""

    person_id: UUID
    signs_in_as: str
    name: Sealed
    email: Sealed | None = None
    workspace_id: UUID | None = None
    workspace: str = ""
    plan: str = ""


class ErasePerson(Command, frozen=True, kw_only=True, tag="ErasePerson"):
    """Ends the person's memberships of these tenants too. The key is destroyed by whoever asks, once this is recorded.

    `leaving_owners`: a tenant whose last owner this is may be left without one; only operators can give it another.
    """

    person_id: UUID
    tenant_ids: tuple[UUID, ...] = ()
    leaving_owners: bool = False


PersonCommand = RegisterPerson | SignUp | ErasePerson


def reads(command: PersonCommand) -> Reads:
    yield PERSON, PERSON.stream(SYSTEM_TENANT, command.person_id)
    if isinstance(command, ErasePerson):
        for tenant_id in command.tenant_ids:
            yield TENANT, TENANT.stream(tenant_id, tenant_id)


def decide(command: PersonCommand, states: States) -> Decision:
    stream = PERSON.stream(SYSTEM_TENANT, command.person_id)
    person = states.at(PERSON, stream)
    match command:
        case RegisterPerson():
            if person.exists:
                raise PersonExists
            return Decision(facts=facts(stream, PersonRegistered(name=command.name, email=command.email)))
        case SignUp():
            if person.exists:
                raise PersonExists
            return _sign_up(command, stream, states)
        case ErasePerson():
            if not person.exists:
                raise PersonUnknown
            return _erase(command, stream, person, states)
        case _:
            assert_never(command)


def _sign_up(command: SignUp, stream: StreamRef, states: States) -> Decision:
    registered = PersonRegistered(name=command.name, email=command.email, identity=command.signs_in_as)
    alone = Decision(facts=facts(stream, registered), claims=(_identity(command.signs_in_as, stream.id),))
    if command.workspace_id is None:
        return alone
    made = founded(
        CreateTenant(tenant_id=command.workspace_id, at=command.at, name=command.workspace, plan=command.plan),
        owner=command.person_id,
        states=states,
    )
    return Decision(facts=(*alone.facts, *made.facts), claims=(*alone.claims, *made.claims), counters=made.counters)


def _erase(command: ErasePerson, stream: StreamRef, person: Person, states: States) -> Decision:
    """Who signs in again afterwards is somebody new."""
    left = [_left(command, tenant_id, states) for tenant_id in command.tenant_ids]
    erased = () if person.erased else facts(stream, PersonErased())
    is_known = bool(person.identity) and not person.erased
    return Decision(
        facts=(*erased, *(fact for ended in left for fact in ended.facts)),
        claims=(_identity(person.identity, stream.id, release=True),) if is_known else (),
        counters=tuple(counter for ended in left for counter in ended.counters),
    )


def _left(command: ErasePerson, tenant_id: UUID, states: States) -> Decision:
    """The end of one membership, if it is still one."""
    tenant = states.of(TENANT, tenant_id, tenant_id)
    if command.person_id not in tenant.members:
        return Decision()
    if not command.leaving_owners:
        require_other_owner(tenant, command.person_id)
    return membership_ended(tenant_id, command.person_id)


def _identity(identity: str, person_id: UUID, *, release: bool = False) -> Claim:
    return Claim(tenant_id=SYSTEM_TENANT, scope="identity", key=identity, holder=person_id, release=release)


PEOPLE = Decider(commands=(RegisterPerson, SignUp, ErasePerson), reads=reads, decide=decide)
