"""Streams folded by what is new: the same state as from the beginning, whatever is remembered or kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from domain.event import StreamRef
from eventstore import folds
from eventstore.codec import Codec
from eventstore.database import Pool
from eventstore.folds import RECENT_SECONDS_MAX, SNAPSHOT_EVENTS, Confirmed, Folded, Folds
from eventstore.log import Append, EpochChanged, Log, News, Since, Snapshot, StoredEvent
from eventstore.postgres import PostgresLog
from tests.eventstore.make import a_stream, an_append, an_event
from tests.eventstore.tally import CODEC, TALLY, Tally, a_tally, count, folded_words

LONG = SNAPSHOT_EVENTS + 5

_KEPT = "SELECT code, version FROM work.snapshots WHERE stream_id = $1"
_RAISE_EPOCH = "INSERT INTO log.epochs (epoch, reason) SELECT max(epoch) + 1, 'test' FROM log.epochs"


@pytest.fixture(autouse=True)
def _nothing_folded() -> None:
    folded_words.clear()


async def of(folds: Folds, *streams: StreamRef, codec: Codec = CODEC) -> list[Folded]:
    return await folds.of(codec, [(TALLY, stream) for stream in streams])


async def kept(folds: Folds) -> None:
    """Until what waits to be kept is kept."""
    if folds._keeper is not None:
        await asyncio.wait_for(folds._keeper, 10)


def renamed() -> Codec:
    """A codec of other code."""
    codec = Codec([TALLY])
    codec.code = "later"
    return codec


class TestOf:
    async def test_folds_what_is_recorded(self, log: Log) -> None:
        stream, none = a_tally(), a_tally()
        await count(log, stream, range(1, 4))

        found, nothing = await of(log.folds, stream, none)

        assert found == Folded(Tally(count=3, word="3"), 3, 3)
        assert nothing == Folded(Tally(), 0, 0)

    async def test_reads_only_what_is_new_the_next_time(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, 4))
        await of(log.folds, stream)
        folded_words.clear()

        await of(log.folds, stream)
        await count(log, stream, range(4, 6))
        [found] = await of(log.folds, stream)

        assert found == Folded(Tally(count=5, word="5"), 5, 5)
        assert folded_words == ["4", "5"]

    async def test_gives_all_asked_at_once_and_in_their_order(self, log: Log) -> None:
        one, two = a_tally(), a_tally()
        await count(log, one, range(1, 2))
        await count(log, two, range(1, 3))
        await of(log.folds, one)

        found = await of(log.folds, two, a_tally(), one)

        assert [(folded.version, folded.position) for folded in found] == [(2, 3), (0, 0), (1, 1)]

    async def test_an_older_answer_that_comes_late_does_not_take_the_place_of_a_newer_one(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, 2))
        late = Late(log)
        slow = asyncio.create_task(of(late.folds, stream))
        await late.asked.wait()
        await count(log, stream, range(2, 3))
        late.hurry = True
        await of(late.folds, stream)

        late.go_on.set()

        assert [folded.version for folded in await slow] == [1]
        folded_words.clear()
        [found] = await of(late.folds, stream)
        assert (found.version, folded_words) == (2, [])

    async def test_is_bounded_in_streams(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folds, "STREAMS_MAX", 2)
        streams = [a_tally() for _ in range(3)]
        for stream in streams:
            await count(log, stream, range(1, 2))
        await of(log.folds, *streams)
        folded_words.clear()

        await of(log.folds, streams[2])
        assert folded_words == []
        await of(log.folds, streams[0])
        assert folded_words == ["1"]

    async def test_is_bounded_in_bytes(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folds, "BYTES_MAX", 100)
        stream = a_tally()
        await count(log, stream, range(1, 20))

        assert [folded.version for folded in await of(log.folds, stream)] == [19]
        folded_words.clear()

        assert [folded.version for folded in await of(log.folds, stream)] == [19]
        assert len(folded_words) == 19

    async def test_forgets_what_it_is_told_to(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, 3))
        await of(log.folds, stream)
        folded_words.clear()

        log.folds.forget(stream)
        await of(log.folds, stream)

        assert folded_words == ["1", "2"]


class Late:
    """A log that keeps its first answer back until it is told to go on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.folds = Folds(self)
        self.asked, self.go_on, self.hurry = asyncio.Event(), asyncio.Event(), False

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        news = await self._log.load_since(known, epoch=epoch, worth=worth)
        if not self.hurry:
            self.asked.set()
            await self.go_on.wait()
        return news

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None:
        await self._log.keep_snapshot(snapshot, epoch=epoch)


class TestSnapshots:
    async def test_of_a_long_stream_are_kept_and_used(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, LONG))
        [before] = await of(log.folds, stream)
        await kept(log.folds)
        await count(log, stream, range(LONG, LONG + 2))
        folded_words.clear()

        [after] = await of(Folds(log), stream)

        assert after == Folded(Tally(count=LONG + 1, word=str(LONG + 1)), LONG + 1, LONG + 1)
        assert folded_words == [str(LONG), str(LONG + 1)]
        assert before.version == LONG - 1

    async def test_of_a_short_one_are_not(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, SNAPSHOT_EVENTS))
        await of(log.folds, stream)
        await kept(log.folds)
        folded_words.clear()

        await of(Folds(log), stream)

        assert len(folded_words) == SNAPSHOT_EVENTS - 1

    async def test_made_by_other_code_are_ignored(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, LONG))
        await of(log.folds, stream)
        await kept(log.folds)
        folded_words.clear()

        [found] = await of(Folds(log), stream, codec=renamed())

        assert found.state == Tally(count=LONG - 1, word=str(LONG - 1))
        assert len(folded_words) == LONG - 1

    async def test_of_a_hot_stream_are_kept_although_it_grows_one_by_one(self, log: Log) -> None:
        stream = a_tally()
        for version in range(1, LONG):
            await count(log, stream, range(version, version + 1))
            await of(log.folds, stream)
        await kept(log.folds)
        folded_words.clear()

        await of(Folds(log), stream)

        assert folded_words == [str(version) for version in range(SNAPSHOT_EVENTS + 1, LONG)]

    async def test_that_cannot_be_read_are_read_past(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, LONG))
        await of(Folds(log), stream)  # To learn the epoch costs the first load.
        snapshot = Snapshot(stream, CODEC.code, LONG - 1, LONG - 1, b'{"count": "many"}')
        await log.keep_snapshot(snapshot, epoch=await log.epoch())

        [found] = await of(Folds(log), stream)

        assert found.state.count == LONG - 1

    async def test_that_cannot_be_kept_are_no_loss(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, LONG))
        broken = Broken(log)

        [found] = await of(broken.folds, stream)
        await kept(broken.folds)

        assert (found.state.count, broken.tried) == (LONG - 1, 1)

    async def test_are_not_waited_for(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, LONG))
        slow = Slow(log)

        [found] = await asyncio.wait_for(of(slow.folds, stream), 10)
        await slow.folds.close()

        assert found.state.count == LONG - 1


class Broken(Late):
    """A log that keeps no snapshot."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.hurry, self.tried = True, 0

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None:
        self.tried += 1
        raise ConnectionResetError


class Slow(Broken):
    """A log that takes for ever to keep one."""

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None:
        await asyncio.Event().wait()


class TestEpoch:
    async def test_that_is_over_makes_everything_be_read_again(self, database: Pool, owner: Pool, log: Log) -> None:
        if not isinstance(log, PostgresLog):
            with pytest.raises(EpochChanged):
                await log.load_since([Since(a_tally())], epoch=7, worth=1)
            return
        stream = a_tally()
        await count(log, stream, range(1, 4))
        await of(log.folds, stream)
        folded_words.clear()

        await owner.execute(_RAISE_EPOCH)
        [found] = await of(log.folds, stream)

        assert found.state.count == 3
        assert folded_words == ["1", "2", "3"]


class TestKeepSnapshot:
    """What PostgreSQL sees to, whoever asks."""

    @pytest.mark.parametrize(
        "wrong",
        [{"version": 2}, {"position": 2}, {"stream": a_stream()}, {"epoch": 2}],
        ids=lambda wrong: next(iter(wrong)),
    )
    async def test_refuses_what_is_not_of_an_event_that_is_there(
        self, postgres_log: PostgresLog, database: Pool, wrong: dict[str, Any]
    ) -> None:
        stream = a_tally()
        await count(postgres_log, stream, range(1, 2))
        epoch, fields = wrong.get("epoch", 1), {name: value for name, value in wrong.items() if name != "epoch"}
        snapshot = msgspec.structs.replace(Snapshot(stream, "code", 1, 1, b"{}"), **fields)

        await postgres_log.keep_snapshot(snapshot, epoch=epoch)

        assert await database.fetchval("SELECT count(*) FROM work.snapshots") == 0

    async def test_keeps_the_newest_of_each_code(self, postgres_log: PostgresLog, database: Pool) -> None:
        stream = a_tally()
        await count(postgres_log, stream, range(1, 3))

        for code, version in (("new", 2), ("new", 1), ("old", 1)):
            await postgres_log.keep_snapshot(Snapshot(stream, code, version, version, b"{}"), epoch=1)

        assert sorted(map(tuple, await database.fetch(_KEPT, stream.id))) == [("new", 2), ("old", 1)]

    async def test_drops_what_older_code_kept_long_ago(
        self, postgres_log: PostgresLog, database: Pool, owner: Pool
    ) -> None:
        stream = a_tally()
        await count(postgres_log, stream, range(1, 3))
        await postgres_log.keep_snapshot(Snapshot(stream, "old", 1, 1, b"{}"), epoch=1)
        await owner.execute("UPDATE work.snapshots SET made_at = made_at - interval '8 days'")

        await postgres_log.keep_snapshot(Snapshot(stream, "new", 2, 2, b"{}"), epoch=1)

        assert [tuple(row) for row in await database.fetch(_KEPT, stream.id)] == [("new", 2)]


async def test_a_stream_of_somebody_else_has_its_own(log: Log) -> None:
    """Streams of one id in two tenants are two streams."""
    stream = a_tally()
    other = msgspec.structs.replace(stream, tenant_id=a_stream().id)
    await count(log, stream, range(1, 3))
    append: Append = an_append(an_event(other))
    await log.append(append)

    assert [folded.version for folded in await of(log.folds, stream)] == [2]
    [news] = await log.load_since([Since(other)], epoch=await log.epoch(), worth=1)
    assert [event.version for event in news.events] == [1]


class TestRecent:
    """What is relied on without asking, because an append will be conditional on it."""

    async def test_is_what_was_found_and_what_was_recorded_on_top(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, 4))
        await of(log.folds, stream)
        forgotten = log.folds.forgotten
        events = await counted(log, stream, 4)

        log.folds.confirm(CODEC, [Confirmed(TALLY, stream, 3, events)], forgotten=forgotten)

        assert log.folds.recent(stream) == Folded(Tally(count=4, word="4"), 4, 4)
        assert log.folds.recent(a_tally()) is None

    async def test_leaves_out_what_does_not_follow_what_is_known(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, 6))
        await of(log.folds, stream)
        [before] = await log.load([stream])

        log.folds.confirm(CODEC, [Confirmed(TALLY, stream, 2, before[2:3])], forgotten=log.folds.forgotten)

        found = log.folds.recent(stream)
        assert found is not None
        assert found.version == 5

    async def test_is_nothing_that_was_not_confirmed_lately(self, log: Log) -> None:
        now = 100.0
        folds, stream = Folds(log, monotonic=lambda: now), a_tally()
        await count(log, stream, range(1, 2))
        await of(folds, stream)

        now += RECENT_SECONDS_MAX + 1

        assert folds.recent(stream) is None
        folds.confirm(CODEC, [Confirmed(TALLY, stream, 1, [])], forgotten=folds.forgotten)
        assert folds.recent(stream) is not None

    async def test_is_nothing_that_was_asked_before_everything_was_forgotten(self, log: Log) -> None:
        stream = a_tally()
        await count(log, stream, range(1, 3))
        forgotten = log.folds.forgotten
        [events] = await log.load([stream])

        log.folds.forget_all()
        log.folds.confirm(CODEC, [Confirmed(TALLY, stream, 0, events)], forgotten=forgotten)

        assert log.folds.recent(stream) is None

    async def test_is_nothing_after_the_session_that_listens_was_lost(
        self, postgres_log: PostgresLog, database_url: str
    ) -> None:
        """*Goal:* after a failover versions say nothing: the new server may have lost events and recorded others in their
        place. *Method:* the session is ended, as it is then."""
        stream = a_tally()
        await count(postgres_log, stream, range(1, 3))
        await of(postgres_log.folds, stream)

        superuser = await asyncpg.connect(database_url)
        try:
            async with asyncio.timeout(20):
                while postgres_log.folds.recent(stream) is not None:
                    await superuser.execute(_END_LISTENER)
                    await asyncio.sleep(0.02)
        finally:
            await superuser.close()


_END_LISTENER = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'dcf log'
"""


async def counted(log: Log, stream: StreamRef, number: int) -> list[StoredEvent]:
    """The event that counts to the number, recorded now."""
    await count(log, stream, range(number, number + 1))
    [events] = await log.load([stream], after=number - 1)
    return events
