"""The tree of the log as it is stored: tiles of hashes, and the checkpoints that were signed of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from eventstore.archived import told_if_archived
from eventstore.canonical import encode_canonical
from eventstore.database import Queries
from eventstore.log import Log, StoredEvent
from eventstore.tree.merkle import (
    HASH_BYTES,
    Range,
    Subtree,
    consistency_path,
    hash_of,
    inclusion_path,
    leaf_hash,
    root_of,
    subtrees,
)

TILE_HASHES = 256
_TILE_HEIGHT = 8

# The level of a tile, and its number there.
Place = tuple[int, int]


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One that was published. `verifier_keys` are those of its signatures."""

    epoch: int
    size: int
    note: str
    verifier_keys: tuple[str, ...]
    made_at: datetime


class Tree(Protocol):
    """The tree as anybody may read it: hashes tell nothing of what was hashed."""

    async def size(self) -> int:
        """How many leaves there are: the events up to this position are in it."""
        ...

    async def origin(self) -> str:
        """How checkpoints name the log, as it goes on since it was last restored."""
        ...

    async def tiles(self, places: Sequence[Place]) -> list[bytes]:
        """The hashes of each tile, as many as there are."""
        ...

    async def newest_checkpoint(self) -> SignedCheckpoint | None:
        """The largest of the log as it goes on since it was last restored."""
        ...

    async def checkpoint_at(self, size: int) -> SignedCheckpoint | None:
        """The newest of exactly this size."""
        ...

    async def checkpoints(self, *, above: int, limit: int) -> list[SignedCheckpoint]:
        """Those of the log as it goes on since it was last restored that are larger, the smallest first."""
        ...


class GrowingTree(Tree, Protocol):
    """The tree as its keeper has it. Whatever is done twice, or by two at once, is done once."""

    async def extend(self, *, at_most: int) -> int:
        """Take in the next events of the log; how many leaves there are then. Raises EventsArchived."""
        ...

    async def extend_by(self, events: Sequence[StoredEvent]) -> bool:
        """Take in events that are archived; False: they do not follow the last leaf."""
        ...

    async def publish(self, checkpoint: SignedCheckpoint) -> bool:
        """Add a checkpoint; False: there is one as large already."""
        ...


def origin_of(log_id: UUID, epoch: int) -> str:
    """The name of a log in an epoch: restored from a backup it goes on as another, whose checkpoints owe the lost end nothing."""
    return f"dart-cloud-functions/{log_id}/{epoch}"


async def root(tree: Tree, size: int) -> bytes:
    """The root of the tree as it was with so many leaves."""
    return (await hashes(tree, [(0, size)]))[0]


async def inclusion_proof(tree: Tree, index: int, size: int) -> list[bytes]:
    """What proves that a leaf is in the tree of so many leaves."""
    return await hashes(tree, inclusion_path(index, size))


async def consistency_proof(tree: Tree, old: int, new: int) -> list[bytes]:
    """What proves that the tree of `new` leaves begins with that of `old`."""
    return await hashes(tree, consistency_path(old, new))


async def leaves(tree: Tree, after: int, end: int) -> list[bytes]:
    """The hashes of the leaves with `after` <= index < `end`, as far as there are any."""
    return await level(tree, 0, after, end)


async def level(tree: Tree, number: int, first: int, end: int) -> list[bytes]:
    """Hashes of one level of tiles, as far as there are any."""
    places = [(number, tile) for tile in range(first // TILE_HASHES, -(-end // TILE_HASHES))]
    found = split(b"".join(await tree.tiles(places)))
    skipped = first % TILE_HASHES
    return found[skipped : skipped + end - first]


async def hashes(tree: Tree, ranges: Sequence[Range]) -> list[bytes]:
    """The hash over each range."""
    places = list(dict.fromkeys(_where(part)[0] for whole in ranges for part in subtrees(whole)))
    tiles = dict(zip(places, await tree.tiles(places), strict=True))

    def look_up(part: Subtree) -> bytes:
        place, first, count = _where(part)
        return root_of(split(tiles[place][first * HASH_BYTES : (first + count) * HASH_BYTES]))

    return [hash_of(whole, look_up) for whole in ranges]


def split(content: bytes) -> list[bytes]:
    """The hashes that stand there one after another."""
    return [content[n : n + HASH_BYTES] for n in range(0, len(content), HASH_BYTES)]


def leaf_of(event: StoredEvent) -> bytes:
    """The hash of the event's leaf."""
    return leaf_hash(encode_canonical(event))


def _where(part: Subtree) -> tuple[Place, int, int]:
    """The tile of a subtree, and there its first hash and their number."""
    first, height = part
    number, rest = divmod(height, _TILE_HEIGHT)
    tile, offset = divmod(first >> number * _TILE_HEIGHT, TILE_HASHES)
    return (number, tile), offset, 1 << rest


_TILES = """
    SELECT (SELECT string_agg(t.hashes, ''::bytea ORDER BY t.first)
              FROM log.tree t
             WHERE t.level = w.level AND t.first >= w.tile * 256 AND t.first < (w.tile + 1) * 256) AS hashes
      FROM unnest($1::smallint[], $2::bigint[]) WITH ORDINALITY w (level, tile, n)
     ORDER BY w.n
"""
_SIZE = "SELECT log.tree_size()"
_NAME = "SELECT l.log_id, (SELECT max(e.epoch) FROM log.epochs e) AS epoch FROM log.layout l"
_NEWEST = """
    SELECT c.epoch, c.size, c.note, c.verifier_keys, c.made_at
      FROM log.checkpoints c
     WHERE c.epoch = (SELECT max(e.epoch) FROM log.epochs e)
     ORDER BY c.size DESC
     LIMIT 1
"""
_OF_SIZE = """
    SELECT c.epoch, c.size, c.note, c.verifier_keys, c.made_at
      FROM log.checkpoints c
     WHERE c.epoch IN (SELECT e.epoch FROM log.epochs e) AND c.size = $1
     ORDER BY c.epoch DESC
     LIMIT 1
"""
_ABOVE = """
    SELECT c.epoch, c.size, c.note, c.verifier_keys, c.made_at
      FROM log.checkpoints c
     WHERE c.epoch = (SELECT max(e.epoch) FROM log.epochs e) AND c.size > $1
     ORDER BY c.size
     LIMIT $2
"""
_EXTEND = "SELECT log.extend_tree($1)"
_EXTEND_BY = "SELECT log.add_archived_leaves($1, $2)"
_PUBLISH = "SELECT log.add_checkpoint($1, $2, $3, $4)"


class PostgresTree:
    """The GrowingTree in PostgreSQL, where it grows beside the events; growing needs dcf_engine."""

    def __init__(self, database: Queries) -> None:
        self._database = database

    async def size(self) -> int:
        size: int = await self._database.fetchval(_SIZE)
        return size

    async def origin(self) -> str:
        row = await self._database.fetchrow(_NAME)
        assert row is not None, "log.layout has one row"
        return origin_of(row["log_id"], row["epoch"])

    async def tiles(self, places: Sequence[Place]) -> list[bytes]:
        rows = await self._database.fetch(_TILES, [level for level, _ in places], [tile for _, tile in places])
        return [row["hashes"] or b"" for row in rows]

    async def newest_checkpoint(self) -> SignedCheckpoint | None:
        return next(iter(_signed(await self._database.fetch(_NEWEST))), None)

    async def checkpoint_at(self, size: int) -> SignedCheckpoint | None:
        return next(iter(_signed(await self._database.fetch(_OF_SIZE, size))), None)

    async def checkpoints(self, *, above: int, limit: int) -> list[SignedCheckpoint]:
        return _signed(await self._database.fetch(_ABOVE, above, limit))

    async def extend(self, *, at_most: int) -> int:
        with told_if_archived():
            size: int = await self._database.fetchval(_EXTEND, at_most)
        return size

    async def extend_by(self, events: Sequence[StoredEvent]) -> bool:
        added = b"".join(map(leaf_of, events))
        return bool(await self._database.fetchval(_EXTEND_BY, events[0].position - 1, added))

    async def publish(self, checkpoint: SignedCheckpoint) -> bool:
        one = checkpoint
        return bool(await self._database.fetchval(_PUBLISH, one.epoch, one.size, one.note, list(one.verifier_keys)))


def _signed(rows: Iterable[Any]) -> list[SignedCheckpoint]:
    return [
        SignedCheckpoint(
            epoch=row["epoch"],
            size=row["size"],
            note=row["note"],
            verifier_keys=tuple(row["verifier_keys"]),
            made_at=row["made_at"],
        )
        for row in rows
    ]


class MemoryTree:
    """The GrowingTree of a log that lies in memory."""

    def __init__(self, log: Log, log_id: UUID) -> None:
        self._log, self._log_id = log, log_id
        self._levels: list[list[bytes]] = [[]]
        self._checkpoints: list[SignedCheckpoint] = []

    async def size(self) -> int:
        return len(self._levels[0])

    async def origin(self) -> str:
        return origin_of(self._log_id, await self._log.epoch())

    async def tiles(self, places: Sequence[Place]) -> list[bytes]:
        levels = [*self._levels, []]
        return [
            b"".join(levels[min(level, len(levels) - 1)][tile * TILE_HASHES : (tile + 1) * TILE_HASHES])
            for level, tile in places
        ]

    async def newest_checkpoint(self) -> SignedCheckpoint | None:
        epoch = await self._log.epoch()
        return max((one for one in self._checkpoints if one.epoch == epoch), key=lambda one: one.size, default=None)

    async def checkpoint_at(self, size: int) -> SignedCheckpoint | None:
        return max((one for one in self._checkpoints if one.size == size), key=lambda one: one.epoch, default=None)

    async def checkpoints(self, *, above: int, limit: int) -> list[SignedCheckpoint]:
        epoch = await self._log.epoch()
        found = [one for one in self._checkpoints if one.epoch == epoch and one.size > above]
        return sorted(found, key=lambda one: one.size)[:limit]

    async def extend(self, *, at_most: int) -> int:
        for event in await self._log.read(await self.size(), limit=at_most):
            self._add(0, leaf_of(event))
        return await self.size()

    async def extend_by(self, events: Sequence[StoredEvent]) -> bool:
        if events[0].position != await self.size() + 1:
            return False
        for event in events:
            self._add(0, leaf_of(event))
        return True

    async def publish(self, checkpoint: SignedCheckpoint) -> bool:
        newest = await self.newest_checkpoint()
        if checkpoint.epoch != await self._log.epoch() or checkpoint.size > await self.size():
            return False
        if newest is not None and newest.size >= checkpoint.size:
            return False
        self._checkpoints.append(checkpoint)
        return True

    def _add(self, number: int, one: bytes) -> None:
        if number == len(self._levels):
            self._levels.append([])
        there = self._levels[number]
        there.append(one)
        if len(there) % TILE_HASHES == 0:
            self._add(number + 1, root_of(there[-TILE_HASHES:]))
