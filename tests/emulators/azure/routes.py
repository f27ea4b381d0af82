"""The operations of Resource Manager that are emulated: paths, verbs and versions as Microsoft's SDKs make requests of them.

Operations that go on are written by hand: no SDK names their paths, since Azure's answers do.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

import msgspec

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.models import beyond, misfits, page_of
from tests.emulators.azure.sdk import Route, of

_OF_APPS = "/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}"
_DATE = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")


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


def routes(path: str) -> tuple[Route, ...]:
    """Those among which a path's is. Microsoft's packages take long to load: each is when the first asks for its part."""
    namespace = path.lower().rpartition("/providers/")[2].partition("/")[0] if "/providers/" in path else ""
    return _PARTS.get(namespace, tuple)()


@cache
def _resources() -> tuple[Route, ...]:
    from azure.mgmt.resource.resources import models as group
    from azure.mgmt.resource.resources.operations import _operations as groups
    from azure.mgmt.resource.subscriptions import models as subscription
    from azure.mgmt.resource.subscriptions.operations import _operations as subscriptions

    return (
        of(
            subscriptions,
            "build_subscriptions_list_request",
            "subscriptions.list",
            None,
            page_of(subscription.Subscription),
        ),
        of(groups, "build_resource_groups_get_request", "groups.get", None, group.ResourceGroup),
        of(groups, "build_resource_groups_list_request", "groups.list", None, page_of(group.ResourceGroup)),
    )


@cache
def _deployments() -> tuple[Route, ...]:
    from azure.mgmt.resource.deployments import models as deployment
    from azure.mgmt.resource.deployments.operations import _operations as deployments

    shown, made = deployment.DeploymentExtended, "build_deployments_create_or_update_request"
    return (
        of(deployments, made, "deployments.put", deployment.Deployment, shown),
        of(deployments, "build_deployments_get_request", "deployments.get", None, shown),
    )


@cache
def _identities() -> tuple[Route, ...]:
    from azure.mgmt.msi.v2024_11_30 import models as msi
    from azure.mgmt.msi.v2024_11_30.operations import _federated_identity_credentials_operations as trusts
    from azure.mgmt.msi.v2024_11_30.operations import _user_assigned_identities_operations as identities

    trust, made = msi.FederatedIdentityCredential, "build_create_or_update_request"
    all_of_them = msi.UserAssignedIdentitiesListResult
    return (
        of(identities, "build_list_by_subscription_request", "everywhere.list", None, all_of_them),
        of(identities, "build_get_request", "resources.get", None, msi.Identity),
        of(identities, made, "identities.put", msi.Identity, msi.Identity),
        of(trusts, made, "trusts.put", trust, trust),
    )


@cache
def _storage() -> tuple[Route, ...]:
    from azure.mgmt.storage import models as storage
    from azure.mgmt.storage.operations import _operations as accounts

    account, given = storage.StorageAccount, storage.StorageAccountCreateParameters
    blobs, container = storage.BlobServiceProperties, storage.BlobContainer
    return (
        of(accounts, "build_storage_accounts_list_request", "everywhere.list", None, page_of(account)),
        of(accounts, "build_storage_accounts_get_properties_request", "resources.get", None, account),
        of(accounts, "build_storage_accounts_create_request", "accounts.put", given, account),
        of(accounts, "build_blob_services_set_service_properties_request", "services.put", blobs, blobs),
        of(accounts, "build_blob_containers_create_request", "containers.put", container, container),
    )


@cache
def _rights() -> tuple[Route, ...]:
    from azure.mgmt.authorization.v2022_04_01 import models as rights
    from azure.mgmt.authorization.v2022_04_01.operations import _permissions_operations as permissions
    from azure.mgmt.authorization.v2022_04_01.operations import _role_assignments_operations as assignments
    from azure.mgmt.authorization.v2022_04_01.operations import _role_definitions_operations as definitions

    held, given = rights.PermissionGetResult, rights.RoleAssignment
    return (
        of(permissions, "build_list_for_resource_group_request", "rights.permissions", None, held),
        of(permissions, "build_list_for_resource_request", "rights.permissions", None, held),
        of(assignments, "build_list_for_scope_request", "rights.assignments", None, rights.RoleAssignmentListResult),
        of(assignments, "build_create_request", "assignments.put", rights.RoleAssignmentCreateParameters, given),
        of(definitions, "build_get_request", "rights.definition", None, rights.RoleDefinition),
    )


@cache
def _registry() -> tuple[Route, ...]:
    from azure.mgmt.containerregistry.v2019_06_01_preview import models as acr
    from azure.mgmt.containerregistry.v2019_06_01_preview.operations import _registries_operations as acr_registries
    from azure.mgmt.containerregistry.v2019_06_01_preview.operations import _runs_operations as runs
    from azure.mgmt.containerregistry.v2019_06_01_preview.operations import _tasks_operations as tasks
    from azure.mgmt.containerregistry.v2023_07_01 import models as registry
    from azure.mgmt.containerregistry.v2023_07_01.operations import _registries_operations as registries

    upload = acr.SourceUploadDefinition
    return (
        of(registries, "build_get_request", "resources.get", None, registry.Registry),
        of(registries, "build_create_request", "registries.put", registry.Registry, registry.Registry),
        of(acr_registries, "build_schedule_run_request", "registries.scheduleRun", acr.RunRequest, acr.Run),
        of(acr_registries, "build_get_build_source_upload_url_request", "registries.uploadUrl", None, upload),
        of(runs, "build_list_request", "runs.list", None, acr.RunListResult),
        of(runs, "build_get_request", "runs.get", None, acr.Run),
        of(runs, "build_get_log_sas_url_request", "runs.log", None, acr.RunGetLogResult),
        of(runs, "build_cancel_request", "runs.cancel"),
        of(tasks, "build_create_request", "tasks.put", acr.Task, acr.Task),
        of(tasks, "build_get_request", "tasks.get", None, acr.Task),
        of(tasks, "build_delete_request", "tasks.delete"),
    )


@cache
def _apps() -> tuple[Route, ...]:
    from azure.mgmt.appcontainers import models as app
    from azure.mgmt.appcontainers.operations import _operations as apps

    a, environments, environment = "build_container_apps", "build_managed_environments", app.ManagedEnvironment
    return (
        Route(id="operations.status", method="GET", path=f"{_OF_APPS}/containerappOperationStatuses/{{name}}"),
        Route(id="operations.result", method="GET", path=f"{_OF_APPS}/containerappOperationResults/{{name}}"),
        of(apps, f"{environments}_get_request", "resources.get", None, environment),
        of(apps, f"{environments}_create_or_update_request", "environments.put", environment, environment),
        of(apps, f"{a}_list_by_resource_group_request", "apps.list", None, page_of(app.ContainerApp)),
        of(apps, f"{a}_get_request", "apps.get", None, app.ContainerApp),
        of(apps, f"{a}_create_or_update_request", "apps.put", app.ContainerApp, app.ContainerApp),
        of(apps, f"{a}_update_request", "apps.patch", app.ContainerApp),
        of(apps, f"{a}_delete_request", "apps.delete"),
        of(apps, f"{a}_list_secrets_request", "apps.secrets", None, app.SecretsCollection),
        of(apps, f"{a}_get_auth_token_request", "apps.pass", None, app.ContainerAppAuthToken),
        of(apps, f"{a}_revisions_list_revisions_request", "revisions.list", None, page_of(app.Revision)),
        of(apps, f"{a}_revisions_get_revision_request", "revisions.get", None, app.Revision),
        of(apps, f"{a}_revisions_deactivate_revision_request", "revisions.deactivate"),
        of(apps, f"{a}_revisions_activate_revision_request", "revisions.activate"),
        of(apps, f"{a}_revision_replicas_list_replicas_request", "replicas.list", None, app.ReplicaCollection),
        of(apps, "build_jobs_get_request", "jobs.get", None, app.Job),
        of(apps, "build_jobs_create_or_update_request", "jobs.put", app.Job, app.Job),
        of(apps, "build_jobs_delete_request", "jobs.delete"),
    )


# By the namespace that a path names last.
_PARTS: Mapping[str, Callable[[], tuple[Route, ...]]] = {
    "": _resources,
    "microsoft.app": _apps,
    "microsoft.authorization": _rights,
    "microsoft.containerregistry": _registry,
    "microsoft.managedidentity": _identities,
    "microsoft.resources": _deployments,
    "microsoft.storage": _storage,
}


def match(method: str, path: str, query: Mapping[str, str]) -> tuple[Route, dict[str, str]]:
    """The route of a request and what its path names. Raises Problem."""
    for route in routes(path):
        if route.method == method and (found := route.pattern.fullmatch(path)):
            named = {name: unquote(text or "") for name, text in found.groupdict().items()}
            _check_version(route, query)
            _check_path(route, named)
            _check_query(route, query)
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
    wrong = misfits(answer.body, route.answers, answer=True)
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


def _check_query(route: Route, query: Mapping[str, str]) -> None:
    wrong = [f"{name} is not known" for name in query.keys() - {"api-version", *route.query}]
    for name, one in route.query.items():
        if name not in query:
            wrong += [f"{name} is missing"] if one.required else []
        elif one.kind == "int" and not query[name].isdecimal():
            wrong.append(f"{name} must be a whole number")
        else:
            wrong += beyond(int(query[name]) if one.kind == "int" else query[name], one.bounds, name)
    if wrong:
        raise Problem(400, "InvalidQueryParameter", "; ".join(wrong))
