"""What Google's answers are told as: in which project, of which thing, and with which command."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.clouds import GcpIdentity
from providers.gcp.errors import answered, told
from providers.provider import ProviderRefused

IDENTITY = GcpIdentity(
    gcp_project_id="shop-own",
    service_account_email="dcf@shop-own.iam.gserviceaccount.com",
    workload_identity_project_number="1",
    workload_identity_pool="pool",
    workload_identity_provider="provider",
)
SERVICES = "/v2/projects/shop-runs/locations/europe-west1/services/hello"
REPOSITORY = "/v1/projects/shop-runs/locations/europe-west1/repositories/functions"


def _told(status: int, asked: str, path: str, message: str, reason: str = "", **metadata: str) -> ProviderRefused:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    details: list[dict[str, Any]] = [{"@type": kind, "reason": reason, "metadata": metadata}] if reason else []
    body = {"error": {"code": status, "message": message, "status": "", "details": details}}
    refused = told(answered(status, msgspec.json.encode(body)).of(asked, path), IDENTITY)
    assert isinstance(refused, ProviderRefused)
    return refused


@pytest.mark.parametrize(
    ("service", "path", "message", "role"),
    [
        ("run", SERVICES, "Permission 'run.services.update' denied on resource 'hello'", "roles/run.admin"),
        ("artifactregistry", REPOSITORY, "It is denied.", "roles/artifactregistry.repoAdmin"),
        (
            "kubernetes",
            "/v1/projects/shop-runs/x",
            "Permission 'container.secrets.get' denied",
            "roles/container.developer",
        ),
    ],
)
def test_a_right_is_granted_in_the_project_of_what_was_asked_for(
    service: str, path: str, message: str, role: str
) -> None:
    refused = _told(403, service, path, message)

    assert refused.code == "GCP_PERMISSION_DENIED"
    assert refused.remedy.startswith("gcloud projects add-iam-policy-binding shop-runs ")
    assert f"--role={role}" in refused.remedy


def test_a_right_on_the_service_account_is_granted_on_it_alone() -> None:
    refused = _told(403, "run", SERVICES, "Permission 'iam.serviceaccounts.actAs' denied on service account")

    assert refused.code == "GCP_ACT_AS_DENIED"
    assert refused.remedy.startswith(
        f"gcloud iam service-accounts add-iam-policy-binding {IDENTITY.service_account_email} --project=shop-own "
    )


def test_an_api_is_enabled_in_the_project_that_google_names() -> None:
    said = {"service": "run.googleapis.com", "consumer": "projects/shop-bills"}

    refused = _told(403, "run", SERVICES, "It is disabled.", "SERVICE_DISABLED", **said)

    assert refused.remedy == "gcloud services enable run.googleapis.com --project=shop-bills"


def test_what_is_not_there_is_named_with_the_command_that_makes_it_where_one_does() -> None:
    repository = _told(404, "artifactregistry", f"{REPOSITORY}/packages/x", "It was not found.")
    other = _told(404, "run", SERVICES, "It was not found.")

    assert repository.remedy == (
        "gcloud artifacts repositories create functions --project=shop-runs --location=europe-west1 "
        "--repository-format=docker"
    )
    assert other.message.endswith("(asked of run: projects/shop-runs/locations/europe-west1/services/hello)")


def test_what_is_not_taken_names_what_it_was() -> None:
    refused = _told(400, "run", SERVICES, "Invalid argument.")

    assert refused.code == "gcp_rejected"
    assert "services/hello" in refused.message
