"""Appends with everything a test is not about filled in."""

from __future__ import annotations

from uuid import UUID, uuid4

from domain.event import Claim, Counter, StreamRef
from eventstore.log import Append, Expected, NewEvent

TENANT = UUID("018f0000-0000-7000-8000-000000000001")
OTHER_TENANT = UUID("018f0000-0000-7000-8000-000000000002")


def a_stream(tenant_id: UUID = TENANT) -> StreamRef:
    return StreamRef(tenant_id, "sample", uuid4())


def an_event(stream: StreamRef, version: int = 1, *, type: str = "sample.happened", data: bytes = b"{}") -> NewEvent:
    return NewEvent(stream, version, type, 1, b"{}", data)


def an_append(
    *events: NewEvent,
    tenant_id: UUID = TENANT,
    command_id: UUID | None = None,
    expected: tuple[Expected, ...] = (),
    claims: tuple[Claim, ...] = (),
    counters: tuple[Counter, ...] = (),
    request_hash: bytes = b"hash",
    reply: bytes = b"reply",
) -> Append:
    return Append(
        tenant_id=tenant_id,
        command_id=command_id or uuid4(),
        request_hash=request_hash,
        reply=reply,
        expected=expected,
        claims=claims,
        counters=counters,
        events=events,
    )


def a_claim(key: str, holder: UUID, *, release: bool = False) -> Claim:
    return Claim(tenant_id=TENANT, scope="name", key=key, holder=holder, release=release)


def a_counter(delta: int = 1, *, limit: int | None = None, name: str = "functions") -> Counter:
    return Counter(tenant_id=TENANT, scope="plan", name=name, delta=delta, limit=limit)
