"""The operations of Resource Manager that are emulated: paths, verbs and versions as Microsoft's SDKs make requests of them.

What no SDK at hand describes (groups, identities, storage accounts, operations that go on) is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

import msgspec
from azure.mgmt.appcontainers import models as app
from azure.mgmt.appcontainers.operations import _operations as apps
from azure.mgmt.containerregistry.v2019_06_01_preview import models as acr
from azure.mgmt.containerregistry.v2019_06_01_preview.operations import _registries_operations as acr_registries
from azure.mgmt.containerregistry.v2019_06_01_preview.operations import _runs_operations as acr_runs
from azure.mgmt.containerregistry.v2019_06_01_preview.operations import _tasks_operations as acr_tasks
from azure.mgmt.containerregistry.v2023_07_01 import models as registry
from azure.mgmt.containerregistry.v2023_07_01.operations import _registries_operations as registries

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.models import beyond, misfits

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_DATE = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `version` is empty where any will do; `takes` and `answers` are models, or None without any."""

    id: str
    method: str
    path: str
    version: str = ""
    takes: Any = None
    answers: Any = None
    bounds: Mapping[str, Mapping[str, Any]] = {}

    @property
    def pattern(self) -> re.Pattern[str]:
        parts = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        return re.compile(parts, re.IGNORECASE)  # Resource Manager does not tell cases apart.


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that its route accepted. `path` is the whole of it, `named` what the route names in it."""

    route: Route
    method: str
    path: str
    named: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    principal: str


class Answer(msgspec.Struct, frozen=True):
    """What is answered; None has no body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = {}


Methods = Mapping[str, Callable[[Call], Answer | Awaitable[Answer]]]


class _Recording:
    """A serializer of the SDK that keeps what it is told of each part of a path; the SDK itself leaves that to Azure."""

    def __init__(self, real: Any) -> None:
        self._real, self.bounds = real, dict[str, Mapping[str, Any]]()

    def url(self, name: str, data: Any, kind: str, **bounds: Any) -> Any:
        self.bounds[name] = bounds
        return self._real.url(name, data, kind)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _of(module: Any, name: str, id: str, takes: Any = None, answers: Any = None) -> Route:
    """The route of which the SDK makes requests by this function."""
    request, real = getattr(module, name), module._SERIALIZER
    parameters = inspect.signature(request).parameters
    names = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    module._SERIALIZER = recording = _Recording(real)
    try:
        made = request(**{name: name.replace("_", "") for name in names})
    finally:
        module._SERIALIZER = real
    path, _, query = made.url.partition("?")
    for name in names:
        path = path.replace(f"/{name.replace('_', '')}", f"/{{{name}}}")
    version = dict(pair.split("=", 1) for pair in query.split("&"))["api-version"]
    return Route(
        id=id,
        method=made.method,
        path=path,
        version=version,
        takes=takes,
        answers=answers,
        bounds=recording.bounds,
    )


@cache
def routes() -> tuple[Route, ...]:
    """All there are."""
    in_group = f"{_GROUP}/providers"
    return (
        Route(id="subscriptions.list", method="GET", path="/subscriptions"),
        Route(id="groups.get", method="GET", path=_GROUP),
        Route(id="groups.list", method="GET", path="/subscriptions/{subscription}/resourceGroups"),
        Route(id="resources.get", method="GET", path=f"{in_group}/Microsoft.Storage/storageAccounts/{{name}}"),
        Route(
            id="resources.get",
            method="GET",
            path=f"{in_group}/Microsoft.ManagedIdentity/userAssignedIdentities/{{name}}",
        ),
        Route(
            id="operations.status",
            method="GET",
            path="/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}/containerappOperationStatuses/{name}",
        ),
        Route(
            id="operations.result",
            method="GET",
            path="/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}/containerappOperationResults/{name}",
        ),
        _of(apps, "build_managed_environments_get_request", "resources.get", None, app.ManagedEnvironment),
        _of(registries, "build_get_request", "resources.get", None, registry.Registry),
        _of(acr_registries, "build_schedule_run_request", "registries.scheduleRun", acr.RunRequest, acr.Run),
        _of(
            acr_registries,
            "build_get_build_source_upload_url_request",
            "registries.uploadUrl",
            None,
            acr.SourceUploadDefinition,
        ),
        _of(acr_runs, "build_list_request", "runs.list", None, acr.RunListResult),
        _of(acr_runs, "build_get_request", "runs.get", None, acr.Run),
        _of(acr_runs, "build_get_log_sas_url_request", "runs.log", None, acr.RunGetLogResult),
        _of(acr_runs, "build_cancel_request", "runs.cancel"),
        _of(acr_tasks, "build_create_request", "tasks.put", acr.Task, acr.Task),
        _of(acr_tasks, "build_get_request", "tasks.get", None, acr.Task),
        _of(acr_tasks, "build_delete_request", "tasks.delete"),
        *_of_apps(),
    )


def _of_apps() -> tuple[Route, ...]:
    a = "build_container_apps"
    return (
        _of(apps, f"{a}_list_by_resource_group_request", "apps.list", None, app.ContainerApp),
        _of(apps, f"{a}_get_request", "apps.get", None, app.ContainerApp),
        _of(apps, f"{a}_create_or_update_request", "apps.put", app.ContainerApp, app.ContainerApp),
        _of(apps, f"{a}_update_request", "apps.patch", app.ContainerApp),
        _of(apps, f"{a}_delete_request", "apps.delete"),
        _of(apps, f"{a}_list_secrets_request", "apps.secrets", None, app.SecretsCollection),
        _of(apps, f"{a}_get_auth_token_request", "apps.pass", None, app.ContainerAppAuthToken),
        _of(apps, f"{a}_revisions_list_revisions_request", "revisions.list", None, app.Revision),
        _of(apps, f"{a}_revisions_get_revision_request", "revisions.get", None, app.Revision),
        _of(apps, f"{a}_revisions_deactivate_revision_request", "revisions.deactivate"),
        _of(apps, f"{a}_revisions_activate_revision_request", "revisions.activate"),
        _of(apps, f"{a}_revision_replicas_list_replicas_request", "replicas.list", None, app.ReplicaCollection),
        _of(apps, "build_jobs_get_request", "jobs.get", None, app.Job),
        _of(apps, "build_jobs_create_or_update_request", "jobs.put", app.Job, app.Job),
        _of(apps, "build_jobs_delete_request", "jobs.delete"),
    )


def match(method: str, path: str, query: Mapping[str, str]) -> tuple[Route, dict[str, str]]:
    """The route of a request and what its path names. Raises Problem."""
    for route in routes():
        if route.method == method and (found := route.pattern.fullmatch(path)):
            named = {name: unquote(text) for name, text in found.groupdict().items()}
            _check_version(route, query)
            _check_path(route, named)
            return route, named
    raise Problem(404, "InvalidResourceType", f"The emulator has no {method} {path}.")


def check_body(route: Route, body: Any) -> None:
    """Raise Problem for what the model does not take."""
    if route.takes is None:
        if body not in (None, {}):
            raise Problem(400, "InvalidRequestContent", f"{route.id} takes no body.")
        return
    wrong = misfits(body, route.takes)
    # A patch says only what changes.
    wrong = [one for one in wrong if not (route.method == "PATCH" and one.endswith("is missing"))]
    if wrong:
        raise Problem(400, "InvalidRequestContent", f"The request content was invalid: {'; '.join(wrong)}.")


def check_answer(route: Route, answer: Answer) -> None:
    """Raise AssertionError for an answer that the model does not know."""
    if route.answers is None or answer.body is None:
        return
    shown = (
        answer.body["value"] if route.answers in (app.ContainerApp, app.Revision) and "value" in answer.body else None
    )
    for one in [answer.body] if shown is None else shown:
        wrong = misfits(one, route.answers, answer=True)
        assert not wrong, f"the emulator's answer to {route.id} is none of Azure's: {wrong}"


def _check_version(route: Route, query: Mapping[str, str]) -> None:
    given = query.get("api-version", "")
    if not given:
        raise Problem(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required.")
    if not _DATE.fullmatch(given) or route.version not in ("", given):
        raise Problem(400, "InvalidApiVersionParameter", f"The api-version '{given}' is invalid; use {route.version}.")


def _check_path(route: Route, named: Mapping[str, str]) -> None:
    """What the SDK knows of names, such as how long they are."""
    wrong = [one for name, text in named.items() for one in beyond(text, route.bounds.get(name, {}), name)]
    if wrong:
        raise Problem(400, "InvalidParameter", "; ".join(wrong))
