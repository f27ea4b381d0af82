"""The Kubernetes API of one cluster of GKE, over TLS with an authority of its own: objects, and pods that really run.

Of server-side apply it does what one manager of an object and a few others need: fields it does not name any more go, those
of others stay, and what another one set otherwise is a conflict unless forced.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from aiohttp import web

from tests.emulators.background import Background
from tests.emulators.front import Front
from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.faults import Faults
from tests.emulators.gcp.kube_answers import KubeRefused, forbidden, missing, terminating
from tests.emulators.gcp.kube_cron import called, is_due
from tests.emulators.gcp.kube_pods import Workload, shown_pod
from tests.emulators.gcp.kube_schema import check, check_fields
from tests.emulators.gcp.operations import now
from tests.emulators.gcp.registry import Registry
from tests.emulators.gcp.tls import Authority
from tests.emulators.images import Container, Workshop

_PATH = re.compile(
    r"/(?P<group>api/v1|apis/apps/v1|apis/batch/v1)/namespaces/(?P<namespace>[^/]+)"
    r"(?:/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<below>log))?)?)?"
)
_PROXIED = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods/(?P<pod>[^/:]+):8080/proxy(?P<path>/.*)")
KINDS = {
    ("apis/apps/v1", "deployments"): "Deployment",
    ("apis/batch/v1", "cronjobs"): "CronJob",
    ("api/v1", "services"): "Service",
    ("api/v1", "secrets"): "Secret",
    ("api/v1", "pods"): "Pod",
}
_PERMITTED = {"cronjobs": "cronJobs"}
_VERBS = ["create", "delete", "get", "list", "patch"]
# What there is, as clients ask before anything else.
DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": name,
                "versions": [{"groupVersion": f"{name}/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": f"{name}/v1", "version": "v1"},
            }
            for name in ("apps", "batch")
        ],
    },
    **{
        f"/{group}": {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group.removeprefix("apis/").removeprefix("api/"),
            "resources": [
                {"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": _VERBS}
                for (place, name), kind in KINDS.items()
                if place == group
            ],
        }
        for group in ("api/v1", "apis/apps/v1", "apis/batch/v1")
    },
}
# How long a load balancer has no address at first, and takes to be gone.
_BALANCING_SECONDS = 0.2
_MEDIA_TYPES = {
    "PATCH": ("application/apply-patch+yaml", "application/merge-patch+json"),
    "DELETE": ("application/json",),
}


class Asked(msgspec.Struct, frozen=True):
    """One request, as its path says."""

    verb: str
    kind: str
    resource: str
    namespace: str
    name: str
    below: str


class Kept(msgspec.Struct):
    """An object, and what each manager applied to it."""

    body: dict[str, Any]
    applied: dict[str, dict[str, Any]]
    made_at: float
    workload: Workload | None = None
    front: Front | None = None
    gone_at: float | None = None


class KubernetesApi:
    """`name` and `location` are the cluster's. `pods_max` is the namespace's quota, when there is one; `nodes` is the
    service account as which its nodes pull images."""

    def __init__(
        self,
        account: Account,
        workshop: Workshop,
        registry: Registry,
        background: Background,
        faults: Faults,
        *,
        name: str,
        location: str,
    ) -> None:
        self.name, self.location, self.labels = name, location, dict[str, str]()
        self.namespaces = {"default"}
        self.terminating: set[str] = set()
        # What a policy of the cluster's says of whatever is new, if there is one.
        self.policy = ""
        self.pods_max: int | None = None
        self.nodes = "default"
        self.status = "RUNNING"
        # Whether only its own network leads to its address, and whether a name leads to it from everywhere.
        self.is_inside = self.has_name = False
        self.objects: dict[tuple[str, str, str], Kept] = {}
        self.calls: list[str] = []
        self._account, self._workshop, self._registry = account, workshop, registry
        self._background, self._faults = background, faults
        self._authority = Authority()
        self._port, self._app = 0, web.Application()

    async def open(self) -> None:
        """Answer at an address; where it answered before, nobody does any more."""
        self._app = app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answered)
        self._port = await self._background.serving(app, context=self._authority.context("127.0.0.1"))

    @property
    def authority(self) -> str:
        """The certificate that vouches for it, as GKE shows it."""
        return self._authority.certificate

    def shown(self) -> dict[str, Any]:
        """The cluster as GKE shows it."""
        by_name = {"endpoint": f"localhost:{self._port}", "allowExternalTraffic": True} if self.has_name else {}
        return {
            "name": self.name,
            "location": self.location,
            "status": self.status,
            "nodePools": [{"name": "pool", "config": {"serviceAccount": self.nodes}}],
            "endpoint": f"127.0.0.1:{9 if self.is_inside else self._port}",
            "masterAuth": {"clusterCaCertificate": self._authority.certificate},
            "resourceLabels": self.labels,
            "controlPlaneEndpointsConfig": {
                "dnsEndpointConfig": by_name,
                "ipEndpointsConfig": {"enabled": True} | ({} if self.is_inside else {"enablePublicEndpoint": True}),
            },
        }

    def names(self) -> list[str]:
        """Everything that is there and not about to go, and the pods that run."""
        self._forget()
        for kept in list(self.objects.values()):
            self._look(kept)
        pods = [f"pod {pod.name}" for kept in self.objects.values() if kept.workload for pod in kept.workload.pods]
        stays = [key for key, kept in self.objects.items() if kept.gone_at is None]
        return [*(f"{kind} {name}" for kind, _, name in stays), *pods]

    def object(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """Raises KeyError for one that is not there."""
        return self.objects[kind, namespace, name].body

    def discard(self, kind: str, namespace: str, name: str) -> None:
        """Take an object away, with its pods. Raises KeyError for one that is not there."""
        kept = self.objects.pop((kind, namespace, name))
        if kept.workload is not None:
            kept.workload.stop()

    def _forget(self) -> None:
        """Whatever went meanwhile is there no more."""
        for key in [key for key, kept in self.objects.items() if kept.gone_at and kept.gone_at < time.monotonic()]:
            del self.objects[key]

    async def tick(self, at: datetime) -> list[int]:
        """Run the CronJobs that are due in the minute: how their calls were answered, 0 where there was nobody."""
        due = [
            (namespace, kept.body)
            for (kind, namespace, _), kept in self.objects.items()
            if kind == "CronJob" and not kept.body["spec"].get("suspend") and is_due(kept.body["spec"], at)
        ]
        return [await self._run_job(namespace, body, at) for namespace, body in due]

    async def _run_job(self, namespace: str, body: dict[str, Any], at: datetime) -> int:
        """What `curl` does that is told so, inside the cluster."""
        call = called(body, at)
        address = re.fullmatch(rf"http://([^./]+)\.{namespace}\.svc\.cluster\.local(/.*)", call.url)
        service = address and self.objects.get(("Service", namespace, address[1]))
        wanted = service.body["spec"].get("selector", {}) if service else {}
        ready = [
            pod for pod in self._pods(namespace) if wanted and pod.is_ready and wanted.items() <= pod.labels.items()
        ]
        if not ready or address is None:
            return 0
        url = f"http://127.0.0.1:{ready[-1].container.port}{address[2]}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=call.body, headers=call.headers) as answer,
        ):
            return answer.status

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        if request.app is not self._app and request.transport is not None:
            request.transport.abort()
            return web.Response(status=503)  # Which nobody hears.
        self._forget()
        try:
            if (told := DISCOVERY.get(request.path)) is not None:
                return web.json_response(told)
            return await self._answer(request)
        except KubeRefused as refused:
            return web.json_response(refused.body(), status=refused.code)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if (proxied := _PROXIED.fullmatch(request.path)) is not None:
            return await self._proxied(request, proxied)
        asked, member = _asked(request), self._member(request)
        self._require(asked, member, asked.verb)
        name = f"kubernetes.{asked.resource}.{asked.verb}"
        lost = await self._before(name)
        # Of a namespace that is not there Kubernetes lists nothing.
        if asked.namespace not in self.namespaces and asked.verb != "list":
            raise missing("namespaces", asked.namespace)
        answer = await self._done(request, asked, member)
        _check_answer(asked.kind, answer)
        self.calls.append(name)
        if lost:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    async def _before(self, name: str) -> bool:
        """Whether the answer is to be lost. Raises KubeRefused."""
        try:
            return await self._faults.before(name)
        except Refused as refused:
            raise KubeRefused(refused.code, "TooManyRequests", refused.message) from refused

    async def _proxied(self, request: web.Request, to: re.Match[str]) -> web.Response:
        member = self._member(request)
        if not self._account.may(member, "container.pods.proxy"):
            raise forbidden(member, "container.pods.proxy", "pods/proxy", request.method.lower(), to["namespace"])
        await self._before("kubernetes.pods.proxy")
        for pod in self._pods(to["namespace"]):
            if pod.name == to["pod"] and pod.is_ready and pod.container is not None:
                url = f"http://127.0.0.1:{pod.container.port}{to['path']}?{request.query_string}"
                async with aiohttp.ClientSession() as session, session.request(request.method, url) as answer:
                    return web.Response(status=answer.status, body=await answer.read())
        raise KubeRefused(503, "ServiceUnavailable", f"no endpoints available for pod {to['pod']}")

    async def _done(self, request: web.Request, asked: Asked, member: str) -> dict[str, Any] | web.Response:
        match asked.verb:
            case "list":
                if request.query.get("watch") in ("1", "true"):
                    raise KubeRefused(405, "MethodNotAllowed", "Nothing can be watched here.")
                return self._listed(asked, request.query)
            case "getLogs":
                return web.Response(text=self._log(asked, previous=request.query.get("previous") == "true"))
            case "get" if asked.kind == "Pod":
                return self._pod(asked)
            case "get":
                return self._shown(self._found(asked))
            case "delete":
                return await self._delete(asked, json.loads(await request.read() or b"{}"))
            case _:
                return await self._patch(request, asked, member)

    def _member(self, request: web.Request) -> str:
        try:
            return self._account.holder(request.headers.get("Authorization", ""))
        except Refused:
            raise KubeRefused(401, "Unauthorized", "Unauthorized") from None

    def _require(self, asked: Asked, member: str, verb: str) -> None:
        permission = f"container.{_PERMITTED.get(asked.resource, asked.resource)}.{verb}"
        if not self._account.may(member, permission):
            raise forbidden(member, permission, asked.resource, verb, asked.namespace)

    def _found(self, asked: Asked) -> Kept:
        try:
            return self.objects[asked.kind, asked.namespace, asked.name]
        except KeyError:
            raise missing(asked.resource, asked.name) from None

    def _listed(self, asked: Asked, query: Mapping[str, str]) -> dict[str, Any]:
        wanted = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        if asked.kind == "Pod":
            items = [shown_pod(pod, asked.namespace) for pod in self._pods(asked.namespace)]
        else:
            here = [kept for key, kept in self.objects.items() if key[:2] == (asked.kind, asked.namespace)]
            items = [self._shown(kept) for kept in here]
        chosen = [
            item
            for item in items
            if wanted.items() <= item["metadata"].get("labels", {}).items() and name in ("", item["metadata"]["name"])
        ]
        version = {"Deployment": "apps/v1", "CronJob": "batch/v1"}.get(asked.kind, "v1")
        return {"kind": f"{asked.kind}List", "apiVersion": version, "metadata": {}, "items": chosen}

    def _pod(self, asked: Asked) -> dict[str, Any]:
        for pod in self._pods(asked.namespace):
            if pod.name == asked.name:
                return shown_pod(pod, asked.namespace)
        raise missing("pods", asked.name)

    def _pods(self, namespace: str) -> list[Any]:
        found = []
        for (_, place, _), kept in self.objects.items():
            if kept.workload is not None and place == namespace:
                self._look(kept)
                found += kept.workload.pods
        return found

    def _log(self, asked: Asked, *, previous: bool) -> str:
        for pod in self._pods(asked.namespace):
            if pod.name == asked.name and pod.container is not None:
                # A container that ended is the previous one as soon as the next is waited for.
                if previous and pod.container.is_running:
                    raise KubeRefused(400, "BadRequest", "previous terminated container not found")
                return str(pod.container.log)
        raise missing("pods", asked.name)

    async def _delete(self, asked: Asked, options: dict[str, Any]) -> dict[str, Any]:
        check_fields("DeleteOptions", options)
        kept = self._found(asked)
        if kept.gone_at is not None:
            return kept.body
        uid = options.get("preconditions", {}).get("uid")
        if uid is not None and uid != kept.body["metadata"]["uid"]:
            raise KubeRefused(409, "Conflict", "the UID in the precondition does not match the UID in record")
        if kept.front is not None and kept.body["spec"].get("type") == "LoadBalancer":
            # Only when the load balancer is gone its Service goes as well.
            kept.body["metadata"]["deletionTimestamp"] = now()[:19] + "Z"
            kept.gone_at = time.monotonic() + _BALANCING_SECONDS
            return kept.body
        del self.objects[asked.kind, asked.namespace, asked.name]
        if kept.workload is not None:
            await asyncio.to_thread(kept.workload.stop)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    async def _patch(self, request: web.Request, asked: Asked, member: str) -> dict[str, Any]:
        manager = request.query.get("fieldManager", "")
        if not manager:
            raise KubeRefused(400, "BadRequest", "PatchOptions is invalid: fieldManager: Required value")
        given = json.loads(await request.read())
        if request.query.get("fieldValidation") == "Strict":
            check_fields(asked.kind, given)
        kept = self.objects.get((asked.kind, asked.namespace, asked.name))
        if request.content_type == _MEDIA_TYPES["PATCH"][1]:
            found = self._found(asked)
            wanted = _merged(found.body, given)
            return await self._keep(asked, found, wanted)
        if (given.get("kind"), given["metadata"].get("name")) != (asked.kind, asked.name):
            raise KubeRefused(400, "BadRequest", "the name of the object does not match the name on the URL")
        if kept is None:
            self._require(asked, member, "create")
            if asked.namespace in self.terminating:
                raise terminating(asked.resource, asked.name, asked.namespace)
            if self.policy:
                raise KubeRefused(403, "Forbidden", self.policy)
            wanted, applied = _defaulted(given), {manager: given}
            made = Kept({}, applied, time.monotonic())
            return await self._keep(asked, made, wanted)
        if request.query.get("force") != "true":
            _check_conflicts(kept, manager, given)
        wanted = _applied(kept.body, kept.applied.get(manager, {}), given)
        answer = await self._keep(asked, kept, wanted)
        kept.applied[manager] = given
        return answer

    async def _keep(self, asked: Asked, kept: Kept, wanted: dict[str, Any]) -> dict[str, Any]:
        before = kept.body or None
        check(asked.kind, wanted, before)
        if before is None:
            wanted["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": now()[:19] + "Z", "generation": 0}
            self.objects[asked.kind, asked.namespace, asked.name] = kept
        is_other = before is None or before.get("spec") != wanted.get("spec")
        wanted["metadata"]["generation"] += is_other
        kept.body = wanted
        if asked.kind == "Deployment" and is_other:
            self._roll(kept, asked.namespace)
        if asked.kind == "Service" and kept.front is None:
            kept.front = Front(lambda: self._behind(kept, asked.namespace), lambda _: None)
            await kept.front.open(self._background)
        return self._shown(kept)

    def _roll(self, kept: Kept, namespace: str) -> None:
        if kept.workload is None:
            kept.workload = Workload(kept.body["metadata"]["name"], self._started)
        secrets = {
            name: one.body
            for (kind, place, name), one in self.objects.items()
            if (kind, place) == ("Secret", namespace)
        }
        kept.workload.roll(kept.body, secrets)

    def _started(self, image: str, environment: dict[str, str]) -> Container:
        """Raises Refused for an image that is not there, and KubeRefused beyond the quota."""
        running = sum(len(kept.workload.pods) for kept in self.objects.values() if kept.workload)
        if self.pods_max is not None and running >= self.pods_max:
            raise KubeRefused(
                403,
                "Forbidden",
                f'pods "pod" is forbidden: exceeded quota: pods, requested: pods=1, used: pods={running}, limited: '
                f"pods={self.pods_max}",
            )
        own = f"serviceAccount:{self.nodes}"
        if not self._registry.may_pull(self._account.nodes_agent if self.nodes == "default" else own, image):
            raise Refused(403, f'failed to pull and unpack image "{image}": 403 Forbidden')
        return self._workshop.run(self._registry.pulled(image), environment)

    def _behind(self, kept: Kept, namespace: str) -> Container | None:
        wanted = kept.body["spec"].get("selector", {})
        ready = [pod for pod in self._pods(namespace) if pod.is_ready and wanted.items() <= pod.labels.items()]
        return ready[-1].container if ready and kept.body["spec"].get("type") == "LoadBalancer" else None

    def _look(self, kept: Kept) -> None:
        if kept.workload is not None:
            kept.body["status"] = kept.workload.status(kept.body)

    def _shown(self, kept: Kept) -> dict[str, Any]:
        self._look(kept)
        if kept.front is not None:
            has_address = kept.body["spec"].get("type") == "LoadBalancer"
            has_address = has_address and time.monotonic() - kept.made_at > _BALANCING_SECONDS
            # A load balancer's port 80 is any free port of this machine here.
            ingress = [{"hostname": f"127.0.0.1:{kept.front.port}"}] if has_address else []
            kept.body["status"] = {"loadBalancer": {"ingress": ingress} if ingress else {}}
        return kept.body


def _asked(request: web.Request) -> Asked:
    found = _PATH.fullmatch(request.path)
    if found is None or found["kind"] is None or (found["group"], found["kind"]) not in KINDS:
        raise KubeRefused(404, "NotFound", "the server could not find the requested resource")
    name, below = found["name"] or "", found["below"] or ""
    verbs = {"GET": "get" if name else "list", "PATCH": "update", "DELETE": "delete"}
    verb = "getLogs" if below else verbs.get(request.method, "")
    if not verb or (verb in ("update", "delete") and (not name or found["kind"] == "pods")):
        raise KubeRefused(405, "MethodNotAllowed", f"{request.method} is not emulated here")
    if request.method in _MEDIA_TYPES and request.content_type not in _MEDIA_TYPES[request.method]:
        raise KubeRefused(415, "UnsupportedMediaType", f"{request.content_type} is none of the supported media types")
    kind = KINDS[found["group"], found["kind"]]
    return Asked(verb, kind, found["kind"], found["namespace"], name, below)


def _check_answer(kind: str, answer: Any) -> None:
    """Raises AssertionError for an answer that the tables do not know."""
    if not isinstance(answer, dict) or answer.get("kind") == "Status":
        return
    try:
        for item in answer.get("items", [answer]):
            check_fields(kind, item)
    except KubeRefused as refused:
        raise AssertionError(f"the emulator's answer is none of Kubernetes': {refused}") from refused


def _defaulted(given: dict[str, Any]) -> dict[str, Any]:
    """With some of what Kubernetes fills in itself."""
    wanted: dict[str, Any] = json.loads(json.dumps(given))
    if wanted["kind"] == "Deployment":
        wanted["spec"].setdefault("replicas", 1)
        pod = wanted["spec"]["template"]["spec"]
        pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "securityContext": {}} | pod
    return wanted


def _merged(body: Any, patch: Any) -> Any:
    """As RFC 7396 has it."""
    if not isinstance(patch, dict):
        return patch
    made = dict(body) if isinstance(body, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = _merged(made.get(name), value)
    return made


def _applied(body: dict[str, Any], before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The body as a manager has it who applied `before` and applies `given` now; lists are applied as a whole."""
    made = dict(body)
    for name in before.keys() - given.keys():
        if isinstance(before[name], dict) and isinstance(made.get(name), dict):
            made[name] = _applied(made[name], before[name], {})
            if made[name]:
                continue
        made.pop(name, None)
    for name, value in given.items():
        if isinstance(value, dict):
            below, was = made.get(name), before.get(name)
            made[name] = _applied(below if isinstance(below, dict) else {}, was if isinstance(was, dict) else {}, value)
        else:
            made[name] = value
    return made


def _check_conflicts(kept: Kept, manager: str, given: dict[str, Any]) -> None:
    wanted = dict(_leaves(given, ""))
    for other, applied in kept.applied.items():
        for path, value in _leaves(applied, ""):
            if other != manager and path in wanted and wanted[path] != value:
                raise KubeRefused(409, "Conflict", f'Apply failed with 1 conflict: conflict with "{other}": {path}')


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for name, below in value.items() for leaf in _leaves(below, f"{path}.{name}")]
