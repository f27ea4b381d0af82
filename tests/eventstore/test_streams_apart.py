"""Streams whose events do not stand together: nothing of them is lost."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from domain.event import StreamRef
from eventstore.database import Pool
from eventstore.log import Append, Appended, NewEvent
from eventstore.postgres import PostgresLog
from tests.projections.conftest import database, log

__all__ = ["database", "log"]

_FIRST = "SELECT first_position FROM log.streams WHERE stream_id = $1"


def _stream() -> StreamRef:
    return StreamRef(uuid4(), "thing", uuid4())


def _event(stream: StreamRef, version: int) -> NewEvent:
    return NewEvent(stream, version, "thing.done", 1, b"{}", b"{}")


class TestLoad:
    async def test_finds_all_events_of_streams_that_one_append_began_by_turns(
        self, database: Pool, log: PostgresLog
    ) -> None:
        one, other = _stream(), _stream()
        events = (_event(one, 1), _event(other, 1), _event(other, 2), _event(one, 2))
        appended = await log.append(Append(tenant_id=one.tenant_id, command_id=uuid4(), events=events))
        assert isinstance(appended, Appended)

        loaded = await log.load([one, other])

        assert [[event.version for event in events] for events in loaded] == [[1, 2], [1, 2]]
        assert await database.fetchval(_FIRST, one.id) == appended.first_position
        assert await database.fetchval(_FIRST, other.id) == appended.first_position + 1

    async def test_finds_them_after_a_batch_that_refused_the_first_try(self, database: Pool, log: PostgresLog) -> None:
        """Goal: what a refused append had begun does not count. Method: many appends at once, so that they share
        batches; of each pair that begins the same stream one is refused."""
        streams = [_stream() for _ in range(40)]
        tries = [(stream, version) for stream in streams for version in (2, 1, 2)]
        outcomes = await asyncio.gather(
            *(
                log.append(
                    Append(tenant_id=s.tenant_id, command_id=uuid4(), events=(_event(s, v), _event(_stream(), 1)))
                )
                for s, v in tries
            )
        )
        assert sum(isinstance(outcome, Appended) for outcome in outcomes) >= len(streams)

        for stream, events in zip(streams, await log.load(streams), strict=True):
            assert events[0].version == 1
            assert await database.fetchval(_FIRST, stream.id) == events[0].position
