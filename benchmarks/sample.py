"""The payload everybody writes: the bytes of one event as the service stores it, and the commands made of it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from uuid import UUID

from commands.ids import new_id
from domain.event import Claim, Counter, StreamRef
from domain.uuids import uuid_of
from eventstore.log import Append, Expected, NewEvent

TYPE = "function.updated"
# About what an update of a function stores.
DATA = (
    b'{"type":"function.updated","authored":{"name":"greeter","description":"greets whoever calls it",'
    b'"trigger":{"type":"http","settings":{}},"runtime":"3.11.0","access":"public","environment":{"GREETING":"hello"},'
    b'"artifactFiles":{"codeFile":"0192d3a4-5b6c-7d8e-9f00-112233445577"}}}'
)
META = (
    b'{"actor":{"type":"key","id":"0192d3a4-5b6c-7d8e-9f00-112233445566"},"command":"UpdateFunction",'
    b'"commandId":"0192d3a4-5b6c-7d8e-9f00-112233445577","correlationId":"0192d3a4-5b6c-7d8e-9f00-112233445588"}'
)
REPLY = b'[200,"","last"]\n{"functionId":"0192d3a4-5b6c-7d8e-9f00-112233445577","updatedAt":\x01}'
REQUEST_HASH = bytes(range(32))

TENANTS = tuple(UUID(int=n) for n in range(1, 17))
# Of every command's id. The service's are hashes, so as random as these; asking the system for them would take a call each.
_CHANCE = Random()

# A caller makes a function and updates it nine times, then begins another.
STREAM_EVENTS = 10


def versions(tenant_id: UUID) -> Iterator[tuple[StreamRef, int]]:
    """The streams of one caller and the version that comes next in each, for ever."""
    while True:
        stream = StreamRef(tenant_id, "function", new_id())
        for version in range(1, STREAM_EVENTS + 1):
            yield stream, version


def commands(tenant_id: UUID) -> Iterator[Append]:
    """What the service would record for one caller.

    Every command has an id, a hash, a reply and an expected version; what makes a function also claims its name and
    counts it against the tenant's limit.
    """
    for stream, version in versions(tenant_id):
        yield _append(stream, version, claims=version == 1)


def full_commands(tenant_id: UUID) -> Iterator[Append]:
    """The same, each with a claim and a counter."""
    for stream, version in versions(tenant_id):
        yield _append(stream, version, claims=True)


def _append(stream: StreamRef, version: int, *, claims: bool) -> Append:
    tenant_id, command_id = stream.tenant_id, uuid_of(_CHANCE.getrandbits(128))
    return Append(
        tenant_id=tenant_id,
        command_id=command_id,
        request_hash=REQUEST_HASH,
        reply=REPLY,
        expected=(Expected(stream, version - 1),),
        claims=(_name(stream, command_id),) if claims else (),
        counters=(_quota(tenant_id),) if claims else (),
        events=(NewEvent(stream, version, TYPE, 1, META, DATA),),
    )


def _name(stream: StreamRef, command_id: UUID) -> Claim:
    return Claim(tenant_id=stream.tenant_id, scope="function", key=command_id.hex, holder=stream.id)


def _quota(tenant_id: UUID) -> Counter:
    return Counter(tenant_id=tenant_id, scope="functions", name="project", delta=1, limit=10**9)
