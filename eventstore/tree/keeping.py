"""Keeps the tree up with the log and signs a checkpoint of it now and then, beside everything else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import structlog

from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archive.whole import Shelf
from eventstore.archived import EventsArchived
from eventstore.leases import Leases, Wanted
from eventstore.log import Log
from eventstore.session import HINDERED, LOST
from eventstore.tree.keys import LogKeys, LogKeysUnusable
from eventstore.tree.monitor import TreeMonitor
from eventstore.tree.notes import Checkpoint, NoteInvalid, VerifierKey, sign
from eventstore.tree.tree import GrowingTree, SignedCheckpoint, root
from process.private_file import write_private

LEASE_NAME = "log tree"
MEMORY_NAME = "log-signed.txt"
# It says who should be at work; two at work are harmless.
LEASE_SECONDS = 10.0
ROUND_SECONDS = 1.0
# Taking in so many takes some fifty milliseconds of the database, and a round some seconds at most.
STEP_EVENTS_MAX = 10_000
STEPS_MAX = 40
ARCHIVED_EVENTS_MAX = 5_000


class TreeRewritten(Exception):
    """The tree is no longer the one that was signed: nothing is signed any more. The message says since when."""


class Keeper(msgspec.Struct, frozen=True, kw_only=True):
    """What keeping the tree takes. `shelf` is where archived events are, which were never taken in; `memory` is the file that
    keeps, apart from the database, what was signed last."""

    tree: GrowingTree
    log: Log
    leases: Leases
    keys: LogKeys
    memory: Path
    shelf: Shelf
    monitor: TreeMonitor
    checkpoint_seconds: float


@asynccontextmanager
async def keeping(keeper: Keeper) -> AsyncIterator[None]:
    """Keep it for as long as the block runs. Whatever goes wrong is told, and tried again."""
    task = asyncio.create_task(_keep(keeper), name="log tree")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _keep(keeper: Keeper) -> None:
    holder, step = uuid4(), STEP_EVENTS_MAX
    while True:
        try:
            if await keeper.leases.acquire([Wanted(LEASE_NAME)], holder=holder, seconds=LEASE_SECONDS):
                await take_in(keeper, at_most=step)
                await sign_when_due(keeper, now=datetime.now(UTC))
                step = min(2 * step, STEP_EVENTS_MAX)
            else:
                keeper.monitor.stands_by()
        except EventsArchived as problem:
            keeper.monitor.hindered(f"{problem} {problem.remedy}")
            structlog.get_logger().error("log_tree_hindered", problem=str(problem), remedy=problem.remedy)
        except (ArchiveDamaged, LogKeysUnusable, TreeRewritten) as problem:
            keeper.monitor.hindered(str(problem))
            structlog.get_logger().error("log_tree_hindered", problem=str(problem))
        except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
            # Very large events, or a database that is very busy, may take longer than a statement may.
            step = max(1, step // 2)
            structlog.get_logger().warning("log_tree_put_off", reason=repr(error))
        except Exception as error:  # noqa: BLE001 - the keeper goes on, whatever it was
            keeper.monitor.hindered(repr(error))
            structlog.get_logger().exception("log_tree_interrupted")
        await asyncio.sleep(ROUND_SECONDS)


async def take_in(keeper: Keeper, *, at_most: int = STEP_EVENTS_MAX) -> None:
    """Take in what was recorded, so many in one step, and only so many steps. Raises EventsArchived, ArchiveDamaged."""
    for _ in range(STEPS_MAX):
        try:
            size = await keeper.tree.extend(at_most=at_most)
        except EventsArchived:
            # Of before there was a tree.
            after = await keeper.tree.size()
            await keeper.tree.extend_by(await keeper.shelf.read(after, limit=ARCHIVED_EVENTS_MAX))
            size = await keeper.tree.size()
        head = await keeper.log.head()
        keeper.monitor.reached(size, head=head)
        if size >= head:
            return


async def sign_when_due(keeper: Keeper, *, now: datetime) -> None:
    """Sign and publish a checkpoint, if there is something new and the last one is old enough.

    Raises TreeRewritten, when the tree does not begin with what was signed last; LogKeysUnusable.
    """
    newest, size = await keeper.tree.newest_checkpoint(), await keeper.tree.size()
    if newest is not None:
        keeper.monitor.signed(newest.size)
        if size <= newest.size or now - newest.made_at < timedelta(seconds=keeper.checkpoint_seconds):
            return
    if not size:
        return
    # Of before the origin: should the log be restored in between, nobody takes what is signed for one of now.
    epoch, origin = await keeper.log.epoch(), await keeper.tree.origin()
    for note in (None if newest is None else newest.note, await asyncio.to_thread(_remembered, keeper.memory)):
        await _require_unchanged(keeper.tree, origin, size, note)
    keys = await asyncio.to_thread(keeper.keys.all)
    note = sign(Checkpoint(origin, size, await root(keeper.tree, size)).text, origin, keys)
    await asyncio.to_thread(write_private, keeper.memory, note)
    verifier_keys = tuple(VerifierKey.of(origin, key).text for key in keys)
    signed = SignedCheckpoint(epoch=epoch, size=size, note=note, verifier_keys=verifier_keys, made_at=now)
    if await keeper.tree.publish(signed):
        keeper.monitor.signed(size)


def _remembered(memory: Path) -> str | None:
    try:
        return memory.read_text()
    except FileNotFoundError:
        return None


async def _require_unchanged(tree: GrowingTree, origin: str, size: int, note: str | None) -> None:
    """Whoever signs two trees of which neither begins with the other vouches for nothing. Raises TreeRewritten."""
    if note is None:
        return
    try:
        before = Checkpoint.parse(note)
    except NoteInvalid as error:
        raise TreeRewritten(f"what was signed last cannot be read: {error}") from error
    if before.origin == origin and (before.size > size or await root(tree, before.size) != before.root):
        raise TreeRewritten(
            f"the tree of the log is not the one whose first {before.size} events were signed; see: dcf audit verify"
        )
