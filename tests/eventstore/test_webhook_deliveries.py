"""Deliveries: in memory as in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from eventstore.database import Pool
from eventstore.webhook_deliveries import (
    Deliveries,
    Delivery,
    DeliveryStatus,
    MemoryDeliveries,
    PostgresDeliveries,
    Progress,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres"])
def deliveries(request: pytest.FixtureRequest) -> Deliveries:
    if request.param == "memory":
        return MemoryDeliveries()
    database: Pool = request.getfixturevalue("database")
    return PostgresDeliveries(database)


async def begun(deliveries: Deliveries, tenant_id: UUID, position: int = 10) -> Progress:
    webhook_id = uuid4()
    return (await deliveries.progress([(tenant_id, webhook_id, position)]))[webhook_id]


def delivery(of: Progress, position: int, status: DeliveryStatus = "delivered", at: datetime = NOW) -> Delivery:
    return Delivery(
        tenant_id=of.tenant_id,
        webhook_id=of.webhook_id,
        position=position,
        type="deployment.failed",
        status=status,
        first_at=at,
        last_at=at,
        http_status=204,
    )


class TestProgress:
    async def test_begins_once(self, deliveries: Deliveries) -> None:
        first = await begun(deliveries, uuid4())
        again = await deliveries.progress([(first.tenant_id, first.webhook_id, 99)])

        assert (first.position, first.heeded) == (10, 10)
        assert again == {first.webhook_id: first}
        assert await deliveries.progress([]) == {}

    async def test_moves_only_for_who_sees_it_as_it_is(self, deliveries: Deliveries) -> None:
        before = await begun(deliveries, uuid4())
        failing = msgspec.structs.replace(
            before, failures=1, failing_since=NOW, next_at=NOW + timedelta(seconds=5), message="No\x00 answer."
        )

        assert await deliveries.move(before, failing, delivery(before, 12, "waiting"))
        assert not await deliveries.move(before, msgspec.structs.replace(before, position=12), delivery(before, 12))

        found = await deliveries.find(before.tenant_id, [before.webhook_id, uuid4()])
        assert found[before.webhook_id].failures == 1
        assert len(found) == 1
        assert [one.status for one in await read(deliveries, before)] == ["waiting"]

    async def test_is_shown_to_its_tenant_only(self, deliveries: Deliveries) -> None:
        one = await begun(deliveries, uuid4())

        assert await deliveries.find(uuid4(), [one.webhook_id]) == {}


class TestDeliveries:
    async def test_count_the_attempts_of_one_event(self, deliveries: Deliveries) -> None:
        progress = await begun(deliveries, uuid4())
        later = NOW + timedelta(minutes=1)
        failing = msgspec.structs.replace(progress, failures=1, failing_since=NOW, next_at=later)
        await deliveries.move(progress, failing, delivery(progress, 12, "waiting"))
        told = msgspec.structs.replace(progress, position=12, delivered_at=later)
        await deliveries.move(failing, told, delivery(progress, 12, at=later))

        (found,) = await read(deliveries, progress)
        assert (found.attempts, found.status, found.first_at, found.last_at) == (2, "delivered", NOW, later)

    async def test_are_read_newest_first_in_pages(self, deliveries: Deliveries) -> None:
        progress = await begun(deliveries, uuid4())
        for position in range(11, 16):
            after = msgspec.structs.replace(progress, position=position)
            assert await deliveries.move(progress, after, delivery(progress, position))
            progress = after

        first = await deliveries.read(progress.tenant_id, progress.webhook_id, before=100, limit=3)
        rest = await deliveries.read(progress.tenant_id, progress.webhook_id, before=first[-1].position, limit=3)

        assert [one.position for one in (*first, *rest)] == [15, 14, 13, 12, 11]
        assert await deliveries.read(uuid4(), progress.webhook_id, before=100, limit=3) == []

    async def test_that_ended_are_forgotten_and_those_that_wait_are_not(self, deliveries: Deliveries) -> None:
        progress = await begun(deliveries, uuid4())
        statuses: list[tuple[int, DeliveryStatus]] = [(11, "delivered"), (12, "refused"), (13, "waiting")]
        for position, status in statuses:
            after = msgspec.structs.replace(progress, position=position)
            await deliveries.move(progress, after, delivery(progress, position, status))
            progress = after

        assert await deliveries.prune(progress.tenant_id, NOW, limit=10) == 0
        assert await deliveries.prune(progress.tenant_id, NOW + timedelta(seconds=1), limit=1) == 1
        assert await deliveries.prune(progress.tenant_id, NOW + timedelta(seconds=1), limit=10) == 1
        assert [one.position for one in await read(deliveries, progress)] == [13]


async def read(deliveries: Deliveries, of: Progress) -> list[Delivery]:
    return await deliveries.read(of.tenant_id, of.webhook_id, before=1_000, limit=10)
