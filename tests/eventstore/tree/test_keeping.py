"""The keeper takes in what was recorded, signs it now and then, and never two trees that do not agree."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventstore.database import Pool
from eventstore.postgres import PostgresLog
from eventstore.tree.keeping import TreeRewritten, keeping, sign_when_due, take_in
from eventstore.tree.keys import LogKeys, LogKeysUnusable
from eventstore.tree.tree import PostgresTree
from process.health import Degraded
from tests.eventstore.tree import textbook
from tests.eventstore.tree.conftest import a_keeper
from tests.eventstore.tree.test_tree import write

_FORGE = "UPDATE log.tree SET hashes = sha256(hashes) WHERE level = 0"
_RAISE_EPOCH = "INSERT INTO log.epochs (epoch, reason) SELECT max(epoch) + 1, 'test' FROM log.epochs"


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_checkpoint_is_of_all_there_is_and_good_for_the_textbook(
    postgres_log: PostgresLog, database: Pool, tmp_path: Path
) -> None:
    keeper = a_keeper(postgres_log, database, tmp_path)
    entries = await write(postgres_log, 10)

    await take_in(keeper)
    await sign_when_due(keeper, now=soon(0))

    newest = await keeper.tree.newest_checkpoint()
    assert newest is not None
    [key] = newest.verifier_keys
    origin = await keeper.tree.origin()
    assert textbook.root_signed(newest.note, key) == (origin, 10, textbook.tree_hash(entries))


async def test_the_next_one_waits_for_its_time_and_for_something_new(
    postgres_log: PostgresLog, database: Pool, tmp_path: Path
) -> None:
    keeper = a_keeper(postgres_log, database, tmp_path)
    sizes = []
    for more, seconds in ((2, 0), (0, 11), (3, 5), (0, 11), (0, 60)):
        await write(postgres_log, more)
        await take_in(keeper)
        await sign_when_due(keeper, now=soon(seconds))
        newest = await keeper.tree.newest_checkpoint()
        sizes.append(newest and newest.size)

    assert sizes == [2, 2, 2, 5, 5]


@pytest.mark.parametrize("forgotten", ["SELECT 1", "DELETE FROM log.checkpoints"])
async def test_a_tree_that_was_rewritten_is_not_signed(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path, forgotten: str
) -> None:
    """Not even when the checkpoints were taken away with it: who signs remembers by itself."""
    keeper = a_keeper(postgres_log, database, tmp_path)
    await write(postgres_log, 3)
    await take_in(keeper)
    await sign_when_due(keeper, now=soon(0))
    await owner.execute(_FORGE)
    await owner.execute(forgotten)
    await write(postgres_log, 1)
    await take_in(keeper)

    with pytest.raises(TreeRewritten, match="dcf audit verify"):
        await sign_when_due(keeper, now=soon(60))


async def test_a_restored_log_is_signed_under_another_name(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    keeper = a_keeper(postgres_log, database, tmp_path)
    await write(postgres_log, 3)
    await take_in(keeper)
    await sign_when_due(keeper, now=soon(0))
    before = await keeper.tree.newest_checkpoint()
    await owner.execute(_RAISE_EPOCH)

    assert await keeper.tree.newest_checkpoint() is None
    await sign_when_due(keeper, now=soon(0))

    after = await keeper.tree.newest_checkpoint()
    assert before is not None
    assert after is not None
    assert (before.size, before.epoch, after.size, after.epoch) == (3, 1, 3, 2)
    assert before.note.partition("\n")[0] != after.note.partition("\n")[0]
    assert await keeper.tree.checkpoint_at(3) == after


async def test_two_keepers_share_the_work(postgres_log: PostgresLog, database: Pool, tmp_path: Path) -> None:
    entries = await write(postgres_log, 20)
    one, other = (a_keeper(postgres_log, database, tmp_path) for _ in range(2))
    tree = PostgresTree(database)
    async with asyncio.timeout(30), keeping(one), keeping(other):
        while (newest := await tree.newest_checkpoint()) is None:
            await asyncio.sleep(0.05)
    # Whoever goes on has the same key.
    origin, size, root = textbook.root_signed(newest.note, newest.verifier_keys[0])
    assert (origin, size, root) == (await tree.origin(), 20, textbook.tree_hash(entries))


async def test_a_keeper_goes_on_after_whatever_went_wrong(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    """*Method:* an event that is missing in between keeps the tree from growing, until it is there."""
    await write(postgres_log, 20)
    await owner.execute("CREATE TABLE log.away AS SELECT * FROM log.events WHERE position = 7")
    await owner.execute("DELETE FROM log.events WHERE position = 7")
    keeper = a_keeper(postgres_log, database, tmp_path)
    async with asyncio.timeout(30), keeping(keeper):
        await asyncio.sleep(0.2)
        assert await keeper.tree.newest_checkpoint() is None
        await owner.execute("INSERT INTO log.events SELECT * FROM log.away")
        while (newest := await keeper.tree.newest_checkpoint()) is None:
            await asyncio.sleep(0.05)

    assert newest.size == 20


async def test_trouble_shows_and_is_no_failure(postgres_log: PostgresLog, database: Pool, tmp_path: Path) -> None:
    keeper = a_keeper(postgres_log, database, tmp_path)
    await write(postgres_log, 1)
    await take_in(keeper)
    await keeper.monitor.check()
    keeper.monitor.hindered("the keys are gone")

    with pytest.raises(Degraded, match="the keys are gone"):
        await keeper.monitor.check()


class TestLogKeys:
    def test_are_made_once_and_for_this_user_only(self, tmp_path: Path) -> None:
        [first], [second] = LogKeys.of(tmp_path, None).all(), LogKeys.of(tmp_path, None).all()

        assert first.private_bytes_raw() == second.private_bytes_raw()
        assert (tmp_path / "log.key").stat().st_mode & 0o077 == 0

    def test_one_may_stand_behind_the_other(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            LogKeys(tmp_path / name, own=True).all()
        both = tmp_path / "both"
        both.write_text((tmp_path / "a").read_text() + (tmp_path / "b").read_text())

        assert len(LogKeys.of(tmp_path, both).all()) == 2

    @pytest.mark.parametrize("content", [None, "", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"])
    def test_the_operator_s_own_are_never_made(self, tmp_path: Path, content: str | None) -> None:
        file = tmp_path / "keys"
        if content is not None:
            file.write_text(content)

        with pytest.raises(LogKeysUnusable, match="openssl genpkey"):
            LogKeys.of(tmp_path, file).all()
