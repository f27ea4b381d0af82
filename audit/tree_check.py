"""The tree of the log against the events, and the checkpoints against the tree: whether anything that was recorded has changed.

An event that is no longer what was hashed is told by its position. Where the tree itself was rewritten to fit, the checkpoints
that were signed before are not of this tree: the first of them says up to where to look. Archived events are read from their files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import msgspec

from audit.findings import Difference, Findings, Problem, Progress, Tell
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.database import Database
from eventstore.log import Log, StoredEvent
from eventstore.tree.merkle import Frontier
from eventstore.tree.notes import Checkpoint, NoteInvalid, VerifierKey, opened
from eventstore.tree.tree import PostgresTree, SignedCheckpoint, leaf_of, leaves, level, origin_of

WHERE, CHECKPOINTS = "tree", "checkpoints"
PAGE_EVENTS = 5_000
PAGE_CHECKPOINTS = 500
_TILE = 256

_NOBODY = UUID(int=0)

_CHECKPOINTS = """
    SELECT c.epoch, c.size, c.note, c.verifier_keys, c.made_at
      FROM log.checkpoints c
     WHERE (c.size, c.epoch) > ($1, $2)
     ORDER BY c.size, c.epoch
     LIMIT $3
"""
_KEPT = """
    SELECT e.position, e.tenant_id, e.stream_id, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
      FROM log.events e
     WHERE e.position > $1 AND e.position <= $2
     ORDER BY e.position
     LIMIT $3
"""
_STANDING = """
    SELECT log.tree_size() AS size, (SELECT coalesce(max(e.position), 0) FROM log.events e) AS head,
           l.log_id, ARRAY(SELECT e.epoch FROM log.epochs e) AS epochs
      FROM log.layout l
"""


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint that somebody kept outside. `name` is how people know it."""

    name: str
    note: str


async def check_tree(
    database: Database,
    log: Log,
    shelf: Shelf,
    findings: Findings,
    tell: Tell,
    *,
    saved: Sequence[Saved] = (),
    keys: Sequence[VerifierKey] = (),
) -> None:
    """Compare all of it. `database` acts as dcf_engine; with `keys`, these alone are trusted to have signed what is `saved`.

    Raises EventsArchived and ArchiveDamaged when archived events cannot be read.
    """
    standing = await database.fetchrow(_STANDING)
    assert standing is not None, "log.layout has one row"
    size = standing["size"]
    origins = {epoch: origin_of(standing["log_id"], epoch) for epoch in standing["epochs"]}
    looking = _TreeCheck(database, log, shelf, findings, tell)
    claims = _Claims(database, findings, origins, saved, keys)
    await claims.begin()
    await looking.run(claims, min(size, standing["head"]), size)
    await looking.check_kept(size)
    if size == 0 < standing["head"]:
        findings.skipped[WHERE] = "nothing was hashed yet; the projections process does it"


class _Claims:
    """The checkpoints, stored and saved, the smallest first, each held against the root of its size."""

    def __init__(
        self,
        database: Database,
        findings: Findings,
        origins: dict[int, str],
        saved: Sequence[Saved],
        keys: Sequence[VerifierKey],
    ) -> None:
        self._database, self._findings, self._origins = database, findings, origins
        self._saved, self._keys = saved, keys
        self._outside: list[tuple[int, str, bytes]] = []
        self._stored: AsyncIterator[SignedCheckpoint] = self._pages()
        self._next: SignedCheckpoint | None = None
        self._told = False

    async def begin(self) -> None:
        """Look at what was saved, and at the first that is stored."""
        for one in self._saved:
            try:
                said = Checkpoint.parse(opened(one.note, self._keys) if self._keys else one.note)
            except NoteInvalid as error:
                self._add(one.name, "differs", str(error))
                continue
            if said.origin not in self._origins.values():
                self._add(
                    one.name,
                    "differs",
                    f"it is of the log {said.origin}, and this one is {self._origins[max(self._origins)]}",
                )
                continue
            if said.size:
                self._outside.append((said.size, one.name, said.root))
        self._outside.sort(reverse=True)
        await self._advance()

    async def check(self, frontier: Frontier) -> None:
        """Those of exactly the frontier's size."""
        while self._outside and self._outside[-1][0] == frontier.size:
            size, name, root = self._outside.pop()
            self._compare(name, size, root, frontier)
        while self._next is not None and self._next.size == frontier.size:
            one = self._next
            said = self._read(one)
            if said is not None:
                self._compare(_name(one), one.size, said.root, frontier)
            await self._advance()

    async def end(self, size: int) -> None:
        """What is left is larger than the tree."""
        for beyond, name, _ in reversed(self._outside):
            self._beyond(name, beyond, size)
        while self._next is not None:
            self._beyond(_name(self._next), self._next.size, size)
            await self._advance()

    @property
    def next_size(self) -> int:
        """Of the smallest that is left; 0: none is."""
        sizes = [self._outside[-1][0]] if self._outside else []
        if self._next is not None:
            sizes.append(self._next.size)
        return min(sizes, default=0)

    def _read(self, one: SignedCheckpoint) -> Checkpoint | None:
        self._findings.checked[CHECKPOINTS] += 1
        try:
            said = Checkpoint.parse(opened(one.note, [VerifierKey.parse(key) for key in one.verifier_keys]))
        except NoteInvalid as error:
            self._add(_name(one), "differs", str(error))
            return None
        if (said.origin, said.size) != (self._origins.get(one.epoch), one.size):
            self._add(_name(one), "differs", f"it says {said.size} events of {said.origin}")
            return None
        return said

    def _compare(self, name: str, size: int, root: bytes, frontier: Frontier) -> None:
        if root != frontier.root() and not self._told:
            # All that come after are wrong by the same.
            self._told = True
            self._add(
                name, "differs", f"the first {size} events of the tree are not those it was signed of: it was rewritten"
            )

    def _beyond(self, name: str, beyond: int, size: int) -> None:
        self._add(
            name, "missing", f"it was signed of {beyond} events, and the tree ends at {size}: its end was removed"
        )

    def _add(self, id: str, problem: Problem, detail: str) -> None:
        self._findings.add(Difference(where=CHECKPOINTS, tenant_id=_NOBODY, id=id, problem=problem, detail=detail))

    async def _advance(self) -> None:
        self._next = await anext(self._stored, None)

    async def _pages(self) -> AsyncIterator[SignedCheckpoint]:
        size, epoch = 0, 0
        while rows := await self._database.fetch(_CHECKPOINTS, size, epoch, PAGE_CHECKPOINTS):
            for row in rows:
                yield SignedCheckpoint(
                    epoch=row["epoch"],
                    size=row["size"],
                    note=row["note"],
                    verifier_keys=tuple(row["verifier_keys"]),
                    made_at=row["made_at"],
                )
            size, epoch = rows[-1]["size"], rows[-1]["epoch"]


def _name(one: SignedCheckpoint) -> str:
    return f"of {one.size} in epoch {one.epoch}"


def _hashed(events: Sequence[StoredEvent]) -> dict[int, tuple[StoredEvent, bytes]]:
    return {event.position: (event, leaf_of(event)) for event in events}


class _TreeCheck:
    def __init__(self, database: Database, log: Log, shelf: Shelf, findings: Findings, tell: Tell) -> None:
        self._tree, self._findings, self._tell = PostgresTree(database), findings, tell
        self._database, self._log, self._shelf = database, log, shelf
        self._archived_to = 0
        self._frontier = Frontier()

    async def run(self, claims: _Claims, end: int, size: int) -> None:
        """Every leaf up to `end`, where the events end, and all that was made of the leaves up to `size`."""
        after = 0
        while after < end:
            read = await self._read(after)
            last = min(end, read[-1].position if read else end)
            stored = await leaves(self._tree, after, last)
            hashed = await asyncio.to_thread(_hashed, read)
            for place, leaf in enumerate(stored, after + 1):
                event, now = hashed.get(place, (None, b""))
                if now != leaf:
                    self._changed(place, event)
            await self._take(stored, claims)
            self._findings.checked[WHERE] += len(stored)
            after = last
            self._tell(Progress(WHERE, after, size))
        for start in range(after, size, PAGE_EVENTS):
            await self._take(await leaves(self._tree, start, min(size, start + PAGE_EVENTS)), claims)
        if end < size:
            self._add(
                f"{end + 1} to {size}",
                "missing",
                None,
                "they are in the tree, and the log ends before: its end was removed",
            )
        await claims.end(self._frontier.size)

    async def check_kept(self, size: int) -> None:
        """What stays in the database of archived parts stands there beside the files."""
        after, end = 0, min(size, self._archived_to)
        while rows := await self._database.fetch(_KEPT, after, end, PAGE_EVENTS):
            first, after = rows[0]["position"], rows[-1]["position"]
            stored = await leaves(self._tree, first - 1, after)
            for event in (StoredEvent(*row) for row in rows):
                if leaf_of(event) != stored[event.position - first]:
                    self._changed(event.position, event)

    async def _read(self, after: int) -> list[StoredEvent]:
        try:
            return await self._log.read(after, limit=PAGE_EVENTS)
        except EventsArchived:
            found = await self._shelf.read(after, limit=PAGE_EVENTS)
        self._archived_to = found[-1].position
        return found

    async def _take(self, stored: Sequence[bytes], claims: _Claims) -> None:
        """The stored leaves in their order; what is stored above them has to be made of them."""
        first = self._frontier.size // _TILE
        tiles = iter(await level(self._tree, 1, first, (self._frontier.size + len(stored)) // _TILE))
        claimed = claims.next_size
        for leaf in stored:
            self._frontier.add(leaf)
            size = self._frontier.size
            if size % _TILE == 0:
                await self._check_tile(1, size // _TILE, next(tiles, None))
            if size == claimed:
                await claims.check(self._frontier)
                claimed = claims.next_size

    async def _check_tile(self, number: int, count: int, stored: bytes | None) -> None:
        """The last of `count` hashes of a level above the leaves, and of those above it that end there too."""
        if self._frontier.ending(8 * number) != stored:
            self._add(f"level {number}, {count - 1}", "differs", None, "it is not the hash of what is below it")
        if count % _TILE == 0:
            place = count // _TILE
            above = await level(self._tree, number + 1, place - 1, place)
            await self._check_tile(number + 1, place, above[0] if above else None)

    def _changed(self, position: int, event: StoredEvent | None) -> None:
        if event is None:
            self._add(str(position), "missing", position, "it was recorded, and is not there any more")
            return
        detail = f"the {event.type} of stream {event.stream_id} is not what was recorded"
        self._add(str(position), "differs", position, detail, event.tenant_id)

    def _add(self, id: str, problem: Problem, position: int | None, detail: str, tenant_id: UUID = _NOBODY) -> None:
        found = Difference(where=WHERE, tenant_id=tenant_id, id=id, problem=problem, position=position, detail=detail)
        self._findings.add(found)
