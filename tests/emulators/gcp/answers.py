"""How Google refuses: one envelope for its APIs, another for its token exchange."""

from __future__ import annotations

from typing import Any

_WORDS = {
    400: ("INVALID_ARGUMENT", 3),
    401: ("UNAUTHENTICATED", 16),
    403: ("PERMISSION_DENIED", 7),
    404: ("NOT_FOUND", 5),
    409: ("ALREADY_EXISTS", 6),
    412: ("FAILED_PRECONDITION", 9),
    429: ("RESOURCE_EXHAUSTED", 8),
    500: ("INTERNAL", 13),
    501: ("UNIMPLEMENTED", 12),
    503: ("UNAVAILABLE", 14),
}


class Refused(Exception):
    """An error of Google's. `status` is its own word, when it is not the usual one for the number."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        metadata: dict[str, str] | None = None,
        field: str = "",
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_seconds = code, message, retry_seconds
        self.status = status or _WORDS[code][0]
        self._details: list[dict[str, Any]] = []
        if reason:
            self._detail("ErrorInfo", reason=reason, domain="googleapis.com", metadata=metadata or {})
        if field:
            self._detail("BadRequest", fieldViolations=[{"field": field, "description": message}])
        if retry_seconds is not None:
            self._detail("RetryInfo", retryDelay=f"{retry_seconds}s")

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": error | ({"details": self._details} if self._details else {})}

    def as_status(self) -> dict[str, Any]:
        """As an operation holds it: with gRPC's number, and no word."""
        return {"code": grpc_number(self.status), "message": self.message, "details": self._details}

    def _detail(self, kind: str, **fields: Any) -> None:
        self._details.append({"@type": f"type.googleapis.com/google.rpc.{kind}", **fields})


class NotExchanged(Exception):
    """An error of the token exchange, which speaks OAuth."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description

    def body(self) -> dict[str, str]:
        return {"error": self.error, "error_description": self.description}


def grpc_number(status: str) -> int:
    return {"FAILED_PRECONDITION": 9, "ABORTED": 10}.get(status) or next(n for w, n in _WORDS.values() if w == status)


def denied(permission: str, resource: str) -> Refused:
    """What a caller without the permission is told."""
    return Refused(
        403,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        reason="IAM_PERMISSION_DENIED",
        metadata={"permission": permission, "resource": resource},
    )


def disabled(service: str, project: str) -> Refused:
    """What is told of an API that the project has not enabled."""
    name = f"{service}.googleapis.com"
    return Refused(
        403,
        f"{service} API has not been used in project {project} before or it is disabled. Enable it by visiting "
        f"https://console.developers.google.com/apis/api/{name}/overview?project={project} then retry.",
        reason="SERVICE_DISABLED",
        metadata={"service": name, "consumer": f"projects/{project}"},
    )


def unbilled(number: str) -> Refused:
    """What is told of an API that costs money, in a project for which nobody pays."""
    return Refused(
        403,
        f"This API method requires billing to be enabled. Please enable billing on project #{number} by visiting "
        f"https://console.developers.google.com/billing/enable?project={number} then retry.",
        reason="BILLING_DISABLED",
        metadata={"consumer": f"projects/{number}"},
    )
