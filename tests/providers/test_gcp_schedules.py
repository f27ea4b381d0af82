"""Schedules on Google Cloud: Cloud Scheduler calls what serves, as the release says, for as long as it serves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from domain.release import PinnedImage, Trigger
from providers.gcp.provider import GcpProvider
from providers.gcp.schedules import expression
from providers.provider import Order, ProviderBusy, ProviderRefused, ProviderUnreachable, Service
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.faults import Fault
from tests.emulators.gcp.names import EMAIL
from tests.providers.grounds import PROBE, Ground, built, deployed, gone_back, order, settled, sources, withdrawn

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Three o'clock in the night in Madrid.
DUE = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
NOT_DUE = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
TRIGGER = Trigger(type="schedule", settings={"cron": "0 3 * * 1-5", "timeZone": "Europe/Madrid"})
MEMBER = f"serviceAccount:{EMAIL}"


async def test_call_what_serves_when_they_are_due_and_go_with_it(ground: Ground, cloud: GcpCloud) -> None:
    scheduler, wanted = cloud.google.scheduler, order(ground=ground, trigger=TRIGGER)

    served = await deployed(ground.provider, wanted, sources(PROBE))
    too_early = await asyncio.to_thread(cloud.tick, NOT_DUE)
    in_time = await asyncio.to_thread(cloud.tick, DUE)
    async with httpx.AsyncClient() as client:
        [called] = (await client.get(f"{served.url}/calls", timeout=20)).json()

    assert (too_early, in_time) == ([], [204])
    headers = called["headers"]
    assert headers["ce-type"] == "dcf.schedule.due"
    assert headers["ce-source"] == f"/projects/{wanted.project_id}/functions/{wanted.release.function_id}"
    assert headers["x-cloudscheduler-scheduletime"] == "2026-11-27T03:00:00+01:00"
    assert "ce-id" not in headers  # The same at each call, it would say that each is a repetition.
    assert "authorization" not in headers
    await withdrawn(ground.provider, wanted)
    assert scheduler.jobs == {}


@pytest.mark.proof
@pytest.mark.timeout(400)
async def test_call_by_themselves_when_the_minute_comes(ground: Ground, cloud: GcpCloud) -> None:
    every_minute = Trigger(type="schedule", settings={"cron": "* * * * *", "timeZone": "Asia/Kathmandu"})
    wanted, firings = order(ground=ground, trigger=every_minute), cloud.google.scheduler.firings
    firings.clear()
    await deployed(ground.provider, wanted, sources(PROBE))

    async with asyncio.timeout(180):
        while not firings:
            await asyncio.sleep(0.2)
    await withdrawn(ground.provider, wanted)

    firing = firings[0]
    assert firing.http_status == 204
    assert firing.due_at.endswith(":00+05:45")


async def test_a_service_of_another_function_is_refused_and_left_alone(ground: Ground, cloud: GcpCloud) -> None:
    mine, wanted = order(ground=ground), order(ground=ground)
    served = await deployed(ground.provider, mine, sources(PROBE))
    await built(ground.provider, wanted, sources(PROBE))
    await ground.provider.push(wanted)

    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.apply(wanted)
    seen = await ground.provider.observe(wanted)
    await withdrawn(ground.provider, wanted)

    assert refusal.value.code == "service_taken"
    assert "serviceName" in refusal.value.remedy
    assert seen.service is None
    after = await settled(ground.provider, mine)
    assert (after.serving, after.url) == (True, served.url)
    await withdrawn(ground.provider, mine)


async def test_a_service_that_somebody_made_after_it_was_looked_for_is_left_alone(
    ground: Ground, cloud: GcpCloud
) -> None:
    mine, wanted = order(ground=ground), order(ground=ground)
    for one in (mine, wanted):
        await built(ground.provider, one, sources(PROBE))
        await ground.provider.push(one)
    cloud.google.faults.add(Fault("delay", "run.projects.locations.services.create", seconds=2))

    too_late = asyncio.create_task(ground.provider.apply(wanted))  # Nobody had the name when it looked.
    async with asyncio.timeout(20):
        while not cloud.google.faults.are_over:
            await asyncio.sleep(0.01)
    await ground.provider.apply(mine)
    with pytest.raises(ProviderBusy):
        await too_late
    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.apply(wanted)

    assert refusal.value.code == "service_taken"
    assert (await settled(ground.provider, mine)).status == "healthy"
    for one in (wanted, mine):
        await withdrawn(ground.provider, one)


async def test_call_a_private_function_as_the_service_account(ground: Ground, cloud: GcpCloud) -> None:
    wanted = order(ground=ground, trigger=TRIGGER, access="private")
    await deployed(ground.provider, wanted, sources(PROBE))

    answers = await asyncio.to_thread(cloud.tick, DUE)
    async with httpx.AsyncClient() as client:
        stranger = await client.post((await settled(ground.provider, wanted)).url, timeout=20)

    assert answers == [204]
    assert stranger.status_code == 403
    await withdrawn(ground.provider, wanted)


async def test_that_somebody_changed_or_took_away_are_noticed_and_made_good(ground: Ground, cloud: GcpCloud) -> None:
    wanted, jobs = order(ground=ground, trigger=TRIGGER), cloud.google.scheduler.jobs
    await deployed(ground.provider, wanted, sources(PROBE))

    def paused(job: dict[str, Any]) -> None:
        job["state"] = "PAUSED"

    def leads_elsewhere(job: dict[str, Any]) -> None:
        job["httpTarget"] = {**job["httpTarget"], "uri": "https://elsewhere.example/"}

    for act in (paused, leads_elsewhere, lambda _: jobs.clear()):
        act(next(iter(jobs.values())))
        assert not (await settled(ground.provider, wanted)).serving
        assert (await ground.provider.promote(wanted)).serving

    cloud.google.run.services.clear()  # Somebody took the service away: what would go on calling it goes as well.
    await withdrawn(ground.provider, wanted)
    assert jobs == {}


async def test_whose_answers_are_lost_are_not_doubled(ground: Ground, cloud: GcpCloud) -> None:
    """*Method:* the answers to making the job, to changing it and to taking it away are lost; the next try goes on."""
    first = order(ground=ground, number=1, trigger=TRIGGER)
    later = Trigger(type="schedule", settings={"cron": "0 4 * * *"})
    second = order(ground=ground, number=2, function_id=first.release.function_id, trigger=later)
    for verb in ("create", "patch", "delete"):
        cloud.google.faults.add(Fault("lose", f"cloudscheduler.projects.locations.jobs.{verb}"))

    with suppress(ProviderUnreachable):
        await deployed(ground.provider, first, sources(PROBE))
    assert (await ground.provider.promote(first)).serving
    image = await ground.provider.push(first)
    back = gone_back(second, PinnedImage(reference=image.reference, digest=image.digest))
    await ground.provider.apply(back)
    await settled(ground.provider, back)
    served = await _promoted(ground.provider, back)
    [job] = cloud.google.scheduler.jobs.values()
    for wanted in (first, back):
        with suppress(ProviderUnreachable):
            await ground.provider.withdraw(wanted)
        await withdrawn(ground.provider, wanted)

    assert served.serving
    assert (job["schedule"], job["timeZone"]) == ("0 4 * * *", "Etc/UTC")
    assert cloud.google.faults.are_over
    assert cloud.remains() == []


async def _promoted(provider: Any, wanted: Order) -> Service:
    with suppress(ProviderUnreachable):
        await provider.promote(wanted)
    served: Service = await provider.promote(wanted)
    return served


@pytest.mark.parametrize("lacking", ["the role", "the API", "acting as itself"])
async def test_that_may_not_be_made_are_refused_before_anything_is_built_and_the_remedy_mends_it(
    ground: Ground, cloud: GcpCloud, lacking: str
) -> None:
    wanted = order(ground=ground, trigger=TRIGGER, access="private")
    match lacking:
        case "the role":
            cloud.account.policy.remove("roles/cloudscheduler.admin", MEMBER)
        case "the API":
            cloud.account.apis.discard("cloudscheduler")
        case _:
            cloud.account.service_accounts[EMAIL].remove("roles/iam.serviceAccountUser", MEMBER)

    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.bundle(wanted, sources(PROBE))
    assert await ground.provider.withdraw(wanted) == ()
    assert isinstance(ground.provider, GcpProvider)
    told = await ground.provider.diagnose(wanted.tenant_id, wanted.project_id, ground.identity, ground.storage)
    cloud.shell.obey(refusal.value.remedy)
    await ground.provider.bundle(wanted, sources(PROBE))
    mended = await ground.provider.diagnose(wanted.tenant_id, wanted.project_id, ground.identity, ground.storage)
    await withdrawn(ground.provider, wanted)

    codes = {"the role": "GCP_PERMISSION_DENIED", "the API": "GCP_SERVICE_DISABLED"}
    assert refusal.value.code == codes.get(lacking, "GCP_ACT_AS_DENIED")
    [step] = [step for step in told.steps if step.code]
    assert (step.code, step.remedy) == (refusal.value.code, refusal.value.remedy)
    assert told.status == ("pending" if step.name == "act_as" else "verified")  # Others need no schedule.
    assert mended.status == "verified"


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("*/20 0-2 1 jan *", "0,20,40 0,1,2 1 1 *"),
        ("5 4 * * sun,7", "5 4 * * 0"),
    ],
)
async def test_are_told_in_numbers(cron: str, expected: str) -> None:
    assert expression(cron) == expected


async def test_of_days_of_both_kinds_are_refused() -> None:
    with pytest.raises(ProviderRefused) as refusal:
        expression("0 3 1 * mon")

    assert refusal.value.code == "schedule_not_expressible"
