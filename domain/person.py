"""A person: names and e-mails sealed under a key of their own."""

from __future__ import annotations

from typing import assert_never

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, NotFound
from domain.sealed import Sealed


class PersonRegistered(Event, frozen=True, kw_only=True, tag="person.registered"):
    name: Sealed
    email: Sealed | None = None
    # Whom an issuer knows the person as: SHA-256 of its address and its subject, hexadecimal. Empty: signs in nowhere.
    identity: str = ""


class PersonErased(Event, frozen=True, kw_only=True, tag="person.erased"):
    pass


PersonEvent = PersonRegistered | PersonErased


class Person(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    erased: bool = False
    identity: str = ""


class PersonUnknown(NotFound):
    """There is no such person."""

    code = "person_not_found"
    remedy = "Use the personId that a list of members or an event names."


class PersonExists(Conflict):
    """The person is registered already."""

    code = "person_exists"


class IdentityTaken(Conflict):
    """Whoever signs in this way is registered already."""

    code = "identity_taken"


def evolve(person: Person, event: PersonEvent) -> Person:
    match event:
        case PersonRegistered():
            return Person(exists=True, identity=event.identity)
        case PersonErased():
            return msgspec.structs.replace(person, erased=True)
        case _:
            assert_never(event)


PERSON = Aggregate(name="person", events=(PersonRegistered, PersonErased), initial=Person(), evolve=evolve)
