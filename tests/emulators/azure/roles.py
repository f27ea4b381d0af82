"""What Azure's built-in roles allow, as far as deployments ask: written from Microsoft's pages, not generated."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec


class Role(msgspec.Struct, frozen=True):
    """`data` is what it allows inside of a resource; managing one does not let anybody read what it holds."""

    id: str
    actions: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


_APPS = tuple(
    f"Microsoft.App/containerApps/{rest}" for rest in ("read", "write", "delete", "*/read", "*/write", "*/action")
)
_ENVIRONMENTS = tuple(f"Microsoft.App/managedEnvironments/{rest}" for rest in ("read", "*/read", "join/action"))
_ACR = "Microsoft.ContainerRegistry/registries"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices"

ROLES = {
    "Owner": Role("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", ("*",)),
    "Contributor": Role("b24988ac-6180-42a0-ab88-20f7382dd24c", ("*",)),
    "Reader": Role("acdd72a7-3385-48ef-bd42-f606fba81ae7", ("*/read",)),
    "Container Apps Contributor": Role("358470bc-b998-42bd-ab17-a7e34c199c0f", (*_APPS, *_ENVIRONMENTS)),
    "Container Apps Jobs Contributor": Role(
        "4e3d2b60-56ae-4dc6-a233-09c8e5a82e68",
        (
            *(f"Microsoft.App/jobs/{rest}" for rest in ("read", "write", "delete", "*/read", "*/action")),
            *_ENVIRONMENTS,
        ),
    ),
    "Container Registry Tasks Contributor": Role(
        "fb382eab-e894-4461-af04-94435c366c3f",
        (
            f"{_ACR}/read",
            *(
                f"{_ACR}/{kind}/{verb}"
                for kind in ("tasks", "runs")
                for verb in ("read", "write", "delete", "*/action")
            ),
            f"{_ACR}/scheduleRun/action",
            f"{_ACR}/listBuildSourceUploadUrl/action",
        ),
    ),
    "AcrPull": Role("7f951dda-4ed3-4680-a7ca-43fe172d538d", (f"{_ACR}/pull/read",)),
    "AcrPush": Role("8311e382-0749-4cb8-b61a-304f252e45ec", (f"{_ACR}/pull/read", f"{_ACR}/push/write")),
    "AcrDelete": Role("c2f4ef07-c644-48eb-af81-4b1b4947fb11", (f"{_ACR}/artifacts/delete",)),
    "Managed Identity Operator": Role(
        "f1a07417-d97a-45cb-824c-7a7467783830",
        tuple(f"Microsoft.ManagedIdentity/userAssignedIdentities/{rest}" for rest in ("read", "assign/action")),
    ),
    "Storage Blob Data Contributor": Role(
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        (
            *(f"{_BLOBS}/containers/{verb}" for verb in ("read", "write", "delete")),
            f"{_BLOBS}/generateUserDelegationKey/action",
        ),
        tuple(f"{_BLOBS}/containers/blobs/{rest}" for rest in ("read", "write", "delete", "add/action", "move/action")),
    ),
}
NAMES = {role.id: name for name, role in ROLES.items()}


def allows(role: str, action: str, *, data: bool = False) -> bool:
    """Whether a role allows an action on a resource, or (`data`) on what it holds."""
    held = ROLES[role]
    return any(fnmatchcase(action.lower(), one.lower()) for one in (held.data if data else held.actions))
