"""Schedules on Azure: jobs that know UTC alone call a function at the time of its own zone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from domain.release import Trigger
from providers.azure import operation
from providers.azure.local_times import in_utc, rule
from providers.provider import Observation, ProviderBusy, ProviderRefused
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.azure.faults import Fault
from tests.providers.grounds import (
    HELLO,
    Ground,
    azure_place,
    deployed,
    gone_back,
    order,
    pinned,
    settled,
    sources,
    withdrawn,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MADRID = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
UTC_ALONE = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "UTC"})
NOW = datetime(2026, 11, 27, tzinfo=UTC)


class TestInUtc:
    @pytest.mark.parametrize(
        ("cron", "zone", "expected"),
        [
            ("*/20 * * * *", "UTC", {0: "0,20,40 * * * *"}),
            ("0 3 * * *", "Europe/Madrid", {3600: "0 2 * * *", 7200: "0 1 * * *"}),
            ("30 0 * * 1,5", "Europe/Madrid", {3600: "30 23 * * 0,4", 7200: "30 22 * * 0,4"}),
            ("0 20 * * 6", "America/New_York", {-18000: "0 1 * * 0", -14400: "0 0 * * 0"}),
            ("0 9 1 * *", "Asia/Kolkata", {19800: "30 3 1 * *"}),
            ("*/30 * * * *", "Asia/Kolkata", {19800: "0,30 * * * *"}),
        ],
    )
    async def test_has_one_for_each_offset_of_the_zone(self, cron: str, zone: str, expected: dict[int, str]) -> None:
        assert {one.offset_seconds: one.expression for one in in_utc(cron, zone, NOW)} == expected

    @pytest.mark.parametrize(
        ("cron", "zone"),
        [
            ("0 0 1 * *", "Europe/Madrid"),
            ("0,45 9 * * *", "Asia/Kolkata"),
            ("0 3 1 * 1", "UTC"),
            ("0 0,9 * * 1", "Europe/Madrid"),
        ],
    )
    async def test_refuses_what_utc_cannot_say(self, cron: str, zone: str) -> None:
        with pytest.raises(ProviderRefused) as refused:
            in_utc(cron, zone, NOW)

        assert refused.value.code == "schedule_not_expressible"

    async def test_takes_the_rule_of_a_zone_along(self) -> None:
        assert rule("Europe/Madrid") == "CET-1CEST,M3.5.0,M10.5.0/3"
        with pytest.raises(ProviderRefused):
            rule("Nowhere/Atall")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[AzureCloud, Ground]]:
    async with azure_place(tmp_path_factory.mktemp("azure")) as (cloud, ground, _):
        yield cloud, ground


async def test_a_function_is_called_in_summer_and_in_winter_and_a_job_that_was_changed_is_put_right(
    place: tuple[AzureCloud, Ground],
) -> None:
    cloud, ground = place
    provider, wanted = ground.provider, order(ground=ground, trigger=MADRID, access="private")
    await deployed(provider, wanted, sources(HELLO))

    called = {
        (month, hour): cloud.tick(datetime(2026, month, 10, hour, tzinfo=UTC)) for month in (1, 7) for hour in (1, 2)
    }
    job = next(iter(cloud.azure.jobs.jobs.values()))
    job["properties"]["configuration"]["scheduleTriggerConfig"]["cronExpression"] = "* * * * *"
    changed = await settled(provider, wanted)
    mended = await provider.promote(wanted)
    await withdrawn(provider, wanted)

    assert called == {(1, 1): [], (1, 2): [200], (7, 1): [200], (7, 2): []}
    assert not changed.serving
    assert mended.serving
    assert await provider.observe(wanted) == Observation()
    assert cloud.azure.jobs.jobs == {}


async def test_without_the_role_for_jobs_nothing_is_made(place: tuple[AzureCloud, Ground]) -> None:
    cloud, ground = place
    wanted, before = order(ground=ground, trigger=MADRID), set(cloud.customer.assignments)
    cloud.customer.take("Container Apps Jobs Contributor")
    cloud.customer.take("Reader")

    with pytest.raises(ProviderRefused) as refused:
        await ground.provider.bundle(wanted, sources(HELLO))

    cloud.customer.assignments = before
    assert "Container Apps Jobs Contributor" in refused.value.remedy
    assert await ground.provider.observe(wanted) == Observation()


async def test_jobs_go_with_an_app_that_somebody_took_away(place: tuple[AzureCloud, Ground]) -> None:
    cloud, ground = place
    wanted = order(ground=ground, trigger=MADRID)
    await deployed(ground.provider, wanted, sources(HELLO))
    for app in cloud.azure.apps.apps.values():
        for revision in app.revisions.values():
            revision.stop()
    cloud.azure.apps.apps.clear()

    await withdrawn(ground.provider, wanted)

    assert cloud.azure.jobs.jobs == {}


async def test_a_job_that_is_still_being_removed_is_told_as_remaining(
    place: tuple[AzureCloud, Ground], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, ground = place
    wanted = order(ground=ground, trigger=UTC_ALONE)
    await deployed(ground.provider, wanted, sources(HELLO))
    [job] = cloud.azure.jobs.names()
    monkeypatch.setattr(operation, "LOOKS_SECONDS_MAX", 0.0)

    left = await ground.provider.withdraw(wanted)
    monkeypatch.undo()
    await withdrawn(ground.provider, wanted)

    assert left == (job,)
    assert cloud.remains() == []


async def test_a_job_too_many_is_gone_before_a_release_is_said_to_serve(place: tuple[AzureCloud, Ground]) -> None:
    """
    Goal: whoever dies while the jobs of the release before are replaced leaves none that nobody looks for.
    Method: two jobs are followed by one; the removal of the other is refused once.
    """
    cloud, ground = place
    first = order(ground=ground, trigger=MADRID)
    await deployed(ground.provider, first, sources(HELLO))
    later = order(ground=ground, number=2, function_id=first.release.function_id, trigger=UTC_ALONE)
    second = gone_back(later, pinned(await ground.provider.push(first)))
    await ground.provider.apply(second)
    await settled(ground.provider, second)
    cloud.customer.faults.append(Fault("DELETE", "/jobs/", 403, "AuthorizationFailed"))

    with pytest.raises(ProviderRefused):
        await ground.provider.promote(second)
    between = await settled(ground.provider, second)
    served = await ground.provider.promote(second)
    jobs = len(cloud.azure.jobs.names())
    for one in (first, second):
        await withdrawn(ground.provider, one)

    assert (between.serving, served.serving, jobs) == (False, True, 1)
    assert cloud.remains() == []


async def test_the_job_of_a_later_release_is_not_taken_from_it(place: tuple[AzureCloud, Ground]) -> None:
    cloud, ground = place
    wanted = order(ground=ground, trigger=UTC_ALONE)
    await deployed(ground.provider, wanted, sources(HELLO))
    job = next(iter(cloud.azure.jobs.jobs.values()))
    job["tags"] = {**job["tags"], "dcf-deployment": "another", "dcf-number": "2"}

    with pytest.raises(ProviderBusy):
        await ground.provider.promote(wanted)
    with pytest.raises(ProviderBusy):
        await ground.provider.withdraw(wanted)

    assert job["tags"]["dcf-number"] == "2"
    job["tags"]["dcf-number"] = "no number"
    assert (await ground.provider.promote(wanted)).serving
    await withdrawn(ground.provider, wanted)
