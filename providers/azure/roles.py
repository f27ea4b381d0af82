"""The roles that the project's identity is given, each where it is needed, and what deployments ask of it there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

Place = Literal["group", "storage_account", "registry", "pull_identity"]

_ACR = "Microsoft.ContainerRegistry/registries"
_APPS = "Microsoft.App/containerApps"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A built-in role. `actions` are what is asked of it, `data` what is asked of it inside of the resource."""

    name: str
    id: str
    on: Place
    actions: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


READER = Role(name="Reader", id="acdd72a7-3385-48ef-bd42-f606fba81ae7", on="group", actions=(f"{_ACR}/read",))
BUILDER = Role(
    name="Container Registry Tasks Contributor",
    id="fb382eab-e894-4461-af04-94435c366c3f",
    on="registry",
    actions=(
        f"{_ACR}/tasks/write",
        f"{_ACR}/tasks/delete",
        f"{_ACR}/scheduleRun/action",
        f"{_ACR}/runs/read",
        f"{_ACR}/runs/listLogSasUrl/action",
        f"{_ACR}/runs/cancel/action",
    ),
)
PUSHER = Role(
    name="AcrPush",
    id="8311e382-0749-4cb8-b61a-304f252e45ec",
    on="registry",
    actions=(f"{_ACR}/pull/read", f"{_ACR}/push/write"),
)
REMOVER = Role(
    name="AcrDelete",
    id="c2f4ef07-c644-48eb-af81-4b1b4947fb11",
    on="registry",
    actions=(f"{_ACR}/artifacts/delete",),
)
APPS = Role(
    name="Container Apps Contributor",
    id="358470bc-b998-42bd-ab17-a7e34c199c0f",
    on="group",
    actions=(
        f"{_APPS}/read",
        f"{_APPS}/write",
        f"{_APPS}/delete",
        f"{_APPS}/listSecrets/action",
        f"{_APPS}/revisions/read",
        f"{_APPS}/revisions/deactivate/action",
        "Microsoft.App/managedEnvironments/join/action",
    ),
)
JOBS = Role(
    name="Container Apps Jobs Contributor",
    id="4e3d2b60-56ae-4dc6-a233-09c8e5a82e68",
    on="group",
    actions=("Microsoft.App/jobs/read", "Microsoft.App/jobs/write", "Microsoft.App/jobs/delete"),
)
ASSIGNER = Role(
    name="Managed Identity Operator",
    id="f1a07417-d97a-45cb-824c-7a7467783830",
    on="pull_identity",
    actions=("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",),
)
BLOBS = Role(
    name="Storage Blob Data Contributor",
    id="ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    on="storage_account",
    actions=(f"{_BLOBS}/generateUserDelegationKey/action",),
    data=tuple(f"{_BLOBS}/containers/blobs/{verb}" for verb in ("read", "write", "delete")),
)
DEPLOYING = (BUILDER, PUSHER, REMOVER, APPS, JOBS, ASSIGNER, BLOBS)
# What the pull identity has, of which nothing is asked by us.
PULLER = Role(name="AcrPull", id="7f951dda-4ed3-4680-a7ca-43fe172d538d", on="registry", actions=(f"{_ACR}/pull/read",))
# Built-in roles that let pull, too.
PULLING = {PULLER.id, PUSHER.id, "b24988ac-6180-42a0-ab88-20f7382dd24c", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"}


class Permission(msgspec.Struct, rename="camel"):
    """What one role allows, as Azure shows it."""

    actions: list[str] = []
    not_actions: list[str] = []
    data_actions: list[str] = []
    not_data_actions: list[str] = []


def giving(action: str) -> Role | None:
    """The role that the action is asked of."""
    wanted = action.lower()
    return next((role for role in (*DEPLOYING, READER) if wanted in {one.lower() for one in role.actions}), None)


def missing(role: Role, permissions: Iterable[Permission]) -> tuple[str, ...]:
    """What is asked of the role and allowed by none of these."""
    held = tuple(permissions)
    actions = (one for one in role.actions if not any(_allows(p.actions, p.not_actions, one) for p in held))
    data = (one for one in role.data if not any(_allows(p.data_actions, p.not_data_actions, one) for p in held))
    return (*actions, *data)


def _allows(allowed: Iterable[str], denied: Iterable[str], action: str) -> bool:
    return any(_fits(one, action) for one in allowed) and not any(_fits(one, action) for one in denied)


def _fits(pattern: str, action: str) -> bool:
    # `containerApps/*/write` is what the built-in role has, and apps are written with it: the star may stand for nothing.
    words = re.escape(pattern).replace(r"/\*/", r"/(?:.*/)?").replace(r"\*", ".*")
    return re.fullmatch(words, action, re.IGNORECASE) is not None
