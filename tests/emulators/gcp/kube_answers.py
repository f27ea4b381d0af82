"""How a Kubernetes API server refuses: an object of kind Status."""

from __future__ import annotations

from typing import Any


class KubeRefused(Exception):
    """`reason` is Kubernetes' own word for it, such as `NotFound`."""

    def __init__(self, code: int, reason: str, message: str, *, cause: str = "") -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self._cause = code, reason, message, cause

    def body(self) -> dict[str, Any]:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
            **({"details": {"causes": [{"reason": self._cause, "message": self.message}]}} if self._cause else {}),
        }


def invalid(kind: str, name: str, field: str) -> KubeRefused:
    return KubeRefused(422, "Invalid", f'{kind} "{name}" is invalid: {field}: Invalid value')


def missing(resource: str, name: str) -> KubeRefused:
    return KubeRefused(404, "NotFound", f'{resource} "{name}" not found')


def terminating(resource: str, name: str, namespace: str) -> KubeRefused:
    """What is said of a namespace that is being taken away, in which nothing new is made."""
    said = f"unable to create new content in namespace {namespace} because it is being terminated"
    return KubeRefused(403, "Forbidden", f'{resource} "{name}" is forbidden: {said}', cause="NamespaceTerminating")


def forbidden(member: str, permission: str, resource: str, verb: str, namespace: str) -> KubeRefused:
    """What the clusters of GKE say, which name the permission of IAM."""
    user = member.partition(":")[2]
    return KubeRefused(
        403,
        "Forbidden",
        f'{resource} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "" in the namespace '
        f'"{namespace}": requires one of ["{permission}"] permission(s).',
    )
