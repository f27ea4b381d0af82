"""Commands about people."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.tenant import CreateTenant, founded
from domain.event import SYSTEM_TENANT, Claim, Decision, StreamRef
from domain.person import PERSON, Person, PersonErased, PersonExists, PersonRegistered, PersonUnknown
from domain.sealed import Sealed


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
    person_id: UUID


PersonCommand = RegisterPerson | SignUp | ErasePerson


def reads(command: PersonCommand) -> Reads:
    yield PERSON, PERSON.stream(SYSTEM_TENANT, command.person_id)


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
            return Decision() if person.erased else _erase(stream, person)
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


def _erase(stream: StreamRef, person: Person) -> Decision:
    """Who signs in again afterwards is somebody new."""
    freed = (_identity(person.identity, stream.id, release=True),) if person.identity else ()
    return Decision(facts=facts(stream, PersonErased()), claims=freed)


def _identity(identity: str, person_id: UUID, *, release: bool = False) -> Claim:
    return Claim(tenant_id=SYSTEM_TENANT, scope="identity", key=identity, holder=person_id, release=release)


PEOPLE = Decider(commands=(RegisterPerson, SignUp, ErasePerson), reads=reads, decide=decide)
