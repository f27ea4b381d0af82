"""How a Kubernetes API server refuses: an object of kind Status."""

from __future__ import annotations

from typing import Any


class KubeRefused(Exception):
    """`reason` is Kubernetes' own word for it, such as `NotFound`."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def body(self) -> dict[str, Any]:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


def invalid(kind: str, name: str, field: str) -> KubeRefused:
    return KubeRefused(422, "Invalid", f'{kind} "{name}" is invalid: {field}: Invalid value')


def missing(resource: str, name: str) -> KubeRefused:
    return KubeRefused(404, "NotFound", f'{resource} "{name}" not found')


def forbidden(member: str, permission: str, resource: str, verb: str, namespace: str) -> KubeRefused:
    """What the clusters of GKE say, which name the permission of IAM."""
    user = member.partition(":")[2]
    return KubeRefused(
        403,
        "Forbidden",
        f'{resource} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "" in the namespace '
        f'"{namespace}": requires one of ["{permission}"] permission(s).',
    )
