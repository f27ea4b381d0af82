"""What a process tells about itself over HTTP: that it lives, whether it is ready, and its metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest


class Degraded(Exception):
    """Raised by a check for what somebody should look after, and what is no reason to send requests elsewhere."""


# Returns when all is well; raises an exception whose message says what is not.
Check = Callable[[], Awaitable[None]]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

CHECK_SECONDS_MAX = 3.0

_JSON = "application/json"
_OK = "ok"
_DEGRADED = "degraded: "


class Health:
    """An ASGI application with `/health/live`, `/health/ready` and `/metrics`.

    Ready is 200 when every check passes, or is no worse than Degraded, and 503 otherwise: `{"ready": bool, "checks":
    {name: "ok" | "degraded: " and why | what is wrong}}`.
    """

    def __init__(self, checks: Mapping[str, Check], *, registry: CollectorRegistry = REGISTRY) -> None:
        self._checks = checks
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await _lifespan(receive, send)
            case "http":
                await _answer(send, *await self._answered(scope["method"], scope["path"]))
            case _:
                await send({"type": "websocket.close"})

    async def ready(self) -> dict[str, str]:
        """Each check by name, and `ok` or what is wrong with it."""
        found = await asyncio.gather(*(_checked(name, check) for name, check in self._checks.items()))
        return dict(zip(self._checks, found, strict=True))

    async def _answered(self, method: str, path: str) -> tuple[int, str, bytes]:
        if method not in ("GET", "HEAD"):
            return 405, _JSON, b'{"title":"Method not allowed","status":405}'
        match path:
            case "/health/live":
                return 200, _JSON, b'{"live":true}'
            case "/health/ready":
                checks = await self.ready()
                ready = all(found == _OK or found.startswith(_DEGRADED) for found in checks.values())
                return 200 if ready else 503, _JSON, json.dumps({"ready": ready, "checks": checks}).encode()
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case _:
                return 404, _JSON, b'{"title":"Not found","status":404}'


async def _checked(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            await check()
    except Degraded as problem:
        return f"{_DEGRADED}{problem}"
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS_MAX:g} seconds"
    except Exception as problem:  # noqa: BLE001 - whatever is wrong is the answer
        structlog.get_logger().warning("check_failed", check=name, problem=str(problem))
        return str(problem) or type(problem).__name__
    return _OK


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
