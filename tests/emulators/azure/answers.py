"""How Azure refuses: the envelope of Resource Manager, and that of Entra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web


class Problem(Exception):
    """An answer that is an error, in the form of Resource Manager unless a body is given."""

    def __init__(
        self, status: int, code: str, message: str = "", *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message or code)
        self.status, self.code, self.message = status, code, message or code
        self._body, self._headers = body, dict(headers or {})

    @property
    def error(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message}

    @property
    def response(self) -> web.Response:
        """Made anew for each request that meets it."""
        return web.json_response(self._body or {"error": self.error}, status=self.status, headers=self._headers)


def not_found(path: str) -> Problem:
    """What is told of a resource that is not there."""
    group = path.split("/")[4] if path.count("/") > 3 else ""
    kind = path.partition("/providers/")[2]
    return Problem(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}' under resource group '{group}' was not found. For more details "
        "please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def entra(error: str, number: int, text: str) -> Problem:
    """An error of the token endpoint."""
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {text}\r\nTrace ID: 0",
        "error_codes": [number],
        "trace_id": "0",
        "correlation_id": "0",
    }
    return Problem(401 if error == "invalid_client" else 400, error, body=body)
