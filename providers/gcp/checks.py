"""Looking whether a project's Google Cloud is set up, one thing after another, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from providers.gcp import gke, schedules, secrets
from providers.gcp.account import Account
from providers.gcp.errors import Answered, told
from providers.gcp.grants import Permissions, bucket_grant, of_bucket, require_act_as, require_permissions
from providers.gcp.identity import Tokens
from providers.provider import ProviderRefused
from providers.walk import MaySpread, NotSeen, Walk

# What a deployment from nothing to serving and back asks of the project.
PROJECT_PERMISSIONS = (
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.uploadArtifacts",
    "artifactregistry.tags.create",
    "artifactregistry.tags.delete",
    "artifactregistry.tags.get",
    "artifactregistry.versions.delete",
    "artifactregistry.versions.get",
    "cloudbuild.builds.create",
    "cloudbuild.builds.get",
    "cloudbuild.builds.list",
    "cloudbuild.builds.update",
    "run.operations.get",
    "run.revisions.delete",
    "run.revisions.get",
    "run.revisions.list",
    "run.services.create",
    "run.services.delete",
    "run.services.get",
    "run.services.setIamPolicy",
    "run.services.update",
)
BUCKET_PERMISSIONS = (
    "storage.buckets.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
)
BUSY = "GCP_BUSY"
# Google: a change of a policy takes two minutes as a rule, and seven or more at times.
SPREADS_SECONDS = 420.0
_SPREADS = frozenset(
    {
        "WORKLOAD_IDENTITY_BINDING_MISSING",
        "GCP_BUCKET_PERMISSION_DENIED",
        "GCP_PERMISSION_DENIED",
        "GCP_ACT_AS_DENIED",
    }
)


class _Bucket(msgspec.Struct):
    location: str = ""


class Checks:
    """The checks of one project's integration."""

    def __init__(self, account: Account, tokens: Tokens, tenant_id: UUID, project_id: UUID) -> None:
        self._account, self._tokens = account, tokens
        self._whose = (tenant_id, project_id, account.identity)
        self._own = self._federated = ""

    async def identity(self, walk: Walk) -> None:
        """Our token, its exchange, and the service account's own token."""
        await walk.step("own_token", self._told(self._look_at_own_token))
        await walk.step("token_exchange", self._told(self._look_at_exchange))
        await walk.step("service_account", self._told(self._look_at_service_account))

    async def bucket(self, walk: Walk, name: str) -> None:
        """That the bucket is there, and that files can be put, read, listed and removed."""
        await walk.step("bucket", self._told(lambda: self._look_at_bucket(name)))
        await walk.step("bucket_permissions", self._told(lambda: self._look_at_bucket_permissions(name)))

    async def deploying(self, walk: Walk) -> None:
        """That images can be built and kept, and services run."""
        await walk.step("project_permissions", self._told(self._look_at_project))
        await walk.step("act_as", self._told(self._look_at_act_as))
        for name, service, path in (
            ("cloud_build", "cloudbuild", "/v1/projects/{}/locations/global/builds"),
            ("artifact_registry", "artifactregistry", "/v1/projects/{}/locations"),
            ("cloud_run", "run", "/v2/projects/{}/locations/-/services"),
        ):
            await walk.step(name, self._told(partial(self._look_at_api, service, path)))
        await walk.step("secret_manager", self._only_for("functions with secrets", self._look_at_secrets))
        await walk.step("cloud_scheduler", self._only_for("functions with a schedule", self._look_at_scheduler))
        await walk.step("kubernetes", self._only_for("runtimeTarget gke", self._look_at_kubernetes))

    def _told(self, look: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
        """The look, whose refusals say what mends them, and whether they may be those of a grant that spreads."""

        async def looked() -> str:
            try:
                return await self._seen(look)
            except ProviderRefused as refused:
                if refused.code in _SPREADS:
                    raise MaySpread(refused) from refused
                raise

        return looked

    def _only_for(self, whom: str, look: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
        """A look at what only some need: where it would fail it is skipped, with its remedy."""

        async def looked() -> str:
            try:
                return await self._seen(look)
            except ProviderRefused as refused:
                raise NotSeen(f"Needed only for {whom}. {refused.message}", refused.remedy, refused.code) from refused

        return looked

    async def _seen(self, look: Callable[[], Awaitable[str]]) -> str:
        try:
            return await look()
        except Answered as error:
            raise told(error, self._account.identity) from error

    async def _look_at_own_token(self) -> str:
        self._own = self._tokens.own(*self._whose)
        return "This service signed a token that names the tenant and the project."

    async def _look_at_exchange(self) -> str:
        self._federated = await self._tokens.exchange(self._own, *self._whose)
        return "The workload identity provider took the token."

    async def _look_at_service_account(self) -> str:
        await self._tokens.generate(self._federated, *self._whose)
        return f"The project may act as {self._account.identity.service_account_email}."

    async def _look_at_bucket(self, name: str) -> str:
        try:
            found = await self._account.call("GET", "storage", f"/storage/v1/b/{name}", _Bucket)
        except Answered as error:
            raise of_bucket(error, name, self._account.identity) from error
        return f"The bucket gs://{name} is in {found.location or 'its place'}."

    async def _look_at_bucket_permissions(self, name: str) -> str:
        path = f"/storage/v1/b/{name}/iam/testPermissions?" + "&".join(f"permissions={p}" for p in BUCKET_PERMISSIONS)
        held = (await self._account.call("GET", "storage", path, Permissions)).permissions
        missing = [permission for permission in BUCKET_PERMISSIONS if permission not in held]
        if missing:
            raise ProviderRefused(
                "GCP_BUCKET_PERMISSION_DENIED",
                f"The service account lacks {', '.join(missing)} on gs://{name}.",
                bucket_grant(name, self._account.identity),
            )
        return "Files can be put, read, listed and removed."

    async def _look_at_project(self) -> str:
        await require_permissions(self._account, PROJECT_PERMISSIONS)
        return "The service account may build, keep and run images."

    async def _look_at_act_as(self) -> str:
        """Builds and services run as the service account itself, which must be allowed to name it."""
        await require_act_as(self._account)
        return f"Builds may run as {self._account.identity.service_account_email}."

    async def _look_at_kubernetes(self) -> str:
        await require_permissions(self._account, gke.PERMISSIONS)
        return await self._look_at_api("container", "/v1/projects/{}/locations/-/clusters", paged=False)

    async def _look_at_secrets(self) -> str:
        await require_permissions(self._account, secrets.PERMISSIONS)
        return await self._look_at_api("secretmanager", "/v1/projects/{}/secrets")

    async def _look_at_scheduler(self) -> str:
        await require_permissions(self._account, schedules.PERMISSIONS)
        return await self._look_at_api("cloudscheduler", "/v1/projects/{}/locations")

    async def _look_at_api(self, service: str, path: str, *, paged: bool = True) -> str:
        project = self._account.identity.gcp_project_id
        query = {"pageSize": "1"} if paged else {}
        await self._account.call("GET", service, path.format(project), dict[str, Any], query=query)
        return f"{service}.googleapis.com answers."
