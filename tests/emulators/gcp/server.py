"""The door of the emulator: one port, a path for each of Google's services, everything checked by its document."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from tests.emulators.background import Background
from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import NotExchanged, Refused
from tests.emulators.gcp.bucket import Buckets
from tests.emulators.gcp.builds import Builds
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.clusters import Clusters
from tests.emulators.gcp.discovery import VERSIONS, Matched, check_answer, check_request, match
from tests.emulators.gcp.faults import Faults
from tests.emulators.gcp.federation import Federation
from tests.emulators.gcp.jobs import Scheduler
from tests.emulators.gcp.kms import KeyManagement
from tests.emulators.gcp.kubernetes import KubernetesApi
from tests.emulators.gcp.logs import Logs
from tests.emulators.gcp.registry import Registry
from tests.emulators.gcp.run import CloudRun
from tests.emulators.gcp.secrets import SecretManager
from tests.emulators.images import Workshop

BODY_BYTES_MAX = 64 * 1024 * 1024
# Whose tokens are asked for by no other.
_OPEN = {"sts"}


class Google:
    """All emulated services of one account, served from the loop of the background until it is closed."""

    def __init__(self, account: Account, workshop: Workshop, background: Background) -> None:
        self.account, self.faults = account, Faults()
        self.registry = Registry(account)
        self.vault = SecretManager(account)
        self.kms = KeyManagement(account)
        self.scheduler = Scheduler(account)
        self.clusters = Clusters(account)
        self.run = CloudRun(account, workshop, self.registry, self.vault, background)
        self.calls: list[str] = []
        self.port = 0
        self._workshop, self._background = workshop, background

    @property
    def endpoints(self) -> str:
        return f"http://127.0.0.1:{self.port}/{{service}}"

    async def open(self) -> None:
        self.buckets = Buckets(self.account)
        self.builds = Builds(self.account, self._workshop, self.buckets, self.registry)
        services = (
            Federation(self.account),
            self.builds,
            self.registry,
            self.run,
            self.scheduler,
            self.clusters,
            self.vault,
            self.kms,
            Logs(self.account, self.run),
        )
        self._methods: Methods = {name: answer for service in services for name, answer in service.methods.items()}
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{rest:.*}", self._answered)
        self.port = await self._background.serving(app)
        await self.buckets.open(f"http://127.0.0.1:{self.port}/storage")
        self._clock = asyncio.create_task(self.scheduler.keep_time())

    async def make_cluster(self, name: str, location: str) -> KubernetesApi:
        """A cluster of GKE, with nothing in it."""
        cluster = KubernetesApi(
            self.account,
            self._workshop,
            self.registry,
            self._background,
            self.faults,
            name=name,
            location=location,
        )
        await cluster.open()
        self.clusters.there.append(cluster)
        return cluster

    async def close(self) -> None:
        self._clock.cancel()
        await self.buckets.close()

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Refused as refused:
            wait = {} if refused.retry_seconds is None else {"Retry-After": str(max(round(refused.retry_seconds), 1))}
            return web.json_response(refused.body(), status=refused.code, headers=wait)
        except NotExchanged as refused:
            return web.json_response(refused.body(), status=400)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        service, _, rest = path.removeprefix("/").partition("/")
        if service == "upload":  # Where fake-gcs-server sends the rest of an upload to.
            service, rest = "storage", f"upload/{rest}"
        if service not in VERSIONS:
            raise Refused(404, f"There is no service {service} here.")
        if service == "storage":
            return await self._stored(request, f"/{rest}")
        matched = match(service, request.method, f"/{rest}")
        if matched is None:
            raise Refused(404, f"{request.method} /{rest} is none of the methods of {service}.")
        lost = await self.faults.before(matched.id)
        try:
            answer = await self._called(request, matched)
        except (Refused, NotExchanged):
            if lost:
                _cut(request)
            raise
        self.calls.append(matched.id)
        if lost:
            _cut(request)
        return web.json_response(answer)

    async def _stored(self, request: web.Request, path: str) -> web.StreamResponse:
        name = f"storage.{request.method.lower()}"
        lost = await self.faults.before(name)
        answer = await self.buckets.answer(request, path, damaged=self.faults.damages())
        self.calls.append(name)
        if lost:
            _cut(request)
        return answer

    async def _called(self, request: web.Request, matched: Matched) -> Any:
        body = _decoded(await request.read(), request.content_type)
        check_request(matched, request.query, body)
        member = "" if matched.service in _OPEN else self.account.holder(request.headers.get("Authorization", ""))
        self.account.require_api(matched.service)
        if matched.id not in self._methods:
            raise Refused(501, f"{matched.id} is not emulated.")
        call = Call(path=matched.path_parameters, query=dict(request.query), body=body or {}, member=member)
        answer = self._methods[matched.id](call)
        if inspect.isawaitable(answer):
            answer = await answer
        check_answer(matched, answer)
        return answer


def _decoded(content: bytes, media_type: str) -> Any:
    """The body. Raises Refused."""
    if media_type == "application/x-www-form-urlencoded":  # As RFC 8693 has it: Google's own libraries ask STS so.
        return {_camel(name): value for name, value in parse_qsl(content.decode())}
    try:
        return _without_nulls(msgspec.json.decode(content)) if content else None
    except msgspec.DecodeError as error:
        raise Refused(400, f"Invalid JSON payload received. {error}") from error


def _without_nulls(value: Any) -> Any:
    """In the JSON of protocol buffers a field that is null is not there."""
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _cut(request: web.Request) -> None:
    """The connection breaks before the answer is sent."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError
