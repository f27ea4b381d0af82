"""Cloud Run: services and their revisions, each a process that really answers, and the traffic between them."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web

from tests.emulators.background import Background
from tests.emulators.front import Front
from tests.emulators.gcp.account import Account, Policy
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import Operations, now
from tests.emulators.gcp.registry import Registry
from tests.emulators.gcp.secrets import SecretManager
from tests.emulators.images import Container, Workshop

_S = "run.projects.locations.services"
_KIND = "type.googleapis.com/google.cloud.run.v2.Service"
_BY_REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
_OUTPUT = ("uri", "urls", "generation", "observedGeneration", "reconciling", "terminalCondition", "conditions")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
TAG_AND_NAME_MAX = 46
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")
RESERVED = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}


class Revision(msgspec.Struct):
    """`failed` says why it will never be ready."""

    name: str
    template: dict[str, Any]
    container: Container | None
    deadline: float
    created: str
    ready: bool = False
    failed: str = ""
    reason: str = ""

    def look(self) -> None:
        """See whether it has come up."""
        if self.ready or self.failed or self.container is None:
            return
        if self.container.answers:
            self.ready = True
        elif not self.container.is_running or time.monotonic() > self.deadline:
            self.container.stop()
            self.failed = (
                f"Revision '{self.name}' is not ready and cannot serve traffic. The user-provided container failed to "
                "start and listen on the port defined provided by the PORT=8080 environment variable within the allocated "
                "timeout. Logs for this revision might contain more information."
            )

    def condition(self) -> dict[str, Any]:
        self.look()
        if self.failed:
            shown = {"state": "CONDITION_FAILED", "message": self.failed}
            if self.reason:
                return {"type": "Ready", **shown, "reason": self.reason}
            return {"type": "Ready", **shown, "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR"}
        return {"type": "Ready", "state": "CONDITION_SUCCEEDED" if self.ready else "CONDITION_RECONCILING"}


class Service(msgspec.Struct):
    """`given` is what was asked for last."""

    name: str
    given: dict[str, Any]
    front: Front
    generation: int = 1
    revisions: dict[str, Revision] = {}
    policy: Policy = msgspec.field(default_factory=Policy)
    etag: str = msgspec.field(default_factory=lambda: f'"{uuid4().hex}"')

    @property
    def newest(self) -> Revision:
        return list(self.revisions.values())[-1]

    def serving(self) -> Container | None:
        """Where its address leads now."""
        for share in self.given.get("traffic") or [{"type": _LATEST, "percent": 100}]:
            if share.get("percent"):
                revision = self.newest if share.get("type") != _BY_REVISION else self.revisions.get(share["revision"])
                if revision is not None:
                    revision.look()
                    return revision.container if revision.ready else None
        return None


class CloudRun:
    """The services of an account, by their full names."""

    def __init__(
        self, account: Account, workshop: Workshop, registry: Registry, vault: SecretManager, background: Background
    ) -> None:
        self._account, self._workshop, self._registry, self._vault = account, workshop, registry, vault
        self._background = background
        self._operations = Operations()
        self.services: dict[str, Service] = {}

    @property
    def methods(self) -> Methods:
        operations = "run.projects.locations.operations"
        return {
            f"{_S}.get": self._get,
            f"{_S}.list": self._list,
            f"{_S}.create": self._create,
            f"{_S}.patch": self._patch,
            f"{_S}.delete": self._delete,
            f"{_S}.getIamPolicy": self._policy,
            f"{_S}.setIamPolicy": self._set_policy,
            f"{_S}.revisions.get": self._revision,
            f"{_S}.revisions.list": self._revisions,
            f"{_S}.revisions.delete": self._delete_revision,
            f"{operations}.get": lambda call: self._operations.get(call.path["name"]),
            f"{operations}.wait": self._wait,
        }

    def logs(self, revision: str) -> list[str]:
        """What a revision wrote, line by line."""
        for service in self.services.values():
            if (found := service.revisions.get(revision)) is not None and found.container is not None:
                return found.container.log.splitlines()
        return []

    def names(self) -> list[str]:
        return [f"revision {name}" for service in self.services.values() for name in (service.name, *service.revisions)]

    def _get(self, call: Call) -> dict[str, Any]:
        self._require(call, "services.get")
        return self._shown(self._found(call.path["name"]))

    def _list(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "run.services.list", call.path["parent"])
        return {"services": [self._shown(service) for service in self.services.values()]}

    async def _create(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "run.services.create", call.path["parent"])
        name = f"{call.path['parent']}/services/{call.query.get('serviceId', '')}"
        if name in self.services:
            raise Refused(409, f"Resource '{call.query.get('serviceId')}' already exists.")
        return await self._made(call, name)

    async def _patch(self, call: Call) -> dict[str, Any]:
        name, given = call.path["name"], call.body
        service = self.services.get(name)
        if service is None:
            if call.query.get("allowMissing") != "true":
                raise Refused(404, f"Resource '{name.rpartition('/')[2]}' of kind 'SERVICE' does not exist.")
            self._account.require(call.member, "run.services.create", name)
            return await self._made(call, name)
        self._require(call, "services.update")
        if given.get("etag", service.etag) != service.etag:
            raise Refused(409, "The etag does not match: the service was changed meanwhile.", status="ABORTED")
        fields = [field for field in call.query.get("updateMask", "").split(",") if field]
        kept = {key: value for key, value in service.given.items() if not fields or key not in fields}
        wanted = {**(kept if fields else {}), **{k: v for k, v in given.items() if not fields or k in fields}}
        self._check(call, wanted)
        if "template" in wanted and wanted["template"] != service.given.get("template"):
            self._add_revision(service, wanted["template"])
        self._check_traffic(name.rpartition("/")[2], wanted, service.revisions)
        self._change(service, wanted)
        return self._begun(service)

    async def _made(self, call: Call, name: str) -> dict[str, Any]:
        if not _NAME.fullmatch(name.rpartition("/")[2]):
            raise Refused(400, "The service id must be a DNS label of at most 49 characters.", field="service_id")
        self._check(call, call.body)
        service = Service(name, {}, None)  # type: ignore[arg-type]
        service.front = Front(service.serving, lambda request: self._let_in(service, request))
        self._add_revision(service, call.body["template"])
        self._check_traffic(name.rpartition("/")[2], call.body, service.revisions)
        await service.front.open(self._background)
        self.services[name] = service
        self._change(service, call.body)
        return self._begun(service)

    def _check(self, call: Call, wanted: dict[str, Any]) -> None:
        """What no schema says. Raises Refused."""
        template = wanted.get("template", {})
        if len(containers := template.get("containers", [])) != 1:
            raise Refused(400, "Revision template should contain exactly one container with an exposed port.")
        for labels in (wanted.get("labels", {}), template.get("labels", {})):
            for key, value in labels.items():
                if not (_LABEL.fullmatch(key) and _LABEL.fullmatch(value)):
                    raise Refused(400, f"Invalid label {key}={value}.", field="labels")
        for variable in containers[0].get("env", []):
            if variable["name"] in RESERVED or variable["name"].startswith("X_GOOGLE_"):
                raise Refused(400, f"The following reserved env names were provided: {variable['name']}.")
        _check_resources(containers[0].get("resources", {}).get("limits", {}))
        probe = containers[0].get("startupProbe", {})
        if probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) > 240:
            raise Refused(400, "failure_threshold * period_seconds must be at most 240.", field="startup_probe")
        self._account.require_act_as(call.member, self._runs_as(template))
        if wanted.get("invokerIamDisabled"):
            self._require(call, "services.setIamPolicy")

    def _runs_as(self, template: dict[str, Any]) -> str:
        return str(template.get("serviceAccount") or f"{self._account.number}-compute@developer.gserviceaccount.com")

    def _check_traffic(self, short: str, wanted: dict[str, Any], revisions: dict[str, Revision]) -> None:
        shares = wanted.get("traffic", [])
        if shares and sum(share.get("percent", 0) for share in shares) != 100:
            raise Refused(400, "Traffic percentages must add up to 100.", field="traffic")
        tags = [share["tag"] for share in shares if share.get("tag")]
        if len(set(tags)) < len(tags):
            raise Refused(400, "Tags must be unique.", field="traffic")
        for tag in tags:
            if len(tag) + len(short) > TAG_AND_NAME_MAX:
                raise Refused(
                    400,
                    f"traffic tag '{tag}' and service name '{short}' together are too long. Combined traffic tag and "
                    f"service name cannot exceed {TAG_AND_NAME_MAX} characters.",
                    field="traffic.tag",
                )
        for share in shares:
            if share.get("type") == _BY_REVISION and share.get("revision") not in revisions:
                raise Refused(400, f"Revision {share.get('revision')} does not exist.", field="traffic")

    def _add_revision(self, service: Service, template: dict[str, Any]) -> None:
        short = service.name.rpartition("/")[2]
        name = template.get("revision") or f"{short}-{len(service.revisions) + 1:05}-abc"
        if not name.startswith(f"{short}-") or len(name) > 63:
            raise Refused(400, f"Revision name must begin with the service name: {name}", field="template.revision")
        if name in service.revisions:
            raise Refused(409, f"Revision named '{name}' with different configuration already exists.")
        [container] = template["containers"]
        probe = container.get("startupProbe", {})
        deadline = time.monotonic() + probe.get("periodSeconds", 10) * probe.get("failureThreshold", 24) + 1
        made = Revision(name, template, None, deadline, now())
        try:
            member = f"serviceAccount:{self._runs_as(template)}"
            self._registry.require_pull(self._account.run_agent, container["image"])
            made.container = self._workshop.run(
                self._registry.pulled(container["image"]),
                self._environment(container, member, service.name.split("/")[1]),
            )
        except Refused as refused:
            made.failed = f"Revision '{name}' is not ready and cannot serve traffic. {refused.message}"
            made.reason = "CONTAINER_PERMISSION_DENIED" if refused.code == 403 and "Agent" in refused.message else ""
        service.revisions[name] = made

    def _environment(self, container: dict[str, Any], member: str, project: str) -> dict[str, str]:
        given = {}
        for variable in container.get("env", []):
            if (source := variable.get("valueSource")) is not None:
                reference = source["secretKeyRef"]
                given[variable["name"]] = self._vault.opened(member, project, reference["secret"], reference["version"])
            else:
                given[variable["name"]] = variable.get("value", "")
        return given

    def _change(self, service: Service, wanted: dict[str, Any]) -> None:
        service.given = {key: value for key, value in wanted.items() if key not in (*_OUTPUT, "etag", "name")}
        service.generation += 1
        service.etag = f'"{uuid4().hex}"'

    def _begun(self, service: Service) -> dict[str, Any]:
        revision = service.newest
        parent = "/".join(service.name.split("/")[:4])

        def look() -> dict[str, Any] | Refused | None:
            condition = revision.condition()
            if condition["state"] == "CONDITION_RECONCILING":
                return None
            if condition["state"] == "CONDITION_FAILED":
                return Refused(400, condition["message"], status="FAILED_PRECONDITION")
            return {"@type": _KIND, **self._shown(service)}

        return self._operations.begin(parent, {"@type": _KIND, **self._shown(service)}, look)

    async def _wait(self, call: Call) -> dict[str, Any]:
        seconds = float(call.body.get("timeout", "30s").removesuffix("s"))
        return await self._operations.wait(call.path["name"], seconds)

    async def _delete(self, call: Call) -> dict[str, Any]:
        self._require(call, "services.delete")
        service = self._found(call.path["name"])
        if call.query.get("etag", service.etag) != service.etag:
            raise Refused(409, "The etag does not match: the service was changed meanwhile.", status="ABORTED")
        del self.services[service.name]
        await asyncio.to_thread(_stop, list(service.revisions.values()))
        service.revisions.clear()
        return self._operations.begin("/".join(service.name.split("/")[:4]), {"@type": _KIND}, lambda: {"@type": _KIND})

    def _policy(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "run.services.getIamPolicy", call.path["resource"])
        bindings = self._found(call.path["resource"]).policy.bindings
        return {"version": 1, "bindings": [{"role": r, "members": sorted(m)} for r, m in bindings.items() if m]}

    def _set_policy(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "run.services.setIamPolicy", call.path["resource"])
        service = self._found(call.path["resource"])
        service.policy = Policy()
        for binding in call.body["policy"].get("bindings", []):
            for member in binding["members"]:
                service.policy.add(binding["role"], member)
        return dict(call.body["policy"])

    def _revision(self, call: Call) -> dict[str, Any]:
        self._require(call, "revisions.get")
        return self._shown_revision(*self._found_revision(call.path["name"]))

    def _revisions(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "run.revisions.list", call.path["parent"])
        service = self._found(call.path["parent"])
        return {"revisions": [self._shown_revision(service, revision) for revision in service.revisions.values()]}

    async def _delete_revision(self, call: Call) -> dict[str, Any]:
        self._require(call, "revisions.delete")
        service, revision = self._found_revision(call.path["name"])
        named = [share.get("revision") for share in service.given.get("traffic", [])]
        if revision.name in named or service.newest is revision:
            raise Refused(
                400,
                f"Revision '{revision.name}' cannot be deleted: it serves, or is the latest one.",
                status="FAILED_PRECONDITION",
            )
        del service.revisions[revision.name]
        await asyncio.to_thread(_stop, [revision])
        return self._operations.begin("/".join(service.name.split("/")[:4]), {}, dict)

    def _require(self, call: Call, permission: str) -> None:
        self._account.require(call.member, f"run.{permission}", call.path.get("name") or call.path["parent"])

    def _found(self, name: str) -> Service:
        try:
            return self.services[name]
        except KeyError:
            raise Refused(404, f"Resource '{name.rpartition('/')[2]}' of kind 'SERVICE' does not exist.") from None

    def _found_revision(self, name: str) -> tuple[Service, Revision]:
        parent, _, short = name.rpartition("/revisions/")
        service = self._found(parent)
        if short not in service.revisions:
            raise Refused(404, f"Resource '{short}' of kind 'REVISION' does not exist.")
        return service, service.revisions[short]

    def _let_in(self, service: Service, request: web.Request) -> web.Response | None:
        if service.given.get("ingress", "INGRESS_TRAFFIC_ALL") != "INGRESS_TRAFFIC_ALL":
            return web.Response(status=404, text="404 Page not found\n")
        if service.given.get("invokerIamDisabled") or service.policy.allows("", "run.routes.invoke"):
            return None
        try:
            member = self._account.holder(request.headers.get("Authorization", ""), audience=service.front.url)
        except Refused:
            return web.Response(
                status=403, text="Your client does not have permission to get URL / from this server.\n"
            )
        allowed = self._account.may(member, "run.routes.invoke", service.policy)
        return None if allowed else web.Response(status=403, text="The caller lacks run.routes.invoke.\n")

    def _shown(self, service: Service) -> dict[str, Any]:
        condition = service.newest.condition()
        ready = [name for name, revision in service.revisions.items() if revision.ready]
        given = {key: value for key, value in service.given.items() if key != "traffic"}
        url = service.front.url
        return {
            **given,
            "name": service.name,
            "uri": url,
            "urls": [url],
            "etag": service.etag,
            "generation": str(service.generation),
            "observedGeneration": str(service.generation),
            "traffic": service.given.get("traffic") or [{"type": _LATEST, "percent": 100}],
            "latestCreatedRevision": f"{service.name}/revisions/{service.newest.name}",
            **({"latestReadyRevision": f"{service.name}/revisions/{ready[-1]}"} if ready else {}),
            "terminalCondition": condition,
            **({"reconciling": True} if condition["state"] == "CONDITION_RECONCILING" else {}),
        }

    def _shown_revision(self, service: Service, revision: Revision) -> dict[str, Any]:
        template: dict[str, Any] = revision.template
        kept: dict[str, Any] = {
            key: template[key] for key in ("labels", "containers", "timeout", "serviceAccount") if key in template
        }
        return {
            **kept,
            "name": f"{service.name}/revisions/{revision.name}",
            "service": service.name.rpartition("/")[2],
            "createTime": revision.created,
            "conditions": [revision.condition()],
        }


def _stop(revisions: list[Revision]) -> None:
    for revision in revisions:
        if revision.container is not None:
            revision.container.stop()


def _check_resources(limits: dict[str, str]) -> None:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", limits.get("memory", "512Mi"))
    megabytes = int(found[1]) * (1024 if found[2] == "Gi" else 1) if found else 0
    if not 512 <= megabytes <= 32 * 1024:
        raise Refused(400, "Invalid value specified for container memory.", field="resources.limits.memory")
    cpu = limits.get("cpu", "1").removesuffix("000m")
    if cpu not in ("1", "2", "4", "6", "8"):
        raise Refused(400, "Invalid value specified for cpu.", field="resources.limits.cpu")
    for above, least in ((24_576, 8), (16_384, 6), (8192, 4), (4096, 2)):
        if megabytes > above and int(cpu) < least:
            raise Refused(
                400, f"More than {above}Mi of memory needs at least {least} CPU.", field="resources.limits.memory"
            )
