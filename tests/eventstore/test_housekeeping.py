"""What is over goes in its time, what must go goes, and nobody waits meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from commands.basis import CODEC
from domain.sealed import Sealed
from domain.tenant import TENANT as TENANTS
from domain.tenant import MemberInvited
from eventstore import housekeeping as module
from eventstore.database import Pool, connect
from eventstore.housekeeping import destroy_expired_keys, destroy_keys, housekeeping, prune_commands, prune_uploads
from eventstore.log import Append, Appended, Duplicate, NewEvent
from eventstore.meta import Meta
from eventstore.postgres import PostgresLog
from eventstore.uploads import PostgresUploads
from tests.eventstore.make import TENANT, a_stream, an_append, an_event
from tests.eventstore.test_partitions import SIZE, names, small
from tests.eventstore.test_uploads import PIECE, app, begun, taken
from tests.support import a
from tests.support.kept import bytes_received

__all__ = ["app", "small"]

DAY = timedelta(days=1)
_LONG_AGO = "UPDATE log.commands SET at = at - interval '2 days' WHERE last_position <= $1"
_COUNT = "SELECT count(*) FROM log.commands"
_ADD_KEY = "SELECT vault.add_person_key($1, $2, 'key')"
_KEY = "SELECT key FROM vault.person_keys WHERE person_id = $1"
_OVER = "UPDATE work.uploads SET expires_at = clock_timestamp() - interval '1 second' WHERE upload_id = ANY ($1)"


async def recorded(log: PostgresLog, count: int) -> list[Append]:
    """So many commands, each with one event."""
    appends = [an_append(an_event(a_stream())) for _ in range(count)]
    for append in appends:
        assert isinstance(await log.append(append), Appended)
    return appends


class TestPruneCommands:
    async def test_forgets_those_whose_time_is_over_and_no_others(self, owner: Pool, postgres_log: PostgresLog) -> None:
        old, new = await recorded(postgres_log, 3), await recorded(postgres_log, 2)
        await owner.execute(_LONG_AGO, 3)

        assert await prune_commands(owner, older_than=DAY) == 3

        assert [await postgres_log.find(TENANT, append.command_id) for append in old] == [None] * 3
        assert [type(await postgres_log.append(append)) for append in new] == [Duplicate] * 2
        assert await prune_commands(owner, older_than=DAY) == 0

    async def test_a_command_that_was_forgotten_is_a_new_one(self, owner: Pool, postgres_log: PostgresLog) -> None:
        append = an_append()
        await postgres_log.append(append)
        await owner.execute(_LONG_AGO, 0)

        await prune_commands(owner, older_than=DAY)

        assert isinstance(await postgres_log.append(append), Appended)

    async def test_drops_partitions_that_are_full_and_over(self, small: Pool, postgres_log: PostgresLog) -> None:
        await recorded(postgres_log, 3 * SIZE)
        await small.execute(_LONG_AGO, 2 * SIZE + 5)

        assert await prune_commands(small, older_than=DAY) == 5  # The rest left with their partitions.

        assert (await names(small, "log.commands"))[0] == f"commands_{2 * SIZE + 1}"
        assert await small.fetchval(_COUNT) == SIZE - 5
        await recorded(postgres_log, 2 * SIZE)

    async def test_a_partition_still_written_to_is_not_dropped(self, small: Pool, postgres_log: PostgresLog) -> None:
        """A command without events stands at the log's end, so the last one's partition takes rows until the next event."""
        await recorded(postgres_log, SIZE - 1)
        await small.execute(_LONG_AGO, SIZE)

        await prune_commands(small, older_than=DAY)

        assert (await names(small, "log.commands"))[0] == "commands_1"
        assert isinstance(await postgres_log.append(an_append()), Appended)

    async def test_deletes_in_small_steps(
        self, owner: Pool, postgres_log: PostgresLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "STEP_ROWS_MAX", 4)
        await recorded(postgres_log, 11)
        await owner.execute(_LONG_AGO, 11)

        assert await prune_commands(owner, older_than=DAY) == 11

    async def test_goes_round_whoever_is_in_the_way(
        self, small: Pool, database_url: str, postgres_log: PostgresLog
    ) -> None:
        await recorded(postgres_log, 2 * SIZE)
        await small.execute(_LONG_AGO, 2 * SIZE)
        connection = await asyncpg.connect(database_url)
        async with connection.transaction():
            await connection.fetch("SELECT * FROM log.commands")
            await asyncio.wait_for(prune_commands(small, older_than=DAY), 60)
        await connection.close()

        assert "commands_1" in await names(small, "log.commands")
        assert await small.fetchval(_COUNT) == 0
        await prune_commands(small, older_than=DAY)
        assert "commands_1" not in await names(small, "log.commands")

    async def test_may_be_done_by_several_while_appends_go_on(self, small: Pool, postgres_log: PostgresLog) -> None:
        await recorded(postgres_log, 2 * SIZE)
        await small.execute(_LONG_AGO, 2 * SIZE)

        pruned = asyncio.gather(*(prune_commands(small, older_than=DAY) for _ in range(3)))
        appended = await recorded(postgres_log, 2 * SIZE)
        await pruned

        assert [type(await postgres_log.append(append)) for append in appended] == [Duplicate] * 2 * SIZE


class TestPruneUploads:
    async def test_forgets_those_whose_time_is_over_with_their_pieces(
        self, app: Pool, owner: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "UPLOADS_STEP_MAX", 2)
        uploads = PostgresUploads(app)
        over = [await begun(uploads, number, seconds=60) for number in range(5)]
        kept = await begun(uploads, 9, seconds=60)
        for upload in (*over, kept):
            assert await uploads.add(upload, 0, PIECE)
        await owner.execute(_OVER, [upload.upload_id for upload in over])

        assert await prune_uploads(owner) == 5

        assert await bytes_received(uploads, await taken(uploads, kept)) == PIECE
        assert await owner.fetchval("SELECT count(*) FROM work.upload_pieces") == 1
        assert await prune_uploads(owner) == 0

    async def test_leaves_what_is_under_way_to_whoever_has_it(self, app: Pool, owner: Pool) -> None:
        """*Method:* a session holds the row of an upload that is over, as one does that adds a piece at this moment."""
        uploads = PostgresUploads(app)
        upload = await begun(uploads)
        await owner.execute(_OVER, [upload.upload_id])

        async with app.transaction() as connection:
            await connection.execute("SELECT set_config('dcf.tenant', $1, true)", str(a.TENANT_ID))
            await connection.execute("SELECT FROM work.uploads FOR UPDATE")
            assert await prune_uploads(owner) == 0

        assert await prune_uploads(owner) == 1


class TestDestroyKeys:
    async def test_of_the_erased_and_of_nobody_else(self, owner: Pool, postgres_log: PostgresLog) -> None:
        """*Goal:* erasing holds although the process died between the record and the destruction."""
        erased, stays = a_stream(), a_stream()
        for stream in (erased, stays):
            await owner.fetchval(_ADD_KEY, stream.tenant_id, stream.id)
            await postgres_log.append(an_append(NewEvent(stream, 1, "person.registered", 1, b"{}", b"{}")))
        await postgres_log.append(an_append(NewEvent(erased, 2, "person.erased", 1, b"{}", b"{}")))

        assert await destroy_keys(owner) == 1

        assert await owner.fetchval(_KEY, erased.id) is None
        assert await owner.fetchval(_KEY, stays.id) == b"key"
        assert await destroy_keys(owner) == 0


class TestDestroyExpiredKeys:
    async def test_of_invitations_whose_time_is_over_and_of_no_others(
        self, owner: Pool, postgres_log: PostgresLog
    ) -> None:
        tenant = UUID(int=77)
        stream = TENANTS.stream(tenant, tenant)
        over, stands, nobodys = uuid4(), uuid4(), uuid4()
        for number, (id, days) in enumerate(((over, -1), (stands, 1)), start=1):
            invited = MemberInvited(
                invitation_id=id,
                email=Sealed("c2VhbGVk"),
                role="viewer",
                secret_hash="ab" * 32,
                expires_at=datetime.now(UTC) + timedelta(days=days),
            )
            await postgres_log.append(an_append(CODEC.new_event(stream, number, invited, Meta()), tenant_id=tenant))
        for id in (over, stands, nobodys):
            await owner.fetchval(_ADD_KEY, tenant, id)

        assert await destroy_expired_keys(owner) == 1

        assert await owner.fetchval(_KEY, over) is None
        assert [await owner.fetchval(_KEY, id) for id in (stands, nobodys)] == [b"key", b"key"]
        assert await destroy_expired_keys(owner) == 0


class TestHousekeeping:
    async def test_is_done_at_once_and_in_the_background(
        self, app: Pool, owner: Pool, database_url: str, postgres_log: PostgresLog
    ) -> None:
        await recorded(postgres_log, 3)
        await owner.execute(_LONG_AGO, 3)
        await owner.execute(_OVER, [(await begun(PostgresUploads(app))).upload_id])

        async with (
            asyncio.timeout(60),
            housekeeping(lambda: connect(database_url, role="dcf_owner", size_max=1), commands_kept=DAY),
        ):
            while await owner.fetchval(_COUNT) or await owner.fetchval("SELECT count(*) FROM work.uploads"):
                await asyncio.sleep(0.02)

    async def test_outlives_a_database_that_is_away(self) -> None:
        async with housekeeping(lambda: connect("postgresql://127.0.0.1:1/none", role="dcf_owner"), commands_kept=DAY):
            await asyncio.sleep(0.1)
