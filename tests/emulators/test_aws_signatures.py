"""Amazon's emulator takes only what was signed with the caller's secret, a moment ago, and as it was sent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from tests.emulators.aws.account import CUSTOMER_KEY, REGION, Session
from tests.emulators.aws.server import Amazon
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR

# Every service that we call, with a call that needs nothing to be there, and what Amazon says of another's signature.
CALLS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "codebuild": ("batch_get_projects", {"names": ["p"]}, "InvalidSignatureException"),
    "ecr": ("describe_repositories", {}, "InvalidSignatureException"),
    "iam": ("list_roles", {}, "SignatureDoesNotMatch"),
    "lambda": ("get_function", {"FunctionName": "f"}, "InvalidSignatureException"),
    "logs": ("get_log_events", {"logGroupName": "g", "logStreamName": "s"}, "InvalidSignatureException"),
    "s3": ("list_buckets", {}, "SignatureDoesNotMatch"),
    "scheduler": ("get_schedule", {"Name": "s"}, "InvalidSignatureException"),
    "sts": ("get_caller_identity", {}, "SignatureDoesNotMatch"),
}
BUCKET = "signed-for"


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    made = workshop(tmp_path_factory.mktemp("signatures"), TOOLCHAIN_DIR, real=False)
    ready = Amazon(made)
    place = {"LocationConstraint": REGION}
    ready.client("s3").create_bucket(Bucket=f"{BUCKET}-{ready.account.id}", CreateBucketConfiguration=place)
    yield ready
    ready.close()
    made.close()


def _client(amazon: Amazon, service: str, key: str, secret: str, token: str | None = None) -> Any:
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=amazon.endpoints.replace("{service}", service),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def _code(client: Any, call: str, given: Mapping[str, Any]) -> str:
    with pytest.raises(ClientError) as error:
        getattr(client, call)(**given)
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize("service", CALLS)
def test_every_service_refuses_who_signs_with_another_secret(amazon: Amazon, service: str) -> None:
    call, given, code = CALLS[service]
    session = amazon.account.become("arn:aws:iam::0:role/nobody", "session", 900)

    theirs = _client(amazon, service, session.access_key, f"{session.secret}x", session.token)
    customers = _client(amazon, service, CUSTOMER_KEY, "not the customer's")
    expired = _client(amazon, service, session.access_key, session.secret, session.token)
    assert (_code(theirs, call, given), _code(customers, call, given)) == (code, code)
    session.expires_at = time.time() - 1
    assert _code(expired, call, given) in ("ExpiredToken", "ExpiredTokenException")


class TestAnObject:
    """In S3, with requests that are signed by botocore and then changed on their way."""

    @pytest.fixture
    def session(self, amazon: Amazon) -> Session:
        """Of a role that may do anything in the bucket."""
        role, iam = f"role-{uuid4().hex[:8]}", amazon.client("iam")
        everything = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
        iam.create_role(RoleName=role, AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[]}')
        iam.put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=everything)
        return amazon.account.become(f"arn:aws:iam::{amazon.account.id}:role/{role}", "session", 900)

    @pytest.mark.parametrize(
        ("change", "status", "code"),
        [
            ({}, 200, ""),
            ({"body": b"something else"}, 400, "XAmzContentSHA256Mismatch"),
            ({"hash": "UNSIGNED-PAYLOAD"}, 403, "SignatureDoesNotMatch"),
            ({"headers": {"x-amz-meta-owner": "somebody else"}}, 403, "SignatureDoesNotMatch"),
            ({"headers": {"x-amz-acl": "public-read"}}, 403, "SignatureDoesNotMatch"),
            ({"query": "?x-more=1"}, 403, "SignatureDoesNotMatch"),
            ({"key": "another-key"}, 403, "SignatureDoesNotMatch"),
            ({"token": "another-token"}, 403, "InvalidAccessKeyId"),
            ({"minutes": -20}, 403, "RequestTimeTooSkewed"),
            ({"minutes": 20}, 403, "RequestTimeTooSkewed"),
            ({"region": "us-west-2"}, 400, "AuthorizationHeaderMalformed"),
            ({"service": "ec2"}, 400, "AuthorizationHeaderMalformed"),
            ({"cut": True}, 400, "AuthorizationHeaderMalformed"),
            ({"unsigned": True}, 403, "MissingAuthenticationToken"),
        ],
        ids=lambda given: "-".join(given) or "as-it-was" if isinstance(given, dict) else "",
    )
    def test_is_put_only_as_it_was_signed(
        self, amazon: Amazon, session: Session, change: dict[str, Any], status: int, code: str
    ) -> None:
        sent = self._signed(amazon, session, change)
        headers, url, body = dict(sent.headers), str(sent.url), change.get("body", b"what was signed")
        if "hash" in change:
            headers["X-Amz-Content-SHA256"] = change["hash"]
        headers |= change.get("headers", {})
        if "token" in change:
            headers["X-Amz-Security-Token"] = change["token"]
        if "cut" in change:
            headers["Authorization"] = headers["Authorization"].partition(", SignedHeaders")[0]
        if "unsigned" in change:
            del headers["Authorization"]

        answer = httpx.put(url, headers=headers, content=body)

        assert (answer.status_code, _said(answer)) == (status, code)

    @pytest.mark.parametrize(
        ("change", "status", "code"),
        [
            ("", 200, ""),
            ("signature", 403, "SignatureDoesNotMatch"),
            ("longer", 403, "SignatureDoesNotMatch"),
            ("method", 403, "SignatureDoesNotMatch"),
            ("expired", 403, "AccessDenied"),
        ],
    )
    def test_is_read_at_a_signed_address_for_as_long_as_it_says(
        self, amazon: Amazon, session: Session, change: str, status: int, code: str
    ) -> None:
        bucket = f"{BUCKET}-{amazon.account.id}"
        amazon.client("s3").put_object(Bucket=bucket, Key="read at/an address", Body=b"it")
        credentials = ReadOnlyCredentials(session.access_key, session.secret, session.token)
        wanted = AWSRequest("GET", f"{amazon.endpoints.replace('{service}', 's3')}/{bucket}/read%20at/an%20address")
        signer = S3SigV4QueryAuth(credentials, "s3", REGION, expires=60)
        _sign(signer, wanted, timedelta(seconds=-120 if change == "expired" else 0))
        url = str(wanted.url)
        if change == "signature":
            url = url[:-4] + "0000"
        if change == "longer":
            url = url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")

        answer = httpx.request("PUT" if change == "method" else "GET", url)

        assert (answer.status_code, _said(answer)) == (status, code)
        assert change or answer.content == b"it"

    def _signed(self, amazon: Amazon, session: Session, change: Mapping[str, Any]) -> AWSRequest:
        url = f"{amazon.endpoints.replace('{service}', 's3')}/{BUCKET}-{amazon.account.id}/a key".replace(" ", "%20")
        wanted = AWSRequest("PUT", url, {"x-amz-meta-owner": "us"}, b"what was signed")
        credentials = ReadOnlyCredentials(session.access_key, session.secret, session.token)
        signer = S3SigV4Auth(credentials, change.get("service", "s3"), change.get("region", REGION))
        _sign(signer, wanted, timedelta(minutes=change.get("minutes", 0)))
        wanted.url = url.replace("a%20key", change.get("key", "a%20key")) + change.get("query", "")
        return wanted


def _sign(signer: SigV4Auth, wanted: AWSRequest, ago: timedelta) -> None:
    """As `add_auth` does it, at another time."""
    wanted.context["timestamp"] = (datetime.now(UTC) + ago).strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(wanted)
    text = signer.string_to_sign(wanted, signer.canonical_request(wanted))
    signer._inject_signature_to_request(wanted, signer.signature(text, wanted))


def _said(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]
