"""What Azure asks of a container app beside its schema, written by hand from Microsoft's pages. Each raises Problem."""

from __future__ import annotations

import re
from typing import Any

from tests.emulators.azure.answers import Problem

_NAME = re.compile(r"[a-z]([a-z0-9]|-(?!-)){0,30}[a-z0-9]")
_SUFFIX = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
# Each of a probe's numbers has its bounds.
_PROBE = {
    "failureThreshold": (1, 10),
    "successThreshold": (1, 10),
    "periodSeconds": (1, 240),
    "timeoutSeconds": (1, 240),
    "initialDelaySeconds": (0, 60),
}


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Problem(
            400,
            "ContainerAppInvalidName",
            f"Invalid ContainerApp name '{name}'. A name must consist of lower case alphanumeric characters or '-', start "
            "with a letter, end with an alphanumeric character, cannot have '--' and must be 2 to 32 characters long.",
        )


def check_template(template: dict[str, Any], secrets: dict[str, str]) -> None:
    containers = template.get("containers", [])
    if len(containers) != 1 or not containers[0].get("image") or not containers[0].get("name"):
        raise _invalid("template.containers", "the emulator runs one container, with a name and an image")
    if (suffix := template.get("revisionSuffix")) and not _SUFFIX.fullmatch(suffix):
        raise _invalid("template.revisionSuffix", suffix)
    names = [variable.get("name") for variable in containers[0].get("env", [])]
    if len(set(names)) < len(names):
        raise _invalid("template.containers.app.env", "a name is there twice")
    for variable in containers[0].get("env", []):
        if (wanted := variable.get("secretRef")) and wanted not in secrets:
            raise Problem(400, "ContainerAppSecretRefNotFound", f"SecretRef '{wanted}' does not exist in the secrets.")
    check_resources(containers[0].get("resources", {}))
    for probe in containers[0].get("probes", []):
        _check_probe(probe)
    scale = template.get("scale", {})
    low, high = scale.get("minReplicas", 0), scale.get("maxReplicas", 10)
    if not 0 <= low <= high <= 1000 or high < 1:
        raise _invalid("template.scale", f"minReplicas {low}, maxReplicas {high}")


def check_configuration(configuration: dict[str, Any], identities: dict[str, Any]) -> None:
    for secret in configuration.get("secrets", []):
        if not _SECRET.fullmatch(secret.get("name", "")) or not secret.get("value"):
            raise Problem(
                400, "ContainerAppSecretInvalid", f"Secret '{secret.get('name')}' has no such name, or no value."
            )
    for registry in configuration.get("registries", []):
        if registry.get("identity", "").lower() not in {one.lower() for one in identities}:
            raise _invalid("configuration.registries.identity", "the identity is not assigned to the container app")
    ingress = configuration.get("ingress")
    if ingress is not None and not 1 <= ingress.get("targetPort", 0) <= 65535:
        raise _invalid("configuration.ingress.targetPort", str(ingress.get("targetPort")))


def check_traffic(traffic: list[dict[str, Any]], revisions: set[str]) -> None:
    if sum(share.get("weight", 0) for share in traffic) != 100:
        raise Problem(400, "ContainerAppInvalidTraffic", "The sum of traffic weights must be 100.")
    labels = [share["label"] for share in traffic if share.get("label")]
    if len(set(labels)) < len(labels):
        raise Problem(400, "ContainerAppInvalidTraffic", "A label is there twice.")
    for share in traffic:
        if bool(share.get("latestRevision")) == bool(share.get("revisionName")):
            raise Problem(400, "ContainerAppInvalidTraffic", "A weight is for the latest revision or for a named one.")
        if share.get("revisionName", "") not in {*revisions, ""}:
            raise Problem(400, "RevisionNotFound", f"Revision '{share['revisionName']}' in traffic is not active.")


def check_resources(resources: dict[str, Any]) -> None:
    """Two gibibytes for each processor, in quarters of one."""
    cpu, memory = resources.get("cpu", 0.5), resources.get("memory", "1Gi")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)Gi", memory)
    if found is None or float(found[1]) != cpu * 2 or cpu * 4 != int(cpu * 4) or not 0.25 <= cpu <= 4:
        raise Problem(
            400,
            "ContainerAppInvalidResourceTotal",
            f"The total requested CPU and memory resources for this application (CPU: {cpu}, memory: {memory}) is invalid. "
            "Total CPU and memory for all containers defined in a Container App must add up to one of the following CPU - "
            "Memory combinations: [cpu: 0.25, memory: 0.5Gi]; … [cpu: 4.0, memory: 8.0Gi].",
        )


def _check_probe(probe: dict[str, Any]) -> None:
    kind = str(probe.get("type", "")).lower()
    if ("tcpSocket" in probe) == ("httpGet" in probe):
        raise _invalid(f"probes.{kind}", "a probe asks by TCP or by HTTP")
    for name, (low, high) in _PROBE.items():
        if name in probe and not low <= probe[name] <= high:
            raise _invalid(f"template.containers.app.probes.{kind}.{name}", f"{probe[name]}; must be in {low}-{high}")


def _invalid(field: str, detail: str) -> Problem:
    return Problem(
        400,
        "ContainerAppInvalidField",
        f"The following field(s) are either invalid or missing. Field '{field}' is invalid with details: 'Invalid value: "
        f"{detail}';.",
    )
