"""What Azure's answers mean: worth another try, or a refusal with the command that mends it. Codes decide, never texts."""

from __future__ import annotations

import re
import shlex
from typing import Any

import msgspec

from domain.clouds import AzureIdentity
from providers.azure import roles
from providers.provider import ProviderBusy, ProviderRefused, ProviderUnreachable

BUSY_SECONDS = 2.0
THROTTLED_SECONDS = 5.0
BUSY_SECONDS_MAX = 120.0
MESSAGE_CHARACTERS_MAX = 1500
# What the path of a call begins with that a storage account answers; its name and the container's follow.
BLOBS = "/blobs/"
ACCOUNT_MISSING = "StorageAccountNotFound"

_PASSING = (
    "AnotherOperationInProgress",
    "Conflict",
    "ConcurrentOperationError",
    "ContainerAppOperationInProgress",
    "ManagedEnvironmentNotReadyForAppCreation",
    "OperationInProgress",
    "RetryableError",
    "ServerTimeout",
)
# Which role lets the identity do what the path of a call is about.
_ROLES = (
    ("/providers/microsoft.app/jobs", "Container Apps Jobs Contributor"),
    ("/providers/microsoft.app/", "Container Apps Contributor"),
    ("/providers/microsoft.containerregistry/", "Container Registry Tasks Contributor"),
    ("/providers/microsoft.managedidentity/", "Managed Identity Operator"),
    (BLOBS, roles.BLOBS.name),
)
# What a denial says was asked for, and where. Of several the last is what was lacking: what is linked to the thing itself.
_LACKED = re.compile(r"action(?:\(s\))? '([^']+)'[^']*?scope(?:\(s\))? '(/subscriptions/[^']+)'")


class Answered(Exception):
    """A call was answered with an error. `code` is Azure's own word, `numbers` are Entra's, `path` is that of the call."""

    def __init__(
        self,
        http_status: int,
        message: str,
        *,
        code: str = "",
        numbers: tuple[int, ...] = (),
        path: str = "",
        retry_in_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{http_status} {code}: {message}")
        self.http_status, self.message, self.code, self.numbers = http_status, message, code, numbers
        self.path = path
        self.retry_in_seconds = retry_in_seconds


class ArmError(msgspec.Struct):
    """The error of Azure Resource Manager, in an answer or in an operation that failed."""

    code: str = ""
    message: str = ""
    details: list[dict[str, Any]] | None = None


class _Arm(msgspec.Struct):
    error: ArmError


class _Entra(msgspec.Struct):
    error: str
    error_description: str = ""
    error_codes: list[int] = []


class _Registry(msgspec.Struct):
    errors: list[ArmError]


def answered(http_status: int, body: bytes, *, path: str = "", retry_after: str = "") -> Answered:
    """The error in an answer, in the form of Resource Manager, of Entra, of a registry, or in none."""
    wait = seconds(retry_after)
    for form in (_Arm, _Entra, _Registry):
        try:
            said = msgspec.json.decode(body, type=form)
        except msgspec.MsgspecError:
            continue
        match said:
            case _Arm(error=error):
                return of_arm(error, http_status, path=path, retry_in_seconds=wait)
            case _Registry(errors=[error, *_]):
                return of_arm(error, http_status, path=path, retry_in_seconds=wait)
            case _Entra():
                numbers = tuple(said.error_codes)
                text = said.error_description.partition("\r\n")[0]
                return Answered(http_status, text, code=said.error, numbers=numbers, path=path, retry_in_seconds=wait)
            case _:
                pass
    return Answered(http_status, body[:200].decode(errors="replace").strip(), path=path, retry_in_seconds=wait)


def of_arm(said: ArmError, http_status: int, *, path: str = "", retry_in_seconds: float | None = None) -> Answered:
    """The error in Resource Manager's form, with what its details add."""
    more = [str(detail.get("message", "")) for detail in said.details or []]
    message = "; ".join(part for part in (said.message, *more) if part)
    return Answered(http_status, message, code=said.code, path=path, retry_in_seconds=retry_in_seconds)


def told(error: Answered, identity: AzureIdentity) -> ProviderBusy | ProviderRefused:
    """What the runner is told of it. Only a refusal is final."""
    if error.http_status == 429:
        return _busy(f"Azure throttles: {error.message}", error, THROTTLED_SECONDS)
    if error.http_status in (500, 502, 504):
        return ProviderUnreachable(
            f"Azure failed: {_short(error.message)}", retry_in_seconds=_wait(error, BUSY_SECONDS)
        )
    if (known := _known(error, identity)) is not None:
        return known
    if error.http_status in (408, 409, 412, 503) or error.code in _PASSING:
        return _busy(f"Azure is busy: {error.message}", error, BUSY_SECONDS)
    if error.http_status == 401:
        return _busy(f"Azure did not take the token: {error.message}", error, BUSY_SECONDS)
    if error.http_status == 403:
        return _forbidden(error, identity)
    if error.http_status == 404:
        return ProviderRefused(
            "azure_not_found", _short(error.message), "Make it, or name another one, and deploy again."
        )
    return ProviderRefused("azure_rejected", _short(error.message), "Mend what the message names, and deploy again.")


def _known(error: Answered, identity: AzureIdentity) -> ProviderRefused | None:
    """The refusals that have a remedy of their own."""
    if error.path.startswith(BLOBS):
        return _known_of_storage(error, identity)
    subscription = identity.subscription_id
    match error.code:
        case "TasksOperationsNotAllowed":
            return ProviderRefused(
                "AZURE_TASKS_NOT_ALLOWED",
                "Azure does not let this subscription build images in its registry (ACR Tasks): free and credit "
                "subscriptions are not allowed to.",
                "Use a subscription that is paid as you go, or ask Microsoft to allow ACR Tasks: "
                "https://aka.ms/azuresupport.",
            )
        case "MissingSubscriptionRegistration":
            namespace = _namespace(error.path)
            return ProviderRefused(
                "AZURE_PROVIDER_NOT_REGISTERED",
                f"The subscription {subscription} does not know {namespace} yet.",
                command("az", "provider", "register", "--namespace", namespace, "--subscription", subscription),
            )
        case "ResourceGroupNotFound":
            return ProviderRefused(
                "AZURE_RESOURCE_GROUP_NOT_FOUND",
                _short(error.message),
                "Make the resource group, or name another one: az group create --name … --location …",
            )
        case "SubscriptionNotFound":
            return ProviderRefused(
                "AZURE_SUBSCRIPTION_NOT_FOUND",
                f"There is no subscription {subscription}, or the identity has no role in it.",
                "Name the right subscription, and deploy the identity's template in one of its resource groups.",
            )
        case "ReadOnlyDisabledSubscription":
            return ProviderRefused(
                "AZURE_SUBSCRIPTION_DISABLED",
                f"The subscription {subscription} is disabled.",
                "Enable it again in the Azure portal, under Cost Management and Billing.",
            )
        case "ScopeLocked":
            return ProviderRefused(
                "AZURE_LOCKED", _short(error.message), "Remove the lock that the message names: az lock delete --ids …"
            )
        case "RequestDisallowedByPolicy":
            return ProviderRefused(
                "AZURE_POLICY", _short(error.message), "Ask for an exemption from the policy that the message names."
            )
        case "InvalidResourceLocation":
            return ProviderRefused(
                "AZURE_LOCATION_DIFFERS",
                _short(error.message),
                "Name the region that the message names, and deploy again.",
            )
        case "QuotaExceeded" | "MaxNumberOfRegionalEnvironmentsInSubExceeded":
            return ProviderRefused(
                "AZURE_QUOTA",
                _short(error.message),
                "Ask for a higher quota in the Azure portal, under Quotas, or choose another region.",
            )
        case _:
            return None


def _known_of_storage(error: Answered, identity: AzureIdentity) -> ProviderRefused | None:
    """The same of what a storage account answers, or of one that does not."""
    name, _, container = error.path.removeprefix(BLOBS).partition("/")
    subscription = ("--subscription", identity.subscription_id)
    match error.code:
        case _ if error.code == ACCOUNT_MISSING:
            return ProviderRefused(
                "AZURE_STORAGE_ACCOUNT_NOT_FOUND",
                f"There is no storage account {name}.",
                "Make it: POST …/azure/resources/template gives a template and commands for all.",
            )
        case "ContainerNotFound":
            # By way of Resource Manager: who owns the account need not have a role for its blobs.
            made = ("az", "storage", "container-rm", "create", *subscription, "--storage-account", name)
            return ProviderRefused(
                "AZURE_CONTAINER_NOT_FOUND",
                f"There is no container {container} in {name}.",
                command(*made, "--name", container),
            )
        case "AuthorizationPermissionMismatch":
            show = command("az", "storage", "account", "show", *subscription, "--name", name)
            scope = f'"$({show} --query id --output tsv)"'
            return ProviderRefused(
                "AZURE_BLOB_ROLE_MISSING",
                f"The application lacks the role {roles.BLOBS.name} on {name}, or it has not spread yet "
                "(up to ten minutes). A role that only manages the account does not open its blobs.",
                grant(roles.BLOBS.name, "SCOPE", identity).replace("SCOPE", scope),
            )
        case "AuthorizationFailure" | "IpAuthorizationError":
            return ProviderRefused(
                "AZURE_STORAGE_FIREWALL",
                f"The storage account {name} lets nobody in from this service's network.",
                command(
                    *("az", "storage", "account", "update", *subscription, "--name", name),
                    *("--public-network-access", "Enabled", "--default-action", "Allow"),
                ),
            )
        case _:
            return None


def _forbidden(error: Answered, identity: AzureIdentity) -> ProviderRefused:
    role, scope = _lacked(error.message) or _lacked_at(error.path)
    return ProviderRefused(
        "AZURE_PERMISSION_DENIED",
        _short(error.message) or "The identity lacks a role, or the role has not spread yet (up to ten minutes).",
        grant(role, scope, identity),
    )


def _lacked(message: str) -> tuple[str, str] | None:
    """Which role it takes, and where. That it is a denial the code says: only what mends it is read from the text, since
    a call may lack a right for something else than its path is about."""
    found = _LACKED.findall(message)
    if not found:
        return None
    action, place = found[-1]
    role = roles.giving(action)
    return None if role is None else (role.name, _group(place) if role.on == "group" else _resource(place))


def _lacked_at(path: str) -> tuple[str, str]:
    lowered = path.lower()
    return next((role for part, role in _ROLES if part in lowered), roles.READER.name), _group(path)


def grant(role: str, scope: str, identity: AzureIdentity) -> str:
    """The command that gives the identity a role."""
    scope = scope or f"/subscriptions/{identity.subscription_id}"
    return command(
        "az", "role", "assignment", "create", "--assignee", identity.client_id, "--role", role, "--scope", scope
    )


def let_pull(identity: str, registry: str) -> str:
    """The command that lets the identity of this id pull images from the registry."""
    principal = f'"$({command("az", "identity", "show", "--ids", identity)} --query principalId --output tsv)"'
    given = command("--assignee-principal-type", "ServicePrincipal", "--role", roles.PULLER.name, "--scope", registry)
    return f"az role assignment create --assignee-object-id {principal} {given}"


def command(*words: str) -> str:
    """The words as a line for a shell."""
    return " ".join(shlex.quote(word) for word in words)


def seconds(text: str) -> float | None:
    """The `3` of a Retry-After; None for anything else."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        return None


def _group(path: str) -> str:
    """`/subscriptions/S/resourceGroups/G` of a longer path."""
    parts = path[max(path.find("/subscriptions/"), 0) :].split("/")
    return "/".join(parts[:5]) if len(parts) >= 5 and parts[3].lower() == "resourcegroups" else ""


def _resource(path: str) -> str:
    """The id of the thing itself, of a path that may lead to something in it."""
    return "/".join(path.split("/")[:9])


def _namespace(path: str) -> str:
    """`Microsoft.App` of `…/providers/Microsoft.App/containerApps/…`."""
    return path.rpartition("/providers/")[2].partition("/")[0] or "Microsoft.App"


def _busy(message: str, error: Answered, seconds: float) -> ProviderBusy:
    return ProviderBusy(_short(message), retry_in_seconds=_wait(error, seconds))


def _wait(error: Answered, seconds: float) -> float:
    return min(seconds if error.retry_in_seconds is None else error.retry_in_seconds, BUSY_SECONDS_MAX)


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[:MESSAGE_CHARACTERS_MAX]}…"
