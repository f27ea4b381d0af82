"""What fails while a function is deployed on Google Cloud: named with the command that mends it, and images that others need."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from domain.clouds import GcpIdentity
from providers.gcp.provider import GcpProvider
from providers.gcp.registry import Images
from providers.provider import Order, ProviderRefused
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.faults import Fault
from tests.emulators.gcp.names import EMAIL
from tests.providers.grounds import HELLO, Ground, applied, built, deployed, order, sources, withdrawn

pytestmark = pytest.mark.asyncio(loop_scope="module")
_DELETE = "artifactregistry.projects.locations.repositories.packages.versions.delete"


def _images(ground: Ground, wanted: Order) -> Images:
    assert isinstance(ground.provider, GcpProvider)
    assert isinstance(wanted.identity, GcpIdentity)
    return Images(ground.provider.account(wanted.tenant_id, wanted.project_id, wanted.identity))


async def _without_right_to_push(cloud: GcpCloud) -> None:
    cloud.account.policy.remove("roles/artifactregistry.repoAdmin", f"serviceAccount:{EMAIL}")
    cloud.account.policy.add("roles/artifactregistry.reader", f"serviceAccount:{EMAIL}")


async def _without_repository(cloud: GcpCloud) -> None:
    cloud.google.registry.repositories.clear()


@pytest.mark.parametrize("broken", [_without_right_to_push, _without_repository])
async def test_a_build_that_could_not_be_kept_can_be_once_its_remedy_was_run(
    ground: Ground, cloud: GcpCloud, broken: object
) -> None:
    assert callable(broken)
    refused, again = (order(ground=ground) for _ in range(2))
    await broken(cloud)

    failed = await built(ground.provider, refused, sources(HELLO))
    await asyncio.to_thread(cloud.shell.obey, failed.remedy)
    mended = await built(ground.provider, again, sources(HELLO))
    for wanted in (refused, again):
        await withdrawn(ground.provider, wanted)
    cloud.account.policy.add("roles/artifactregistry.repoAdmin", f"serviceAccount:{EMAIL}")

    assert (failed.status, mended.status) == ("failed", "succeeded"), (failed, mended)
    assert failed.remedy.startswith("gcloud artifacts repositories ")


async def test_an_image_that_cloud_run_may_not_pull_can_be_once_the_remedy_was_run(
    ground: Ground, cloud: GcpCloud
) -> None:
    refused = order(ground=ground)
    again = order(ground=ground, function_id=refused.release.function_id, number=2)
    cloud.account.policy.remove("roles/run.serviceAgent", cloud.account.run_agent)

    failed = await applied(ground.provider, refused, sources(HELLO))
    await asyncio.to_thread(cloud.shell.obey, failed.remedy)
    served = await deployed(ground.provider, again, sources(HELLO))
    for wanted in (refused, again):
        await withdrawn(ground.provider, wanted)

    assert failed.status == "unhealthy"
    assert "must have permission to read the image" in failed.message
    assert failed.remedy.startswith("gcloud artifacts repositories add-iam-policy-binding")
    assert served.serving


async def test_an_image_stays_that_another_deployment_named_while_it_was_being_taken_away(
    ground: Ground, cloud: GcpCloud
) -> None:
    """
    Goal: whoever is told that the image is kept for it finds it.
    Method: the call that takes it away is held up until another deployment has named the image.
    """
    first = order(ground=ground)
    second = order(ground=ground, function_id=first.release.function_id, number=2)
    await built(ground.provider, first, sources(HELLO))
    image = await ground.provider.push(first)
    cloud.google.faults.add(Fault("delay", _DELETE, seconds=1.0))

    removing = asyncio.create_task(_images(ground, first).remove(first, ()))
    async with asyncio.timeout(20):
        while not cloud.google.faults.are_over:
            await asyncio.sleep(0.01)
    await _images(ground, second).name(second, image.digest)
    await removing
    kept = await _images(ground, second).find(second)
    await _images(ground, second).remove(second, ())
    gone = await _images(ground, second).keeps(second, image.digest)
    await withdrawn(ground.provider, first)

    assert kept == image
    assert not gone


async def test_an_image_whose_tag_was_taken_away_when_we_died_goes_all_the_same(
    ground: Ground, cloud: GcpCloud
) -> None:
    wanted = order(ground=ground)
    await built(ground.provider, wanted, sources(HELLO))
    image = await ground.provider.push(wanted)
    cloud.google.faults.add(Fault("deny", _DELETE))

    with pytest.raises(ProviderRefused):
        await ground.provider.withdraw(wanted)
    left = await _images(ground, wanted).keeps(wanted, image.digest)
    await withdrawn(ground.provider, wanted)

    assert left
    assert cloud.remains() == []


async def test_an_image_that_went_before_it_was_named_is_refused_as_missing(ground: Ground) -> None:
    wanted = order(ground=ground)
    await built(ground.provider, wanted, sources(HELLO))

    with pytest.raises(ProviderRefused) as refusal:
        await _images(ground, wanted).name(
            order(ground=ground, function_id=wanted.release.function_id), f"sha256:{uuid4().hex * 2}"
        )
    await withdrawn(ground.provider, wanted)

    assert refusal.value.code == "image_missing"
