"""Secrets on AWS: Secrets Manager keeps them, the program has them when it starts, and they go with the last release that
opens them."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from domain.clouds import AwsIdentity, AwsNamed
from domain.release import PinnedImage
from process.secret import Secret
from providers.aws import builds
from providers.aws.provider import AwsProvider
from providers.provider import Order, ProviderBusy, ProviderRefused, ProviderUnreachable, Step
from tests.emulators.aws.account import REGION
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.containers import Containers, Unusable
from tests.emulators.processes import Running, free_port, listens
from tests.emulators.recorded import stand_in
from tests.providers.grounds import (
    PROBE,
    TOOLCHAIN_DIR,
    Ground,
    applied,
    aws_place,
    deployed,
    gone_back,
    order,
    settled,
    sources,
    until,
    withdrawn,
)

# A compiler starts first, on a machine that is busy with other tests.
OPENER_SECONDS_MAX = 120
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
    await applied(provider, first, sources(PROBE), {"PASSWORD": Secret(SENTINEL)})
    image = await provider.push(first)
    pinned = PinnedImage(reference=image.reference, digest=image.digest)
    second, third = gone_back(second, pinned), gone_back(third, pinned)
    for wanted, value in ((first, SENTINEL), (second, SENTINEL), (third, "another")):
        for _ in range(2):
            await provider.apply(wanted, {"PASSWORD": Secret(value)})
        await settled(provider, wanted)
        seen.append(await _password((await provider.promote(wanted)).url))
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
    named = AwsNamed(execution_role_arn=cloud.role_arn("dcf-function"))
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


async def test_a_name_that_is_not_free_again_yet_is_waited_for(ground: Ground, cloud: AwsCloud) -> None:
    """A value that is taken away for good keeps its name for a moment, as Amazon says."""
    wanted = order(ground=ground, secret_values={"PASSWORD": uuid4()})
    message = "You can't create this secret because a secret with this name is already scheduled for deletion."
    cloud.amazon.faults.add("refuse", "secretsmanager.CreateSecret", says=("InvalidRequestException", message))

    with pytest.raises(ProviderBusy) as busy:
        await _applied(ground, wanted)
    await ground.provider.apply(wanted, {"PASSWORD": Secret(SENTINEL)})
    kept = list(cloud.amazon.secrets().values())
    await withdrawn(ground.provider, wanted)

    assert "scheduled for deletion" in busy.value.message
    assert kept == [SENTINEL]


async def test_a_build_without_secrets_puts_nothing_before_the_program() -> None:
    assert "open.dart" not in builds.build_spec(opens_secrets=False)
    assert "open.dart" in builds.build_spec(opens_secrets=True)


@pytest.mark.proof
class TestTheOpener:
    """Before a program that needs no secrets, or cannot have them."""

    async def test_passes_signals_on_and_ends_as_the_program_does(self) -> None:
        waits = "trap 'echo ended; exit 7' TERM; echo ready; while :; do sleep 0.05; done"

        opener = await _started({}, "sh", "-c", waits)
        assert opener.stdout is not None
        assert await asyncio.wait_for(opener.stdout.readline(), OPENER_SECONDS_MAX) == b"ready\n"
        opener.terminate()
        said, _ = await asyncio.wait_for(opener.communicate(), OPENER_SECONDS_MAX)

        assert (opener.returncode, said) == (7, b"ended\n")

    @pytest.mark.parametrize(
        ("environment", "command", "code", "words"),
        [
            ({}, ("no-such-program",), 127, "cannot be started"),
            ({}, (), 127, "the image names none"),
            ({"DCF_SECRETS": "dcf/a/ PASSWORD=1"}, ("true",), 78, "does not answer for the secret PASSWORD"),
        ],
        ids=["no-program", "no-command", "no-answer"],
    )
    async def test_says_why_nothing_starts(
        self, environment: dict[str, str], command: tuple[str, ...], code: int, words: str
    ) -> None:
        opener = await _started(environment, *command)
        said, _ = await asyncio.wait_for(opener.communicate(), OPENER_SECONDS_MAX)

        assert opener.returncode == code
        assert said.startswith(b"dcf: ")
        assert words in said.decode()


@pytest.mark.proof
async def test_an_answer_that_cannot_be_read_is_not_shown() -> None:
    """A value that comes in a broken answer stands in nobody's log."""

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"SecretString": "s3ntinel'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
        vault = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        place = {"DCF_SECRETS": "dcf/a/ PASSWORD=1", "AWS_ENDPOINT_URL_SECRETS_MANAGER": vault}
        opener = await _started(place, "true")
        said, _ = await asyncio.wait_for(opener.communicate(), 60)

    assert opener.returncode == 78
    assert b"PASSWORD: its answer cannot be read" in said
    assert b"s3ntinel" not in said


async def _started(environment: dict[str, str], *command: str) -> asyncio.subprocess.Process:
    """The opener, by the stand-in VM, where nothing answers for Secrets Manager."""
    vm = await asyncio.to_thread(stand_in, TOOLCHAIN_DIR)
    place = {"AWS_REGION": REGION, "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://127.0.0.1:{free_port()}/vault"}
    return await asyncio.create_subprocess_exec(
        *(*vm.command, str(builds.OPENER_SOURCE), *command),
        env={"PATH": os.environ["PATH"], **place, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.proof
async def test_the_commands_of_a_build_make_an_image_whose_program_has_its_secrets(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    """
    Goal: what CodeBuild is told to do really puts the opener before the program, in an image that has no shell.
    Method: a shell runs the commands, with buildah for docker; podman runs what comes of it, against Secrets Manager.
    """
    try:
        craft = await asyncio.to_thread(
            Containers, tmp_path / "craft", await asyncio.to_thread(stand_in, TOOLCHAIN_DIR)
        )
    except Unusable as unusable:
        pytest.skip(str(unusable))
    for source in sources(PROBE):
        (tmp_path / "work").mkdir(exist_ok=True)
        (tmp_path / "work" / source.file_name).write_bytes(source.content.read())
    value = uuid4()
    cloud.amazon.client("secretsmanager").create_secret(Name=f"dcf/a/b/{value.hex}", SecretString=SENTINEL)

    await asyncio.to_thread(_build, craft, tmp_path)
    digest = await asyncio.to_thread(craft._pushed, "localhost/functions:tag")
    running, port = Running(tmp_path / "log"), free_port()
    session = cloud.account.become(cloud.role_arn("dcf-function"), "function", 900)
    environment = {
        "AWS_ACCESS_KEY_ID": session.access_key,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": cloud.amazon.endpoints.replace("{service}", "secretsmanager"),
        "AWS_REGION": REGION,
        "AWS_SECRET_ACCESS_KEY": session.secret,
        "AWS_SESSION_TOKEN": session.token,
        "DCF_SECRETS": f"dcf/a/b/ PASSWORD={value.hex}",
        "PORT": str(port),
    }
    await asyncio.to_thread(craft.start, digest, environment, running)
    try:
        await until(lambda: asyncio.to_thread(listens, port), bool)
        password = await _password(f"http://127.0.0.1:{port}")
    except TimeoutError:
        pytest.fail(running.log)
    finally:
        await asyncio.to_thread(running.stop)
        craft.close()
        cloud.amazon.client("secretsmanager").delete_secret(
            SecretId=f"dcf/a/b/{value.hex}", ForceDeleteWithoutRecovery=True
        )

    assert password == SENTINEL, running.log


def _build(craft: Containers, folder: Path) -> None:
    """Run the commands of a build in the folder `work`."""
    engines = {"buildah": craft._buildah("bud"), "podman": craft._podman("image")}
    buildah, podman = (shlex.join(engines[name]) for name in ("buildah", "podman"))
    tools = folder / "tools"
    tools.mkdir()
    (tools / "docker").write_text(
        '#!/bin/sh\ncase "$1" in\nlogin) exec cat > /dev/null;;\npush) exit 0;;\n'
        f'image) shift; exec {podman} "$@";;\nesac\nshift\n'
        'for word; do shift; case "$word" in --provenance=*|--sbom=*) ;; *) set -- "$@" "$word";; esac; done\n'
        f'exec {buildah} --isolation chroot --pull-never "$@"\n'
    )
    (tools / "aws").write_text("#!/bin/sh\necho password\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "lambda-adapter").write_text("a stand-in")
    (adapter / "Dockerfile").write_text("FROM scratch\nCOPY lambda-adapter /\n")
    craft._ask(*craft._buildah("bud"), "-t", builds.ADAPTER_IMAGE, str(adapter))
    craft._provide((folder / "work" / "Dockerfile").read_text() + "\nFROM dart:3.11.0\n", {"DART_VERSION": "3.11.0"})
    environment = {
        **craft._environment(),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "AWS_REGION": REGION,
        "DART_VERSION": "3.11.0",
        "DCF_IMAGE": "localhost/functions:tag",
        "DCF_REGISTRY": "localhost",
    }
    for command in builds.commands(opens_secrets=True):
        words = ("sh", "-c", command.replace("/tmp/dcf", str(folder / "dcf")))
        done = subprocess.run(
            words, env=environment, cwd=folder / "work", capture_output=True, text=True, check=False, timeout=400
        )
        assert done.returncode == 0, done.stderr


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
