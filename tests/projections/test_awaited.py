"""Whoever waits for the read models is heard by the engine, and believed for a moment."""

from __future__ import annotations

import asyncio

from eventstore.database import Pool, connect
from eventstore.postgres import PostgresLog
from eventstore.session import sessions
from projections.awaited import BELIEVED_SECONDS, CHANNEL, SAID_APART_SECONDS, Awaited
from projections.postgres_reader import PostgresReader
from tests.projections.conftest import Workshop

HEARD_SECONDS_MAX = 30


class TestAwaited:
    def test_is_believed_for_a_moment(self) -> None:
        now = 100.0
        awaited = Awaited(lambda: now)
        assert not awaited.lately()

        awaited.heard()
        now += BELIEVED_SECONDS
        assert awaited.lately()

        now += 0.01
        assert not awaited.lately()

    def test_is_believed_longer_than_it_takes_to_say_it_again(self) -> None:
        assert BELIEVED_SECONDS > 2 * SAID_APART_SECONDS


class TestSaying:
    async def test_is_heard_while_somebody_waits(
        self, database_url: str, database: Pool, app: Pool, workshop: Workshop
    ) -> None:
        await workshop.catch_up()
        heard = asyncio.Event()
        async with (
            PostgresLog(
                database, database_url, role="dcf_engine", also={CHANNEL: lambda _payload: heard.set()}
            ) as listening,
            PostgresReader(app, sessions(database_url, role="dcf_app")) as reader,
        ):
            await listening.head()
            async with asyncio.timeout(HEARD_SECONDS_MAX):
                while not heard.is_set():  # The session that listens may open later than the first that waits.
                    assert await reader.wait_for(0, seconds_max=HEARD_SECONDS_MAX)
                    assert not await reader.wait_for(1_000_000, seconds_max=0.1)

    async def test_that_cannot_be_said_is_nobodys_trouble(self, database_url: str, workshop: Workshop) -> None:
        await workshop.catch_up()
        async with connect(database_url, role="dcf_app", size_max=1) as closed:
            pass

        async with PostgresReader(closed, sessions(database_url, role="dcf_app")) as reader:
            assert await reader.wait_for(0, seconds_max=HEARD_SECONDS_MAX)
            assert not await reader.wait_for(1_000_000, seconds_max=0.1)
