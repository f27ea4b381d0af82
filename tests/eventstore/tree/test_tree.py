"""The stored tree is the one of the events, whoever lets it grow and by how much at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from random import Random

import asyncpg
import pytest

from eventstore.canonical import encode_canonical
from eventstore.database import Pool, connect
from eventstore.log import Appended, Log
from eventstore.postgres import PostgresLog
from eventstore.tree.merkle import leaf_hash
from eventstore.tree.tree import (
    GrowingTree,
    PostgresTree,
    SignedCheckpoint,
    consistency_proof,
    inclusion_proof,
    leaves,
    root,
)
from tests.eventstore.make import OTHER_TENANT, TENANT, a_stream, an_append, an_event
from tests.eventstore.tree import textbook

NOW = datetime(2026, 3, 1, tzinfo=UTC)
# Two whole tiles, a begun one, and one whole tile of them above.
EVENTS = 600


async def write(log: Log, count: int) -> list[bytes]:
    """So many events of two tenants; the canonical bytes of all there are then."""
    chance = Random(count)
    for first in range(0, count, 50):
        tenant = chance.choice((TENANT, OTHER_TENANT))
        events = [
            an_event(a_stream(tenant), data=chance.randbytes(chance.randrange(40)))
            for _ in range(min(50, count - first))
        ]
        assert isinstance(await log.append(an_append(*events, tenant_id=tenant)), Appended)
    return [encode_canonical(event) for event in await log.read(0, limit=10_000)]


async def grow(tree: GrowingTree, *steps: int) -> None:
    for step in steps:
        await tree.extend(at_most=step)


async def test_it_is_the_tree_of_the_canonical_events(log: Log, tree: GrowingTree) -> None:
    entries = await write(log, EVENTS)

    await grow(tree, 1, 254, 3, 300, 1_000)

    assert await tree.size() == EVENTS
    assert await leaves(tree, 0, EVENTS) == [leaf_hash(entry) for entry in entries]
    assert await leaves(tree, 250, 260) == [leaf_hash(entry) for entry in entries[250:260]]
    for size in (1, 2, 255, 256, 257, 511, 512, 513, EVENTS):
        assert await root(tree, size) == textbook.tree_hash(entries[:size])


async def test_its_proofs_are_good_for_the_textbook(log: Log, tree: GrowingTree) -> None:
    entries = await write(log, EVENTS)
    await grow(tree, 1_000)
    chance = Random(5)

    for _ in range(12):
        size = chance.randint(2, EVENTS)
        index, old = chance.randrange(size), chance.randint(1, size)
        whole = textbook.tree_hash(entries[:size])
        included = await inclusion_proof(tree, index, size)
        consistent = await consistency_proof(tree, old, size)

        assert textbook.proves_inclusion(index, size, textbook.leaf(entries[index]), included, whole)
        assert textbook.proves_consistency(old, textbook.tree_hash(entries[:old]), size, whole, consistent)


async def test_tiles_are_those_of_tlog_tiles(log: Log, tree: GrowingTree) -> None:
    entries = await write(log, EVENTS)
    await grow(tree, 100, 100, 100, 100, 100, 100)

    found = await tree.tiles([(0, 0), (0, 2), (1, 0), (0, 3), (2, 0)])

    assert [len(tile) // 32 for tile in found] == [256, EVENTS - 512, 2, 0, 0]
    assert found[2] == textbook.tree_hash(entries[:256]) + textbook.tree_hash(entries[256:512])


async def test_an_empty_log_has_the_empty_tree(tree: GrowingTree) -> None:
    assert await tree.extend(at_most=10) == await tree.size() == 0
    assert await root(tree, 0) == textbook.tree_hash([])
    assert await tree.newest_checkpoint() is None


async def test_checkpoints_only_grow(log: Log, tree: GrowingTree) -> None:
    await write(log, 3)
    await grow(tree, 10)

    def signed(size: int, epoch: int = 1) -> SignedCheckpoint:
        return SignedCheckpoint(epoch=epoch, size=size, note=f"of {size}", verifier_keys=("key",), made_at=NOW)

    published = [await tree.publish(signed(*one)) for one in ((2,), (2,), (1,), (4,), (3, 2), (3,))]

    assert published == [True, False, False, False, False, True]
    newest = await tree.newest_checkpoint()
    assert newest is not None
    assert newest.note == "of 3"
    assert [one.size for one in await tree.checkpoints(above=0, limit=10)] == [2, 3]
    assert [one.size for one in await tree.checkpoints(above=2, limit=10)] == [3]
    assert await tree.checkpoint_at(1) is None


async def test_only_what_follows_is_taken_from_an_archive(postgres_log: PostgresLog, database: Pool) -> None:
    """Nor anything that is not archived: it is hashed where it lies."""
    await write(postgres_log, 3)
    events = await postgres_log.read(0, limit=3)
    tree = PostgresTree(database)

    assert not await tree.extend_by(events)
    assert not await tree.extend_by(events[1:])
    assert await tree.size() == 0


async def test_two_at_once_make_one_tree(database_url: str, postgres_log: PostgresLog, database: Pool) -> None:
    entries = await write(postgres_log, EVENTS)

    async def other() -> None:
        async with connect(database_url, role="dcf_engine", size_max=1) as pool:
            while await PostgresTree(pool).extend(at_most=7) < EVENTS:
                pass

    async with asyncio.timeout(60):
        await asyncio.gather(other(), other(), other())

    tree = PostgresTree(database)
    assert await tree.size() == EVENTS
    assert await root(tree, EVENTS) == textbook.tree_hash(entries)


async def test_one_that_is_killed_leaves_all_of_a_step_or_nothing(
    database_url: str, postgres_log: PostgresLog, database: Pool
) -> None:
    """*Method:* end the session of whoever lets it grow, again and again, at any moment of it."""
    entries = await write(postgres_log, EVENTS)
    tree, chance = PostgresTree(database), Random(3)
    killer = await asyncpg.connect(database_url)
    async with asyncio.timeout(60):
        while await tree.size() < EVENTS:
            session = await asyncpg.connect(database_url, server_settings={"role": "dcf_engine"})
            growing = asyncio.create_task(session.execute("SELECT log.extend_tree(90)"))
            await asyncio.sleep(chance.random() * 0.005)
            await killer.execute("SELECT pg_terminate_backend($1)", session.get_server_pid())
            await asyncio.gather(growing, return_exceptions=True)
            session.terminate()
    await killer.close()

    assert await root(tree, EVENTS) == textbook.tree_hash(entries)


@pytest.mark.parametrize("role", ["dcf_app", "dcf_engine"])
async def test_nobody_can_call_what_only_the_owner_may(database_url: str, role: str) -> None:
    async with connect(database_url, role=role, size_max=1) as pool:  # type: ignore[arg-type]  # one of the roles
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute("SELECT log.add_leaves(''::bytea)")
