"""What every store of build logs promises."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from eventstore.build_logs import (
    CHUNK_CHARS_MAX,
    HEAD_BYTES_MAX,
    TAIL_BYTES_MAX,
    BuildLogs,
    MemoryBuildLogs,
    PostgresBuildLogs,
    bounded,
)
from eventstore.database import Pool, connect
from tests.support import a

IDS = (a.TENANT_ID, a.DEPLOYMENT_ID)


@pytest.fixture(params=["memory", "postgres"])
def build_logs(request: pytest.FixtureRequest) -> BuildLogs:
    if request.param == "memory":
        return MemoryBuildLogs()
    database: Pool = request.getfixturevalue("database")
    return PostgresBuildLogs(database)


class TestAppend:
    async def test_keeps_the_pieces_in_order(self, build_logs: BuildLogs) -> None:
        await build_logs.append(*IDS, "one\n", cursor=0, next_cursor=4)
        await build_logs.append(*IDS, "two\n", cursor=4, next_cursor=9)

        log = await build_logs.read(*IDS)
        assert (log.text, log.next_cursor, log.dropped_bytes) == ("one\ntwo\n", 9, 0)
        assert await build_logs.cursor(*IDS) == 9

    async def test_twice_is_once(self, build_logs: BuildLogs) -> None:
        await build_logs.append(*IDS, "one\n", cursor=0, next_cursor=4)
        await build_logs.append(*IDS, "one\ntwo\n", cursor=0, next_cursor=9)

        assert (await build_logs.read(*IDS)).text == "one\n"

    async def test_takes_any_text(self, build_logs: BuildLogs) -> None:
        await build_logs.append(*IDS, "a\x00b ü \ud800\n", cursor=0, next_cursor=7)

        assert (await build_logs.read(*IDS)).text == "a\x00b ü ?\n"

    async def test_of_too_much_keeps_head_and_tail(self, build_logs: BuildLogs) -> None:
        size = CHUNK_CHARS_MAX
        for number in range(20):
            text = f"{number:02d}" + "x" * (size - 3) + "\n"
            await build_logs.append(*IDS, text, cursor=number, next_cursor=number + 1)

        log = await build_logs.read(*IDS)
        assert log.text.startswith("00x")
        assert "01x" in log.text
        assert log.text.rstrip().endswith("x")
        assert "\n19x" in log.text
        assert "\n05x" not in log.text
        assert log.dropped_bytes == 20 * size - HEAD_BYTES_MAX - TAIL_BYTES_MAX
        assert f"{log.dropped_bytes} bytes left out" in log.text

    def test_cuts_the_middle_out_of_a_piece_that_is_too_long(self) -> None:
        text = bounded("a" * CHUNK_CHARS_MAX + "b" * CHUNK_CHARS_MAX)

        assert len(text) < CHUNK_CHARS_MAX + 100
        assert f"{CHUNK_CHARS_MAX} characters left out" in text


class TestRead:
    async def test_goes_on_after_a_cursor(self, build_logs: BuildLogs) -> None:
        await build_logs.append(*IDS, "one\n", cursor=0, next_cursor=4)
        await build_logs.append(*IDS, "two\n", cursor=4, next_cursor=8)

        log = await build_logs.read(*IDS, after=4)
        assert (log.text, log.next_cursor) == ("two\n", 8)
        assert (await build_logs.read(*IDS, after=8)).text == ""

    async def test_shows_a_tenant_nothing_of_another(self, build_logs: BuildLogs) -> None:
        await build_logs.append(*IDS, "one\n", cursor=0, next_cursor=4)

        log = await build_logs.read(a.OTHER_TENANT_ID, a.DEPLOYMENT_ID)
        assert (log.text, log.next_cursor) == ("", 0)

    async def test_is_what_the_api_may_do_and_appending_is_not(self, database: Pool, database_url: str) -> None:
        await PostgresBuildLogs(database).append(*IDS, "one\n", cursor=0, next_cursor=4)

        async with connect(database_url, role="dcf_app", size_max=1) as app:
            assert (await PostgresBuildLogs(app).read(*IDS)).text == "one\n"
            assert await app.fetchval("SELECT count(*) FROM work.build_logs") == 0
            with pytest.raises(Exception, match="permission denied"):
                await PostgresBuildLogs(app).append(*IDS, "two\n", cursor=4, next_cursor=8)


class TestExpire:
    async def test_leaves_a_note_in_place_of_what_the_build_said(self, build_logs: BuildLogs) -> None:
        await build_logs.append(*IDS, "one\n", cursor=0, next_cursor=4)
        await build_logs.append(*IDS, "two\n", cursor=4, next_cursor=9)

        await build_logs.expire(*IDS, "Kept for 7 days.\n")
        await build_logs.expire(a.TENANT_ID, a.LATER_DEPLOYMENT_ID, "nothing was there")

        assert (await build_logs.read(*IDS)).text == "Kept for 7 days.\n"
        assert (await build_logs.read(*IDS, after=9)).text == ""
        assert (await build_logs.read(a.TENANT_ID, a.LATER_DEPLOYMENT_ID)).text == ""

    async def test_shows_which_logs_are_kept_still(self, build_logs: BuildLogs) -> None:
        ids = [(a.TENANT_ID, a.id_of(number)) for number in (20, 21, 22)] + [(a.OTHER_TENANT_ID, a.id_of(20))]
        for tenant_id, deployment_id in ids:
            await build_logs.append(tenant_id, deployment_id, "one\n", cursor=0, next_cursor=4)
            await build_logs.append(tenant_id, deployment_id, "two\n", cursor=4, next_cursor=8)
        await build_logs.expire(*ids[1], "gone")

        first = await build_logs.kept(after=(UUID(int=0), UUID(int=0)), limit=2)
        rest = await build_logs.kept(after=(first[-1].tenant_id, first[-1].deployment_id), limit=2)

        assert [(one.tenant_id, one.deployment_id) for one in (*first, *rest)] == [ids[0], ids[2], ids[3]]
        assert all(one.written_at <= datetime.now(UTC) for one in first)
