"""Old parts leave the log for files; what something may still be decided by stays, and nobody is told less than there was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from eventstore.archive import archiving, returning
from eventstore.archive.archiving import CannotArchive, archivable, archive_range, log_parts
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.reading import Archive
from eventstore.archive.returning import put_back
from eventstore.archive.whole import Shelf, WholeLog
from eventstore.archived import EventsArchived
from eventstore.instants import PostgresInstants
from eventstore.log import Appended, Since, StoredEvent
from tests.commands.test_execute import record
from tests.eventstore.archive.conftest import NOW, PROJECT_STREAM, Place, deployment, failed, ids, refused
from tests.eventstore.make import an_append, an_event
from tests.eventstore.test_partitions import SIZE, names
from tests.support import a

_HERE = "SELECT position FROM log.events ORDER BY position"


def positions(place: Place) -> Any:
    return place.owner.fetch(_HERE)


class TestArchivable:
    async def test_is_what_is_full_and_old_but_never_the_last(self, place: Place) -> None:
        parts = await archivable(place.owner, place.log, older_than=NOW)

        assert [(part.first, part.last) for part in parts] == [(n * SIZE + 1, (n + 1) * SIZE) for n in range(4)]
        assert await archivable(place.owner, place.log, older_than=timedelta(days=1)) == []

    async def test_the_last_full_one_stays_while_it_is_the_log_s_end(self, place: Place) -> None:
        while (await place.log.head()) % SIZE:
            await append_one(place)

        assert len(await archivable(place.owner, place.log, older_than=NOW)) == 4


async def append_one(place: Place) -> None:
    async with asyncio.timeout(60):
        await record(place.log, refused(900 + await place.log.head()))


class TestArchiveRange:
    async def test_the_archive_has_everything_and_the_log_what_is_not_over(self, place: Place) -> None:
        archived = await place.archive()

        archive = Archive.open(place.directory)
        assert archive.read(0, limit=1_000) == place.events[: 4 * SIZE]
        assert [one.kept for one in archived] == [3, 1, 1, 1]
        here = [row["position"] for row in await positions(place)]
        project, running = place.of(PROJECT_STREAM), place.of(deployment(99))
        assert here == sorted(event.position for event in [*project, *running])
        assert await place.archive() == []

    async def test_streams_that_stay_are_read_as_before(self, place: Place) -> None:
        await place.archive()

        assert await place.log.load([PROJECT_STREAM, deployment(99)]) == [
            place.of(PROJECT_STREAM),
            place.of(deployment(99)),
        ]
        [news] = await place.log.load_since([Since(PROJECT_STREAM)], epoch=1, worth=1)
        assert news.events == place.of(PROJECT_STREAM)

    async def test_what_left_is_refused_by_name(self, place: Place) -> None:
        await place.archive()
        gone = deployment(3)

        for asked in (
            place.log.load([PROJECT_STREAM, gone]),
            place.log.load_since([Since(gone)], epoch=1, worth=1),
            place.log.read(0, limit=1),
            place.log.read(4 * SIZE - 1, limit=1),
        ):
            with pytest.raises(EventsArchived):
                await asked
        assert [event.position for event in await place.log.read(4 * SIZE, limit=5)] == [4 * SIZE + 1]
        assert await place.log.load([deployment(12345)]) == [[]]

    async def test_the_log_goes_on(self, place: Place) -> None:
        await place.archive()

        await record(place.log, a.project_renamed("Market"), *failed(77))

        [project] = await place.log.load([PROJECT_STREAM])
        assert [event.version for event in project] == list(range(1, len(place.of(PROJECT_STREAM)) + 2))
        assert await place.log.head() == len(place.events) + 4

    async def test_a_stream_that_left_still_has_its_version(self, place: Place) -> None:
        """Whoever appends to it as if it were new is refused."""
        await place.archive()

        outcome = await place.log.append(an_append(an_event(deployment(3))))

        assert not isinstance(outcome, Appended)

    async def test_times_are_found_as_before(self, place: Place) -> None:
        instants = PostgresInstants(place.owner)
        before = [await instants.recorded_at(position) for position in range(len(place.events) + 2)]

        await place.archive()

        assert [await instants.recorded_at(position) for position in range(len(place.events) + 2)] == before
        for event in place.events:
            last = max(e.position for e in place.events if e.recorded_at <= event.recorded_at)
            assert await instants.position_at(event.recorded_at) == last

    async def test_is_not_done_while_something_needs_the_events(self, place: Place) -> None:
        [part, *_] = await archivable(place.owner, place.log, older_than=NOW)

        with pytest.raises(CannotArchive, match="deployments_v1 is at 3"):
            await archive_range(place.tools(lambda _text: None, "deployments_v1 is at 3"), part)

        assert not place.directory.exists()
        assert len(await place.log.read(0, limit=1_000)) == len(place.events)

    async def test_a_stream_that_is_there_from_before_stays_whole(self, place: Place) -> None:
        """*Goal:* of one stream there is all or nothing. *Method:* it ends only after its first part was archived."""
        running = deployment(99)
        await place.archive(parts_max=1)
        over = failed(0)[2].event
        while (await place.log.head()) % SIZE != 1:
            await append_one(place)
        await record(place.log, msgspec.structs.replace(failed(0)[2], stream=running, event=over))
        for _ in range(SIZE):
            await append_one(place)

        await place.archive()

        [events] = await place.log.load([running])
        assert [event.version for event in events] == [1, 2]

    async def test_a_stream_that_grows_meanwhile_stays(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """*Method:* between choosing what leaves and taking it out, something over is found not to be."""
        grown, detach, done = deployment(2), archiving._detach, False

        async def grow_first(*args: Any) -> bool:
            nonlocal done
            if not done:
                version = len(place.of(grown)) + 1
                assert isinstance(await place.log.append(an_append(an_event(grown, version))), Appended)
            done = True
            return await detach(*args)

        monkeypatch.setattr(archiving, "_detach", grow_first)
        await place.archive()

        [events] = await place.log.load([grown])
        assert len(events) == len(place.of(grown)) + 1

    async def test_waits_for_no_reader_for_ever_and_leaves_the_log_as_it_was(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archiving, "SNAPSHOT_LOOKS_MAX", 2)
        monkeypatch.setattr(archiving, "PAUSE_SECONDS", 0.01)
        connection = await asyncpg.connect(place.url)
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetch(_HERE)
            with pytest.raises(CannotArchive, match="open for too long"):
                await place.archive()
        await connection.close()

        assert await place.log.read(0, limit=1_000) == place.events
        assert {part.step for part in await log_parts(place.owner)} == {None}
        assert len(await place.archive()) == 4

    async def test_readers_that_come_and_go_only_make_it_try_again(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archiving, "PAUSE_SECONDS", 0.05)
        connection = await asyncpg.connect(place.url)
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch(_HERE)
        archived = asyncio.create_task(place.archive())
        await asyncio.sleep(0.6)
        await transaction.commit()

        assert len(await archived) == 4
        await connection.close()

    async def test_appends_and_loads_go_on_all_the_while(self, place: Place) -> None:
        stop = asyncio.Event()

        async def write() -> int:
            count = 0
            while not stop.is_set():
                await record(place.log, a.project_renamed(f"Name {count}"))
                count += 1
            return count

        writing = asyncio.create_task(write())
        await place.archive()
        stop.set()
        count = await writing

        [project] = await place.log.load([PROJECT_STREAM])
        assert [event.version for event in project] == list(range(1, len(place.of(PROJECT_STREAM)) + count + 1))

    async def test_files_of_another_life_of_the_log_are_no_archive_of_this_one(self, place: Place) -> None:
        [first, *_] = await place.archive(parts_max=1)
        await put_back(place.owner, Archive.open(place.directory), first=1, tell=lambda _text: None)
        await place.owner.execute("UPDATE log.events SET data = '{}' WHERE position = 5")

        with pytest.raises(ArchiveDamaged, match="another directory"):
            await place.archive()

        assert first.manifest.events == SIZE
        assert len(await place.log.read(0, limit=1_000)) == len(place.events)


class Crash(Exception):
    """The process is no more."""


STEPS = ["written", "verified", "what stays", "taken out"]


class TestCrash:
    @pytest.mark.parametrize("at", STEPS)
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    async def test_at_any_step_is_gone_on_from(
        self, place: Place, at: str, after: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """*Method:* the step that begins, or the one that has just been done, is the last thing that happens."""
        die_after(monkeypatch, at) if after else None

        def tell(text: str) -> None:
            if at in text and not after:
                raise Crash

        with pytest.raises(Crash):
            await place.archive(tell=tell)
        monkeypatch.undo()
        await place.archive()

        assert Archive.open(place.directory).read(0, limit=1_000) == place.events[: 4 * SIZE]
        assert await place.log.load([PROJECT_STREAM]) == [place.of(PROJECT_STREAM)]
        assert {part.step for part in await log_parts(place.owner)} == {"archived", None}
        assert leftovers(await names(place.owner)) == []
        assert await tables(place) == []

    @pytest.mark.parametrize("step", ["_load", "_ATTACH"])
    async def test_while_it_is_put_back_is_begun_again(
        self, place: Place, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await place.archive()
        archive = Archive.open(place.directory)
        if step == "_load":
            monkeypatch.setattr(returning, "_load", dying)
        else:
            monkeypatch.setattr(returning, "_ATTACH", "SELECT 1 / ($1::bigint * 0)")
        with pytest.raises((Crash, asyncpg.DivisionByZeroError)):
            await put_back(place.owner, archive, first=1, tell=lambda _text: None)
        monkeypatch.undo()

        await put_back(place.owner, archive, first=1, tell=lambda _text: None)

        assert await place.log.read(0, limit=1_000) == place.events
        assert await tables(place) == []


async def dying(*_args: Any) -> None:
    raise Crash


def die_after(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the step be done, and nothing after it."""
    name = {"written": "write_range", "verified": "_verified", "what stays": "_stage", "taken out": "_detach"}[step]
    original: Callable[..., Any] = getattr(archiving, name)

    async def last(*args: Any, **named: Any) -> None:
        await original(*args, **named)
        raise Crash

    monkeypatch.setattr(archiving, name, last)


def leftovers(partitions: list[str]) -> list[str]:
    return [name for name in partitions if not name.startswith("events_")]


async def tables(place: Place) -> list[str]:
    """What should not be left of archiving."""
    rows = await place.owner.fetch("""
        SELECT relname FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'log'::regnamespace
           AND relname SIMILAR TO '(kept|detached|returned)\\_%'
    """)
    return [row["relname"] for row in rows]


class TestPutBack:
    async def test_makes_the_log_what_it_was(self, place: Place) -> None:
        await place.archive()
        await append_one(place)

        await put_back(place.owner, Archive.open(place.directory), first=1, tell=lambda _text: None)

        assert (await place.log.read(0, limit=1_000))[: len(place.events)] == place.events
        assert await place.log.load([deployment(3)]) == [place.of(deployment(3))]
        assert await place.log.load([PROJECT_STREAM]) == [place.of(PROJECT_STREAM)]
        assert {part.step for part in await log_parts(place.owner)} == {None}

    async def test_from_a_position_on_puts_back_the_rest_only(self, place: Place) -> None:
        await place.archive()

        await put_back(place.owner, Archive.open(place.directory), first=2 * SIZE + 5, tell=lambda _text: None)

        with pytest.raises(EventsArchived):
            await place.log.read(SIZE, limit=1)
        assert await place.log.read(2 * SIZE, limit=1_000) == place.events[2 * SIZE :]

    async def test_can_be_archived_again(self, place: Place) -> None:
        await place.archive()
        await put_back(place.owner, Archive.open(place.directory), first=1, tell=lambda _text: None)

        assert len(await place.archive()) == 4

        assert Archive.open(place.directory).read(0, limit=1_000) == place.events[: 4 * SIZE]

    async def test_takes_only_what_was_taken_out(self, place: Place) -> None:
        await place.archive()
        [manifest, *_] = Archive.open(place.directory).manifests
        path = place.directory / manifest.file
        path.write_bytes(path.read_bytes()[:-5])

        with pytest.raises(ArchiveDamaged):
            await put_back(place.owner, Archive.open(place.directory), first=1, tell=lambda _text: None)

        with pytest.raises(EventsArchived):
            await place.log.read(0, limit=1)
        assert await place.log.read(SIZE, limit=1_000) == place.events[SIZE:]


class TestWholeLog:
    async def test_reads_on_from_the_archive_into_the_log(self, place: Place) -> None:
        await place.archive()
        whole = WholeLog(place.log, Shelf(place.directory))
        seen: list[StoredEvent] = []

        while batch := await whole.read(len(seen), limit=7):
            seen += batch

        assert seen == place.events
        assert await whole.head() == len(place.events)

    async def test_loads_what_left_and_what_stayed(self, place: Place) -> None:
        await place.archive()
        whole = WholeLog(place.log, Shelf(place.directory))

        for stream in (deployment(3), PROJECT_STREAM, deployment(99)):
            assert await whole.load([stream]) == [place.of(stream)]

    async def test_loads_what_left_in_part(self, place: Place) -> None:
        """A deployment of which one partition has the beginning and the next the end."""
        stream = deployment(88)
        events = place.of(stream)
        assert {(event.position - 1) // SIZE for event in events} == {0, 1}

        await place.archive(parts_max=1)

        with pytest.raises(EventsArchived):
            await place.log.load([stream])
        assert await WholeLog(place.log, Shelf(place.directory)).load([stream]) == [events]

    async def test_sees_what_is_archived_later(self, place: Place) -> None:
        await place.archive(parts_max=1)
        whole = WholeLog(place.log, Shelf(place.directory))
        assert await whole.read(0, limit=SIZE) == place.events[:SIZE]

        await place.archive()

        assert await whole.read(3 * SIZE, limit=SIZE) == place.events[3 * SIZE : 4 * SIZE]

    async def test_says_so_when_nobody_told_it_where_to_look(self, place: Place) -> None:
        await place.archive()

        with pytest.raises(EventsArchived) as refused_by:
            await WholeLog(place.log, Shelf(None)).read(0, limit=1)

        assert "DCF_ARCHIVE_DIR" in refused_by.value.remedy
        assert ids(place.events)
