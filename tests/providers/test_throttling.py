"""A cloud that has too much to do, or is at it already: it is asked again when it says so, and that is never a failure."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from domain.clouds import AwsIdentity, AzureIdentity, GcpIdentity
from providers.aws import errors as aws
from providers.azure import errors as azure
from providers.gcp import errors as gcp
from providers.provider import ProviderBusy, ProviderRefused
from runner.patience import JITTER, RETRY_SECONDS_ASKED_MAX, RETRY_SECONDS_MAX, retry_seconds

AWS = AwsIdentity(role_arn="arn:aws:iam::123456789012:role/dcf", region="eu-west-1")
AZURE = AzureIdentity(azure_tenant_id="t", client_id="c", subscription_id="s")
GCP = GcpIdentity(
    gcp_project_id="acme",
    service_account_email="dcf@acme.iam.gserviceaccount.com",
    workload_identity_project_number="1",
    workload_identity_pool="pool",
    workload_identity_provider="dcf",
)
Told = ProviderBusy | ProviderRefused


def of_amazon(status: int, code: str, headers: dict[str, str]) -> Told:
    response: Any = {
        "Error": {"Code": code, "Message": "said so"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return aws.told(aws.answered(ClientError(response, "UpdateFunctionCode")), AWS)


def of_google(status: int, code: str, headers: dict[str, str]) -> Told:
    body = msgspec.json.encode({"error": {"code": status, "message": "said so", "status": code}})
    return gcp.told(gcp.answered(status, body, headers.get("retry-after", "")), GCP)


def of_kubernetes(status: int, code: str, headers: dict[str, str]) -> Told:
    body = msgspec.json.encode({"kind": "Status", "code": status, "message": "said so", "reason": code})
    return gcp.told(gcp.answered(status, body, headers.get("retry-after", "")), GCP)


def of_microsoft(status: int, code: str, headers: dict[str, str]) -> Told:
    body = msgspec.json.encode({"error": {"code": code, "message": "said so"}})
    return azure.told(azure.answered(status, body, retry_after=headers.get("retry-after", "")), AZURE)


Answer = Callable[[int, str, dict[str, str]], Told]
THROTTLED: list[tuple[Answer, int, str]] = [
    (of_amazon, 429, "TooManyRequestsException"),
    (of_amazon, 400, "ThrottlingException"),
    (of_amazon, 503, "SlowDown"),
    (of_google, 429, "RESOURCE_EXHAUSTED"),
    (of_google, 503, "UNAVAILABLE"),
    (of_kubernetes, 429, "TooManyRequests"),
    (of_microsoft, 429, "TooManyRequests"),
    (of_microsoft, 503, "ServerTimeout"),
]
IN_CONFLICT: list[tuple[Answer, int, str]] = [
    (of_amazon, 409, "ResourceConflictException"),
    (of_amazon, 409, "OperationAborted"),
    (of_google, 409, "ABORTED"),
    (of_kubernetes, 409, "Conflict"),
    (of_microsoft, 409, "Conflict"),
    (of_microsoft, 409, "ContainerAppOperationInProgress"),
]


@pytest.mark.parametrize(("answer", "status", "code"), THROTTLED + IN_CONFLICT)
class TestWhoeverIsBusy:
    def test_is_asked_again_when_it_says_so(self, answer: Answer, status: int, code: str) -> None:
        told = answer(status, code, {"retry-after": "17"})

        assert isinstance(told, ProviderBusy), told
        assert told.retry_in_seconds == 17.0

    @pytest.mark.parametrize("said", [{}, {"retry-after": "Fri, 27 Nov 2026 20:00:00 GMT"}, {"retry-after": "86400"}])
    def test_is_asked_again_before_long_otherwise(
        self, answer: Answer, status: int, code: str, said: dict[str, str]
    ) -> None:
        told = answer(status, code, said)

        assert isinstance(told, ProviderBusy), told
        assert 0 < told.retry_in_seconds <= RETRY_SECONDS_ASKED_MAX


class TestRetrySeconds:
    @pytest.mark.parametrize("failures", [1, 2, 5, 1_000])
    @pytest.mark.parametrize("asked", [0.0, 0.3, 17.0, 1e9])
    def test_are_never_fewer_than_asked_for_and_always_bounded(self, failures: int, asked: float) -> None:
        random = Random(failures)
        found = [retry_seconds(failures, asked, random) for _ in range(50)]

        assert min(found) >= min(asked, RETRY_SECONDS_ASKED_MAX)
        assert max(found) <= max(RETRY_SECONDS_MAX, min(asked, RETRY_SECONDS_ASKED_MAX)) * (1 + JITTER)
        assert len(set(found)) > 1, "what was throttled together does not come back together"
