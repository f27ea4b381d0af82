"""What AWS is asked of all that deployments name, before there is any: rights that are seen ahead, and what mends each.

Nothing is built or run here. What makes a connection fail is broken and mended in the journey.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from domain.clouds import AwsIdentity, AwsNamed
from domain.release import Trigger
from providers.aws import policies
from providers.aws.trust import trusts
from providers.provider import Finding, Order, ProviderBusy, ProviderRefused, Step
from tests.providers.aws_ground import AwsPlace
from tests.providers.grounds import HELLO, aws_place, order, sources

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAILY = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
DENIED = {"Effect": "Deny", "Action": "lambda:AddPermission", "Resource": "*"}
UNLESS_IAM = {**DENIED, "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}}


class Place(AwsPlace, frozen=True):
    """With what is asked of it here."""

    @property
    def named(self) -> AwsNamed:
        target = self.cloud.target("hello")
        return AwsNamed(
            code_build_project=target["codeBuildProject"],
            ecr_repository=target["ecrRepository"],
            execution_role_arn=target["executionRoleArn"],
            function_name=target["functionName"],
            bucket=self.cloud.bucket_name,
        )

    async def look(self, named: AwsNamed | None = None) -> Finding:
        assert isinstance(self.ground.identity, AwsIdentity)
        return await self.provider.verify_named(uuid4(), uuid4(), self.ground.identity, named or self.named)

    async def seen(self, step: str) -> Step:
        """That step, of a look at all."""
        [found] = [one for one in (await self.look()).steps if one.name == step]
        return found

    @contextmanager
    def without(self, action: str, role: str = "dcf-deployer") -> Iterator[None]:
        """The role's policy lacks the action; afterwards it is as it was, and what was added to it is gone."""
        iam = self.cloud.amazon.client("iam")
        kept = self.cloud.account.role(self.cloud.role_arn(role)).policies["dcf"]
        document = self.cloud._policy_without(action, role=role)
        iam.put_role_policy(RoleName=role, PolicyName="dcf", PolicyDocument=document)
        try:
            yield
        finally:
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                iam.delete_role_policy(RoleName=role, PolicyName=name)
            iam.put_role_policy(RoleName=role, PolicyName="dcf", PolicyDocument=kept)

    @contextmanager
    def trusting(self, *services: str) -> Iterator[None]:
        """The execution role lets these become it."""
        iam = self.cloud.amazon.client("iam")
        kept = iam.get_role(RoleName="dcf-function")["Role"]["AssumeRolePolicyDocument"]
        self.cloud._trusted_by("dcf-function", *services)
        try:
            yield
        finally:
            iam.update_assume_role_policy(RoleName="dcf-function", PolicyDocument=json.dumps(kept))

    @contextmanager
    def forbidding(self, *statements: dict[str, Any]) -> Iterator[None]:
        """The organization denies it."""
        self.cloud.account.forbidden[:] = statements
        try:
            yield
        finally:
            self.cloud.account.forbidden.clear()

    def order(self, trigger: Trigger, **changes: Any) -> Order:
        made = order(ground=self.ground, **changes)
        return msgspec.structs.replace(made, release=msgspec.structs.replace(made.release, trigger=trigger))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with aws_place(tmp_path_factory.mktemp("aws")) as (cloud, ground, _):
        yield Place(cloud, ground)


class TestAnAccountThatWasSetUp:
    async def test_has_all_that_is_named(self, place: Place) -> None:
        finding = await place.look()

        assert [(one.name, one.status) for one in finding.steps][4:] == [
            (name, "passed")
            for name in (
                "code_build_project",
                "code_build_role",
                "ecr_repository",
                "execution_role",
                "pass_role",
                "opening_secrets",
                "schedules",
                "function",
                "public_url",
            )
        ], finding

    @pytest.mark.parametrize("right", ["iam:GetRole", "iam:SimulatePrincipalPolicy"])
    async def test_before_builds_were_looked_at_is_verified_and_told_what_lets_them_be(
        self, place: Place, right: str
    ) -> None:
        """*Method:* the role may look at itself and at the execution role, as the setup once let it."""
        old = place.cloud.account.role(place.cloud.role_arn("dcf-deployer")).policies["dcf"]
        before = json.loads(old)
        before["Statement"] = [one for one in before["Statement"] if one["Sid"] != "Looking"]
        allowed = [name for name in ("iam:GetRole", "iam:SimulatePrincipalPolicy") if name != right]
        looking = [
            policies.allow(policies.Needed(resource=place.cloud.role_arn("dcf-function"), actions=(*allowed, right))),
            policies.allow(policies.Needed(resource="*", actions=tuple(allowed))),
        ]
        before["Statement"] += looking
        iam = place.cloud.amazon.client("iam")

        with place.without("nothing"):
            iam.put_role_policy(RoleName="dcf-deployer", PolicyName="dcf", PolicyDocument=json.dumps(before))
            finding = await place.look()
            [unseen] = [one for one in finding.steps if one.name == "code_build_role"]
            place.cloud.shell.obey(unseen.remedy)
            mended = await place.seen("code_build_role")

        assert (finding.status, unseen.status) == ("verified", "skipped")
        assert right in unseen.message
        assert mended.status == "passed", mended

    @pytest.mark.parametrize(
        ("right", "role"), [("scheduler:CreateSchedule", "dcf-deployer"), ("lambda:InvokeFunction", "dcf-function")]
    )
    async def test_without_what_only_functions_with_a_schedule_need_is_told_so_and_the_command_mends_it(
        self, place: Place, right: str, role: str
    ) -> None:
        with place.without(right, role):
            finding = await place.look()
            [seen] = [one for one in finding.steps if one.name == "schedules"]
            place.cloud.shell.obey(seen.remedy)
            mended = await place.look()

        assert (finding.status, seen.status, seen.code) == ("verified", "skipped", "AWS_SCHEDULES_DENIED")
        assert right in seen.message
        assert [one for one in mended.steps if one.status != "passed"] == []

    async def test_without_a_right_to_run_the_function_is_told_so_and_the_command_mends_it(self, place: Place) -> None:
        with place.without("lambda:PublishVersion"):
            seen = await place.seen("function")
            place.cloud.shell.obey(seen.remedy)
            mended = await place.seen("function")

        assert (seen.status, seen.code, mended.status) == ("failed", "AWS_FUNCTION_DENIED", "passed")


class TestAnExecutionRoleThatTheSchedulerMayNotBe:
    async def test_is_seen_and_mended_and_lambda_may_still_be_it(self, place: Place) -> None:
        with place.trusting(policies.LAMBDA):
            finding = await place.look()
            [seen] = [one for one in finding.steps if one.name == "schedules"]
            place.cloud.shell.obey(seen.remedy)
            mended = await place.look()

        assert (finding.status, seen.status, seen.code) == ("verified", "skipped", "AWS_EXECUTION_ROLE_UNTRUSTING")
        assert [one for one in mended.steps if one.status != "passed"] == []

    async def test_is_refused_before_anything_is_built_of_a_function_with_a_schedule_alone(self, place: Place) -> None:
        wanted, plain = place.order(DAILY), place.order(Trigger())

        with place.trusting(policies.LAMBDA):
            with pytest.raises(ProviderRefused) as refusal:
                await place.provider.bundle(wanted, sources(HELLO))
            await place.provider.bundle(plain, sources(HELLO))
            place.cloud.shell.obey(refusal.value.remedy)
            await place.provider.bundle(wanted, sources(HELLO))

        assert refusal.value.code == "AWS_EXECUTION_ROLE_UNTRUSTING"
        for one in (wanted, plain):
            assert await place.provider.withdraw(one) == ()

    async def test_that_may_not_be_looked_at_keeps_nothing_from_being_built(self, place: Place) -> None:
        wanted = place.order(DAILY)
        place.cloud.amazon.faults.add("deny", "iam.GetRole")

        await place.provider.bundle(wanted, sources(HELLO))

        assert place.cloud.amazon.faults.are_over
        assert await place.provider.withdraw(wanted) == ()

    async def test_is_waited_for_where_it_only_has_to_spread_and_else_refused_with_what_mends_it(
        self, place: Place
    ) -> None:
        """*Method:* the Scheduler does not see yet what IAM shows; then IAM shows that it may not."""
        schedules = place.provider._work(place.order(DAILY)).releases._schedules
        says = (
            "ValidationException",
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
        )
        place.cloud.amazon.faults.add("refuse", "scheduler.CreateSchedule", says=says)

        with pytest.raises(ProviderBusy):
            await schedules.put()
        with place.trusting(policies.LAMBDA), pytest.raises(ProviderRefused) as refusal:
            await schedules.put()

        assert refusal.value.code == "AWS_EXECUTION_ROLE_UNTRUSTING"
        assert place.cloud.amazon.schedules.there == {}


class TestAnExecutionRole:
    async def test_that_is_named_without_its_path_is_told_apart_from_the_one_there(self, place: Place) -> None:
        iam = place.cloud.amazon.client("iam")
        trust = policies.encoded(policies.trusting(place.cloud.account.id, policies.LAMBDA))
        iam.create_role(RoleName="deep", Path="/functions/", AssumeRolePolicyDocument=trust)
        looking = policies.allow(policies.Needed(resource="*", actions=("iam:GetRole",)))

        with place.without("nothing"):
            document = policies.encoded(policies.policy([looking]))
            iam.put_role_policy(RoleName="dcf-deployer", PolicyName="looking", PolicyDocument=document)
            finding = await place.look(AwsNamed(execution_role_arn=place.cloud.role_arn("deep")))
        iam.delete_role(RoleName="deep")

        [failed] = [one for one in finding.steps if one.status == "failed"]
        assert failed.code == "AWS_EXECUTION_ROLE_NOT_FOUND"
        assert place.cloud.role_arn("functions/deep") in failed.remedy


class TestWhatAnOrganizationForbids:
    async def test_is_seen_before_and_no_command_of_the_accounts_is_said_to_mend_it(self, place: Place) -> None:
        with place.forbidding(DENIED):
            finding = await place.look()

        assert {one.code for one in finding.steps if one.status != "passed" and one.code} == {"AWS_FUNCTION_DENIED"}
        [failed] = [one for one in finding.steps if one.status == "failed"]
        assert failed.remedy.startswith("A service control policy of the organization")

    async def test_under_a_condition_is_not_seen_before_as_the_step_says(self, place: Place) -> None:
        with place.forbidding(UNLESS_IAM):
            seen = await place.seen("public_url")
            work = place.provider._work(place.order(Trigger()))
            with pytest.raises(Exception, match="explicit deny"):
                await work.releases._function.open()

        assert seen.status == "passed"
        assert "forbids it under conditions" in seen.message

    async def test_of_public_functions_alone_costs_private_ones_nothing(self, place: Place) -> None:
        """*Method:* the role's own policy denies it under the condition; that, the simulation looks at."""
        iam = place.cloud.amazon.client("iam")
        with place.without("nothing"):
            document = policies.encoded(policies.policy([UNLESS_IAM]))
            iam.put_role_policy(RoleName="dcf-deployer", PolicyName="never", PolicyDocument=document)
            finding = await place.look()

        [seen] = [one for one in finding.steps if one.status != "passed"]
        assert (finding.status, seen.name, seen.code) == ("verified", "public_url", "AWS_PUBLIC_URL_DENIED")
        assert seen.remedy.startswith("A policy denies it outright")

    async def test_and_what_a_role_denies_itself_is_not_granted_again(self, place: Place) -> None:
        iam = place.cloud.amazon.client("iam")
        with place.without("nothing"):
            document = policies.encoded(policies.policy([{**DENIED, "Action": "iam:PassRole"}]))
            iam.put_role_policy(RoleName="dcf-deployer", PolicyName="never", PolicyDocument=document)
            seen = await place.seen("pass_role")

        assert seen.code == "AWS_PASS_ROLE_DENIED"
        assert seen.remedy.startswith("A policy denies it outright")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"Action": ["sts:TagSession", "sts:Assume*"]}, True),
        ({"Action": "sts:TagSession"}, False),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"Service": ["events.amazonaws.com", policies.SCHEDULER]}}, True),
        ({"Principal": {"Service": "events.amazonaws.com"}}, False),
        ({"Principal": "*"}, False),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": ["000000000000", "123456789012"]}}}, True),
        ({"Condition": {"StringEquals": {"AWS:SourceAccount": "000000000000"}}}, False),
        ({"Condition": {"StringLikeIfExists": {"aws:SourceAccount": "1234*"}}}, True),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:scheduler:*"}}}, True),
    ],
)
async def test_a_trust_policy_is_read_as_amazon_reads_it(changes: dict[str, Any], expected: bool) -> None:
    allowed = {"Effect": "Allow", "Principal": {"Service": policies.SCHEDULER}, "Action": "sts:AssumeRole"}

    assert trusts({"Statement": {**allowed, **changes}}, policies.SCHEDULER, "123456789012") is expected
