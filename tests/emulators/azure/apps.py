"""Container Apps: apps, their revisions and the traffic between them, behind the names that Azure gives them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.emulators.azure.answers import Problem, not_found
from tests.emulators.azure.customer import LOCATION, Customer, client_of, principal_of
from tests.emulators.azure.images import Images
from tests.emulators.azure.operations import Operations
from tests.emulators.azure.revisions import Revision
from tests.emulators.azure.routes import Answer, Call, Methods
from tests.emulators.azure.rules import check_configuration, check_name, check_template, check_traffic
from tests.emulators.front import forwarded
from tests.emulators.images import Workshop

# How long the shortest change of an app goes on.
CHANGE_SECONDS = 0.1
KIND = "Microsoft.App/containerApps"


class Change(msgspec.Struct):
    """An operation that goes on. `outcome` is None until it is over."""

    ends: float
    revision: Revision | None = None
    removes: bool = False
    outcome: dict[str, Any] | Problem | None = None


class App(msgspec.Struct):
    """`given` is what was asked for last, without the values of secrets; `state` that of its last change."""

    path: str
    given: dict[str, Any]
    secrets: dict[str, str] = {}
    revisions: dict[str, Revision] = {}
    state: str = "InProgress"
    change: Change | None = None
    tokens: set[str] = set()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def ingress(self) -> dict[str, Any]:
        found: dict[str, Any] = self.given["properties"]["configuration"].get("ingress") or {}
        return found

    @property
    def traffic(self) -> list[dict[str, Any]]:
        return self.ingress.get("traffic") or [{"latestRevision": True, "weight": 100}]

    @property
    def ready(self) -> Revision | None:
        """The latest one that came up."""
        found = [one for one in self.revisions.values() if one.is_over and one.ready and one.active]
        return found[-1] if found else None

    def leads_to(self, label: str = "") -> Revision | None:
        """Where requests go, those for a label's own address among them."""
        for share in self.traffic:
            if (share.get("label") == label) if label else share.get("weight"):
                return self.ready if share.get("latestRevision") else self.revisions.get(share["revisionName"])
        return None

    def weight_of(self, name: str) -> int:
        return sum(share.get("weight", 0) for share in self.traffic if share.get("revisionName") == name)


class ContainerApps:
    """The apps of a customer by their paths. `logs` is where the logs of replicas are, told when asked."""

    def __init__(
        self,
        customer: Customer,
        images: Images,
        workshop: Workshop,
        operations: Operations,
        logs: Callable[[], str],
    ) -> None:
        self._customer, self._images, self._workshop = customer, images, workshop
        self._operations, self._logs = operations, logs
        self._session: aiohttp.ClientSession | None = None
        self.apps: dict[str, App] = {}

    @property
    def methods(self) -> Methods:
        return {
            "apps.list": lambda call: Answer({"value": [self._shown(app) for app in self.apps.values()]}),
            "apps.get": lambda call: Answer(self._shown(self._found(call.path))),
            "apps.put": self._put,
            "apps.patch": self._patch,
            "apps.delete": self._delete,
            "apps.secrets": self._list_secrets,
            "apps.pass": self._pass,
            "revisions.list": self._list_revisions,
            "revisions.get": self._revision,
            "revisions.activate": self._activate,
            "revisions.deactivate": self._deactivate,
            "replicas.list": self._replicas,
        }

    def names(self) -> list[str]:
        return [
            f"revision {name}" for app in self.apps.values() for name, one in app.revisions.items() if one.active
        ] + [f"container app {app.name}" for app in self.apps.values()]

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """A request to the app that its host names, from the internet or from inside of the environment's network."""
        host, door = request.match_info["host"], request.match_info["door"]
        name, _, domain = host.partition(".")
        name, _, label = name.partition("---")
        app = next((one for one in self.apps.values() if one.name == name), None)
        if app is None or domain != self._domain(app, door) or (door == "apps" and not app.ingress.get("external")):
            return web.Response(status=404, text="Error 404 - This Container App is stopped or does not exist.\n")
        revision = app.leads_to(label)
        if revision is None or not revision.is_over or revision.container is None or not revision.active:
            return web.Response(status=503, text="upstream connect error or disconnect/reset before headers\n")
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        path = request.raw_path.removeprefix(f"/{door}/{host}")
        return await forwarded(self._session, request, revision.container, path if path.startswith("/") else f"/{path}")

    async def log(self, request: web.Request) -> web.StreamResponse:
        """What a replica wrote, for who has the app's pass."""
        found = next(
            (one for one in self.apps.values() if f"{one.path}/".lower() in f"/{request.match_info['path']}/".lower()),
            None,
        )
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if found is None or token not in found.tokens:
            raise Problem(401, "Unauthorized")
        name = request.match_info["path"].partition("/revisions/")[2].partition("/")[0]
        revision = found.revisions.get(name)
        lines = revision.container.log.splitlines() if revision and revision.container else []
        return web.Response(text="\n".join(lines[-int(request.query.get("tailLines", "20")) :]))

    async def close(self, _: web.Application) -> None:
        if self._session is not None:
            await self._session.close()

    def _put(self, call: Call) -> Answer:
        check_name(call.named["container_app_name"])
        before = self._known(call.path)
        app = before or App(call.path, {})
        self._check_free(app)
        wanted = {**call.body}
        revision = self._checked(call, app, wanted, {})
        self.apps[call.path.lower()] = app
        headers = self._begin(call, app, wanted, revision, by_status=True)
        return Answer(self._shown(app), 200 if before else 201, headers)

    def _patch(self, call: Call) -> Answer:
        app = self._found(call.path)
        self._check_free(app)
        kept = dict(app.secrets)
        wanted = merged(app.given, call.body)
        revision = self._checked(call, app, wanted, kept)
        return Answer(None, 202, self._begin(call, app, wanted, revision, by_status=False))

    def _delete(self, call: Call) -> Answer:
        app = self._known(call.path)
        if app is None:
            return Answer(None, 204)
        self._check_free(app)
        app.state, app.change = "Deleting", Change(time.monotonic() + CHANGE_SECONDS, removes=True)
        change = app.change
        return Answer(
            None, 202, self._operations.begin(call, LOCATION, lambda: self._outcome(app, change), by_status=False)
        )

    def _begin(
        self, call: Call, app: App, wanted: dict[str, Any], revision: Revision | None, *, by_status: bool
    ) -> dict[str, str]:
        configuration = wanted["properties"].setdefault("configuration", {})
        if "secrets" in configuration:
            app.secrets = {one["name"]: one["value"] for one in configuration["secrets"] if one.get("value")} | {
                one["name"]: app.secrets[one["name"]] for one in configuration["secrets"] if not one.get("value")
            }
            configuration["secrets"] = [{"name": name} for name in app.secrets]
        app.given, app.state = wanted, "InProgress"
        app.change = change = Change(time.monotonic() + CHANGE_SECONDS, revision)
        return self._operations.begin(call, LOCATION, lambda: self._outcome(app, change), by_status=by_status)

    def _checked(self, call: Call, app: App, wanted: dict[str, Any], kept: dict[str, str]) -> Revision | None:
        """The revision that comes of it, if there is a new one. Raises Problem."""
        properties = wanted.setdefault("properties", {})
        environment = properties.get("environmentId") or properties.get("managedEnvironmentId") or ""
        try:
            self._customer.found(environment)
        except (Problem, IndexError):
            raise Problem(
                400, "ManagedEnvironmentNotFound", f"The environment '{environment}' does not exist."
            ) from None
        self._customer.require(call.principal, "Microsoft.App/managedEnvironments/join/action", environment)
        identities = wanted.get("identity", {}).get("userAssignedIdentities", {})
        for identity in identities:
            self._customer.found(identity)
            action = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
            self._customer.require(call.principal, action, identity)
        configuration = properties.get("configuration", {})
        given = configuration.get("secrets", [])
        held = {**kept, **{one["name"]: one["value"] for one in given if one.get("value")}}
        named = {one["name"]: held.get(one["name"], "") for one in given}
        check_configuration(
            {**configuration, "secrets": [{"name": n, "value": v} for n, v in named.items()]}, identities
        )
        template = properties.get("template", {})
        check_template(template, named)
        self._check_secrets_in_use(app, set(named))
        revision = None
        if template != app.given.get("properties", {}).get("template"):
            revision = self._new(app, template, named)
        names = {name for name, one in app.revisions.items() if one.active} | ({revision.name} if revision else set())
        if traffic := configuration.get("ingress", {}).get("traffic"):
            check_traffic(traffic, names)
        return revision

    def _check_secrets_in_use(self, app: App, named: set[str]) -> None:
        for revision in app.revisions.values():
            used = {one["secretRef"] for one in revision.template["containers"][0].get("env", []) if "secretRef" in one}
            if revision.active and used - named:
                raise Problem(
                    400,
                    "ContainerAppSecretInUse",
                    f"Unable to remove secret(s) {sorted(used - named)}: used by revision '{revision.name}'.",
                )

    def _new(self, app: App, template: dict[str, Any], held: dict[str, str]) -> Revision:
        suffix = template.get("revisionSuffix") or secrets.token_hex(4)
        name = f"{app.name}--{suffix}"
        if name in app.revisions:
            raise Problem(400, "RevisionSuffixInUse", f"A revision with suffix '{suffix}' already exists.")
        variables = template["containers"][0].get("env", [])
        environment = {
            one["name"]: held[one["secretRef"]] if "secretRef" in one else one.get("value", "") for one in variables
        }
        return Revision(name, template, environment)

    def _outcome(self, app: App, change: Change) -> dict[str, Any] | Problem | None:
        """See how far a change is, and let it go on."""
        if change.outcome is not None or time.monotonic() < change.ends:
            return change.outcome
        if change.removes:
            self.apps.pop(app.path.lower(), None)
            for one in app.revisions.values():
                one.stop()
            change.outcome = {}
            return change.outcome
        revision = change.revision
        if revision is not None and revision.container is None:
            try:
                revision.begin(self._workshop.run(self._pulled(app, revision), revision.environment))
            except Problem as problem:
                return self._failed(app, change, problem.message)
            app.revisions[revision.name] = revision
        if revision is not None and not revision.is_over:
            return None
        if revision is not None and revision.failed:
            return self._failed(app, change, f"{revision.name}: {revision.failed} Operation expired.")
        app.state, change.outcome = "Succeeded", {}
        change.outcome = self._shown(app)
        return change.outcome

    def _pulled(self, app: App, revision: Revision) -> str:
        image = revision.template["containers"][0]["image"]
        registries = app.given["properties"]["configuration"].get("registries", [])
        identity = next((one["identity"] for one in registries if image.startswith(f"{one['server']}/")), "")
        try:
            return self._images.pulled(principal_of(identity), image)
        except Problem as problem:
            raise Problem(
                400,
                problem.code,
                "The following field(s) are either invalid or missing. Field 'template.containers.app.image' is invalid "
                f"with details: 'Invalid value: \"{image}\": {problem.message}';.",
            ) from problem

    def _failed(self, app: App, change: Change, why: str) -> Problem:
        app.state = "Failed"
        message = f"Failed to provision revision for container app '{app.name}'. Error details: {why}"
        change.outcome = Problem(400, "ContainerAppOperationError", message)
        return change.outcome

    def _check_free(self, app: App) -> None:
        if app.change is not None and self._outcome(app, app.change) is None:
            raise Problem(
                409,
                "ContainerAppOperationInProgress",
                f"Cannot modify a container app '{app.name}' because there's an active provisioning operation in progress.",
            )

    def _list_secrets(self, call: Call) -> Answer:
        app = self._found(call.path.rpartition("/")[0])
        return Answer({"value": [{"name": name, "value": value} for name, value in app.secrets.items()]})

    def _pass(self, call: Call) -> Answer:
        app = self._found(call.path.rpartition("/")[0])
        token = secrets.token_urlsafe(24)
        app.tokens.add(token)
        expires = "2099-01-01T00:00:00Z"
        return Answer({"location": app.given["location"], "properties": {"token": token, "expires": expires}})

    def _list_revisions(self, call: Call) -> Answer:
        app = self._found(call.path.rpartition("/")[0])
        shown = [one.shown(app.path, app.weight_of(name)) for name, one in app.revisions.items()]
        active = call.query.get("$filter", "").lower() == "properties/active eq true"
        return Answer({"value": [one for one in shown if one["properties"]["active"] or not active]})

    def _revision(self, call: Call) -> Answer:
        app, revision = self._found_revision(call.path)
        return Answer(revision.shown(app.path, app.weight_of(revision.name)))

    def _activate(self, call: Call) -> Answer:
        app, revision = self._found_revision(call.path.rpartition("/")[0])
        if not revision.active:
            revision.active, revision.ready, revision.failed = True, False, ""
            revision.begin(self._workshop.run(self._pulled(app, revision), revision.environment))
        return Answer()

    async def _deactivate(self, call: Call) -> Answer:
        app, revision = self._found_revision(call.path.rpartition("/")[0])
        if app.weight_of(revision.name):
            raise Problem(
                400, "RevisionHasTraffic", f"Revision '{revision.name}' has traffic and cannot be deactivated."
            )
        await asyncio.to_thread(revision.stop)
        return Answer()

    def _replicas(self, call: Call) -> Answer:
        app, revision = self._found_revision(call.path.rpartition("/")[0])
        if revision.container is None or not revision.active:
            return Answer({"value": []})
        name = f"{revision.name}-0000-0"
        path = f"{app.path}/revisions/{revision.name}/replicas/{name}"
        container = {
            "name": "app",
            "ready": revision.ready,
            "started": True,
            "restartCount": 0,
            "runningState": "Running" if revision.ready else "Waiting",
            **({"runningStateDetails": revision.failed} if revision.failed else {}),
            "logStreamEndpoint": f"{self._logs()}{path}/containers/app/logstream",
        }
        return Answer({"value": [{"id": path, "name": name, "properties": {"containers": [container]}}]})

    def _known(self, path: str) -> App | None:
        app = self.apps.get(path.lower())
        if app is not None and app.change is not None:
            self._outcome(app, app.change)
        return self.apps.get(path.lower())

    def _found(self, path: str) -> App:
        app = self._known(path)
        if app is None:
            raise not_found(path)
        return app

    def _found_revision(self, path: str) -> tuple[App, Revision]:
        place, _, name = path.rpartition("/revisions/")
        app = self._found(place)
        if name not in app.revisions:
            raise Problem(404, "RevisionNotFound", f"Revision '{name}' is not found for container app '{app.name}'.")
        return app, app.revisions[name]

    def _domain(self, app: App, door: str = "apps") -> str:
        environment = self._customer.found(app.given["properties"]["environmentId"])
        internal = "internal." if door == "inside" and not app.ingress.get("external") else ""
        return f"{internal}{environment['properties']['defaultDomain']}"

    def _shown(self, app: App) -> dict[str, Any]:
        properties = app.given["properties"]
        domain = self._domain(app)
        internal = "" if app.ingress.get("external") else "internal."
        newest = list(app.revisions.values())[-1] if app.revisions else None
        configuration = dict(properties["configuration"])
        if app.ingress:
            configuration["ingress"] = {**app.ingress, "fqdn": f"{app.name}.{internal}{domain}", "traffic": app.traffic}
        identities = app.given.get("identity", {}).get("userAssignedIdentities", {})
        shown_identities = {one: {"principalId": principal_of(one), "clientId": client_of(one)} for one in identities}
        return {
            **app.given,
            "id": app.path,
            "name": app.name,
            "type": KIND,
            **(
                {"identity": {"type": "UserAssigned", "userAssignedIdentities": shown_identities}} if identities else {}
            ),
            "properties": {
                **properties,
                "managedEnvironmentId": properties["environmentId"],
                "provisioningState": app.state,
                "runningStatus": "Running",
                "configuration": configuration,
                **({"latestRevisionName": newest.name} if newest else {}),
                **({"latestReadyRevisionName": app.ready.name} if app.ready else {}),
            },
        }


def merged(before: Any, patch: Any) -> Any:
    """What RFC 7386 makes of them."""
    if not isinstance(patch, dict):
        return patch
    made = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made
