"""What a project's service account may do, asked of Google, and the commands that give it what it lacks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from domain.clouds import GcpIdentity, GcpTarget
from providers.gcp.account import Account
from providers.gcp.errors import ACT_AS, Answered, act_as_grant, command, grant, is_about_billing, role_for
from providers.provider import ProviderRefused


class Permissions(msgspec.Struct):
    """Those of the permissions asked about that are held."""

    permissions: list[str] = []


async def require_permissions(account: Account, wanted: Sequence[str], *, project: str = "") -> None:
    """Raises ProviderRefused naming what the service account lacks in the project, its own unless one is named, or Answered."""
    path = f"/v1/projects/{project or account.identity.gcp_project_id}:testIamPermissions"
    body = {"permissions": list(wanted)}
    held = (await account.call("POST", "cloudresourcemanager", path, Permissions, body=body)).permissions
    missing = [permission for permission in wanted if permission not in held]
    if missing:
        roles = dict.fromkeys(role_for(permission) for permission in missing)
        raise ProviderRefused(
            "GCP_PERMISSION_DENIED",
            f"The service account lacks {', '.join(missing)}.",
            " && ".join(grant(role, account.identity, project=project) for role in roles),
        )


async def require_act_as(account: Account) -> None:
    """Raises ProviderRefused unless the service account may let things run, or be called, as itself, or Answered."""
    email = account.identity.service_account_email
    path, body = f"/v1/projects/-/serviceAccounts/{email}:testIamPermissions", {"permissions": [ACT_AS]}
    if ACT_AS not in (await account.call("POST", "iam", path, Permissions, body=body)).permissions:
        raise ProviderRefused(
            "GCP_ACT_AS_DENIED",
            f"Nothing can run as {email}: it lacks {ACT_AS} on itself.",
            act_as_grant(account.identity),
        )


def bucket_grant(name: str, identity: GcpIdentity) -> str:
    """The command that lets the service account use a bucket."""
    return command(
        "gcloud",
        "storage",
        "buckets",
        "add-iam-policy-binding",
        f"gs://{name}",
        f"--member=serviceAccount:{identity.service_account_email}",
        "--role=roles/storage.admin",
    )


def bucket_missing(name: str, identity: GcpIdentity) -> ProviderRefused:
    """The refusal where there is no such bucket."""
    words = ("gcloud", "storage", "buckets", "create", f"gs://{name}", f"--project={identity.gcp_project_id}")
    return ProviderRefused(
        "GCP_BUCKET_NOT_FOUND",
        f"There is no bucket gs://{name}. The remedy makes it in the United States, as Google does unasked: put another "
        "location into it for the files to lie elsewhere.",
        f"{command(*words, '--location=us', '--uniform-bucket-level-access')} && {bucket_grant(name, identity)}",
    )


def of_bucket(error: Answered, name: str, identity: GcpIdentity) -> Exception:
    """What is told of a call about a bucket as a whole, or about the right to what is in it."""
    if error.http_status == 404:
        return bucket_missing(name, identity)
    return lacking_on_bucket(error, name, identity)


def lacking_on_bucket(error: Answered, name: str, identity: GcpIdentity) -> Exception:
    """The same of a call about what is in it, which need not be there."""
    if error.http_status == 403 and error.reason != "SERVICE_DISABLED" and not is_about_billing(error):
        return ProviderRefused("GCP_BUCKET_PERMISSION_DENIED", error.message, bucket_grant(name, identity))
    return error


def create_repository(target: GcpTarget) -> str:
    """The command that makes the repository of the target's images."""
    return f"{_of_repository(target, 'create')} --repository-format=docker"


def repository_grant(target: GcpTarget, member: str, role: str) -> str:
    """The command that gives somebody a role on the repository of the target's images."""
    return f'{_of_repository(target, "add-iam-policy-binding")} --member="{member}" --role={role}'


def run_agent(target: GcpTarget) -> str:
    """Who pulls images for Cloud Run, for a shell, which asks for the number in its name."""
    number = f"gcloud projects describe {target.project_id} --format='value(projectNumber)'"
    return f"serviceAccount:service-$({number})@serverless-robot-prod.iam.gserviceaccount.com"


def _of_repository(target: GcpTarget, verb: str) -> str:
    words = ("gcloud", "artifacts", "repositories", verb, target.artifact_repository)
    return command(*words, f"--project={target.project_id}", f"--location={target.region}")
