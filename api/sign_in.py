"""People who sign in: an ID token becomes a person, and the person a caller in one of their tenants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

import msgspec
import structlog

from api.id_tokens import Identity, IdTokens
from api.principal import Membership, Principal, permissions_of
from api.refusals import CredentialUnknown, NotAMember
from commands.basis import fold
from commands.claimed import holder_of
from commands.execute import Context, execute
from commands.person import SignUp
from domain.event import SYSTEM_TENANT
from domain.person import PERSON, IdentityTaken, Person
from domain.tenant import TENANT, Tenant
from eventstore.log import Log
from eventstore.meta import Actor
from eventstore.sealing import Sealing
from projections.members import MEMBERSHIPS
from projections.persons import PERSON_ERASED, PERSON_IDENTIFIED
from projections.reader import Reader

# Whether somebody who comes for the first time gets a workspace of their own, or waits to be invited into one.
FirstSignIn = Literal["invitation", "workspace"]
# How long a first sign-in waits for the read models to know of it.
VISIBLE_SECONDS_MAX = 5.0
# A token shows a person's name only as far as it is a name.
NAME_CHARACTERS_MAX = 200
EMAIL_CHARACTERS_MAX = 320


class Newcomers(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants done with whom nobody knows yet; `plan` is that of a new workspace."""

    first: FirstSignIn = "invitation"
    plan: str = "sandbox"


class SignIn:
    """Finds, and at the first time registers, whom a token names. The log decides who is a member, so that a removal counts
    at once."""

    def __init__(
        self,
        tokens: IdTokens,
        log: Log,
        reader: Reader,
        sealing: Sealing,
        *,
        newcomers: Newcomers,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self.tokens = tokens
        self._log, self._reader, self._sealing = log, reader, sealing
        self._newcomers, self._clock, self._new_id = newcomers, clock, new_id

    async def principal(self, text: str, chosen: str | None) -> tuple[Principal, datetime]:
        """Who calls, and when the token ends. `chosen` is what the caller's Dcf-Tenant header says.

        Raises CredentialUnknown, IssuerAway, NotAMember.
        """
        identity = await self.tokens.identity(text)
        person_id = await self._person(identity)
        person: Person = await fold(self._log, PERSON, PERSON.stream(SYSTEM_TENANT, person_id))
        if person.erased:
            # Erased a moment ago, and the read model has not heard of it.
            raise CredentialUnknown
        memberships = await self._memberships(person_id)
        return _acting(person_id, memberships, chosen), identity.expires_at

    async def _person(self, identity: Identity) -> UUID:
        known = identity_hash(identity.issuer, identity.subject)
        found = await self._reader.one(PERSON_IDENTIFIED, None, known)
        if found is not None:
            return found.id
        await self._require_signed_in_since(identity, known)
        return await self._registered(identity, known)

    async def _require_signed_in_since(self, identity: Identity, known: str) -> None:
        """Raise CredentialUnknown for a token from before its person was erased: nobody comes back without having come."""
        former = await self._reader.one(PERSON_ERASED, None, known)
        erased_at = None if former is None else former.row.erased_at
        if erased_at is not None and identity.signed_in_at <= erased_at:
            raise CredentialUnknown(
                f"The person of this ID token was erased at {erased_at:%Y-%m-%dT%H:%M:%SZ}.",
                remedy="Sign in again to begin anew, as somebody new.",
            )

    async def _registered(self, identity: Identity, known: str) -> UUID:
        """The id of a new person; of the one who was first, when two of their requests came at once."""
        person_id, at = self._new_id(), self._clock()
        name = identity.name.strip()[:NAME_CHARACTERS_MAX] or "Unnamed"
        email = identity.email if identity.email and len(identity.email) <= EMAIL_CHARACTERS_MAX else None
        seal = self._sealing.seal
        command = SignUp(
            tenant_id=SYSTEM_TENANT,
            at=at,
            person_id=person_id,
            signs_in_as=known,
            name=await seal(SYSTEM_TENANT, person_id, "name", name),
            email=None if email is None else await seal(SYSTEM_TENANT, person_id, "email", email),
        )
        if self._newcomers.first == "workspace":
            command = self._with_workspace(command)
        command_id = uuid4()
        context = Context(
            actor=Actor("person", str(person_id)),
            command_id=command_id,
            correlation_id=command_id,
            record_refusals=False,
        )
        try:
            done = await execute(self._log, command, context)
        except IdentityTaken as taken:
            person_id = holder_of(taken)
            await self._reader.wait_for(await self._log.head(), [MEMBERSHIPS], seconds_max=VISIBLE_SECONDS_MAX)
            return person_id
        finally_known = await self._reader.wait_for(done.last_position, seconds_max=VISIBLE_SECONDS_MAX)
        structlog.get_logger().info("person_signed_up", person_id=str(person_id), visible=finally_known)
        return person_id

    def _with_workspace(self, command: SignUp) -> SignUp:
        workspace_id = self._new_id()
        # Nothing of the person: a tenant's name is no secret, and outlives them.
        name = f"workspace-{workspace_id.hex[-12:]}"
        return msgspec.structs.replace(command, workspace_id=workspace_id, workspace=name, plan=self._newcomers.plan)

    async def _memberships(self, person_id: UUID) -> tuple[Membership, ...]:
        found = await self._reader.rows(MEMBERSHIPS, None, person_id)
        memberships = []
        for row in found:
            tenant: Tenant = await fold(self._log, TENANT, TENANT.stream(row.tenant_id, row.tenant_id))
            role = tenant.members.get(person_id)
            if role is not None and not tenant.closed:
                memberships.append(Membership(tenant_id=row.tenant_id, role=role))
        return tuple(memberships)


def identity_hash(issuer: str, subject: str) -> str:
    """How the log knows whom an issuer means, without saying it."""
    return hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()


def _acting(person_id: UUID, memberships: tuple[Membership, ...], chosen: str | None) -> Principal:
    """The caller in the tenant they chose, or in the only one there is, or in none."""
    member = _chosen(memberships, chosen)
    actor = Actor("person", str(person_id))
    if member is None:
        nothing = permissions_of("none", ())
        return Principal(
            tenant_id=SYSTEM_TENANT, actor=actor, role="none", permissions=nothing, memberships=memberships
        )
    return Principal(
        tenant_id=member.tenant_id,
        actor=actor,
        role=member.role,
        permissions=permissions_of(member.role, ()),
        memberships=memberships,
    )


def _chosen(memberships: tuple[Membership, ...], chosen: str | None) -> Membership | None:
    if chosen is None:
        return memberships[0] if len(memberships) == 1 else None
    try:
        tenant_id = UUID(chosen.strip())
    except ValueError:
        raise NotAMember from None
    found = next((member for member in memberships if member.tenant_id == tenant_id), None)
    if found is None:
        raise NotAMember
    return found
