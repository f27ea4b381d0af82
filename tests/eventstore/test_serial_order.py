"""A batch gives what its appends would have given one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.event import StreamRef
from eventstore.batch import send
from eventstore.log import Append, Expected, NewEvent, Outcome
from eventstore.memory import MemoryLog
from tests.eventstore.conftest import now
from tests.eventstore.make import OTHER_TENANT, TENANT, a_claim, a_counter

STREAMS = [StreamRef(tenant, "sample", UUID(int=n)) for tenant in (TENANT, OTHER_TENANT) for n in (1, 2)]
HOLDERS = [UUID(int=n) for n in (11, 12)]

_streams = st.sampled_from(STREAMS)
_events = st.builds(
    NewEvent,
    stream=_streams,
    version=st.integers(0, 4),
    type=st.just("sample.happened"),
    schema_version=st.just(1),
    meta=st.just(b"{}"),
    data=st.binary(max_size=3),
)
_appends = st.builds(
    Append,
    tenant_id=st.sampled_from([TENANT, OTHER_TENANT]),
    command_id=st.integers(1, 12).map(lambda n: UUID(int=n)),
    request_hash=st.binary(max_size=2),
    outcome=st.sampled_from(["ok", "refused"]),
    reply=st.binary(max_size=2),
    expected=st.lists(st.builds(Expected, stream=_streams, version=st.integers(0, 3)), max_size=2).map(tuple),
    claims=st.lists(
        st.builds(a_claim, st.sampled_from(["a", "b"]), st.sampled_from(HOLDERS), release=st.booleans()), max_size=2
    ).map(tuple),
    counters=st.lists(
        st.builds(
            a_counter,
            st.integers(-2, 2),
            limit=st.none() | st.integers(0, 3),
            name=st.sampled_from(["functions", "projects"]),
        ),
        max_size=2,
    ).map(tuple),
    events=st.lists(_events, max_size=3).map(tuple),
)
_batches = st.lists(st.lists(_appends, min_size=1, max_size=10), min_size=1, max_size=4)

_CLEAR = """
    DELETE FROM log.events;
    DELETE FROM log.commands;
    DELETE FROM log.streams;
    DELETE FROM log.claims;
    DELETE FROM log.counters;
"""


@pytest.fixture
def session(database_url: str) -> Iterator[tuple[asyncio.Runner, asyncpg.Connection]]:
    """A session and the loop it lives on: Hypothesis calls the test's body without one."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        yield runner, connection
        runner.run(connection.close())


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(batches=_batches)
def test_batches_equal_the_memory_log_in_the_same_order(
    session: tuple[asyncio.Runner, asyncpg.Connection], batches: list[list[Append]]
) -> None:
    runner, connection = session
    runner.run(_compare(connection, batches))


async def _compare(connection: asyncpg.Connection, batches: list[list[Append]]) -> None:
    await connection.execute(_CLEAR)
    memory = MemoryLog(now)
    hint = 0
    for batch in batches:
        outcomes = await send(connection, batch, hint)
        serial = [await memory.append(append) for append in batch]
        assert [_timeless(o) for o in outcomes] == [_timeless(o) for o in serial]
        hint = await memory.head()
    stored = await connection.fetch(
        "SELECT position, tenant_id, stream_id, version, data FROM log.events ORDER BY position"
    )
    events = await memory.read(0, limit=1_000)
    assert [tuple(row) for row in stored] == [(e.position, e.tenant_id, e.stream_id, e.version, e.data) for e in events]


def _timeless(outcome: Outcome) -> dict[str, Any]:
    return {**msgspec.structs.asdict(outcome), "recorded_at": None, "type": type(outcome)}
