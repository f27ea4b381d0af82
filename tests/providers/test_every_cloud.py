"""What holds of every cloud alike, each before its own emulator: what it is sent, and answers that come late, or never."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from domain.release import PinnedImage, Trigger
from process.secret import Secret
from providers.provider import Order, Provider, ProviderBusy, ProviderRefused, ProviderUnreachable, Secrets, Service
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.azure.faults import Fault as AzureFault
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.faults import Fault as GcpFault
from tests.emulators.lost_answers import LostAnswers
from tests.providers.grounds import (
    GROUNDS,
    HELLO,
    Ground,
    gone_back,
    order,
    sources,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAILY = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
TOKEN: Secrets = {"TOKEN": Secret("a token")}
# Our ids, and what is made of them or of an image, however they are written.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,64}")
# Effects of each cloud of which the answers are lost, whatever else is.
EFFECTS = {
    "aws": {
        "s3.PutObject",
        "s3.DeleteObject",
        "codebuild.StartBuild",
        "ecr.PutImage",
        "ecr.BatchDeleteImage",
        "lambda.CreateFunction",
        "lambda.UpdateFunctionConfiguration",
        "lambda.PublishVersion",
        "lambda.CreateAlias",
        "lambda.UpdateAlias",
        "lambda.DeleteAlias",
        "lambda.CreateFunctionUrlConfig",
        "lambda.UpdateFunctionUrlConfig",
        "lambda.AddPermission",
        "lambda.RemovePermission",
        "lambda.DeleteFunction",
        "scheduler.CreateSchedule",
        "scheduler.DeleteSchedule",
        "secretsmanager.CreateSecret",
        "secretsmanager.DeleteSecret",
    },
    "azure": {
        "PUT blob",
        "DELETE blob",
        "PUT registries/tasks",
        "DELETE registries/tasks",
        "POST registries/scheduleRun",
        "PUT registry",
        "DELETE registry",
        "PUT containerApps",
        "PATCH containerApps",
        "POST containerApps/revisions/deactivate",
        "DELETE containerApps",
        "PUT jobs",
        "DELETE jobs",
    },
    "gcp": {
        "storage.post",
        "storage.delete",
        "cloudbuild.projects.locations.builds.create",
        "artifactregistry.projects.locations.repositories.packages.tags.create",
        "artifactregistry.projects.locations.repositories.packages.tags.delete",
        "artifactregistry.projects.locations.repositories.packages.versions.delete",
        "run.projects.locations.services.patch",
        "run.projects.locations.services.delete",
        "run.projects.locations.services.revisions.delete",
        "cloudscheduler.projects.locations.jobs.create",
        "cloudscheduler.projects.locations.jobs.delete",
        "secretmanager.projects.secrets.create",
        "secretmanager.projects.secrets.addVersion",
        "secretmanager.projects.secrets.delete",
    },
}
# What a release of 512 MB and 60 seconds, private, comes to there, and then one of 5000 MB and 120 seconds, public. Of Lambda,
# memory decides about processors, and each instance has one request at a time; requests to Container Apps end after 240 seconds.
SENT: dict[str, list[dict[str, Any]]] = {
    "aws": [
        {"memory": 512, "seconds": 60, "GREETING": "Hi", "public": False},
        {"memory": 5000, "seconds": 120, "GREETING": "Ho", "public": True},
    ],
    "azure": [
        {"memory": {"cpu": 0.25, "memory": "0.5Gi"}, "GREETING": "Hi", "concurrency": "80", "public": False},
        {"memory": {"cpu": 2.5, "memory": "5Gi"}, "GREETING": "Ho", "concurrency": "80", "public": True},
    ],
    "gcp": [
        {
            "memory": {"cpu": "1", "memory": "512Mi"},
            "seconds": "60s",
            "GREETING": "Hi",
            "concurrency": 80,
            "public": False,
        },
        {
            "memory": {"cpu": "2", "memory": "5000Mi"},
            "seconds": "120s",
            "GREETING": "Ho",
            "concurrency": 80,
            "public": True,
        },
    ],
}
T = TypeVar("T")
AnyCloud = AwsCloud | AzureCloud | GcpCloud


class Place(msgspec.Struct, frozen=True):
    """A cloud, and the provider that meets it."""

    ground: Ground
    cloud: AnyCloud

    @property
    def provider(self) -> Provider:
        return self.ground.provider

    @property
    def lost_answers(self) -> LostAnswers:
        match self.cloud:
            case AwsCloud():
                return self.cloud.amazon.faults.answers
            case AzureCloud():
                return self.cloud.customer.answers
            case GcpCloud():
                return self.cloud.google.faults.answers

    def fault(self, kind: Any, *, times: int = 1) -> None:
        """Let it happen to the next looks at what runs."""
        match self.cloud:
            case AwsCloud():
                self.cloud.amazon.faults.add(kind, "lambda.GetFunction", seconds=0.2, times=times)
            case AzureCloud():
                status = {"throttle": 429, "deny": 403}.get(kind, 0)
                seconds = 0.2 if kind == "delay" else 0.0
                fault = AzureFault("GET", "/containerApps/", status, "AuthorizationFailed", times, seconds)
                self.cloud.customer.faults.append(fault)
            case GcpCloud():
                self.cloud.google.faults.add(GcpFault(kind, "run.projects.locations.services.get", times, 0.2))

    def forget_faults(self) -> None:
        match self.cloud:
            case AwsCloud():
                self.cloud.amazon.faults.forget()
            case AzureCloud():
                self.cloud.customer.faults.clear()
            case GcpCloud():
                self.cloud.google.faults.forget()

    def builds(self) -> int:
        match self.cloud:
            case AwsCloud():
                return len(self.cloud.amazon.builds.made)
            case AzureCloud():
                return len(self.cloud.azure.tasks.runs)
            case GcpCloud():
                return len(self.cloud.google.builds.made)

    def remains(self) -> list[str]:
        """What is there, whosever ids it has, but for notes of where an answer was heard."""
        return sorted(_ID.sub("#", name) for name in self.cloud.remains() if not name.endswith("/operation.txt"))

    def sent(self) -> dict[str, Any]:
        """What the cloud was asked for, for the release that serves."""
        match self.cloud:
            case AwsCloud():
                named = {"FunctionName": "hello", "Qualifier": "live"}
                shown = self.cloud.amazon.client("lambda").get_function_configuration(**named)
                opened = self.cloud.amazon.client("lambda").get_function_url_config(**named)["AuthType"] == "NONE"
                return {
                    "memory": shown["MemorySize"],
                    "seconds": shown["Timeout"],
                    "GREETING": shown["Environment"]["Variables"]["GREETING"],
                    "public": opened,
                    "ids": f"{self.cloud.amazon.functions.there['hello'].tags} {shown['Description']}",
                }
            case AzureCloud():
                [app] = self.cloud.azure.apps.apps.values()
                [container] = app.given["properties"]["template"]["containers"]
                scale = app.given["properties"]["template"]["scale"]
                return {
                    "memory": container["resources"],
                    "GREETING": _value(container["env"]),
                    "concurrency": scale["rules"][0]["http"]["metadata"]["concurrentRequests"],
                    "public": app.given["properties"]["configuration"]["ingress"]["external"],
                    "ids": str(app.given["tags"]),
                }
            case GcpCloud():
                [service] = self.cloud.google.run.services.values()
                template = service.given["template"]
                return {
                    "memory": template["containers"][0]["resources"]["limits"],
                    "seconds": template["timeout"],
                    "GREETING": _value(template["containers"][0]["env"]),
                    "concurrency": template["maxInstanceRequestConcurrency"],
                    "public": service.given["invokerIamDisabled"],
                    "ids": str(service.given["labels"]),
                }


def _value(variables: list[dict[str, Any]]) -> str:
    return next(str(one["value"]) for one in variables if one["name"] == "GREETING")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=("aws", "azure", "gcp"))
async def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with GROUNDS[request.param](tmp_path_factory.mktemp(request.param)) as ground:
        assert isinstance(ground.cloud, AwsCloud | AzureCloud | GcpCloud)
        yield Place(ground, ground.cloud)


async def _again(ask: Callable[[], Awaitable[T]]) -> T:
    """What is answered in the end: a runner asks again where nothing was, or something is going on."""

    async def attempt() -> tuple[T] | None:
        try:
            return (await ask(),)
        except ProviderBusy:
            return None

    answered = await until(attempt, bool)
    assert answered is not None
    return answered[0]


async def _built(provider: Provider, wanted: Order) -> PinnedImage:
    """From nothing to an image, as a runner does it: what does not answer is asked again."""
    await _again(lambda: provider.bundle(wanted, sources(HELLO)))
    await _again(lambda: provider.start_build(wanted))
    await until(
        lambda: _again(lambda: provider.observe(wanted)), lambda seen: seen.build and seen.build.status == "succeeded"
    )
    image = await _again(lambda: provider.push(wanted))
    return PinnedImage(reference=image.reference, digest=image.digest)


async def _served(provider: Provider, wanted: Order) -> Service:
    """From an image to serving."""
    await _again(lambda: provider.apply(wanted, TOKEN if wanted.release.secret_values else {}))
    await until(
        lambda: _again(lambda: provider.observe(wanted)),
        lambda seen: seen.service and seen.service.status == "healthy",
    )
    return await until(lambda: _again(lambda: provider.promote(wanted)), lambda service: service.serving)


async def _gone(provider: Provider, wanted: Order) -> None:
    await until(lambda: _again(lambda: provider.withdraw(wanted)), lambda left: left == ())


# The calls that matter most of these two are tried one by one in test_aws.py and test_azure_releases.py.
_LONG = [pytest.param(name, marks=pytest.mark.proof) for name in ("aws", "azure")]


class TestAnAnswerThatIsLost:
    @pytest.mark.parametrize("place", [*_LONG, "gcp"], indirect=True)
    async def test_whichever_it_is_leads_to_no_second_of_anything(self, place: Place) -> None:
        """
        Goal: after every effect of a cloud its answer may be lost, and there is one of each thing all the same.
        Method: a private function with a schedule and a secret, a public one in its place, and both taken away; once as
        it should be, once with the first answer to every kind of effect lost. What is there is the same at every stage.
        """
        stages, builds = [], []
        for loses in (False, True):
            before = place.builds()
            if loses:
                place.lost_answers.begin()
            stages.append(await self._whole_life(place))
            place.lost_answers.end()
            builds.append(place.builds() - before)

        assert builds == [1, 1]
        assert stages[1] == stages[0]
        assert stages[0][-1] == []
        assert EFFECTS[place.cloud.name] - place.lost_answers.lost == set()

    async def _whole_life(self, place: Place) -> list[list[str]]:
        provider = place.provider
        first = order(ground=place.ground, trigger=DAILY, access="private", secret_values={"TOKEN": uuid4()}, number=1)
        image = await _built(provider, first)
        await _served(provider, first)
        stages = [place.remains()]
        second = gone_back(order(ground=place.ground, function_id=first.release.function_id, number=2), image)
        # Both are of one project, as whoever deploys again is.
        second = msgspec.structs.replace(second, tenant_id=first.tenant_id, project_id=first.project_id)
        await _served(provider, second)
        stages.append(place.remains())
        for wanted in (first, second):
            await _gone(provider, wanted)
            stages.append(place.remains())
        return stages


class TestTheEmulator:
    async def test_delays_throttles_denies_and_loses_answers_as_it_is_told(self, place: Place) -> None:
        wanted = order(ground=place.ground)

        place.fault("delay")
        assert (await place.provider.observe(wanted)).service is None
        place.fault("throttle")
        with pytest.raises(ProviderBusy):
            await place.provider.observe(wanted)
        place.fault("deny")
        with pytest.raises(ProviderRefused) as refusal:
            await place.provider.observe(wanted)
        place.fault("lose", times=20)  # Looks are repeated by themselves, a few times.
        with pytest.raises(ProviderUnreachable):
            await place.provider.observe(wanted)

        place.forget_faults()
        assert (await place.provider.observe(wanted)).service is None
        assert refusal.value.remedy


class TestARelease:
    @pytest.mark.parametrize("place", [*_LONG, "gcp"], indirect=True)
    async def test_is_sent_all_that_it_asks_for_and_the_next_one_changes_it(self, place: Place) -> None:
        given: dict[str, Any] = {"memory_mb_max": 512, "request_seconds_max": 60, "environment": {"GREETING": "Hi"}}
        first = order(ground=place.ground, number=1, access="private", **given)
        more: dict[str, Any] = {"memory_mb_max": 5000, "request_seconds_max": 120, "environment": {"GREETING": "Ho"}}
        image = await _built(place.provider, first)
        await _served(place.provider, first)
        before = place.sent()
        second = gone_back(
            order(ground=place.ground, number=2, function_id=first.release.function_id, access="public", **more), image
        )
        second = msgspec.structs.replace(second, tenant_id=first.tenant_id, project_id=first.project_id)
        await _served(place.provider, second)
        after = place.sent()
        for wanted in (first, second):
            await _gone(place.provider, wanted)

        for shown, wanted in ((before, first), (after, second)):
            ids = shown.pop("ids")
            whose = (wanted.tenant_id, wanted.project_id, wanted.release.function_id, wanted.deployment_id)
            assert [one for one in whose if str(one) not in ids] == []
        assert [before, after] == SENT[place.cloud.name]
