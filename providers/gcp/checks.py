"""Looking whether a project's Google Cloud is set up, one thing after another, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal
from uuid import UUID

import msgspec

from domain.clouds import GcpIdentity
from providers.gcp import gke, schedules
from providers.gcp.account import Account
from providers.gcp.errors import Answered, command, told
from providers.gcp.grants import Permissions, require_act_as, require_permissions
from providers.gcp.identity import Tokens
from providers.provider import Finding, ProviderBusy, ProviderRefused, Step

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
_SKIPPED = "Not looked at, since an earlier step failed."


class _Bucket(msgspec.Struct):
    location: str = ""


class Walk:
    """Steps in order: after the first that fails the rest are skipped; one the cloud put off leaves the finding open."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._status: Literal["pending", "verified", "failed"] = "verified"

    async def step(
        self, name: str, look: Callable[[], Awaitable[str]], identity: GcpIdentity, *, only_for: str = ""
    ) -> bool:
        """Look; `look` returns what it saw, in a sentence. Whether it passed. What is `only_for` some is skipped, with
        its remedy, where it would fail."""
        if self._status != "verified":
            self._steps.append(Step(name=name, status="skipped", message=_SKIPPED))
            return False
        try:
            try:
                seen = await look()
            except Answered as error:
                raise told(error, identity) from error
        except ProviderRefused as refused:
            if only_for:
                message = f"Needed only for {only_for}. {refused.message}"
                self._steps.append(
                    Step(name=name, status="skipped", code=refused.code, message=message, remedy=refused.remedy)
                )
                return False
            self._status = "failed"
            self._steps.append(
                Step(name=name, status="failed", code=refused.code, message=refused.message, remedy=refused.remedy)
            )
            return False
        except ProviderBusy as busy:
            self._status = "pending"
            self._steps.append(
                Step(
                    name=name, status="skipped", code="GCP_BUSY", message=busy.message, remedy="Look again in a moment."
                )
            )
            return False
        self._steps.append(Step(name=name, status="passed", message=seen))
        return True

    @property
    def finding(self) -> Finding:
        return Finding(status=self._status, steps=tuple(self._steps))


class Checks:
    """The checks of one project's integration."""

    def __init__(self, account: Account, tokens: Tokens, tenant_id: UUID, project_id: UUID) -> None:
        self._account, self._tokens = account, tokens
        self._whose = (tenant_id, project_id, account.identity)
        self._own = self._federated = ""

    async def identity(self, walk: Walk) -> None:
        """Our token, its exchange, and the service account's own token."""
        identity = self._account.identity
        await walk.step("own_token", self._look_at_own_token, identity)
        await walk.step("token_exchange", self._look_at_exchange, identity)
        await walk.step("service_account", self._look_at_service_account, identity)

    async def bucket(self, walk: Walk, name: str) -> None:
        """That the bucket is there, and that files can be put, read, listed and removed."""
        await walk.step("bucket", lambda: self._look_at_bucket(name), self._account.identity)
        await walk.step("bucket_permissions", lambda: self._look_at_bucket_permissions(name), self._account.identity)

    async def deploying(self, walk: Walk) -> None:
        """That images can be built and kept, and services run."""
        identity = self._account.identity
        await walk.step("project_permissions", self._look_at_project, identity)
        await walk.step("act_as", self._look_at_act_as, identity)
        for name, service, path in (
            ("cloud_build", "cloudbuild", "/v1/projects/{}/locations/global/builds"),
            ("artifact_registry", "artifactregistry", "/v1/projects/{}/locations"),
            ("cloud_run", "run", "/v2/projects/{}/locations/-/services"),
        ):
            await walk.step(name, lambda s=service, p=path: self._look_at_api(s, p), identity)  # type: ignore[misc]
        await walk.step("cloud_scheduler", self._look_at_scheduler, identity, only_for="functions with a schedule")
        await walk.step("kubernetes", self._look_at_kubernetes, identity, only_for="runtimeTarget gke")

    async def _look_at_own_token(self) -> str:
        self._own = self._tokens.own(*self._whose)
        return "This service signed a token that names the tenant and the project."

    async def _look_at_exchange(self) -> str:
        self._federated = await self._tokens.exchange(self._own, self._account.identity)
        return "The workload identity provider took the token."

    async def _look_at_service_account(self) -> str:
        await self._tokens.generate(self._federated, *self._whose)
        return f"The project may act as {self._account.identity.service_account_email}."

    async def _look_at_bucket(self, name: str) -> str:
        try:
            found = await self._account.call("GET", "storage", f"/storage/v1/b/{name}", _Bucket)
        except Answered as error:
            raise _of_bucket(error, name, self._account.identity) from error
        return f"The bucket gs://{name} is in {found.location or 'its place'}."

    async def _look_at_bucket_permissions(self, name: str) -> str:
        path = f"/storage/v1/b/{name}/iam/testPermissions?" + "&".join(f"permissions={p}" for p in BUCKET_PERMISSIONS)
        held = (await self._account.call("GET", "storage", path, Permissions)).permissions
        missing = [permission for permission in BUCKET_PERMISSIONS if permission not in held]
        if missing:
            raise ProviderRefused(
                "GCP_BUCKET_PERMISSION_DENIED",
                f"The service account lacks {', '.join(missing)} on gs://{name}.",
                _bucket_grant(name, self._account.identity),
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

    async def _look_at_scheduler(self) -> str:
        await require_permissions(self._account, schedules.PERMISSIONS)
        return await self._look_at_api("cloudscheduler", "/v1/projects/{}/locations")

    async def _look_at_api(self, service: str, path: str, *, paged: bool = True) -> str:
        project = self._account.identity.gcp_project_id
        query = {"pageSize": "1"} if paged else {}
        await self._account.call("GET", service, path.format(project), dict[str, Any], query=query)
        return f"{service}.googleapis.com answers."


def _of_bucket(error: Answered, name: str, identity: GcpIdentity) -> Exception:
    if error.http_status == 404:
        return ProviderRefused(
            "GCP_BUCKET_NOT_FOUND",
            f"There is no bucket gs://{name}.",
            command(
                "gcloud",
                "storage",
                "buckets",
                "create",
                f"gs://{name}",
                f"--project={identity.gcp_project_id}",
                "--uniform-bucket-level-access",
            )
            + f" && {_bucket_grant(name, identity)}",
        )
    if error.http_status == 403 and error.reason != "SERVICE_DISABLED":
        return ProviderRefused("GCP_BUCKET_PERMISSION_DENIED", error.message, _bucket_grant(name, identity))
    return error


def _bucket_grant(name: str, identity: GcpIdentity) -> str:
    return command(
        "gcloud",
        "storage",
        "buckets",
        "add-iam-policy-binding",
        f"gs://{name}",
        f"--member=serviceAccount:{identity.service_account_email}",
        "--role=roles/storage.admin",
    )
