"""What a customer does to a function on Cloud Run by hand, and what becomes of the deployments that meet it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import httpx
import pytest

from domain.release import PinnedImage, Trigger
from process.secret import Secret
from providers.provider import Order, ProviderBusy, ProviderRefused
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.faults import Fault
from tests.providers.grounds import PROBE, Ground, built, deployed, gone_back, order, settled, sources, withdrawn

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAILY = Trigger(type="schedule", settings={"cron": "0 3 * * *"})


async def _next(ground: Ground, served: Order, number: int, **changes: object) -> Order:
    """Another deployment of the function, with the same image."""
    image = await ground.provider.push(served)
    later = order(ground=ground, number=number, function_id=served.release.function_id, **changes)  # type: ignore[arg-type]
    return gone_back(later, PinnedImage(reference=image.reference, digest=image.digest))


async def test_traffic_that_was_led_to_the_latest_lets_no_release_in_that_is_not_promoted(
    ground: Ground, cloud: GcpCloud
) -> None:
    """*Method:* as `gcloud run services update-traffic --to-latest` has it; then the next release, which is never promoted."""
    first = order(ground=ground)
    served = await deployed(ground.provider, first, sources(PROBE))
    [service] = cloud.google.run.services.values()
    service.given["traffic"] = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
    second = await _next(ground, first, 2, environment={"GREETING": "too early"})

    still = await settled(ground.provider, first)
    await ground.provider.apply(second)
    await settled(ground.provider, second)
    async with httpx.AsyncClient() as client:
        told = (await client.get(f"{served.url}/environment", timeout=20)).json()
    await withdrawn(ground.provider, second)
    await withdrawn(ground.provider, first)

    assert still.serving
    assert "GREETING" not in told
    assert cloud.remains() == []


async def test_what_the_latest_leads_to_is_taken_away_when_it_is_the_only_one(ground: Ground, cloud: GcpCloud) -> None:
    wanted = order(ground=ground)
    await deployed(ground.provider, wanted, sources(PROBE))
    [service] = cloud.google.run.services.values()
    service.given["traffic"] = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]

    await withdrawn(ground.provider, wanted)

    assert cloud.remains() == []


async def test_a_number_that_is_none_any_more_is_not_stumbled_over(ground: Ground, cloud: GcpCloud) -> None:
    first = order(ground=ground)
    await deployed(ground.provider, first, sources(PROBE))
    [service] = cloud.google.run.services.values()
    service.given["labels"]["dcf-number"] = "none"
    second = await _next(ground, first, 2)

    await ground.provider.apply(second)
    await settled(ground.provider, second)
    served = await ground.provider.promote(second)
    for wanted in (first, second):
        await withdrawn(ground.provider, wanted)

    assert served.serving


async def test_an_earlier_release_does_not_overtake_one_whose_ingress_was_narrowed(
    ground: Ground, cloud: GcpCloud
) -> None:
    first = order(ground=ground, number=1)
    await built(ground.provider, first, sources(PROBE))
    image = await ground.provider.push(first)
    second = await _next(ground, first, 2)
    for wanted in (first, second):
        await ground.provider.apply(wanted)
        await settled(ground.provider, wanted)
    await ground.provider.promote(second)
    [service] = cloud.google.run.services.values()
    service.given["ingress"] = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"

    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.promote(first)
    for wanted in (first, second):
        await withdrawn(ground.provider, wanted)

    assert (refusal.value.code, bool(image.digest)) == ("overtaken", True)


async def test_a_value_that_was_destroyed_is_kept_anew_under_the_number_that_releases_open(
    ground: Ground, cloud: GcpCloud
) -> None:
    value = uuid4()
    first = order(ground=ground, secret_values={"PASSWORD": value})
    await deployed(ground.provider, first, sources(PROBE), {"PASSWORD": Secret("open sesame")})
    [kept] = cloud.google.vault.secrets.values()
    kept.versions[0] = None
    second = await _next(ground, first, 2, secret_values={"PASSWORD": value})

    with pytest.raises(ProviderBusy):
        await ground.provider.apply(second, {"PASSWORD": Secret("open sesame")})
    await ground.provider.apply(second, {"PASSWORD": Secret("open sesame")})
    service = await settled(ground.provider, second)
    [kept] = cloud.google.vault.secrets.values()
    for wanted in (first, second):
        await withdrawn(ground.provider, wanted)

    assert service.status == "healthy"
    assert kept.versions == [b"open sesame"]


async def test_a_value_that_a_later_release_is_about_to_open_stays_while_the_one_before_is_taken_away(
    ground: Ground, cloud: GcpCloud
) -> None:
    """*Method:* the later release's service is held up after its value was kept; the earlier one alone opened that."""
    value = uuid4()
    first = order(ground=ground, secret_values={"PASSWORD": value})
    await deployed(ground.provider, first, sources(PROBE), {"PASSWORD": Secret("open sesame")})
    second = await _next(ground, first, 2, secret_values={"PASSWORD": value})
    cloud.google.faults.add(Fault("delay", "run.projects.locations.services.patch", seconds=1.0))

    applying = asyncio.create_task(ground.provider.apply(second, {"PASSWORD": Secret("open sesame")}))
    async with asyncio.timeout(20):
        while not cloud.google.faults.are_over:
            await asyncio.sleep(0.01)
    await withdrawn(ground.provider, first)
    kept = [one.versions for one in cloud.google.vault.secrets.values()]
    with suppress(ProviderBusy):
        await applying
    await withdrawn(ground.provider, second)

    assert kept == [[b"open sesame"]]
    assert cloud.remains() == []


async def test_secret_manager_that_is_not_enabled_is_seen_before_anything_is_built(
    ground: Ground, cloud: GcpCloud
) -> None:
    wanted = order(ground=ground, secret_values={"PASSWORD": uuid4()})
    cloud.account.apis.discard("secretmanager")

    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.bundle(wanted, sources(PROBE))
    cloud.shell.obey(refusal.value.remedy)
    await ground.provider.bundle(wanted, sources(PROBE))
    await withdrawn(ground.provider, wanted)

    assert refusal.value.code == "GCP_SERVICE_DISABLED"


async def test_a_job_that_google_disabled_is_made_anew(ground: Ground, cloud: GcpCloud) -> None:
    wanted, jobs = order(ground=ground, trigger=DAILY), cloud.google.scheduler.jobs
    await deployed(ground.provider, wanted, sources(PROBE))
    next(iter(jobs.values()))["state"] = "DISABLED"

    with pytest.raises(ProviderBusy):
        await ground.provider.promote(wanted)
    served = await ground.provider.promote(wanted)
    states = [job["state"] for job in jobs.values()]
    await withdrawn(ground.provider, wanted)

    assert (served.serving, states) == (True, ["ENABLED"])


async def test_a_service_that_goes_while_it_is_let_serve_is_looked_for_again(ground: Ground, cloud: GcpCloud) -> None:
    """*Method:* the customer takes the service away after we looked at it, and before the traffic is led."""
    wanted = order(ground=ground)
    await built(ground.provider, wanted, sources(PROBE))
    await ground.provider.push(wanted)
    await ground.provider.apply(wanted)
    await settled(ground.provider, wanted)
    services = cloud.google.run.services
    cloud.google.faults.add(Fault("delay", "run.projects.locations.services.patch", seconds=0.5))

    promoting = asyncio.create_task(ground.provider.promote(wanted))
    async with asyncio.timeout(20):
        while not cloud.google.faults.are_over:
            await asyncio.sleep(0.01)
    [service] = services.values()
    for revision in service.revisions.values():
        if revision.container is not None:
            revision.container.stop()
    services.clear()
    with pytest.raises(ProviderBusy):
        await promoting
    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.promote(wanted)
    await withdrawn(ground.provider, wanted)

    assert refusal.value.code == "release_not_healthy"
