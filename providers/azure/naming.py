"""What a deployment's things are called in Azure: from our ids alone, so that they are found again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from domain.clouds import AzureTarget
from providers.azure.account import target_of
from providers.provider import Order

MANAGED_BY = "dart-cloud-functions"
# The identity that the resources' template makes for pulling images.
PULL_IDENTITY = "dcf-pull"
_SHORT = 12


def folder(order: Order) -> str:
    """Whatever is staged for the deployment lies below this."""
    return f"dcf/{order.deployment_id}/"


def bundle_name(order: Order) -> str:
    return f"{folder(order)}source.tar.gz"


def operation_note(order: Order) -> str:
    """Where it is noted where Azure tells what becomes of the release."""
    return f"{folder(order)}operation.txt"


def group_path(target: AzureTarget) -> str:
    return f"/subscriptions/{target.subscription_id}/resourceGroups/{target.resource_group}"


def registry_path(target: AzureTarget) -> str:
    return f"{group_path(target)}/providers/Microsoft.ContainerRegistry/registries/{target.registry}"


def task_name(order: Order) -> str:
    return f"dcf-{order.deployment_id.hex}"


def repository(order: Order) -> str:
    """The function's images lie beside each other; each deployment's has a tag of its own."""
    return f"dcf-{order.release.function_id.hex}"


def tag(order: Order) -> str:
    return str(order.deployment_id)


def login_server(target: AzureTarget) -> str:
    return f"{target.registry.lower()}.azurecr.io"


def environment_path(target: AzureTarget) -> str:
    return f"{group_path(target)}/providers/Microsoft.App/managedEnvironments/{target.environment_name}"


def app_path(target: AzureTarget) -> str:
    return f"{group_path(target)}/providers/Microsoft.App/containerApps/{target.app_name}"


def job_path(order: Order, number: int) -> str:
    """One of the jobs that call the function at its target."""
    return f"{group_path(target_of(order))}/providers/Microsoft.App/jobs/{job_name(order, number)}"


def job_name(order: Order, number: int) -> str:
    """A job's name has 32 characters at most."""
    place = f"{order.release.function_id}/{target_of(order).app_name}"
    return f"dcf-{hashlib.sha256(place.encode()).hexdigest()[:24]}-{number}"


def pull_identity(target: AzureTarget) -> str:
    """The resource id of the identity that pulls images."""
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    return target.pull_identity or f"{group_path(target)}/{provider}/{PULL_IDENTITY}"


def mark(order: Order) -> str:
    """Tells the deployment's revision and its address apart from the others of the app."""
    return f"d{order.deployment_id.hex[-_SHORT:]}"


def revision_name(order: Order) -> str:
    return f"{target_of(order).app_name}--{mark(order)}"


def mark_of(revision: str) -> str:
    """The mark in a revision's name."""
    return revision.rpartition("--")[2]


def number_in(tags: Mapping[str, str] | None) -> int:
    """Which deployment of its function a thing says it is of; the customer can write there what they like."""
    said = (tags or {}).get("dcf-number", "")
    return int(said) if said.isascii() and said.isdecimal() else 0


def tags(order: Order) -> dict[str, str]:
    """What says that a thing is ours, and whose."""
    return {
        "managed-by": MANAGED_BY,
        "dcf-tenant": str(order.tenant_id),
        "dcf-project": str(order.project_id),
        "dcf-function": str(order.release.function_id),
        "dcf-deployment": str(order.deployment_id),
        "dcf-number": str(order.number),
    }
