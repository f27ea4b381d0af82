"""Past versions: what is sent to PostgreSQL is what was added, however much that is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from eventstore.database import Pool
from projections.past_versions import COLUMNS, PastVersions
from projections.row_changes import LINE, kept
from tests.support import a


class Counted(msgspec.Struct):
    count: int
    text: str


def some(count: int, size: int) -> list[tuple[UUID, UUID, int, int, Any]]:
    return [(a.TENANT_ID, a.id_of(n), n, n + 1, Counted(n, "x" * size)) for n in range(count)]


def as_bytes(versions: list[tuple[UUID, UUID, int, int, Any]]) -> list[tuple[UUID, UUID, int, int, bytes]]:
    return [(*version, msgspec.json.encode(row)) for *version, row in versions]  # type: ignore[misc]


class TestPastVersions:
    def test_are_those_added_in_order_across_segments_of_any_size(self) -> None:
        added = some(300, 2_000) + some(2, 1_500_000) + some(3, 10)
        past = PastVersions()

        for version in added:
            past.add(*version, None, None)

        assert len(past) == len(added)
        assert list(past) == as_bytes(added)

    def test_takes_bytes_that_are_known_as_they_are(self) -> None:
        past = PastVersions()
        past.add(a.TENANT_ID, a.PROJECT_ID, 1, 2, Counted(1, "x"), None, b'{"kept": true}')
        assert list(past) == [(a.TENANT_ID, a.PROJECT_ID, 1, 2, b'{"kept": true}')]

    def test_are_mostly_what_has_changed_since(self) -> None:
        rows = [Counted(count, "x" * 100) for count in range(200)]
        past = PastVersions()

        for n in range(199):
            past.add(a.TENANT_ID, a.PROJECT_ID, n, n + 1, rows[n], rows[n + 1], None)

        assert [version[4] for version in past] == [kept(n, rows[n], rows[n + 1]) for n in range(199)]
        assert sum(version[4].startswith(LINE) for version in past) > 150

    async def test_are_copied_as_they_are_and_again_with_the_memory_of_those_before(self, database: Pool) -> None:
        """Method: twice, since the second time segments are used again; the second are fewer and shorter."""
        await database.execute(
            "CREATE TABLE views.past_things (tenant_id uuid, id uuid, valid_from bigint, valid_to bigint, row bytea)"
        )
        for added in (some(500, 2_000), some(90, 30), []):
            past = PastVersions()
            for version in added:
                past.add(*version, None, None)
            async with database.acquire() as connection:
                await connection.execute("TRUNCATE views.past_things")
                await connection.copy_to_table(
                    "past_things", schema_name="views", columns=COLUMNS, source=past.chunks(), format="binary"
                )

            rows = await database.fetch("SELECT * FROM views.past_things ORDER BY valid_from")
            assert [tuple(row) for row in rows] == as_bytes(added)
            assert len(past) == 0
