"""What every log promises, whichever store is behind it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from domain.deployment import IN_ACCOUNT
from domain.event import Claim, Counter, StreamRef
from eventstore.log import (
    Append,
    Appended,
    AppendRefused,
    ClaimTaken,
    CounterFull,
    Duplicate,
    Expected,
    Log,
    Overtaken,
)
from tests.eventstore.make import OTHER_TENANT, TENANT, a_claim, a_counter, a_stream, an_append, an_event


async def recorded(log: Log, append: Append) -> Appended:
    outcome = await log.append(append)
    assert isinstance(outcome, Appended), outcome
    return outcome


class TestAppend:
    async def test_positions_are_dense_from_one(self, log: Log) -> None:
        outcomes = await asyncio.gather(*(log.append(an_append(an_event(a_stream()))) for _ in range(50)))

        assert sorted(o.first_position for o in outcomes if isinstance(o, Appended)) == list(range(1, 51))
        assert [event.position for event in await log.read(0, limit=100)] == list(range(1, 51))

    async def test_an_append_is_stored_together_and_in_its_order(self, log: Log) -> None:
        one, two = a_stream(), a_stream(OTHER_TENANT)

        outcome = await recorded(log, an_append(an_event(one, 1), an_event(two, 1), an_event(one, 2)))

        assert (outcome.first_position, outcome.last_position) == (1, 3)
        stored = await log.read(0, limit=10)
        assert [(e.tenant_id, e.stream_id, e.version) for e in stored] == [
            (one.tenant_id, one.id, 1),
            (two.tenant_id, two.id, 1),
            (one.tenant_id, one.id, 2),
        ]

    async def test_what_is_stored_is_what_was_given(self, log: Log) -> None:
        stream = a_stream()
        outcome = await recorded(log, an_append(an_event(stream, data=b"\x00\xff{}")))

        [[stored]] = await log.load([stream])

        assert (stored.type, stored.schema_version, stored.meta, stored.data) == (
            "sample.happened",
            1,
            b"{}",
            b"\x00\xff{}",
        )
        assert stored.recorded_at == outcome.recorded_at

    async def test_one_stream_that_moved_stops_the_whole_append(self, log: Log) -> None:
        moved, still = a_stream(), a_stream()
        await recorded(log, an_append(an_event(moved)))

        outcome = await log.append(
            an_append(an_event(still, 1), an_event(moved, 1), expected=(Expected(still, 0), Expected(moved, 0)))
        )

        assert outcome == Overtaken(moved, 0, 1)
        assert await log.load([still]) == [[]]
        assert await log.head() == 1

    async def test_a_condition_on_a_stream_not_written_counts(self, log: Log) -> None:
        read, written = a_stream(), a_stream()
        await recorded(log, an_append(an_event(read)))

        refused = await log.append(an_append(an_event(written), expected=(Expected(read, 0),)))
        accepted = await log.append(an_append(an_event(written), expected=(Expected(read, 1),)))

        assert refused == Overtaken(read, 0, 1)
        assert isinstance(accepted, Appended)

    async def test_an_event_must_follow_its_stream(self, log: Log) -> None:
        stream = a_stream()
        await recorded(log, an_append(an_event(stream, 1)))

        assert await log.append(an_append(an_event(stream, 1))) == Overtaken(stream, 0, 1)
        assert await log.append(an_append(an_event(stream, 3))) == Overtaken(stream, 2, 1)
        assert await log.append(an_append(an_event(stream, 2), an_event(stream, 2))) == Overtaken(stream, 1, 2)
        assert isinstance(await log.append(an_append(an_event(stream, 2))), Appended)

    async def test_a_stream_may_begin_with_version_zero_or_one(self, log: Log) -> None:
        zero, one, two = a_stream(), a_stream(), a_stream()

        await recorded(log, an_append(an_event(zero, 0), an_event(zero, 1)))
        await recorded(log, an_append(an_event(one, 1)))
        refused = await log.append(an_append(an_event(two, 2)))

        assert refused == Overtaken(two, 1, 0)
        assert [e.version for e in (await log.load([zero], after=-1))[0]] == [0, 1]

    async def test_rivals_for_one_version_have_one_winner(self, log: Log) -> None:
        stream = a_stream()
        rivals = [an_append(an_event(stream), expected=(Expected(stream, 0),)) for _ in range(20)]

        outcomes = await asyncio.gather(*(log.append(rival) for rival in rivals))

        assert sum(isinstance(o, Appended) for o in outcomes) == 1
        assert sum(o == Overtaken(stream, 0, 1) for o in outcomes) == 19

    async def test_a_chain_of_versions_sent_at_once_is_recorded(self, log: Log) -> None:
        stream = a_stream()
        chain = [an_append(an_event(stream, v), expected=(Expected(stream, v - 1),)) for v in range(1, 21)]

        outcomes = await asyncio.gather(*(log.append(link) for link in chain))

        assert all(isinstance(o, Appended) for o in outcomes)
        assert [e.version for e in (await log.load([stream]))[0]] == list(range(1, 21))

    async def test_a_long_stream_goes_on_as_a_short_one(self, log: Log) -> None:
        stream, version = a_stream(), 0
        for length in (1, 62, 1, 1, 70, 1, 200):
            events = [an_event(stream, v) for v in range(version + 1, version + length + 1)]
            await asyncio.gather(
                recorded(log, an_append(*events, expected=(Expected(stream, version),))),
                recorded(log, an_append(an_event(a_stream()))),
            )
            version += length

        assert await log.append(an_append(an_event(stream, version))) == Overtaken(stream, version - 1, version)
        assert [e.version for e in (await log.load([stream]))[0]] == list(range(1, version + 1))

    async def test_time_never_runs_back(self, log: Log) -> None:
        for _ in range(10):
            await asyncio.gather(*(log.append(an_append(an_event(a_stream()))) for _ in range(5)))

        times = [event.recorded_at for event in await log.read(0, limit=100)]

        assert times == sorted(times)

    async def test_without_events_the_position_is_the_end_of_the_log(self, log: Log) -> None:
        before = await recorded(log, an_append())
        await recorded(log, an_append(an_event(a_stream())))
        after = await recorded(log, an_append())

        assert (before.first_position, before.last_position) == (0, 0)
        assert (after.first_position, after.last_position) == (1, 1)

    async def test_what_is_too_large_is_refused_by_itself(self, log: Log) -> None:
        large = an_append(an_event(a_stream(), data=b"x" * 2_000_000))
        neighbour = an_append(an_event(a_stream()))

        refused, accepted = await asyncio.gather(log.append(large), log.append(neighbour), return_exceptions=True)

        assert isinstance(refused, AppendRefused)
        assert isinstance(accepted, Appended)

    async def test_text_postgresql_cannot_hold_is_refused(self, log: Log) -> None:
        with pytest.raises(AppendRefused):
            await log.append(an_append(claims=(a_claim("a\x00b", uuid4()),)))


class TestIdempotency:
    async def test_the_same_command_later_gets_the_first_result(self, log: Log) -> None:
        append = an_append(an_event(a_stream()), reply=b"first")
        first = await recorded(log, append)
        await recorded(log, an_append(an_event(a_stream())))

        again = await log.append(an_append(an_event(a_stream()), command_id=append.command_id, reply=b"second"))

        assert again == Duplicate(b"hash", "ok", b"first", first.first_position, first.last_position, first.recorded_at)
        assert await log.find(TENANT, append.command_id) == again
        assert await log.head() == 2

    async def test_the_same_command_twice_at_once_is_recorded_once(self, log: Log) -> None:
        command_id = uuid4()
        twins = [an_append(an_event(a_stream()), command_id=command_id) for _ in range(10)]

        outcomes = await asyncio.gather(*(log.append(twin) for twin in twins))

        [first] = [o for o in outcomes if isinstance(o, Appended)]
        assert [o for o in outcomes if not isinstance(o, Appended)] == [
            Duplicate(b"hash", "ok", b"reply", first.first_position, first.last_position, first.recorded_at)
        ] * 9

    async def test_a_command_without_events_is_remembered(self, log: Log) -> None:
        append = an_append(reply=b"nothing to do")
        await recorded(log, append)

        again = await log.append(append)

        assert isinstance(again, Duplicate)
        assert again.reply == b"nothing to do"

    async def test_a_refused_append_leaves_its_command_id_free(self, log: Log) -> None:
        stream, command_id = a_stream(), uuid4()
        refused = an_append(an_event(stream, 2), command_id=command_id)
        accepted = an_append(an_event(stream, 1), command_id=command_id)
        third = an_append(an_event(stream, 2), command_id=command_id)

        outcomes = await asyncio.gather(log.append(refused), log.append(accepted), log.append(third))

        assert [type(o) for o in outcomes] == [Overtaken, Appended, Duplicate]

    async def test_command_ids_are_apart_between_tenants(self, log: Log) -> None:
        command_id = uuid4()

        await recorded(log, an_append(command_id=command_id))

        await recorded(log, an_append(command_id=command_id, tenant_id=OTHER_TENANT))
        assert await log.find(TENANT, uuid4()) is None


class TestClaims:
    async def test_a_taken_key_is_refused_with_its_holder(self, log: Log) -> None:
        holder, rival = uuid4(), uuid4()
        await recorded(log, an_append(claims=(a_claim("hello", holder),)))

        outcome = await log.append(an_append(an_event(a_stream()), claims=(a_claim("hello", rival),)))

        assert outcome == ClaimTaken(a_claim("hello", rival), holder)
        assert await log.head() == 0

    async def test_taking_again_and_releasing_what_is_not_held_change_nothing(self, log: Log) -> None:
        holder, rival = uuid4(), uuid4()
        await recorded(log, an_append(claims=(a_claim("hello", holder),)))

        await recorded(log, an_append(claims=(a_claim("hello", holder),)))
        await recorded(log, an_append(claims=(a_claim("hello", rival, release=True),)))

        assert isinstance(await log.append(an_append(claims=(a_claim("hello", rival),))), ClaimTaken)

    async def test_a_released_key_is_free(self, log: Log) -> None:
        holder, rival = uuid4(), uuid4()
        await recorded(log, an_append(claims=(a_claim("hello", holder),)))

        await recorded(log, an_append(claims=(a_claim("hello", holder, release=True), a_claim("hallo", holder))))

        await recorded(log, an_append(claims=(a_claim("hello", rival),)))
        assert await log.append(an_append(claims=(a_claim("hallo", rival),))) == ClaimTaken(
            a_claim("hallo", rival), holder
        )

    async def test_a_refused_append_takes_no_claim(self, log: Log) -> None:
        holder, rival, stream = uuid4(), uuid4(), a_stream()
        await recorded(log, an_append(claims=(a_claim("taken", holder),)))

        refused = an_append(an_event(stream), claims=(a_claim("free", rival), a_claim("taken", rival)))
        later = an_append(an_event(stream), claims=(a_claim("free", holder),))
        outcomes = await asyncio.gather(log.append(refused), log.append(later))

        assert [type(o) for o in outcomes] == [ClaimTaken, Appended]

    async def test_rivals_for_one_key_have_one_winner(self, log: Log) -> None:
        rivals = [an_append(an_event(a_stream()), claims=(a_claim("hello", uuid4()),)) for _ in range(20)]

        outcomes = await asyncio.gather(*(log.append(rival) for rival in rivals))

        assert [type(o) for o in outcomes] == [Appended] + [ClaimTaken] * 19

    async def test_the_same_key_in_another_scope_or_tenant_is_another(self, log: Log) -> None:
        elsewhere = Claim(tenant_id=OTHER_TENANT, scope="name", key="hello", holder=uuid4())

        await recorded(log, an_append(claims=(a_claim("hello", uuid4()),)))

        await recorded(log, an_append(claims=(elsewhere,)))


class TestCounters:
    async def test_a_full_counter_refuses_and_tells_its_value(self, log: Log) -> None:
        await recorded(log, an_append(counters=(a_counter(2, limit=3),)))

        outcome = await log.append(an_append(an_event(a_stream()), counters=(a_counter(2, limit=3),)))

        assert outcome == CounterFull(a_counter(2, limit=3), 2)
        assert await log.head() == 0

    async def test_counting_down_is_never_refused(self, log: Log) -> None:
        await recorded(log, an_append(counters=(a_counter(5),)))

        await recorded(log, an_append(counters=(a_counter(-1, limit=2),)))

        assert await log.append(an_append(counters=(a_counter(1, limit=4),))) == CounterFull(a_counter(1, limit=4), 4)

    async def test_a_refused_append_counts_nothing(self, log: Log) -> None:
        both = (a_counter(1, limit=1), a_counter(1, limit=0, name="projects"))

        refused, accepted = await asyncio.gather(
            log.append(an_append(counters=both)), log.append(an_append(counters=(a_counter(1, limit=1),)))
        )

        assert refused == CounterFull(both[1], 0)
        assert isinstance(accepted, Appended)

    async def test_a_thousand_at_once_fill_the_limit_exactly(self, log: Log) -> None:
        creates = [an_append(an_event(a_stream()), counters=(a_counter(limit=700),)) for _ in range(1_000)]

        outcomes = await asyncio.gather(*(log.append(create) for create in creates))

        assert sum(isinstance(o, Appended) for o in outcomes) == 700
        assert sum(o == CounterFull(a_counter(limit=700), 700) for o in outcomes) == 300


class TestReading:
    async def test_read_goes_on_where_it_was_left(self, log: Log) -> None:
        await asyncio.gather(*(log.append(an_append(an_event(a_stream()))) for _ in range(5)))

        assert [e.position for e in await log.read(2, limit=2)] == [3, 4]
        assert await log.read(5, limit=2) == []

    async def test_skim_leaves_out_types_but_for_the_last_event(self, log: Log) -> None:
        stream = a_stream()
        for version, type in enumerate(("a.made", "b.made", "a.made", "c.made", "b.made"), 1):
            await recorded(log, an_append(an_event(stream, version, type=type)))

        everything = await log.read(0, limit=10)
        assert await log.skim(0, limit=10, without=["a.made"]) == [everything[n] for n in (1, 3, 4)]
        assert await log.skim(0, limit=3, without=["a.made"]) == [everything[n] for n in (1, 2)]
        assert await log.skim(1, limit=3, without=["b.made", "c.made"]) == [everything[n] for n in (2, 3)]
        assert await log.skim(0, limit=10, without=[]) == everything
        assert await log.skim(5, limit=10, without=["b.made"]) == []

    async def test_load_gives_each_stream_in_the_order_asked(self, log: Log) -> None:
        one, two = a_stream(), a_stream()
        await recorded(log, an_append(an_event(one, 1), an_event(two, 1), an_event(one, 2)))

        loaded = await log.load([two, a_stream(), one, two])

        assert [[e.version for e in events] for events in loaded] == [[1], [], [1, 2], [1]]

    async def test_load_gives_only_what_is_above(self, log: Log) -> None:
        stream = a_stream()
        await recorded(log, an_append(*(an_event(stream, v) for v in range(1, 6))))

        assert [e.version for e in (await log.load([stream], after=3))[0]] == [4, 5]
        assert await log.load([stream], after=5) == [[]]

    async def test_wait_beyond_returns_once_the_log_has_moved(self, log: Log) -> None:
        assert not await log.wait_beyond(0, seconds_max=0.01)
        waiting = asyncio.create_task(log.wait_beyond(0, seconds_max=10))
        await asyncio.sleep(0)

        await recorded(log, an_append(an_event(a_stream())))

        assert await waiting
        assert await log.wait_beyond(0, seconds_max=0)

    async def test_a_subscription_delivers_what_was_and_what_comes(self, log: Log) -> None:
        await recorded(log, an_append(an_event(a_stream()), an_event(a_stream())))
        positions: list[int] = []
        subscription = log.subscribe(1)

        positions += [e.position for e in await anext(subscription)]
        following = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await recorded(log, an_append(an_event(a_stream())))
        positions += [e.position for e in await following]

        assert positions == [2, 3]

    async def test_the_epoch_begins_with_one(self, log: Log) -> None:
        assert await log.epoch() == 1


class TestCounted:
    async def test_says_what_each_counter_of_the_tenant_stands_at(self, log: Log) -> None:
        for delta in (2, 3, -1):
            await recorded(log, an_append(an_event(a_stream()), counters=(a_counter(delta=delta, limit=None),)))

        counter = a_counter()
        assert await log.counted(TENANT) == {(counter.scope, counter.name): 4}
        assert await log.counted(OTHER_TENANT) == {}


class TestRecountInAccounts:
    async def test_counts_what_is_under_way_whichever_code_ended_the_rest(self, log: Log) -> None:
        """*Method:* three deployments are counted; one is ended by code that gives back its place and not the count, and a
        fourth was begun by such code."""
        begun = [await _begun(log, account="local", counted=1) for _ in range(3)]
        await _begun(log, account="", counted=0)
        await recorded(log, _ended(begun[0], version=3))

        assert await log.recount_in_accounts(OTHER_TENANT) == 0
        assert await log.recount_in_accounts(TENANT) == 1
        assert await log.counted(TENANT) == {(IN_ACCOUNT, "local"): 2}
        assert await log.recount_in_accounts(TENANT) == 0

    async def test_counts_none_where_nothing_is_under_way_any_more(self, log: Log) -> None:
        stream = await _begun(log, account="local", counted=1)
        again = (
            an_event(stream, 4, type="deployment.undeploy_requested"),
            an_event(stream, 5, type="deployment.claimed"),
        )
        await recorded(log, _ended(stream, version=3))
        await recorded(log, an_append(*again, claims=(_place(stream),)))  # Begun by code that does not count.

        assert await log.recount_in_accounts(TENANT) == 1
        assert await log.counted(TENANT) == {(IN_ACCOUNT, "local"): 0}
        full = an_append(an_event(a_stream()), counters=(_in_account(1, limit=1),))
        assert isinstance(await log.append(full), Appended)


async def _begun(log: Log, *, account: str, counted: int) -> StreamRef:
    """A deployment under way, as a runner has claimed it."""
    stream = a_stream()
    claimed = an_event(stream, 2, type="deployment.claimed", data=b'{"account":"%s"}' % account.encode())
    counters = (_in_account(counted),) if counted else ()
    queued = an_event(stream, type="deployment.queued")
    await recorded(log, an_append(queued, claimed, claims=(_place(stream),), counters=counters))
    return stream


def _ended(stream: StreamRef, *, version: int) -> Append:
    event = an_event(stream, version, type="deployment.failed")
    return an_append(event, claims=(_place(stream, release=True),))


def _place(stream: StreamRef, *, release: bool = False) -> Claim:
    return Claim(tenant_id=TENANT, scope="slot", key=str(stream.id), holder=stream.id, release=release)


def _in_account(delta: int, *, limit: int | None = None) -> Counter:
    return Counter(tenant_id=TENANT, scope=IN_ACCOUNT, name="local", delta=delta, limit=limit)
