"""Staging in S3, against Amazon's services as moto stands in for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from domain.clouds import AwsIdentity, AwsStorage
from providers.aws.account import Account, told_apart
from providers.aws.checks import SPREADS_SECONDS, Checks
from providers.aws.identity import Roles
from providers.aws.storage import MULTIPART_BYTES_MIN, PART_BYTES, Bucket, _checksum
from providers.aws.wire import Wire
from providers.provider import ProviderRefused
from providers.walk import Walk
from tests.providers.test_aws_setup import PROJECT, TENANT, _Source

REGION = "eu-west-1"
STORAGE = AwsStorage(bucket="acme-functions", region=REGION)
IDENTITY = AwsIdentity(role_arn="arn:aws:iam::123456789012:role/dcf", region=REGION)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    customer = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="customer",
        aws_secret_access_key="customer",
    )
    customer.create_bucket(Bucket=STORAGE.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def account(url: str) -> AsyncIterator[Account]:
    wire = Wire(url)
    yield Account(wire, Roles(wire, _Source()), TENANT, PROJECT, IDENTITY)
    await wire.close()


@pytest.fixture
def bucket(account: Account) -> Bucket:
    return Bucket(account, STORAGE)


@pytest.mark.parametrize("size", [100, MULTIPART_BYTES_MIN + 1], ids=["whole", "in-parts"])
class TestStage:
    async def test_twice_is_once_and_overwrites_nothing(self, account: Account, bucket: Bucket, size: int) -> None:
        name = f"dcf/{uuid4()}/source.zip"

        made = await bucket.stage(name, b"a" * size, dart="3.11.0")
        again = await bucket.stage(name, b"a" * size, dart="3.11.0")
        with pytest.raises(ProviderRefused) as refusal:
            async with told_apart(IDENTITY):
                await bucket.stage(name, b"b" * size)

        assert made == again == await bucket.staged(name)
        assert made.dart == "3.11.0"
        assert refusal.value.code == "bundle_differs"
        await bucket.remove(name)
        assert await bucket.staged(name) is None


async def test_an_upload_that_was_cut_off_goes_on_where_it_stopped(account: Account, bucket: Bucket) -> None:
    name, content = f"dcf/{uuid4()}/source.zip", b"c" * (2 * PART_BYTES)
    upload, _ = await bucket._begun(name, {"dcf-sha256": "", "dcf-dart": ""}, "application/zip")
    await bucket._put_part(name, upload, 1, content[:PART_BYTES], _checksum(content[:PART_BYTES]))

    assert (await bucket._begun(name, {}, "application/zip"))[0] == upload
    await bucket.stage(name, content)

    found = await account.call("s3", "get_object", Bucket=STORAGE.bucket, Key=name)
    assert await found["Body"].read() == content
    assert await bucket._unfinished(name) == []


async def test_a_bucket_is_looked_at_step_by_step(account: Account) -> None:
    good, missing = (Walk("AWS_BUSY", spreads_seconds=SPREADS_SECONDS) for _ in range(2))

    await Checks(account).bucket(good, STORAGE)
    await Checks(account).bucket(missing, AwsStorage(bucket="nowhere-to-be-found", region=REGION))

    assert good.finding.status == "verified", good.finding
    assert missing.finding.status == "failed"
    step, rest = missing.finding.steps
    assert (step.code, rest.status) == ("AWS_BUCKET_NOT_FOUND", "skipped")
    assert step.remedy.startswith("aws s3api create-bucket --bucket nowhere-to-be-found")
