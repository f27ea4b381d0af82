"""Staging in S3, through the door that holds each request against Amazon's models, its signature and its policies."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from domain.clouds import AwsIdentity, AwsStorage
from providers.aws.account import Account, told_apart
from providers.aws.checks import SPREADS_SECONDS, Checks
from providers.aws.identity import Roles
from providers.aws.storage import MULTIPART_BYTES_MIN, PART_BYTES, Bucket, _checksum
from providers.aws.wire import Wire
from providers.provider import ProviderBusy, ProviderRefused
from providers.walk import Walk
from tests.emulators.aws.cloud import AwsCloud
from tests.providers.grounds import aws_place

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place(msgspec.Struct, frozen=True):
    """The customer's bucket, and the project that may use it."""

    cloud: AwsCloud
    account: Account
    storage: AwsStorage


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with aws_place(tmp_path_factory.mktemp("aws")) as (cloud, ground, issuer):
        assert isinstance(ground.identity, AwsIdentity)
        assert isinstance(ground.storage, AwsStorage)
        wire = Wire(cloud.amazon.endpoints)
        yield Place(cloud, Account(wire, Roles(wire, issuer), uuid4(), uuid4(), ground.identity), ground.storage)
        await wire.close()


@pytest.fixture
def account(place: Place) -> Account:
    return place.account


@pytest.fixture
def bucket(place: Place) -> Bucket:
    return Bucket(place.account, place.storage)


@pytest.mark.parametrize("size", [100, MULTIPART_BYTES_MIN + 1], ids=["whole", "in-parts"])
class TestStage:
    async def test_twice_is_once_and_overwrites_nothing(self, account: Account, bucket: Bucket, size: int) -> None:
        name = f"dcf/{uuid4()}/source.zip"

        made = await bucket.stage(name, io.BytesIO(b"a" * size), dart="3.11.0")
        again = await bucket.stage(name, io.BytesIO(b"a" * size), dart="3.11.0")
        with pytest.raises(ProviderRefused) as refusal:
            async with told_apart(account.identity):
                await bucket.stage(name, io.BytesIO(b"b" * size))

        assert made == again == await bucket.staged(name)
        assert made.dart == "3.11.0"
        assert refusal.value.code == "bundle_differs"
        await bucket.remove(name)
        assert await bucket.staged(name) is None


async def test_an_upload_that_was_cut_off_goes_on_where_it_stopped(place: Place, bucket: Bucket) -> None:
    name, content = f"dcf/{uuid4()}/source.zip", b"c" * (2 * PART_BYTES)
    upload, _ = await bucket._begun(name, {"dcf-sha256": "", "dcf-dart": ""}, "application/zip")
    await bucket._put_part(name, upload, 1, content[:PART_BYTES], _checksum(content[:PART_BYTES]))

    assert (await bucket._begun(name, {}, "application/zip"))[0] == upload
    await bucket.stage(name, io.BytesIO(content))

    found = await place.account.call("s3", "get_object", Bucket=place.storage.bucket, Key=name)
    assert await found["Body"].read() == content
    assert await bucket._unfinished(name) == []


@pytest.mark.parametrize(
    ("call", "size"), [("s3.PutObject", 100), ("s3.UploadPart", MULTIPART_BYTES_MIN + 1)], ids=["whole", "in-parts"]
)
async def test_what_was_damaged_on_its_way_is_refused_and_sent_again(
    place: Place, bucket: Bucket, call: str, size: int
) -> None:
    name, content = f"dcf/{uuid4()}/source.zip", b"d" * size
    place.cloud.amazon.faults.add("damage", call)

    with pytest.raises(ProviderBusy, match="arrived damaged"):
        await bucket.stage(name, io.BytesIO(content))
    kept = await bucket.staged(name)
    await bucket.stage(name, io.BytesIO(content))
    found = io.BytesIO()
    await bucket.read_into(name, found, bytes_max=size)

    assert kept is None
    assert found.getvalue() == content


async def test_a_bucket_is_looked_at_step_by_step(place: Place, account: Account) -> None:
    elsewhere = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::nowhere-to-be-found*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [elsewhere]})
    place.cloud.amazon.client("iam").put_role_policy(
        RoleName="dcf-deployer", PolicyName="elsewhere", PolicyDocument=document
    )
    good, missing = (Walk("AWS_BUSY", spreads_seconds=SPREADS_SECONDS) for _ in range(2))

    await Checks(account).bucket(good, place.storage)
    await Checks(account).bucket(missing, AwsStorage(bucket="nowhere-to-be-found", region=place.storage.region))

    assert good.finding.status == "verified", good.finding
    assert missing.finding.status == "failed"
    step, rest = missing.finding.steps
    assert (step.code, rest.status) == ("AWS_BUCKET_NOT_FOUND", "skipped")
    assert step.remedy.startswith("aws s3api create-bucket --bucket nowhere-to-be-found")
