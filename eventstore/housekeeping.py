"""What need not or must not be kept is taken away: command ids and uploads whose time is over, keys of erased people and of
invitations that nobody took."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import asyncpg
import structlog

from domain.person import PersonErased
from domain.tenant import MemberInvited
from eventstore.database import Database, Row
from eventstore.session import HINDERED, LOST

ROUND_SECONDS = 3_600.0
# Rows that one statement deletes, and how long the others have between two such.
STEP_ROWS_MAX = 5_000
STEP_PAUSE_SECONDS = 0.05
# A partition can be dropped only while nobody looks at any of them; whoever comes behind us waits for no longer.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '250ms'"

# The parts of the table of command ids that are full: nothing is added to them any more. The oldest first.
_FULL_PARTS = """
    SELECT c.relname AS name
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''?(\\d+)''?\\) TO \\(''?(\\d+)''?\\)') b
     WHERE i.inhparent = 'log.commands'::regclass AND b[2]::bigint <= (SELECT log.head(0))
     ORDER BY b[1]::bigint
"""
_ALL_PARTS = """
    SELECT c.relname AS name
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'log.commands'::regclass
     ORDER BY length(c.relname), c.relname
"""
_IS_NEEDED = "SELECT EXISTS (SELECT FROM log.{part} c WHERE c.at > clock_timestamp() - $1::interval)"
_DELETE = """
    DELETE FROM log.{part} c
     WHERE c.ctid = ANY (ARRAY(SELECT o.ctid FROM log.{part} o WHERE o.at <= clock_timestamp() - $1::interval LIMIT $2))
"""
_DROP = "DROP TABLE log.{part}"

# An upload goes with all its pieces, which may be large. One that somebody holds is left for the next round.
UPLOADS_STEP_MAX = 20
_DROP_UPLOADS = """
    DELETE FROM work.uploads u
     WHERE (u.tenant_id, u.upload_id) IN (SELECT o.tenant_id, o.upload_id FROM work.uploads o
                                           WHERE o.expires_at <= clock_timestamp()
                                           ORDER BY o.expires_at LIMIT $1
                                             FOR UPDATE SKIP LOCKED)
"""

# One look into the index of streams for each key there is.
_DESTROY_KEYS = """
    UPDATE vault.person_keys k
       SET key = NULL, destroyed_at = clock_timestamp()
     WHERE k.destroyed_at IS NULL
       AND EXISTS (SELECT FROM log.events e
                    WHERE e.stream_id = k.person_id AND e.tenant_id = k.tenant_id AND e.type = $1)
"""
_ERASED = PersonErased.__struct_config__.tag

# The key of an invitation lies with its tenant, which records when the invitation ends; those of people lie with nobody.
_DESTROY_EXPIRED = """
    UPDATE vault.person_keys k
       SET key = NULL, destroyed_at = clock_timestamp()
     WHERE k.destroyed_at IS NULL
       AND EXISTS (SELECT FROM log.events e
                    CROSS JOIN LATERAL (SELECT convert_from(e.data, 'UTF8')::jsonb AS said) d
                    WHERE e.stream_id = k.tenant_id AND e.tenant_id = k.tenant_id AND e.type = $1
                      AND d.said ->> 'invitationId' = k.person_id::text
                      AND (d.said ->> 'expiresAt')::timestamptz <= clock_timestamp())
"""
_INVITED = MemberInvited.__struct_config__.tag

OpenDatabase = Callable[[], AbstractAsyncContextManager[Database]]


async def prune_commands(owner: Database, *, older_than: timedelta) -> int:
    """Forget the commands recorded longer ago: sent again, they are new ones. How many rows that were, as far as counted.

    Whole partitions are dropped where nobody is in the way; the rest is deleted in small steps. It may be stopped at any
    moment, done by several at once, and done again. `owner` acts as dcf_owner.
    """
    for part in await owner.fetch(_FULL_PARTS):
        await _drop(owner, part, older_than)
    count = 0
    for part in await owner.fetch(_ALL_PARTS):
        deleted = STEP_ROWS_MAX
        with contextlib.suppress(asyncpg.UndefinedTableError):  # Another was quicker to drop it.
            while deleted == STEP_ROWS_MAX:
                status = await owner.execute(_DELETE.format(part=part["name"]), older_than, STEP_ROWS_MAX)
                deleted = int(status.split()[-1])
                count += deleted
                await asyncio.sleep(STEP_PAUSE_SECONDS)
    return count


async def prune_uploads(owner: Database) -> int:
    """Forget the uploads whose time is over, complete or not, and the pieces there are of them; how many that were.

    What became an artifact has its bytes in the store of contents by then. It may be stopped at any moment, done by
    several at once, and done again.
    """
    count, dropped = 0, UPLOADS_STEP_MAX
    while dropped == UPLOADS_STEP_MAX:
        status = await owner.execute(_DROP_UPLOADS, UPLOADS_STEP_MAX)
        dropped = int(status.split()[-1])
        count += dropped
        await asyncio.sleep(STEP_PAUSE_SECONDS)
    return count


async def destroy_keys(owner: Database) -> int:
    """Destroy the keys of those whom the log says are erased; how many that were.

    Erasing destroys the key right after the record of it; this finds what a crash in between has left. `owner` acts as
    dcf_owner. It may be done by several at once, and done again.
    """
    status = await owner.execute(_DESTROY_KEYS, _ERASED)
    return int(status.split()[-1])


async def destroy_expired_keys(owner: Database) -> int:
    """Destroy the keys of invitations whose time is over: the address of who was invited is unreadable from then on; how many
    that were. `owner` acts as dcf_owner. It may be done by several at once, and done again.
    """
    status = await owner.execute(_DESTROY_EXPIRED, _INVITED)
    return int(status.split()[-1])


async def _drop(owner: Database, part: Row, older_than: timedelta) -> None:
    """Unless it is still needed, or somebody is in the way: then it is left for the next time."""
    with contextlib.suppress(asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError):
        if await owner.fetchval(_IS_NEEDED.format(part=part["name"]), older_than):
            return
        async with owner.transaction() as connection:
            await connection.execute(LOCK_TIMEOUT)
            await connection.execute(_DROP.format(part=part["name"]))
            structlog.get_logger().info("commands_dropped", part=part["name"])


@asynccontextmanager
async def housekeeping(open_owner: OpenDatabase, *, commands_kept: timedelta) -> AsyncIterator[None]:
    """Do it now and every hour, for as long as the block runs. What goes wrong is tried again the next time."""
    keeping = asyncio.create_task(_keep(open_owner, commands_kept), name="log housekeeping")
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def _keep(open_owner: OpenDatabase, commands_kept: timedelta) -> None:
    while True:
        try:
            async with open_owner() as owner:
                keys = await destroy_keys(owner) + await destroy_expired_keys(owner)
                uploads = await prune_uploads(owner)
                count = await prune_commands(owner, older_than=commands_kept)
            structlog.get_logger().debug("house_kept", commands=count, keys=keys, uploads=uploads)
        except (*LOST, *HINDERED, asyncpg.PostgresError) as error:
            structlog.get_logger().warning("housekeeping_put_off", reason=repr(error))
        await asyncio.sleep(ROUND_SECONDS)
