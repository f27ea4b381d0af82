"""What Google's answers mean: worth another try, or a refusal with the command that mends it."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from typing import Any, Literal

import msgspec

from domain.clouds import GcpIdentity
from providers.provider import ProviderBusy, ProviderRefused, ProviderUnreachable

ACT_AS = "iam.serviceAccounts.actAs"
# What answers in a cluster, as opposed to GKE, which tells of clusters.
KUBERNETES = "kubernetes"
BUSY_SECONDS = 2.0
THROTTLED_SECONDS = 5.0
BUSY_SECONDS_MAX = 120.0
MESSAGE_CHARACTERS_MAX = 1500


class Answered(Exception):
    """A call was answered with an error. `status` is Google's own word for it (`NOT_FOUND`), `reason` that of its ErrorInfo.

    `service`, `project` and `resource` say what was asked of which, and in whose project, where that is known.
    """

    service = project = resource = ""

    def __init__(
        self,
        http_status: int,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        metadata: dict[str, str] | None = None,
        retry_in_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{http_status} {status}: {message}")
        self.http_status, self.message, self.status, self.reason = http_status, message, status, reason
        self.metadata = metadata or {}
        self.retry_in_seconds = retry_in_seconds

    def of(self, service: str, path: str) -> Answered:
        """The same, which the call of a path of a service was answered with."""
        self.service, _, self.resource = service, *path.removeprefix("/").partition("/")[1:]
        if (named := _PROJECT.match(self.resource)) is not None:
            self.project = named[1]
        return self


# Of a resource's name; `-` stands for whichever it is.
_PROJECT = re.compile(r"projects/([^/:]{2,})")


class Status(msgspec.Struct):
    """A google.rpc.Status. In an operation there is no word in `status`, only gRPC's number in `code`."""

    code: int = 0
    message: str = ""
    status: str = ""
    details: list[dict[str, Any]] = []


class _Envelope(msgspec.Struct):
    error: Status | str
    error_description: str = ""


class _Cause(msgspec.Struct):
    reason: str = ""


class _Causes(msgspec.Struct):
    causes: list[_Cause] = []


class _KubernetesStatus(msgspec.Struct):
    kind: Literal["Status"]
    message: str = ""
    reason: str = ""
    details: _Causes | None = None


def answered(http_status: int, body: bytes, retry_after: str = "") -> Answered:
    """The error in an answer, in Google's form, in OAuth's, in that of Kubernetes, or in none."""
    with suppress(msgspec.MsgspecError):
        kubernetes = msgspec.json.decode(body, type=_KubernetesStatus)
        held = re.search(r'requires one of \["([A-Za-z.]+)"', kubernetes.message)
        return Answered(
            http_status,
            kubernetes.message,
            status=kubernetes.reason,
            reason=next((one.reason for one in kubernetes.details.causes), "") if kubernetes.details else "",
            metadata={"permission": held[1]} if held else {},
            retry_in_seconds=_seconds(retry_after),
        )
    try:
        said = msgspec.json.decode(body, type=_Envelope)
    except msgspec.MsgspecError:
        return Answered(
            http_status, body[:200].decode(errors="replace").strip(), retry_in_seconds=_seconds(retry_after)
        )
    if isinstance(said.error, str):
        return Answered(http_status, said.error_description or said.error, status=said.error)
    return of_status(said.error, http_status, retry_after)


def of_status(said: Status, http_status: int, retry_after: str = "") -> Answered:
    """The error in a google.rpc.Status, with what its details add."""
    reason, metadata, wait = "", {}, _seconds(retry_after)
    message = said.message
    for detail in said.details:
        match str(detail.get("@type", "")).rpartition(".")[2]:
            case "ErrorInfo":
                reason = str(detail.get("reason", ""))
                metadata = {str(key): str(value) for key, value in dict(detail.get("metadata", {})).items()}
            case "RetryInfo":
                wait = _seconds(str(detail.get("retryDelay", "")))
            case "BadRequest":
                found = [f"{v.get('field')}: {v.get('description')}" for v in detail.get("fieldViolations", [])]
                message = "; ".join([message, *found])
            case _:
                pass
    status = said.status or reason
    return Answered(http_status, message, status=status, reason=reason, metadata=metadata, retry_in_seconds=wait)


def told(error: Answered, identity: GcpIdentity) -> ProviderBusy | ProviderRefused:
    """What the runner is told of it. Only a refusal is final."""
    if error.http_status == 429 or error.status == "RESOURCE_EXHAUSTED":
        return _busy(f"Google Cloud throttles: {error.message}", error, THROTTLED_SECONDS)
    if error.http_status in (500, 502, 504):
        return ProviderUnreachable(
            f"Google Cloud failed: {_short(error.message)}", retry_in_seconds=_wait(error, BUSY_SECONDS)
        )
    if error.http_status in (408, 409, 412, 503) or error.status in ("ABORTED", "UNAVAILABLE"):
        return _busy(f"Google Cloud is busy: {error.message}", error, BUSY_SECONDS)
    if error.http_status == 401:
        return _busy(f"Google Cloud did not take the token: {error.message}", error, BUSY_SECONDS)
    if error.http_status == 403:
        return _forbidden(error, identity)
    if error.http_status == 404:
        return ProviderRefused("gcp_not_found", _about(error), _what_makes(error))
    return ProviderRefused("gcp_rejected", _about(error), "Mend what the message names, and deploy again.")


def _about(error: Answered) -> str:
    """What was said, and of what."""
    said = _short(error.message)
    return f"{said} (asked of {error.service}: {error.resource})" if error.resource else said


def _what_makes(error: Answered) -> str:
    """The command that makes what is not there, as far as one does."""
    if (kept := _REPOSITORY.match(error.resource)) is not None:
        project, location, name = kept.groups()
        words = ("gcloud", "artifacts", "repositories", "create", name, f"--project={project}")
        return command(*words, f"--location={location}", "--repository-format=docker")
    return "Make it, or name another one, and deploy again."


_REPOSITORY = re.compile(r"projects/([^/]+)/locations/([^/]+)/repositories/([^/]+)")


def _forbidden(error: Answered, identity: GcpIdentity) -> ProviderRefused:
    project = error.project or identity.gcp_project_id
    if error.reason == "SERVICE_DISABLED" or "has not been used in project" in error.message:
        service = error.metadata.get("service") or _service_in(error.message)
        # Google asks for it in the project that it bills for the call, which need not be that of the thing.
        consumer = error.metadata.get("consumer", "").removeprefix("projects/") or project
        return ProviderRefused(
            "GCP_SERVICE_DISABLED",
            f"The API {service} is not enabled in the project {consumer}.",
            command("gcloud", "services", "enable", service, f"--project={consumer}"),
        )
    if is_about_billing(error):
        found = "gcloud billing accounts list --filter=open=true --limit=1 --format='value(name.basename())'"
        return ProviderRefused(
            "GCP_BILLING_DISABLED",
            f"Billing is not enabled for the project {project}. The remedy links the first open billing account that the "
            "command line sees; of several, name the one that is to pay.",
            f'{command("gcloud", "billing", "projects", "link", project)} --billing-account="$({found})"',
        )
    if error.reason == "SECURITY_POLICY_VIOLATED":
        return ProviderRefused(
            "GCP_PERIMETER",
            _short(error.message),
            "Let the service account through the VPC Service Controls perimeter.",
        )
    permission = error.metadata.get("permission") or _permission_in(error.message)
    if permission.lower() == ACT_AS.lower():
        return ProviderRefused("GCP_ACT_AS_DENIED", _short(error.message), act_as_grant(identity))
    if not permission and error.service == KUBERNETES:  # GKE names it whenever it is one that lacks.
        return ProviderRefused("gcp_rejected", _about(error), "Let the cluster admit what the message names.")
    role = role_for(permission or f"{error.service}.")
    return ProviderRefused("GCP_PERMISSION_DENIED", _short(error.message), grant(role, identity, project=project))


def is_about_billing(error: Answered) -> bool:
    """Whether it was refused since nobody pays. Cloud Storage has words for it only."""
    return error.reason == "BILLING_DISABLED" or (error.http_status == 403 and "billing account" in error.message)


def grant(role: str, identity: GcpIdentity, *, project: str = "") -> str:
    """The command that gives the service account a role in the project, its own unless one is named."""
    return command(
        "gcloud",
        "projects",
        "add-iam-policy-binding",
        project or identity.gcp_project_id,
        f"--member=serviceAccount:{identity.service_account_email}",
        f"--role={role}",
        "--condition=None",
    )


def act_as_grant(identity: GcpIdentity) -> str:
    """The command that lets the service account let things run, or be called, as itself."""
    email = identity.service_account_email
    return command(
        "gcloud",
        "iam",
        "service-accounts",
        "add-iam-policy-binding",
        email,
        f"--project={identity.gcp_project_id}",
        f"--member=serviceAccount:{email}",
        "--role=roles/iam.serviceAccountUser",
    )


_ROLES = (
    ("run.routes.invoke", "roles/run.invoker"),
    ("run.", "roles/run.admin"),
    ("cloudbuild.", "roles/cloudbuild.builds.editor"),
    ("artifactregistry.", "roles/artifactregistry.repoAdmin"),
    ("storage.", "roles/storage.admin"),
    ("logging.", "roles/logging.viewer"),
    ("secretmanager.", "roles/secretmanager.admin"),
    ("container.", "roles/container.developer"),
    ("cloudscheduler.", "roles/cloudscheduler.admin"),
    ("iam.serviceaccounts.actas", "roles/iam.serviceAccountUser"),
    ("iam.serviceaccounts.getaccesstoken", "roles/iam.workloadIdentityUser"),
)


def role_for(permission: str) -> str:
    """The narrowest predefined role we know of that holds the permission."""
    lowered = permission.lower()
    return next((role for prefix, role in _ROLES if lowered.startswith(prefix)), "roles/run.admin")


def command(*words: str) -> str:
    """The words as a line for a shell."""
    return " ".join(shlex.quote(word) for word in words)


def _permission_in(message: str) -> str:
    found = re.search(r"[Pp]ermission '?([a-z]+\.[A-Za-z.]+)'?|'([a-z]+\.[A-Za-z.]+)'", message)
    if found is None and "actAs" in message:
        return ACT_AS
    return (found[1] or found[2]) if found else ""


def _service_in(message: str) -> str:
    found = re.search(r"\b([a-z]+\.googleapis\.com)\b", message)
    return found[1] if found else "the API that the message names"


def _busy(message: str, error: Answered, seconds: float) -> ProviderBusy:
    return ProviderBusy(_short(message), retry_in_seconds=_wait(error, seconds))


def _wait(error: Answered, seconds: float) -> float:
    return min(seconds if error.retry_in_seconds is None else error.retry_in_seconds, BUSY_SECONDS_MAX)


def _seconds(text: str) -> float | None:
    """`3`, as in Retry-After, or `3.5s`, as in RetryInfo."""
    try:
        return max(float(text.removesuffix("s")), 0.0)
    except ValueError:
        return None


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else f"{message[:MESSAGE_CHARACTERS_MAX]}…"
