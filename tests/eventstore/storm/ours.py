"""A writer on our log: every command is sent until there is an answer, always with the same id."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import asyncpg

from domain.event import StreamRef
from eventstore.batch import send
from eventstore.database import connect
from eventstore.log import Append, Appended, Duplicate, Expected, LogBusy, Outcome, OutcomeUnknown, Overtaken
from eventstore.postgres import PostgresLog
from eventstore.session import HINDERED, LOST, sessions
from tests.eventstore.make import TENANT, an_append, an_event
from tests.eventstore.storm.order import Diary, Order, id_of, place_of

SLOW_SECONDS_MAX = 0.02
AGAIN_SECONDS = 0.05
# More rivals for one version than there can be is a fault.
TRIES_MAX = 10_000


async def write(order: Order, done: frozenset[str]) -> None:
    """Everything that is not done yet."""
    diary = Diary(order.diary)

    def left(keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key not in done]

    # None is held in reserve: a pool that holds some is not made while the server is away.
    async with (
        connect(order.url, role="dcf_app", size_max=2, size_min=0) as pool,
        PostgresLog(pool, order.url, role="dcf_app") as log,
    ):
        await asyncio.gather(
            *(_lane(log, left(order.lane_keys(lane)), diary) for lane in range(order.lanes)),
            _rival(log, left(order.rival_keys()), diary),
            _slow(order.url, left(order.slow_keys()), diary),
        )


async def _lane(log: PostgresLog, keys: Sequence[str], diary: Diary) -> None:
    for key in keys:
        stream, version = place_of(key)
        append = _command(key, StreamRef(TENANT, "storm", stream), version)
        _noted(await _answered(log, append), key, diary)


async def _rival(log: PostgresLog, keys: Sequence[str], diary: Diary) -> None:
    stream = StreamRef(TENANT, "storm", id_of("everybody's"))
    for key in keys:
        _noted(await _won(log, stream, key), key, diary)


async def _won(log: PostgresLog, stream: StreamRef, key: str) -> Outcome:
    """What comes of it when it is not overtaken any more."""
    for _ in range(TRIES_MAX):
        [events] = await _loaded(log, stream)
        outcome = await _answered(log, _command(key, stream, len(events) + 1))
        if not isinstance(outcome, Overtaken):
            return outcome
    raise AssertionError(f"{key} was overtaken {TRIES_MAX} times")


async def _slow(url: str, keys: Sequence[str], diary: Diary) -> None:
    """What a broken connection leaves unknown is left so: the key is not tried again."""
    open_session = sessions(url, role="dcf_app")
    for key in keys:
        random = Random(key)
        try:
            session = await open_session()
        except (*LOST, *HINDERED):
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        try:
            transaction = session.transaction()
            await transaction.start()
            [outcome] = await send(session, [_command(key, StreamRef(TENANT, "storm", id_of(key)), 1)], 0)
            await asyncio.sleep(random.random() * SLOW_SECONDS_MAX)
            if random.random() < 0.5:
                await transaction.rollback()
                diary.rolled_back(key)
            else:
                await transaction.commit()
                _noted(outcome, key, diary)
        except (*LOST, *HINDERED):
            continue
        finally:
            session.terminate()


def _command(key: str, stream: StreamRef, version: int) -> Append:
    event = an_event(stream, version, data=key.encode())
    return an_append(event, command_id=id_of(key), expected=(Expected(stream, version - 1),))


async def _answered(log: PostgresLog, append: Append) -> Outcome:
    """As a client does: unknown or busy, the very same again."""
    while True:
        try:
            return await log.append(append)
        except (OutcomeUnknown, LogBusy):
            await asyncio.sleep(AGAIN_SECONDS)


async def _loaded(log: PostgresLog, stream: StreamRef) -> list[list[object]]:
    while True:
        try:
            return [list(events) for events in await log.load([stream])]
        except (*LOST, *HINDERED, asyncpg.PostgresError):
            await asyncio.sleep(AGAIN_SECONDS)


def _noted(outcome: Outcome, key: str, diary: Diary) -> None:
    assert isinstance(outcome, Appended | Duplicate), f"{key}: {outcome}"
    diary.recorded(key, outcome.first_position)
