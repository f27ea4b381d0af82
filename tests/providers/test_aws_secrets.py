"""Secrets on AWS: Secrets Manager keeps them, the program has them when it starts, and they go with the last release that
opens them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from domain.clouds import AwsIdentity
from process.secret import Secret
from providers.aws import builds
from providers.aws.checks import Named
from providers.aws.provider import AwsProvider
from providers.provider import Order, ProviderRefused, ProviderUnreachable, Step
from tests.emulators.aws.cloud import AwsCloud
from tests.providers.grounds import PROBE, Ground, applied, aws_place, deployed, order, sources, withdrawn

SENTINEL = 'sentinel "7c11" = never to be seen €'

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aws")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ground(folder: Path) -> AsyncIterator[Ground]:
    async with aws_place(folder) as (_, ready, _):
        yield ready


@pytest.fixture
def cloud(ground: Ground) -> AwsCloud:
    assert isinstance(ground.cloud, AwsCloud)
    return ground.cloud


async def _password(url: str) -> str:
    async with httpx.AsyncClient() as client:
        found: str = (await client.get(f"{url}/environment", timeout=20)).json()["PASSWORD"]
    return found


async def _applied(ground: Ground, wanted: Order) -> Any:
    return await applied(ground.provider, wanted, sources(PROBE), {"PASSWORD": Secret(SENTINEL)})


async def test_reach_the_function_and_go_with_the_last_release_that_opens_them(
    ground: Ground, cloud: AwsCloud, folder: Path
) -> None:
    """
    Goal: a value is there for every release that pins it, for no longer, and nowhere but where it is kept.
    Method: three releases, of which two pin the same value; whatever Amazon and its files hold is looked through, and the
    releases are taken away one after another.
    """
    provider, old, new = ground.provider, uuid4(), uuid4()
    first = order(ground=ground, number=1, secret_values={"PASSWORD": old})
    function = first.release.function_id
    second, third = (
        msgspec.structs.replace(
            order(ground=ground, number=number, function_id=function, secret_values={"PASSWORD": value}),
            tenant_id=first.tenant_id,
            project_id=first.project_id,
        )
        for number, value in ((2, old), (3, new))
    )

    seen = []
    for wanted, value in ((first, SENTINEL), (second, SENTINEL), (third, "another")):
        served = await deployed(provider, wanted, sources(PROBE), {"PASSWORD": Secret(value)})
        await provider.apply(wanted, {"PASSWORD": Secret(value)})
        seen.append(await _password(served.url))
    names, shown = list(cloud.amazon.secrets()), _held(cloud) + _written(folder)
    kept = [len(names)]
    for wanted in (first, second, third):
        await withdrawn(provider, wanted)
        kept.append(len(cloud.amazon.secrets()))

    assert seen == [SENTINEL, SENTINEL, "another"]
    assert {name.split("/")[1] for name in names} == {first.project_id.hex}
    assert "DCF_SECRETS" in shown
    assert SENTINEL not in shown
    assert json.dumps(SENTINEL)[1:-1] not in shown
    assert kept == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("role", "action"),
    [("dcf-deployer", "secretsmanager:CreateSecret"), ("dcf-function", "secretsmanager:GetSecretValue")],
)
async def test_a_right_that_is_missing_is_named_with_the_command_that_gives_it(
    ground: Ground, cloud: AwsCloud, role: str, action: str
) -> None:
    """*Method:* it is taken away; the deployment says what to do, the customer does it, and the next one serves."""
    wanted, iam = order(ground=ground, secret_values={"PASSWORD": uuid4()}), cloud.amazon.client("iam")
    policy = iam.get_role_policy(RoleName=role, PolicyName="dcf")["PolicyDocument"]
    less = {**policy, "Statement": [one for one in policy["Statement"] if one["Sid"] != "Secrets"]}
    iam.put_role_policy(RoleName=role, PolicyName="dcf", PolicyDocument=json.dumps(less))

    code, message, remedy = await _said(ground, wanted)
    looked = await _looked_at(ground, cloud, wanted)
    await withdrawn(ground.provider, wanted)
    for word in (remedy, *(step.remedy for step in looked if step.remedy)):
        cloud.shell.obey(word)
    again = msgspec.structs.replace(
        order(ground=ground, secret_values={"PASSWORD": uuid4()}), project_id=wanted.project_id
    )
    served = await deployed(ground.provider, again, sources(PROBE), {"PASSWORD": Secret(SENTINEL)})
    whole = await _looked_at(ground, cloud, wanted)

    assert code in ("AWS_PERMISSION_DENIED", "unhealthy")
    assert action in message
    assert action in remedy
    assert [action in step.message for step in looked if step.status == "skipped"] == [True]
    assert {step.status for step in whole} == {"passed"}
    assert SENTINEL not in f"{message} {remedy}"
    assert await _password(served.url) == SENTINEL
    await withdrawn(ground.provider, again)
    iam.put_role_policy(RoleName=role, PolicyName="dcf", PolicyDocument=json.dumps(policy))
    assert cloud.amazon.secrets() == {}


async def _said(ground: Ground, wanted: Order) -> tuple[str, str, str]:
    try:
        service = await _applied(ground, wanted)
    except ProviderRefused as refused:
        return refused.code, refused.message, refused.remedy
    return service.status, service.message, service.remedy


async def _looked_at(ground: Ground, cloud: AwsCloud, wanted: Order) -> list[Step]:
    """The steps about secrets, when the identity is verified."""
    assert isinstance(ground.provider, AwsProvider)
    assert isinstance(ground.identity, AwsIdentity)
    named = Named(execution_role_arn=cloud.role_arn("dcf-function"))
    finding = await ground.provider.verify_named(wanted.tenant_id, wanted.project_id, ground.identity, named)
    assert finding.status == "verified", finding
    return [step for step in finding.steps if "secrets" in step.name]


async def test_an_answer_that_is_lost_after_its_effect_doubles_nothing(ground: Ground, cloud: AwsCloud) -> None:
    """*Method:* the answers to keeping a value and to taking it away are lost; the runner's next try goes on."""
    wanted, faults = order(ground=ground, secret_values={"PASSWORD": uuid4()}), cloud.amazon.faults
    faults.add("lose", "secretsmanager.CreateSecret")

    with pytest.raises(ProviderUnreachable):
        await _applied(ground, wanted)
    assert (await _applied(ground, wanted)).status == "healthy"
    [kept] = cloud.amazon.secrets().values()
    faults.add("lose", "secretsmanager.DeleteSecret")
    with pytest.raises(ProviderUnreachable):
        await ground.provider.withdraw(wanted)
    await withdrawn(ground.provider, wanted)

    assert kept == SENTINEL
    assert faults.are_over
    assert str(cloud.remains()).count(wanted.project_id.hex) == 0


async def test_a_build_without_secrets_puts_nothing_before_the_program() -> None:
    assert "open.dart" not in builds.build_spec(opens_secrets=False)
    assert "open.dart" in builds.build_spec(opens_secrets=True)


def _held(cloud: AwsCloud) -> str:
    """Whatever the emulated account holds beside Secrets Manager."""
    amazon = cloud.amazon
    s3 = amazon.client("s3")
    objects = [
        s3.get_object(Bucket=cloud.bucket_name, Key=one["Key"])["Body"].read()
        for one in s3.list_objects_v2(Bucket=cloud.bucket_name)["Contents"]
    ]
    functions = [
        (one.configuration, one.container.log if one.container else "")
        for function in amazon.functions.there.values()
        for one in (function.latest, *function.versions.values())
    ]
    made = [(build.given, build.log) for build in amazon.builds.made.values()]
    return repr((objects, functions, made, amazon.images.repositories, amazon.schedules.there, amazon.calls))


def _written(folder: Path) -> str:
    """What builds and programs wrote, images included."""
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
