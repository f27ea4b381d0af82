"""What is AWS's own: lost answers at each call, permissions and their remedies, URLs, schedules, and an emulator that is strict
with everybody."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from domain.clouds import AwsIdentity, AwsNamed, AwsStorage
from domain.placement import lambda_bytes
from domain.release import PinnedImage, Trigger
from process.secret import Secret
from providers.aws import builds, naming
from providers.aws.account import identity_of, storage_of
from providers.aws.provider import AwsProvider
from providers.aws.release import Healthy, Releases
from providers.aws.schedules import expression
from providers.aws.setup import AwsMade, Wanted, setup
from providers.aws.storage import MULTIPART_BYTES_MIN, Bucket
from providers.issuer import Issuer
from providers.provider import Order, ProviderBusy, ProviderRefused, Service
from tests.emulators.aws.account import CUSTOMER_KEY, CUSTOMER_SECRET, REGION
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.workshop import workshop
from tests.providers.aws_ground import AwsPlace
from tests.providers.grounds import (
    HELLO,
    TOOLCHAIN_DIR,
    aws_place,
    built,
    gone_back,
    order,
    settled,
    sources,
    until,
    withdrawn,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
T = TypeVar("T")
# Each has an effect, or decides whether one is still to be had.
LOST = (
    "s3.PutObject",
    "codebuild.StartBuild",
    "ecr.DescribeImages",
    "lambda.CreateFunction",
    "lambda.PublishVersion",
    "lambda.CreateAlias",
    "lambda.CreateFunctionUrlConfig",
    "lambda.Invoke",
    "lambda.UpdateAlias",
    "lambda.AddPermission",
    "lambda.UpdateFunctionUrlConfig",
    "lambda.GetFunction",
)


LOST_GOING = (
    "codebuild.BatchGetBuilds",
    "ecr.BatchDeleteImage",
    "lambda.DeleteAlias",
    "lambda.DeleteFunction",
    "lambda.ListVersionsByFunction",
    "lambda.UpdateFunctionConfiguration",
    "s3.DeleteObject",
    "s3.HeadObject",
    "s3.ListObjectsV2",
    "scheduler.DeleteSchedule",
    "secretsmanager.DeleteSecret",
)
DAILY = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
TOKEN = {"TOKEN": Secret("a token")}


class Place(AwsPlace, frozen=True):
    """The account, the provider that meets it, and the issuer that it trusts."""

    issuer: Issuer

    def order(self, name: str, trigger: Trigger | None = None, **changes: Any) -> Order:
        """For a Lambda function of this name."""
        made = order(ground=self.ground, **changes)
        target = msgspec.structs.replace(self.ground.target, function_name=name)
        release = msgspec.structs.replace(made.release, target=target, trigger=trigger or Trigger())
        return msgspec.structs.replace(made, release=release)

    def again(self, order: Order, *, number: int, trigger: Trigger) -> Order:
        """A later deployment of the same."""
        release = msgspec.structs.replace(order.release, trigger=trigger)
        return msgspec.structs.replace(order, deployment_id=uuid4(), number=number, release=release)

    async def deployed(self, wanted: Order) -> Service:
        """From nothing to serving, as a runner does it: what does not answer is asked again."""
        provider = self.provider
        await again(lambda: provider.bundle(wanted, sources(HELLO)))
        await again(lambda: provider.start_build(wanted))
        await until(lambda: again(lambda: provider.observe(wanted)), lambda seen: seen.image)
        await again(lambda: provider.push(wanted))
        return await self.released(wanted)

    async def released(self, wanted: Order) -> Service:
        """From an image that is there to serving."""
        provider = self.provider
        await again(lambda: provider.apply(wanted, TOKEN if wanted.release.secret_values else {}))
        await until(
            lambda: again(lambda: provider.observe(wanted)),
            lambda seen: seen.service and seen.service.status == "healthy",
        )
        return await again(lambda: provider.promote(wanted))


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """What is answered in the end."""
    for _ in range(20):
        try:
            return await ask()
        except ProviderBusy:
            continue
    raise AssertionError("it never answered")


async def refusal_of(asking: Awaitable[object]) -> ProviderRefused | None:
    """Why it was refused; None when it was not."""
    try:
        await asking
    except ProviderRefused as refused:
        return refused
    return None


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with aws_place(tmp_path_factory.mktemp("aws")) as (cloud, ground, issuer):
        yield Place(cloud, ground, issuer)


class TestALostAnswer:
    async def test_leads_to_no_second_of_anything(self, place: Place) -> None:
        wanted, amazon = place.order("lost"), place.cloud.amazon
        for call in LOST:
            amazon.faults.add("lose", call)

        service = await place.deployed(wanted)

        target = wanted.release.target
        function = amazon.functions.there[target.function_name]  # type: ignore[union-attr] # it is one of AWS
        own = [
            one for one in amazon.builds.made.values() if one.variables["DCF_DEPLOYMENT"] == str(wanted.deployment_id)
        ]
        assert amazon.faults.are_over
        assert service.serving
        assert (len(own), len(function.versions), len(function.urls)) == (1, 1, 1)
        await withdrawn(place.provider, wanted)
        assert str(wanted.deployment_id) not in str(place.cloud.remains())

    async def test_while_something_is_taken_away_leaves_nothing_of_it_and_takes_nothing_else(
        self, place: Place
    ) -> None:
        """
        Goal: whoever dies at any call of taking away a release that never served, a former one, or the one that serves, is
        followed up, and what is kept serves on.
        Method: one of each, of one image and with secrets; the answer to each call is lost once.
        """
        amazon, first = place.cloud.amazon, place.order("undone", number=1, secret_values={"TOKEN": uuid4()})
        await place.deployed(first)
        image = await place.provider.push(first)
        pinned = PinnedImage(reference=image.reference, digest=image.digest)
        serving, candidate = (
            gone_back(place.again(first, trigger=trigger, number=number), pinned)
            for number, trigger in ((2, DAILY), (3, Trigger()))
        )
        await place.released(serving)
        await again(lambda: place.provider.apply(candidate, TOKEN))
        left, never_lost = [], set(LOST_GOING)

        for wanted in (candidate, first, serving):
            for call in LOST_GOING:
                amazon.faults.add("lose", call)
            assert await again(lambda wanted=wanted: place.provider.withdraw(wanted)) == ()  # type: ignore[misc]
            never_lost &= amazon.faults.forget()
            assert str(wanted.deployment_id) not in str(place.cloud.remains())
            left.append((len(amazon.functions.names()), len(amazon.images.repositories["dcf-functions"].tags)))
            assert wanted is serving or (await settled(place.provider, serving)).serving

        assert left == [(2, 2), (1, 1), (0, 0)]
        assert never_lost == set()
        assert amazon.functions.there == {}
        assert (amazon.secrets(), amazon.schedules.there) == ({}, {})

    async def test_of_a_large_upload_is_made_good_and_what_was_cut_off_goes_too(self, place: Place) -> None:
        """*Method:* the answers to beginning it, to a part and to its end are lost; a second one is cut off for good."""
        wanted, cut, s3 = place.order("large"), place.order("cut"), place.cloud.amazon.client("s3")
        account = place.provider._account(wanted.tenant_id, wanted.project_id, identity_of(wanted))
        bucket, name = Bucket(account, storage_of(wanted)), naming.bundle_name(wanted)
        for call in ("s3.CreateMultipartUpload", "s3.UploadPart", "s3.CompleteMultipartUpload"):
            place.cloud.amazon.faults.add("lose", call)

        staged = await again(lambda: bucket.stage(name, io.BytesIO(bytes(MULTIPART_BYTES_MIN))))
        begun = {"Bucket": place.cloud.bucket_name, "Key": f"dcf/{cut.deployment_id}/source.zip"}
        s3.create_multipart_upload(**begun)
        seen = await place.provider.observe(wanted)
        for one in (wanted, cut):
            assert await place.provider.withdraw(one) == ()

        assert place.cloud.amazon.faults.are_over
        assert seen.bundle == staged.bundle
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=place.cloud.bucket_name)
        assert str(wanted.deployment_id) not in str(place.cloud.remains())

    async def test_of_a_build_is_made_good_when_no_note_was_taken_and_amazon_forgot(self, place: Place) -> None:
        wanted, amazon = place.order("unnoted"), place.cloud.amazon
        await place.provider.bundle(wanted, sources(HELLO))
        first = await place.provider.start_build(wanted)
        amazon.client("s3").delete_object(Bucket=place.cloud.bucket_name, Key=f"dcf/{wanted.deployment_id}/build")
        amazon.builds.forget_tokens()

        assert (await place.provider.start_build(wanted)).id == first.id
        await place.provider.withdraw(wanted)


class TestTrouble:
    async def test_that_is_a_denial_is_told_as_one_and_what_only_takes_long_is_none(self, place: Place) -> None:
        faults, wanted = place.cloud.amazon.faults, place.order("denied")
        faults.add("deny", "lambda.GetFunction")
        denied = await refusal_of(place.provider.observe(wanted))
        faults.add("delay", "lambda.GetFunction", seconds=0.2)

        assert denied is not None
        assert denied.code == "AWS_PERMISSION_DENIED"
        assert (await place.provider.observe(wanted)).service is None
        assert faults.are_over

    @pytest.mark.parametrize("kind", ["throttle", "fail"])
    async def test_that_passes_is_told_as_busy(self, place: Place, kind: Any) -> None:
        place.cloud.amazon.faults.add(kind, "lambda.GetFunction")

        with pytest.raises(ProviderBusy):
            await place.provider.observe(place.order("busy"))

    async def test_with_keys_that_are_over_is_over_with_new_ones(self, place: Place) -> None:
        wanted = place.order("over")
        await place.provider.observe(wanted)
        place.cloud.account.end_sessions()

        assert (await again(lambda: place.provider.observe(wanted))).service is None

    async def test_with_a_signature_is_told_as_what_it_is_and_is_over_with_new_keys(self, place: Place) -> None:
        wanted = place.order("unsigned")
        await place.provider.build_log(wanted, 0)
        place.cloud.account.change_secrets()

        refused = await refusal_of(place.provider.build_log(wanted, 0))

        assert refused is not None
        assert refused.code == "AWS_SIGNATURE_REFUSED"
        assert "clock" in refused.remedy
        assert (await place.provider.build_log(wanted, 0)).text == ""

    async def test_of_a_missing_permission_names_the_command_that_mends_it(self, place: Place) -> None:
        """The customer does what is said, and it goes on."""
        wanted, iam = place.order("denied"), place.cloud.amazon.client("iam")
        policy = iam.get_role_policy(RoleName="dcf-deployer", PolicyName="dcf")["PolicyDocument"]
        less = [one for one in policy["Statement"] if one["Sid"] != "Building"]
        document = msgspec.json.encode({**policy, "Statement": less}).decode()
        await place.provider.bundle(wanted, sources(HELLO))
        iam.put_role_policy(RoleName="dcf-deployer", PolicyName="dcf", PolicyDocument=document)

        refusals = []
        while (refused := await refusal_of(place.provider.start_build(wanted))) is not None:
            refusals.append(refused)
            place.cloud.shell.obey(refused.remedy)

        assert {one.code for one in refusals} == {"AWS_PERMISSION_DENIED"}
        assert len(refusals) <= len(policy["Statement"])
        whole = msgspec.json.encode(policy).decode()
        iam.put_role_policy(RoleName="dcf-deployer", PolicyName="dcf", PolicyDocument=whole)
        await place.provider.withdraw(wanted)


class TestARole:
    async def test_that_refuses_us_may_only_be_spreading(self, place: Place) -> None:
        nowhere = AwsIdentity(role_arn=place.cloud.role_arn("nowhere"), region=REGION)

        finding = await place.provider.verify_identity(uuid4(), uuid4(), nowhere)

        [refused] = [one for one in finding.steps if one.code]
        assert (finding.status, refused.status, refused.code) == ("pending", "failed", "AWS_TRUST_POLICY_REFUSED")
        assert refused.remedy.startswith("aws iam update-assume-role-policy")
        assert finding.spreads_seconds > 0


class TestWhatIsNamed:
    @pytest.mark.parametrize(
        ("named", "step", "code"),
        [
            # Which the role's policy does not name either: what there is and is wrong is in the journey.
            (AwsNamed(code_build_project="nowhere"), "code_build_project", "AWS_PERMISSION_DENIED"),
            (AwsNamed(ecr_repository="nowhere"), "ecr_repository", "AWS_PERMISSION_DENIED"),
            (
                AwsNamed(execution_role_arn="arn:aws:iam::000000000000:role/nowhere"),
                "execution_role",
                "AWS_PERMISSION_DENIED",
            ),
        ],
    )
    async def test_is_looked_at_by_itself(self, place: Place, named: AwsNamed, step: str, code: str) -> None:
        finding = await place.provider.verify_named(uuid4(), uuid4(), place.ground.identity, named)  # type: ignore[arg-type]

        [failed] = [one for one in finding.steps if one.status == "failed"]
        assert failed.name == step
        assert failed.code == code
        assert failed.remedy.startswith(("aws ", "Run "))

    async def test_passes_when_it_was_set_up(self, place: Place) -> None:
        target = place.cloud.target("hello")
        named = AwsNamed(code_build_project=target["codeBuildProject"], ecr_repository=target["ecrRepository"])

        finding = await place.provider.verify_named(uuid4(), uuid4(), place.ground.identity, named)  # type: ignore[arg-type]

        assert finding.status == "verified", finding


class TestARelease:
    async def test_that_is_private_answers_nobody_without_a_signature(self, place: Place) -> None:
        given: dict[str, Any] = {"environment": {"GREETING": "Ahoy"}, "memory_mb_max": 384, "request_seconds_max": 45}
        wanted = place.order("private", access="private", **given)

        service = await place.deployed(wanted)
        function = place.cloud.amazon.functions.there["private"]
        seen = function.versions["1"].configuration

        signed = AWSRequest(method="GET", url=service.url)
        SigV4Auth(ReadOnlyCredentials(CUSTOMER_KEY, CUSTOMER_SECRET, None), "lambda", REGION).add_auth(signed)
        headers = dict(signed.headers)
        tampered = {**headers, "Authorization": headers["Authorization"][:-4] + "0000"}
        async with httpx.AsyncClient() as client:
            assert (await client.get(service.url)).status_code == 403
            assert (await client.get(service.url, headers=tampered)).status_code == 403
            assert (await client.get(service.url, headers=headers)).text == "Ahoy, world!\n"
        assert (seen["MemorySize"], seen["Timeout"], seen["Architectures"]) == (384, 45, ["arm64"])
        assert seen["Role"] == place.cloud.role_arn("dcf-function")
        assert function.tags == {
            "managed-by": "dart-cloud-functions",
            "dcf-tenant": str(wanted.tenant_id),
            "dcf-project": str(wanted.project_id),
            "dcf-function": str(wanted.release.function_id),
        }
        await withdrawn(place.provider, wanted)

    async def test_leaves_a_function_of_somebody_else_alone(self, place: Place) -> None:
        mine = place.order("taken")
        other = place.order("taken")
        await place.deployed(mine)
        await place.provider.bundle(other, sources(HELLO))
        await place.provider.start_build(other)
        await until(lambda: place.provider.observe(other), lambda seen: seen.image)

        with pytest.raises(ProviderRefused) as refusal:
            await place.provider.apply(other)
        await withdrawn(place.provider, other)

        assert refusal.value.code == "service_taken"
        assert (await settled(place.provider, mine)).serving
        await withdrawn(place.provider, mine)

    async def test_whose_image_lambda_may_not_read_says_what_lets_it(self, place: Place) -> None:
        wanted, repository = place.order("unread"), place.cloud.amazon.images.repositories["dcf-functions"]
        await built(place.provider, wanted, sources(HELLO))
        await place.provider.push(wanted)
        policy, repository.policy = repository.policy, ""

        try:
            with pytest.raises(ProviderRefused) as refusal:
                await place.provider.apply(wanted)
        finally:
            repository.policy = policy
        service = await place.deployed(wanted)
        await withdrawn(place.provider, wanted)

        assert refusal.value.code == "AWS_IMAGE_NOT_READABLE"
        assert "ecr_repository commands" in refusal.value.remedy
        assert service.serving

    @pytest.mark.parametrize(
        ("environment", "code"),
        [
            ({"AWS_REGION": "x"}, "environment_reserved"),
            ({"X": "x"}, "environment_invalid"),
            ({"LARGE": "x" * 4096}, "environment_too_large"),
        ],
    )
    async def test_refuses_variables_that_lambda_would_before_anything_is_built(
        self, place: Place, environment: dict[str, str], code: str
    ) -> None:
        refused = await refusal_of(
            place.provider.bundle(place.order("refused", environment=environment), sources(HELLO))
        )

        assert refused is not None
        assert refused.code == code

    async def test_has_as_many_bytes_of_variables_as_were_counted_before_it_was_queued(self, place: Place) -> None:
        given = {"GREETING": 'Gr\u00fc\u00df "Gott"', "EMPTY": ""}
        wanted = place.order("counted", environment=given, secret_values={"TOKEN": uuid4(), "OTHER": uuid4()})

        made = Releases(
            place.provider._account(wanted.tenant_id, wanted.project_id, identity_of(wanted)), Healthy(), wanted
        )._environment()

        assert made.items() >= given.items()
        assert len(msgspec.json.encode(made)) == lambda_bytes(given, ("TOKEN", "OTHER"))


class TestASchedule:
    async def test_calls_the_release_that_serves_until_it_is_taken_away(self, place: Place) -> None:
        trigger = Trigger(type="schedule", settings={"cron": "0 3 * * 1-5", "timeZone": "Europe/Madrid"})
        wanted, schedules = place.order("timed", trigger), place.cloud.amazon.schedules

        service = await place.deployed(wanted)
        [(name, kept)] = schedules.there.items()
        fired = schedules.fire(name)

        assert service.serving
        assert kept["ScheduleExpression"] == "cron(0 3 ? * 2,3,4,5,6 *)"
        assert kept["ScheduleExpressionTimezone"] == "Europe/Madrid"
        assert msgspec.json.decode(fired["Payload"])["statusCode"] == 200
        sent = msgspec.json.decode(kept["Target"]["Input"])
        assert (sent["requestContext"]["http"]["method"], sent["headers"]["ce-type"]) == ("POST", "dcf.schedule.due")
        del schedules.there[name]
        assert not (await place.provider.observe(wanted)).service.serving  # type: ignore[union-attr] # it is there
        assert (await place.provider.promote(wanted)).serving
        await withdrawn(place.provider, wanted)
        assert schedules.there == {}

    @pytest.mark.parametrize(
        ("cron", "expected"),
        [
            ("0 3 * * *", "cron(0 3 * * ? *)"),
            ("*/20 0-2 1 jan *", "cron(0,20,40 0,1,2 1 1 ? *)"),
            ("5 4 * * sun", "cron(5 4 ? * 1 *)"),
            ("5 4 * * 7", "cron(5 4 ? * 1 *)"),
        ],
    )
    async def test_is_told_as_eventbridge_has_it(self, cron: str, expected: str) -> None:
        assert expression(cron) == expected

    async def test_of_days_of_both_kinds_is_refused(self) -> None:
        with pytest.raises(ProviderRefused) as refusal:
            expression("0 3 1 * mon")

        assert refusal.value.code == "schedule_not_expressible"


def _function(**variables: str) -> dict[str, Any]:
    """One to be run as a role of another account."""
    return {
        "FunctionName": "refused",
        "Role": "arn:aws:iam::999999999999:role/theirs",
        "PackageType": "Image",
        "Code": {"ImageUri": "images/refused:1"},
        "Environment": {"Variables": variables},
    }


class TestTheEmulator:
    """Others are answered, and refused, as by Amazon."""

    @pytest.mark.parametrize(
        ("service", "call", "given", "code"),
        [
            (
                "lambda",
                "create_alias",
                {"FunctionName": "a b", "Name": "x", "FunctionVersion": "1"},
                "ValidationException",
            ),
            ("ecr", "create_repository", {"repositoryName": "Upper"}, "ValidationException"),
            (
                "codebuild",
                "start_build",
                {"projectName": "p", "environmentVariablesOverride": [{"name": "A", "value": "b", "type": "SECRET"}]},
                "ValidationException",
            ),
            ("lambda", "get_function", {"FunctionName": "nowhere"}, "ResourceNotFoundException"),
            ("lambda", "create_function", _function(AWS_REGION="x"), "InvalidParameterValueException"),
            ("lambda", "create_function", _function(LARGE="x" * 4090), "InvalidParameterValueException"),
            ("lambda", "create_function", _function(GREETING="Hi"), "AccessDeniedException"),
            ("codebuild", "start_build", {"projectName": "nowhere"}, "ResourceNotFoundException"),
            ("s3", "get_object", {"Bucket": "nowhere-to-be-found", "Key": "k"}, "NoSuchBucket"),
        ],
    )
    async def test_refuses_boto3_by_amazons_models(
        self, place: Place, service: str, call: str, given: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(ClientError) as error:
            getattr(place.cloud.amazon.client(service), call)(**given)

        assert error.value.response["Error"]["Code"] == code

    async def test_lets_nobody_be_the_role_whose_token_is_not_genuine(self, place: Place) -> None:
        issuer, sts = place.issuer, place.cloud.amazon.client("sts")
        role = {"RoleArn": place.cloud.role_arn("dcf-deployer"), "RoleSessionName": "session"}
        genuine = issuer.token(uuid4(), uuid4(), "sts.amazonaws.com")
        for_another = issuer.token(uuid4(), uuid4(), "api://other")
        head, body, signature = genuine.split(".")
        forged = f"{head}.{body}.{signature[:10]}AAAA{signature[14:]}"

        said = {}
        for name, token in {"garbage": "a.b.c", "audience": for_another, "forged": forged}.items():
            with pytest.raises(ClientError) as error:
                sts.assume_role_with_web_identity(**role, WebIdentityToken=token)
            said[name] = error.value.response["Error"]["Code"]

        assert set(said.values()) == {"InvalidIdentityToken"}
        assert sts.assume_role_with_web_identity(**role, WebIdentityToken=genuine)["Credentials"]["AccessKeyId"]

    @pytest.mark.proof
    @pytest.mark.skipif(shutil.which("aws") is None, reason="there is no aws command line here")
    async def test_takes_the_whole_setup_script_from_the_command_line(self, place: Place, tmp_path: Path) -> None:
        """
        Goal: what we show is what the `aws` command line takes, word for word, and afterwards the identity is verified.
        Method: a second account; bash runs the script as it is shown, with nothing but the emulator's addresses.
        """
        cloud = AwsCloud(await asyncio.to_thread(workshop, tmp_path / "cloud", TOOLCHAIN_DIR, real=False))
        provider = AwsProvider(place.issuer, cloud.amazon.endpoints)
        tenant, project = uuid4(), uuid4()
        shown = setup(place.issuer, tenant, project, Wanted(region=REGION, function_names="dcf-*"))
        services = ("iam", "s3", "ecr", "codebuild", "sts")
        environment = {
            "AWS_ACCESS_KEY_ID": CUSTOMER_KEY,
            "AWS_SECRET_ACCESS_KEY": CUSTOMER_SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
            "HOME": str(tmp_path),
            "PATH": f"{Path(shutil.which('aws') or '').parent}:/usr/bin:/bin",
            **{
                f"AWS_ENDPOINT_URL_{name.upper()}": cloud.amazon.endpoints.replace("{service}", name)
                for name in services
            },
        }
        if "PYENV_ROOT" in os.environ:
            environment["PYENV_ROOT"] = os.environ["PYENV_ROOT"]

        ran = await asyncio.to_thread(_run, ("bash", "-c", shown.script), environment)
        made = msgspec.convert(
            {
                name: value.replace("ACCOUNT_ID", cloud.account.id)
                for name, value in msgspec.to_builtins(shown.makes).items()
            },
            AwsMade,
        )
        identity = AwsIdentity(role_arn=made.role_arn, region=REGION)
        named = AwsNamed(
            code_build_project=made.code_build_project,
            ecr_repository=made.ecr_repository,
            execution_role_arn=made.execution_role_arn,
        )
        finding = await provider.verify_named(tenant, project, identity, named)
        storage = await provider.check_storage(tenant, project, identity, AwsStorage(bucket=made.bucket, region=REGION))
        await provider.close()
        cloud.close()

        assert ran.returncode == 0, ran.stderr
        assert {step.status for step in (*finding.steps, *storage.steps)} == {"passed"}, (finding, storage)

    async def test_is_waited_for_by_boto3_and_driven_by_the_command_line(self, place: Place) -> None:
        wanted = place.order("driven")
        await place.deployed(wanted)

        place.cloud.amazon.client("lambda").get_waiter("function_active_v2").wait(
            FunctionName="driven", WaiterConfig={"Delay": 1, "MaxAttempts": 3}
        )
        place.cloud.amazon.client("lambda").get_waiter("function_updated_v2").wait(
            FunctionName="driven", WaiterConfig={"Delay": 1, "MaxAttempts": 3}
        )
        if shutil.which("aws"):
            endpoint = place.cloud.amazon.endpoints.replace("{service}", "lambda")
            environment = {
                "AWS_ACCESS_KEY_ID": CUSTOMER_KEY,
                "AWS_SECRET_ACCESS_KEY": CUSTOMER_SECRET,
                "AWS_DEFAULT_REGION": REGION,
                "PATH": str(Path(shutil.which("aws") or "").parent) + ":/usr/bin:/bin",
            }
            words = (
                "aws",
                "--endpoint-url",
                endpoint,
                "lambda",
                "get-alias",
                "--function-name",
                "driven",
                "--name",
                "live",
            )
            told = await asyncio.to_thread(_run, words, environment)
            assert (told.returncode, told.stderr) == (0, "")
            assert str(wanted.deployment_id) in told.stdout
        await withdrawn(place.provider, wanted)


def _run(words: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # A dozen starts of the command line take a minute on a machine that does much else.
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str, bool], Awaitable[list[str]]]:
    """Runs the commands of a build with stand-ins for docker and aws, which write down what they were asked and what they
    read; the image's own command line is given. Returns what was written down, and the Dockerfile that was made."""
    log, own = tmp_path / "log", tmp_path / "own"
    for name in ("docker", "aws"):
        script = tmp_path / name
        script.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {log}\n[ "$6" = - ] || [ "$8" = - ] && cat >> {log}\n'
            f'[ "$2" = inspect ] && exec cat {own}\necho password\n'
        )
        script.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "AWS_REGION": REGION,
        "DCF_REGISTRY": "registry",
        "DCF_IMAGE": "registry/functions:tag",
        "DART_VERSION": "3.11.0",
    }

    async def run(command_line: str, opens_secrets: bool) -> list[str]:
        own.write_text(command_line)
        for command in builds.commands(opens_secrets=opens_secrets):
            words = ("sh", "-c", command.replace("/tmp/dcf", str(tmp_path / "dcf")))
            assert (await asyncio.to_thread(_run, words, environment)).returncode == 0
        made = tmp_path / "dcf" / "Dockerfile"
        return [*log.read_text().splitlines(), *(made.read_text().splitlines() if made.exists() else [])]

    return run


class TestTheCommandsOfABuild:
    async def test_are_what_a_shell_runs_as_meant(self, shell: Callable[[str, bool], Awaitable[list[str]]]) -> None:
        """*Goal:* quoting and pipes of the build specification hold, without Docker."""
        lines = await shell("", False)

        assert "docker build --provenance=false --sbom=false --build-arg DART_VERSION=3.11.0 -t function ." in lines
        assert "FROM function" in lines
        assert f"COPY --from={builds.ADAPTER_IMAGE} /lambda-adapter {builds.ADAPTER_FILE}" in lines
        assert lines[-1] == "docker push registry/functions:tag"

    @pytest.mark.parametrize(
        ("own", "entrypoint", "command"),
        [
            ('["/app/bin/server"]\nnull\n', ["/opt/dcf/open", "/app/bin/server"], []),
            ('null\n["/app/a b","--x=[1,]"]\n', ["/opt/dcf/open"], ["/app/a b", "--x=[1,]"]),
            ('["sh","-c","a | b"]\n["c"]\n', ["/opt/dcf/open", "sh", "-c", "a | b"], ["c"]),
            ("[]\n[]\n", ["/opt/dcf/open"], []),
        ],
        ids=["entrypoint", "command", "both", "neither"],
    )
    async def test_put_the_opener_before_the_images_own_command_line(
        self, shell: Callable[[str, bool], Awaitable[list[str]]], own: str, entrypoint: list[str], command: list[str]
    ) -> None:
        lines = await shell(own, True)

        made = lines[lines.index("ARG DART_VERSION") :]
        assert made[1] == "FROM dart:$DART_VERSION AS opener"
        assert f"COPY --from=opener --chmod=0555 /tmp/open {builds.OPENER_FILE}" in made
        assert msgspec.json.decode(made[-2].removeprefix("ENTRYPOINT ")) == entrypoint
        assert msgspec.json.decode(made[-1].removeprefix("CMD ")) == command
