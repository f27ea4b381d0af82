"""Whatever is changed in what was recorded is found: by its position, by the tree, or by a checkpoint that somebody kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.findings import Findings
from audit.tree_check import Saved, check_tree
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.database import Pool
from eventstore.log import Log
from eventstore.postgres import PostgresLog
from eventstore.tree.keeping import sign_when_due, take_in
from eventstore.tree.notes import VerifierKey
from eventstore.tree.tree import SignedCheckpoint, leaf_of
from tests.eventstore.archive.conftest import Place, place
from tests.eventstore.conftest import database, owner, postgres_log
from tests.eventstore.test_partitions import SIZE, small
from tests.eventstore.tree.conftest import a_keeper
from tests.eventstore.tree.test_tree import write

__all__ = ["database", "owner", "place", "postgres_log", "small"]

_CHANGE = "UPDATE log.events SET data = data || '\\x20'::bytea WHERE position = {}"
_TRUNCATE = "DELETE FROM log.events WHERE position > {}"
_LEAVES = "UPDATE log.tree SET hashes = overlay(hashes PLACING $1::bytea FROM {}) WHERE level = 0 AND first = 0"


async def found(
    database: Pool, log: Log, *saved: str, archive: Path | None = None, keys: tuple[VerifierKey, ...] = ()
) -> Findings:
    findings = Findings()
    kept = [Saved(f"saved {n}", note) for n, note in enumerate(saved)]
    await check_tree(database, log, Shelf(archive), findings, lambda _: None, saved=kept, keys=keys)
    return findings


async def signed(log: PostgresLog, database: Pool, directory: Path, *more: int) -> list[SignedCheckpoint]:
    """A checkpoint after each so many events more."""
    keeper, made = a_keeper(log, database, directory), []
    for number, count in enumerate(more):
        await write(log, count)
        await take_in(keeper)
        await sign_when_due(keeper, now=datetime(2100, 1, 1 + number, tzinfo=UTC))
        newest = await keeper.tree.newest_checkpoint()
        assert newest is not None
        made.append(newest)
    return made


def told(findings: Findings) -> list[tuple[str, str, str]]:
    return [(one.where, one.id, one.problem) for one in findings.differences]


async def test_a_log_as_it_was_recorded_is_found_good(
    postgres_log: PostgresLog, database: Pool, tmp_path: Path
) -> None:
    made = await signed(postgres_log, database, tmp_path, 3, 300, 300)
    key = VerifierKey.parse(made[0].verifier_keys[0])

    findings = await found(database, postgres_log, *(one.note for one in made), keys=(key,))

    assert told(findings) == []
    assert findings.checked == {"tree": 603, "checkpoints": 3}


async def test_a_changed_byte_is_found_by_its_position(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    await signed(postgres_log, database, tmp_path, 300)
    await owner.execute(_CHANGE.format(7))
    await owner.execute(
        "UPDATE log.events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 290"
    )

    assert told(await found(database, postgres_log)) == [("tree", "7", "differs"), ("tree", "290", "differs")]


async def test_one_that_is_gone_is_found_by_its_position(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    await signed(postgres_log, database, tmp_path, 20)
    await owner.execute("DELETE FROM log.events WHERE position IN (1, 9)")

    assert told(await found(database, postgres_log)) == [("tree", "1", "missing"), ("tree", "9", "missing")]


async def test_a_tree_that_was_rewritten_to_fit_is_found_by_a_checkpoint(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    made = await signed(postgres_log, database, tmp_path, 10, 10)
    await owner.execute(_CHANGE.format(15))
    [event] = await postgres_log.read(14, limit=1)
    await owner.execute(_LEAVES.format(4 * 32 + 1).replace("first = 0", "first = 10"), leaf_of(event))

    assert told(await found(database, postgres_log)) == [("checkpoints", "of 20 in epoch 1", "differs")]

    # Whoever rewrites the checkpoints too is found by one that was kept elsewhere.
    await owner.execute("DELETE FROM log.checkpoints WHERE size = 20")
    assert told(await found(database, postgres_log)) == []
    kept = await found(database, postgres_log, made[0].note, made[1].note)
    assert told(kept) == [("checkpoints", "saved 1", "differs")]


async def test_an_end_that_was_removed_is_found(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    made = await signed(postgres_log, database, tmp_path, 10, 10)
    await owner.execute(_TRUNCATE.format(12))

    assert told(await found(database, postgres_log)) == [("tree", "13 to 20", "missing")]

    await owner.execute("DELETE FROM log.tree WHERE first >= 10")
    removed = await found(database, postgres_log, made[1].note)
    assert told(removed) == [("checkpoints", name, "missing") for name in ("saved 0", "of 20 in epoch 1")]


async def test_a_checkpoint_that_was_changed_or_is_another_log_s_is_named(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    [made] = await signed(postgres_log, database, tmp_path, 10)
    await owner.execute("UPDATE log.checkpoints SET note = replace(note, E'\\n10\\n', E'\\n9\\n')")
    key = VerifierKey.parse(made.verifier_keys[0])

    findings = await found(database, postgres_log, "no note", made.note.replace("dart", "bart"), made.note, keys=(key,))

    assert told(findings) == [
        ("checkpoints", "saved 0", "differs"),
        ("checkpoints", "saved 1", "differs"),
        ("checkpoints", "of 10 in epoch 1", "differs"),
    ]


async def test_hashes_above_the_leaves_are_looked_at_too(
    postgres_log: PostgresLog, database: Pool, owner: Pool, tmp_path: Path
) -> None:
    await signed(postgres_log, database, tmp_path, 600)
    await owner.execute("UPDATE log.tree SET hashes = sha256(hashes) || sha256('x') WHERE level = 1")

    assert told(await found(database, postgres_log)) == [
        ("tree", "level 1, 0", "differs"),
        ("tree", "level 1, 1", "differs"),
    ]


async def test_archived_events_are_read_from_their_files(place: Place, database: Pool, tmp_path: Path) -> None:
    await take_in(a_keeper(place.log, database, tmp_path))
    await place.archive()

    assert told(await found(database, place.log, archive=place.directory)) == []
    with pytest.raises(EventsArchived):
        await found(database, place.log)

    # What stays in the database of an archived part is an event like any other.
    [kept] = [row["position"] for row in await place.owner.fetch("SELECT min(position) AS position FROM log.events")]
    assert kept <= SIZE
    await place.owner.execute(_CHANGE.format(kept))
    assert told(await found(database, place.log, archive=place.directory)) == [("tree", str(kept), "differs")]
