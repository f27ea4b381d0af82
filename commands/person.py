"""Commands about people."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.event import SYSTEM_TENANT, Decision
from domain.person import PERSON, PersonErased, PersonExists, PersonRegistered, PersonUnknown
from domain.sealed import Sealed


class RegisterPerson(Command, frozen=True, kw_only=True, tag="RegisterPerson"):
    """The values arrive sealed: the person's key exists before the person does."""

    person_id: UUID
    name: Sealed
    email: Sealed | None = None


class ErasePerson(Command, frozen=True, kw_only=True, tag="ErasePerson"):
    person_id: UUID


PersonCommand = RegisterPerson | ErasePerson


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
        case ErasePerson():
            if not person.exists:
                raise PersonUnknown
            return Decision() if person.erased else Decision(facts=facts(stream, PersonErased()))
        case _:
            assert_never(command)


PEOPLE = Decider(commands=(RegisterPerson, ErasePerson), reads=reads, decide=decide)
