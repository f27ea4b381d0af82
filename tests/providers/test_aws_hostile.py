"""What is AWS's own where it is not well: refusals half-way, two runners at once, and things that somebody else took away.

Images are put into the repository as they are, and releases count as healthy: nothing is built or run here.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio

from domain.clouds import AwsTarget
from domain.release import PinnedImage, Trigger
from providers.aws import naming
from providers.aws.builds import DEPLOYMENT_VARIABLE
from providers.aws.errors import Answered
from providers.provider import Order, ProviderBusy, ProviderRefused
from tests.emulators.aws.account import REGION
from tests.emulators.aws.builds import Running
from tests.providers.aws_ground import AwsPlace
from tests.providers.grounds import aws_place, gone_back, order, until, withdrawn

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAILY, HOURLY = (
    Trigger(type="schedule", settings={"cron": cron, "timeZone": "Europe/Madrid"})
    for cron in ("0 3 * * *", "0 * * * *")
)


class Place(AwsPlace, frozen=True):
    """With what is asked of it here."""

    def order(
        self,
        name: str,
        *,
        number: int = 1,
        function_id: UUID | None = None,
        trigger: Trigger | None = None,
        **changes: Any,
    ) -> Order:
        """For a Lambda function of this name, of an image that is there."""
        digest = self.cloud.amazon.images.repositories["dcf-functions"].push("made", "there")
        made = order(ground=self.ground, number=number, function_id=function_id, **changes)
        target = msgspec.structs.replace(self.ground.target, function_name=name)
        release = msgspec.structs.replace(made.release, target=target, trigger=trigger or Trigger())
        pinned = PinnedImage(reference=f"there@{digest}", digest=digest)
        self.provider._healthy.add(made.deployment_id)
        return gone_back(msgspec.structs.replace(made, release=release), pinned)

    def after(self, former: Order, *, number: int, **changes: Any) -> Order:
        """A later deployment of the same."""
        assert isinstance(former.release.target, AwsTarget)
        name, function = former.release.target.function_name, former.release.function_id
        later = self.order(name, number=number, function_id=function, **changes)
        return msgspec.structs.replace(later, tenant_id=former.tenant_id, project_id=former.project_id)

    async def applied(self, wanted: Order) -> None:
        async def is_applied() -> bool:
            try:
                return bool(await self.provider.apply(wanted))
            except ProviderBusy:
                return False

        await until(is_applied, bool)
        await until(
            lambda: self.provider.observe(wanted), lambda seen: seen.service and seen.service.status == "healthy"
        )

    async def serving(self, wanted: Order) -> Order:
        await self.applied(wanted)
        assert (await self.provider.promote(wanted)).serving
        return wanted

    async def gone(self, wanted: Order) -> None:
        """Take it away, as a runner does it: what does not answer is asked again."""

        async def left() -> tuple[str, ...] | None:
            try:
                return await self.provider.withdraw(wanted)
            except ProviderBusy:
                return None

        await until(left, lambda seen: seen == ())

    async def is_serving(self, wanted: Order) -> bool:
        service = (await self.provider.observe(wanted)).service
        return service is not None and service.serving


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with aws_place(tmp_path_factory.mktemp("aws")) as (cloud, ground, _):
        yield Place(cloud, ground)


class TestAReleaseThatIsRefusedWhileItIsLetServe:
    @pytest.mark.parametrize(
        ("before", "after", "call"),
        [
            ("private", "public", "lambda.AddPermission"),
            ("public", "private", "lambda.UpdateAlias"),
            ("public", "public", "scheduler.DeleteSchedule"),
        ],
    )
    async def test_gives_its_place_back_to_the_one_before(
        self, place: Place, before: Any, after: Any, call: str
    ) -> None:
        """*Goal:* what the organisation forbids costs the new release, and never the one that serves."""
        faults, first = place.cloud.amazon.faults, await place.serving(place.order("given-back", access=before))
        second = place.after(first, number=2, access=after)
        await place.applied(second)

        faults.add("refuse", call, says=("InvalidParameterValueException", "An organization forbids it."))
        with pytest.raises(ProviderRefused):
            await place.provider.promote(second)
        was_serving = await place.is_serving(first)
        left = await place.provider.withdraw(second)

        assert (was_serving, left) == (False, ())
        assert await place.is_serving(first)
        assert str(second.deployment_id) not in str(place.cloud.remains())
        await withdrawn(place.provider, first)
        assert "given-back" not in place.cloud.amazon.functions.there

    @pytest.mark.parametrize(("before", "after"), [(DAILY, HOURLY), (DAILY, Trigger()), (Trigger(), HOURLY)])
    async def test_gives_back_the_schedule_that_it_took_or_took_away(
        self, place: Place, before: Trigger, after: Trigger
    ) -> None:
        """*Method:* it is refused at the very last call, when all was taken; the answers to giving back are lost."""
        amazon, first = place.cloud.amazon, await place.serving(place.order("on-time", trigger=before))
        was = dict(amazon.schedules.there)
        second = place.after(first, number=2, trigger=after)
        await place.applied(second)

        amazon.faults.add("refuse", "lambda.UpdateAlias", after=1)
        with pytest.raises(ProviderRefused):
            await place.provider.promote(second)
        taken = dict(amazon.schedules.there)
        for call in ("lambda.UpdateAlias", "scheduler."):
            amazon.faults.add("lose", call)
        await place.gone(second)

        assert amazon.faults.are_over
        assert taken != was
        assert amazon.schedules.there == was
        assert await place.is_serving(first)
        await withdrawn(place.provider, first)
        assert (amazon.schedules.there, str(first.deployment_id) in str(place.cloud.remains())) == ({}, False)

    async def test_and_that_has_none_before_it_takes_the_function_away(self, place: Place) -> None:
        wanted = place.order("first-of-all")
        await place.applied(wanted)
        place.cloud.amazon.faults.add("deny", "lambda.AddPermission")
        with pytest.raises(ProviderRefused):
            await place.provider.promote(wanted)

        assert await place.provider.withdraw(wanted) == ()
        assert "first-of-all" not in place.cloud.amazon.functions.there


class TestAFunctionThatLambdaCouldNotMake:
    async def test_is_made_anew_by_the_next_deployment_though_it_could_not_be_taken_away(self, place: Place) -> None:
        """*Method:* taking it away is denied; of the next deployment each answer is lost once."""
        amazon, first = place.cloud.amazon, place.order("unmade", number=1)
        amazon.functions.failure = "The image cannot be unpacked."
        with pytest.raises(ProviderRefused) as refusal:
            await place.provider.apply(first)
        amazon.functions.failure = ""
        amazon.faults.add("deny", "lambda.DeleteFunction")
        with pytest.raises(ProviderRefused):
            await place.provider.withdraw(first)

        for call in ("lambda.DeleteFunction", "lambda.CreateFunction", "lambda.PublishVersion"):
            amazon.faults.add("lose", call)
        second = place.after(first, number=2)
        await place.serving(second)

        assert refusal.value.message == "The image cannot be unpacked."
        assert amazon.faults.are_over
        assert await place.provider.withdraw(first) == ()
        assert await place.is_serving(second)
        await withdrawn(place.provider, second)

    async def test_is_not_made_anew_by_an_earlier_deployment(self, place: Place) -> None:
        amazon, first = place.cloud.amazon, place.order("unmade-again", number=1)
        later = place.after(first, number=2)
        amazon.functions.failure = "The image cannot be unpacked."
        with pytest.raises(ProviderRefused):
            await place.provider.apply(later)
        amazon.functions.failure = ""

        with pytest.raises(ProviderRefused):
            await place.provider.apply(first)

        [there] = [one for one in amazon.functions.there.values() if one.name == "unmade-again"]
        assert str(later.deployment_id) in str(there.latest.configuration)
        for one in (first, later):
            await withdrawn(place.provider, one)
        assert "unmade-again" not in amazon.functions.there


class TestAnImageThatEcrKeeps:
    async def test_is_named_as_remaining_and_goes_at_the_next_try(self, place: Place) -> None:
        wanted = await place.serving(place.order("kept"))
        repository = place.cloud.amazon.images.repositories["dcf-functions"]

        repository.holds = "KmsError", "The key of the repository is disabled."
        left = await place.provider.withdraw(wanted)
        repository.holds = None

        [image] = left
        assert image.endswith(
            f"/dcf-functions:{wanted.deployment_id} (KmsError: The key of the repository is disabled.)"
        )
        assert await place.provider.withdraw(wanted) == ()
        assert str(wanted.deployment_id) not in str(place.cloud.remains())

    async def test_is_not_said_to_be_gone_when_it_is_to_serve_again(self, place: Place) -> None:
        wanted, repository = place.order("locked"), place.cloud.amazon.images.repositories["dcf-functions"]
        repository.holds = "KmsError", "The key of the repository is disabled."

        with pytest.raises(ProviderRefused) as refusal:
            await place.provider.apply(wanted)
        repository.holds = None

        assert refusal.value.code == "AWS_IMAGE_UNREADABLE"
        assert "KmsError" in refusal.value.message


class TestARunnerThatStoodStill:
    async def test_opens_and_closes_nothing_of_a_later_release(self, place: Place) -> None:
        """*Method:* the older runner goes on from the look that it took before the later release."""
        first = await place.serving(place.order("overtaken", access="private"))
        second = place.after(first, number=2)
        await place.applied(second)
        releases = place.provider._work(first).releases
        seen = await releases._look()
        assert seen is not None
        assert seen.own is not None
        assert seen.live is not None
        await place.serving(second)

        with pytest.raises((ProviderBusy, Answered)):
            await releases._lead(seen.own, seen.live)

        assert await place.is_serving(second)
        await withdrawn(place.provider, first)
        await withdrawn(place.provider, second)


class TestABuild:
    async def test_is_read_on_behind_pages_of_its_log_with_nothing_on_them(self, place: Place) -> None:
        builds, key = place.cloud.amazon.builds, f"dcf-build:{uuid4()}"
        said = "".join(f"line {number}\n" for number in range(12))
        builds.made[key] = Running(key, 1, {}, builds.projects["dcf-build"], failure=said)
        [found] = place.cloud.amazon.client("codebuild").batch_get_builds(ids=[key])["builds"]
        builds.empty_pages = 2

        chunk = await place.provider._work(place.order("silent")).builds.log(found, 0)

        assert chunk.text == said

    async def test_that_failed_says_so_though_nobody_may_read_its_log(self, place: Place) -> None:
        builds, key = place.cloud.amazon.builds, f"dcf-build:{uuid4()}"
        builds.made[key] = Running(key, 1, {}, builds.projects["dcf-build"], failure="It does not compile.")
        [found] = place.cloud.amazon.client("codebuild").batch_get_builds(ids=[key])["builds"]
        place.cloud.amazon.faults.add("deny", "logs.GetLogEvents")

        shown = await place.provider._work(place.order("unread")).builds.shown(found, None)

        assert shown.status == "failed"
        assert "It does not compile." in shown.message
        assert "logs:GetLogEvents" in shown.message

    async def test_of_which_a_lost_answer_made_two_is_stopped_twice(self, place: Place) -> None:
        """*Method:* the second was started after Amazon had forgotten the first; neither has found a machine yet."""
        wanted, builds = place.order("twice"), place.cloud.amazon.builds
        given = {"environmentVariablesOverride": [{"name": DEPLOYMENT_VARIABLE, "value": str(wanted.deployment_id)}]}
        later = datetime.now(UTC) + timedelta(hours=1)
        both = [f"dcf-build:{uuid4()}" for _ in range(2)]
        for key in both:
            builds.made[key] = Running(key, 1, given, builds.projects["dcf-build"], at=later)
        bucket, sources = place.provider._work(wanted).bucket, io.BytesIO(b"sources")
        await bucket.put(naming.bundle_name(wanted), sources, {}, "application/zip")

        await place.provider.stop_build(wanted)

        assert [builds.made[key].stopped for key in both] == [True, True]
        await withdrawn(place.provider, wanted)


class TestABucketThatIsGone:
    async def test_keeps_nothing_from_being_taken_away(self, place: Place) -> None:
        wanted, s3 = await place.serving(place.order("no-bucket")), place.cloud.amazon.client("s3")
        s3.delete_bucket(Bucket=place.cloud.bucket_name)

        try:
            left = await place.provider.withdraw(wanted)
        finally:
            s3.create_bucket(Bucket=place.cloud.bucket_name, CreateBucketConfiguration={"LocationConstraint": REGION})

        assert left == ()
        assert "no-bucket" not in place.cloud.amazon.functions.there


@pytest.mark.parametrize("code", ["RequestTimeout", "AccountLimitExceededException", "ThrottledException"])
async def test_what_passes_by_itself_is_no_refusal(place: Place, code: str) -> None:
    place.cloud.amazon.faults.add("refuse", "lambda.GetFunction", says=(code, "Not now"))

    with pytest.raises(ProviderBusy):
        await place.provider.observe(place.order("later"))
