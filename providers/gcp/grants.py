"""What a project's service account may do, asked of Google, and the commands that give it what it lacks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from domain.clouds import GcpIdentity
from providers.gcp.account import Account
from providers.gcp.errors import command, grant, role_for
from providers.provider import ProviderRefused

_ACT_AS = "iam.serviceAccounts.actAs"


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
    path, body = f"/v1/projects/-/serviceAccounts/{email}:testIamPermissions", {"permissions": [_ACT_AS]}
    if _ACT_AS not in (await account.call("POST", "iam", path, Permissions, body=body)).permissions:
        raise ProviderRefused(
            "GCP_ACT_AS_DENIED",
            f"Nothing can run as {email}: it lacks {_ACT_AS} on itself.",
            _act_as_grant(account.identity),
        )


def _act_as_grant(identity: GcpIdentity) -> str:
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
