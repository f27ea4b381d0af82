"""What a deployment's things are called in Google Cloud: from our ids alone, so that they are found again."""

from __future__ import annotations

import hashlib
from uuid import UUID

from domain.clouds import GcpTarget, target_key
from domain.release import Access
from providers.gcp.account import bucket_of, target_of
from providers.provider import Order

MANAGED_BY = "dart-cloud-functions"
# In Google Cloud a name of a revision has 63 characters at most, 49 of them the service's.
_SHORT = 12
# In Kubernetes a name of a Service is a label of DNS.
_LABEL_MAX, _INTERNAL = 63, "-internal"


def folder(order: Order) -> str:
    """Whatever is staged for the deployment lies below this."""
    return f"dcf/{order.deployment_id}/"


def bundle_name(order: Order) -> str:
    return f"{folder(order)}source.tar.gz"


def log_folder(order: Order) -> str:
    """Where Cloud Build writes `log-{build id}.txt`."""
    return f"gs://{bucket_of(order)}/{folder(order)}log"


def log_name(order: Order, build_id: str) -> str:
    return f"{folder(order)}log/log-{build_id}.txt"


def build_tag(order: Order) -> str:
    return f"dcf-deployment-{order.deployment_id}"


def package(order: Order) -> str:
    """The function's images lie beside each other; each deployment's has a tag of its own."""
    return f"dcf-{order.release.function_id.hex}"


def tag(order: Order) -> str:
    return str(order.deployment_id)


def image_path(order: Order) -> str:
    target = target_of(order)
    return f"{target.region}-docker.pkg.dev/{target.project_id}/{target.artifact_repository}/{package(order)}"


def repository_path(target: GcpTarget) -> str:
    return f"/v1/projects/{target.project_id}/locations/{target.region}/repositories/{target.artifact_repository}"


def services_path(target: GcpTarget) -> str:
    return f"/v2/projects/{target.project_id}/locations/{target.region}/services"


def service_path(target: GcpTarget) -> str:
    return f"{services_path(target)}/{target.service_name}"


def mark(order: Order) -> str:
    """Tells the deployment's revision and its address apart from the others of the service."""
    return f"d{order.deployment_id.hex[-_SHORT:]}"


def revision_name(order: Order) -> str:
    return f"{target_of(order).service_name}-{mark(order)}"


def candidate_name(order: Order) -> str:
    """What is the deployment's alone in Kubernetes: its own Deployment and its Secret."""
    return f"{target_of(order).deployment_name}-{mark(order)}"


def kube_service_name(order: Order, access: Access) -> str:
    """The function's address in Kubernetes, of which the private one has a name of its own."""
    name = target_of(order).deployment_name
    if access == "public":
        return name
    longest = _LABEL_MAX - len(_INTERNAL)
    return f"{name}{_INTERNAL}" if len(name) <= longest else f"{name[: longest - _SHORT - 1]}-{place(order)}{_INTERNAL}"


def place(order: Order) -> str:
    """Tells the target apart from others of the project, as the value of a label."""
    target = target_of(order)
    named = service_path(target) if target.runtime_target == "cloud_run" else target_key(target)
    return hashlib.sha256(named.encode()).hexdigest()[:_SHORT]


def secret_name(order: Order, value_id: UUID) -> str:
    """One value of a secret, as this target keeps it."""
    return f"dcf-{value_id.hex}-{place(order)}"


def secret_labels(order: Order) -> dict[str, str]:
    """A secret outlives the deployment it was made for, when another one pins the same value."""
    named = labels(order)
    kept = ("managed-by", "dcf-tenant", "dcf-project", "dcf-function")
    return {**{name: named[name] for name in kept}, "dcf-place": place(order)}


def jobs_path(target: GcpTarget) -> str:
    return f"/v1/projects/{target.project_id}/locations/{target.region}/jobs"


def job_name(order: Order) -> str:
    """The job of Cloud Scheduler that calls the function at this target."""
    return f"dcf-{order.release.function_id.hex}-{place(order)}"


def description(order: Order) -> str:
    """Says of what has no labels which deployment made it so."""
    return f"dcf deployment={order.deployment_id} number={order.number}"


def labels(order: Order) -> dict[str, str]:
    """What says that a thing is ours, and whose."""
    return {
        "managed-by": MANAGED_BY,
        "dcf-tenant": str(order.tenant_id),
        "dcf-project": str(order.project_id),
        "dcf-function": str(order.release.function_id),
        "dcf-deployment": str(order.deployment_id),
        "dcf-number": str(order.number),
    }
