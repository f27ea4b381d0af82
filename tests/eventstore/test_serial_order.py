"""A batch gives what its appends would have given one by one, and what it wrote can be read in every way there is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.event import StreamRef
from eventstore.batch import send
from eventstore.log import Append, Appended, Duplicate, Expected, NewEvent, Outcome
from eventstore.memory import MemoryLog
from tests.eventstore.conftest import now
from tests.eventstore.make import OTHER_TENANT, TENANT, a_claim, a_counter, a_stream, an_append, an_event

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
_counters = st.builds(
    a_counter,
    st.integers(-2, 2),
    limit=st.none() | st.integers(0, 3),
    name=st.sampled_from(["functions", "projects"]),
)
_roomy = st.builds(a_counter, st.integers(-2, 2), limit=st.none() | st.integers(8, 20))
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
    counters=st.lists(_counters, max_size=2).map(tuple),
    events=st.lists(_events, max_size=3).map(tuple),
)
_disputed = st.lists(st.lists(_appends, min_size=1, max_size=10), min_size=1, max_size=4)


@st.composite
def _undisputed(draw: st.DrawFn) -> list[list[Append]]:
    """Batches that mostly follow what the streams are, as callers do who have just read them; now and then one does not."""
    versions: dict[StreamRef, int] = {}
    numbers = itertools.count(100)
    slip = st.sampled_from([0] * 60 + [1])

    def event() -> NewEvent:
        stream = draw(_streams)
        first = draw(st.sampled_from([1] * 8 + [0]))
        version = versions[stream] + 1 + draw(slip) if stream in versions else first
        versions[stream] = version
        return NewEvent(stream, version, "sample.happened", 1, b"{}", draw(st.binary(max_size=3)))

    def append() -> Append:
        relied_on = draw(st.lists(_streams, max_size=2, unique=True))
        expected = tuple(Expected(stream, versions.get(stream, 0) + draw(slip)) for stream in relied_on)
        number = next(numbers)
        claims = [a_claim(f"{number}", HOLDERS[0])] if draw(st.booleans()) else []
        if draw(slip):
            claims += [a_claim(f"{number - 1}", draw(st.sampled_from(HOLDERS)), release=draw(st.booleans()))]
        return Append(
            tenant_id=draw(st.sampled_from([TENANT, OTHER_TENANT])),
            command_id=UUID(int=number - draw(slip)),
            reply=draw(st.binary(max_size=2)),
            expected=expected,
            claims=tuple(claims),
            counters=tuple(draw(st.lists(_roomy, min_size=number % 3 // 2, max_size=number % 3 // 2))),
            events=tuple(event() for _ in range(draw(st.integers(0, 3)))),
        )

    return [[append() for _ in range(draw(st.integers(2, 8)))] for _ in range(draw(st.integers(2, 5)))]


_LOAD = """
    SELECT n, position, version, data
      FROM log.load($1, $2, -1)
"""

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
@given(batches=st.one_of(_undisputed(), _undisputed(), _disputed))
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
    stored = await connection.fetch("SELECT position, tenant_id, stream_id, version, data FROM log.read(0, 1000)")
    events = await memory.read(0, limit=1_000)
    assert [tuple(row) for row in stored] == [(e.position, e.tenant_id, e.stream_id, e.version, e.data) for e in events]
    loaded = await connection.fetch(_LOAD, [s.tenant_id for s in STREAMS], [s.id for s in STREAMS])
    streams = await memory.load(STREAMS, after=-1)
    assert [tuple(row) for row in loaded] == [
        (n, e.position, e.version, e.data) for n, events in enumerate(streams, start=1) for e in events
    ]


def _timeless(outcome: Outcome) -> dict[str, Any]:
    return {**msgspec.structs.asdict(outcome), "recorded_at": None, "type": type(outcome)}


class Counting:
    """A session that counts its calls."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.calls = 0
        self.statement = ""

    async def fetchrow(self, *args: Any) -> Any:
        self.calls += 1
        self.statement = args[0]
        return await self._connection.fetchrow(*args)


@pytest.fixture
async def counting(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield Counting(connection)
    await connection.close()


class TestRoundTrips:
    """How often a batch goes to the database: once, unless something is in its way."""

    async def test_one_for_a_batch_in_which_all_is_as_it_should_be(self, counting: Any) -> None:
        begun, goes_on, relied_on, apart = (a_stream() for _ in range(4))
        setting_up = [
            an_append(an_event(goes_on), an_event(relied_on), claims=(a_claim("freed", HOLDERS[0]),)),
            an_append(counters=(a_counter(1),)),
        ]
        batch = [
            an_append(an_event(begun, 0), an_event(goes_on, 2), an_event(begun, 1), expected=(Expected(goes_on, 1),)),
            an_append(an_event(goes_on, 3), expected=(Expected(begun, 1), Expected(relied_on, 1), Expected(apart, 0))),
            an_append(claims=(a_claim("freed", HOLDERS[0], release=True), a_claim("taken", HOLDERS[1]))),
            an_append(counters=(a_counter(1, limit=2), a_counter(-1), a_counter(1, limit=2))),
        ]
        await send(counting, setting_up, 0)
        counting.calls = 0

        outcomes = await send(counting, batch, 2)

        assert [(o.first_position, o.last_position) for o in outcomes if isinstance(o, Appended)] == [
            (3, 5),
            (6, 6),
            (6, 6),
            (6, 6),
        ]
        assert counting.calls == 1

    async def test_a_lone_event_goes_a_shorter_way(self, counting: Any) -> None:
        stream = a_stream()
        alone = an_append(an_event(stream), expected=(Expected(stream, 0),))
        others = [
            [an_append(an_event(a_stream()), claims=(a_claim("name", HOLDERS[0]),))],
            [an_append(an_event(a_stream()), expected=(Expected(stream, 1),))],
            [an_append(an_event(a_stream())), an_append(an_event(a_stream()))],
        ]

        ways = []
        for appends in ([alone], *others):
            outcomes = await send(counting, appends, 0)
            assert all(isinstance(outcome, Appended) for outcome in outcomes)
            ways.append("log.append_one(" in counting.statement)

        assert ways == [True, False, False, False]

    @pytest.mark.parametrize(
        "disputed",
        [
            pytest.param(lambda s: an_append(an_event(s, 3)), id="a stream that is not so far"),
            pytest.param(lambda s: an_append(an_event(s, 1)), id="a stream that is there"),
            pytest.param(lambda s: an_append(expected=(Expected(s, 2),)), id="a condition that does not hold"),
            pytest.param(lambda _: an_append(claims=(a_claim("taken", HOLDERS[1]),)), id="a claim that is taken"),
            pytest.param(lambda _: an_append(counters=(a_counter(1, limit=1),)), id="a counter that is full"),
            pytest.param(lambda _: an_append(command_id=HOLDERS[0]), id="a command that was recorded"),
        ],
    )
    async def test_two_when_one_append_is_disputed(
        self, counting: Any, disputed: Callable[[StreamRef], Append]
    ) -> None:
        """And the second settles it alone: what stands beside it is recorded, and the first left nothing behind."""
        stream = a_stream()
        setting_up = an_append(
            an_event(stream), command_id=HOLDERS[0], claims=(a_claim("taken", HOLDERS[0]),), counters=(a_counter(1),)
        )
        await send(counting, [setting_up], 0)
        counting.calls = 0

        refused, recorded = await send(
            counting, [disputed(stream), an_append(an_event(a_stream()), claims=(a_claim("free", HOLDERS[1]),))], 1
        )

        assert not isinstance(refused, Appended)
        assert isinstance(recorded, Appended)
        assert (recorded.first_position, recorded.last_position) == (2, 2)
        # Once more for what was recorded under the id of the command, which no verdict holds.
        assert counting.calls == (3 if isinstance(refused, Duplicate) else 2)
