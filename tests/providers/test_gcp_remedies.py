"""What fails while a function is deployed on Google Cloud: named with the command that mends it, and images that others need."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import msgspec
import pytest

from domain.clouds import GcpIdentity, GcpTarget
from domain.release import PinnedImage, Trigger
from process.secret import Secret
from providers.gcp.provider import GcpProvider
from providers.gcp.registry import Images
from providers.provider import Order, ProviderRefused
from tests.emulators.gcp.account import Policy
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.command_line import NotACommand
from tests.emulators.gcp.faults import Fault
from tests.emulators.gcp.names import BUCKET, EMAIL, REGION, REPOSITORY
from tests.providers.grounds import (
    HELLO,
    Ground,
    applied,
    build_ended,
    build_started,
    built,
    deployed,
    gone_back,
    order,
    sources,
    until,
    withdrawn,
)

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
    """*Method:* what is broken is so once the bundle is there, since a missing repository is seen before."""
    assert callable(broken)
    refused, again = (order(ground=ground) for _ in range(2))
    await ground.provider.bundle(refused, sources(HELLO))
    await broken(cloud)

    await until(lambda: build_started(ground.provider, refused), bool)
    failed = await build_ended(ground.provider, refused)
    await asyncio.to_thread(cloud.shell.obey, failed.remedy)
    mended = await built(ground.provider, again, sources(HELLO))
    for wanted in (refused, again):
        await withdrawn(ground.provider, wanted)
    cloud.account.policy.add("roles/artifactregistry.repoAdmin", f"serviceAccount:{EMAIL}")

    assert (failed.status, mended.status) == ("failed", "succeeded"), (failed, mended)
    assert failed.remedy.startswith("gcloud artifacts repositories ")


@pytest.mark.parametrize(
    "lacking", ["GCP_BUCKET_NOT_FOUND", "GCP_BUCKET_PERMISSION_DENIED", "GCP_REPOSITORY_NOT_FOUND"]
)
async def test_where_files_or_images_cannot_lie_is_seen_before_a_build_and_mended_by_the_remedy(
    ground: Ground, cloud: GcpCloud, lacking: str
) -> None:
    wanted, builds = order(ground=ground), len(cloud.google.builds.made)
    match lacking:
        case "GCP_BUCKET_NOT_FOUND":
            cloud.account.buckets.clear()
        case "GCP_BUCKET_PERMISSION_DENIED":
            cloud.account.buckets[BUCKET] = Policy()
        case _:
            await _without_repository(cloud)

    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.bundle(wanted, sources(HELLO))
    if lacking != "GCP_BUCKET_PERMISSION_DENIED":
        assert await ground.provider.withdraw(wanted) == ()
    await asyncio.to_thread(cloud.shell.obey, refusal.value.remedy)
    await ground.provider.bundle(wanted, sources(HELLO))
    await withdrawn(ground.provider, wanted)

    assert refusal.value.code == lacking
    assert len(cloud.google.builds.made) == builds


async def test_a_bucket_or_repository_that_goes_in_the_midst_is_named_with_what_makes_it(
    ground: Ground, cloud: GcpCloud
) -> None:
    wanted = order(ground=ground)
    await built(ground.provider, wanted, sources(HELLO))
    image = await ground.provider.push(wanted)
    back = gone_back(
        order(ground=ground, function_id=wanted.release.function_id),
        PinnedImage(reference=image.reference, digest=image.digest),
    )
    await _without_repository(cloud)
    cloud.account.buckets.clear()

    said = []
    for ask in (
        ground.provider.push(wanted),
        ground.provider.apply(back),
        ground.provider.start_build(order(ground=ground)),
    ):
        with pytest.raises(ProviderRefused) as refusal:
            await ask
        said.append(refusal.value.code)
        with suppress(NotACommand):  # What was made already is made by the first of them.
            await asyncio.to_thread(cloud.shell.obey, refusal.value.remedy)
            await _without_repository(cloud)
    cloud.google.registry.make(REGION, REPOSITORY)
    await withdrawn(ground.provider, wanted)

    assert said == ["GCP_REPOSITORY_NOT_FOUND", "GCP_REPOSITORY_NOT_FOUND", "GCP_BUCKET_NOT_FOUND"]


async def test_in_another_project_everything_is_granted_where_it_lacks_until_the_function_serves(
    ground: Ground, cloud: GcpCloud
) -> None:
    """
    Goal: whoever deploys into a project that nothing is set up in gets to a function that serves by the remedies alone.
    Method: each refusal's remedy is run, and the deployment is tried again; nothing is granted on the identity's project.
    """
    assert isinstance(ground.target, GcpTarget)
    policy, own = cloud.account.new_project("elsewhere"), _granted(cloud.account.policy)
    there = msgspec.structs.replace(ground, target=msgspec.structs.replace(ground.target, project_id="elsewhere"))
    daily = Trigger(type="schedule", settings={"cron": "0 3 * * *"})
    wanted = order(ground=there, trigger=daily, access="private", secret_values={"TOKEN": uuid4()})
    served, said = None, list[str]()

    while served is None and len(said) < 20:
        try:
            served = await deployed(ground.provider, wanted, sources(HELLO), {"TOKEN": Secret("of no account")})
        except ProviderRefused as refused:
            said.append(refused.code)
            await asyncio.to_thread(cloud.shell.obey, refused.remedy)
    await withdrawn(ground.provider, wanted)

    assert served is not None, said
    assert served.serving
    assert set(said) == {"GCP_PERMISSION_DENIED", "GCP_REPOSITORY_NOT_FOUND"}
    assert _granted(cloud.account.policy) == own
    member = f"serviceAccount:{EMAIL}"
    assert "roles/cloudscheduler.admin" in {role for role, held in policy.bindings.items() if member in held}


def _granted(policy: Policy) -> dict[str, set[str]]:
    return {role: set(held) for role, held in policy.bindings.items() if held}


async def test_an_image_that_google_refuses_to_remove_for_another_reason_is_not_told_as_gone(
    ground: Ground, cloud: GcpCloud
) -> None:
    wanted = order(ground=ground)
    await built(ground.provider, wanted, sources(HELLO))
    cloud.google.faults.add(Fault("refuse", _DELETE))

    with pytest.raises(ProviderRefused) as refusal:
        await ground.provider.withdraw(wanted)
    left = cloud.remains()
    await withdrawn(ground.provider, wanted)

    assert (refusal.value.code, bool(left)) == ("gcp_rejected", True)
    assert "/versions/sha256:" in refusal.value.message
    assert cloud.remains() == []


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
