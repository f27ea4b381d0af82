"""The payload everybody writes: the bytes of one event as the service stores it, and appends made of it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

from commands.ids import new_id
from domain.event import Claim, Counter, StreamRef
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

# Callers belong to so many tenants, and streams get so many events before a caller begins another.
TENANTS = tuple(UUID(int=n) for n in range(1, 17))
STREAM_EVENTS = 10


def versions(tenant_id: UUID) -> Iterator[tuple[StreamRef, int]]:
    """Streams and the version that comes next in each, for one caller, for ever."""
    while True:
        stream = StreamRef(tenant_id, "function", new_id())
        for version in range(1, STREAM_EVENTS + 1):
            yield stream, version


def appends(tenant_id: UUID) -> Iterator[Append]:
    """Commands of one caller with everything a command can have: an id and a reply, an expected version, a claim and a counter."""
    for stream, version in versions(tenant_id):
        command_id = uuid4()
        yield Append(
            tenant_id=tenant_id,
            command_id=command_id,
            request_hash=REQUEST_HASH,
            reply=REPLY,
            expected=(Expected(stream, version - 1),),
            claims=(Claim(tenant_id=tenant_id, scope="function", key=command_id.hex, holder=stream.id),),
            counters=(Counter(tenant_id=tenant_id, scope="functions", name="project", delta=1, limit=10**9),),
            events=(NewEvent(stream, version, TYPE, 1, META, DATA),),
        )


def plain_appends(tenant_id: UUID) -> Iterator[Append]:
    """The same without claim and counter, as most commands are."""
    for stream, version in versions(tenant_id):
        yield Append(
            tenant_id=tenant_id,
            command_id=uuid4(),
            request_hash=REQUEST_HASH,
            reply=REPLY,
            expected=(Expected(stream, version - 1),),
            events=(NewEvent(stream, version, TYPE, 1, META, DATA),),
        )
