"""Builds in Cloud Build: found by the deployment's tag before one is started."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from domain.release import Toolchain
from providers.characters import whole_characters
from providers.dockerfile import VERSION_ARGUMENT
from providers.gcp import naming
from providers.gcp.account import Account, bucket_of, identity_of, target_of
from providers.gcp.errors import Answered
from providers.gcp.grants import bucket_grant, create_repository, repository_grant
from providers.gcp.storage import Bucket, Staged
from providers.provider import Build, LogChunk, Order, ProviderRefused

ENGINE = "cloud-build"
BUILD_SECONDS_MAX = 900
QUEUE_SECONDS_MAX = 600
MACHINE = "E2_HIGHCPU_8"
DOCKER = "gcr.io/cloud-builders/docker"
LAST_WORDS_BYTES = 4000
LOG_BYTES_MAX = 256 * 1024

_RUNNING = ("PENDING", "QUEUED", "WORKING", "STATUS_UNKNOWN")


class _Info(msgspec.Struct):
    type: str = ""
    detail: str = ""


class _BuiltImage(msgspec.Struct):
    digest: str = ""


class _Results(msgspec.Struct):
    images: list[_BuiltImage] = []


class CloudBuild(msgspec.Struct, rename="camel"):
    """A build as Cloud Build shows it."""

    id: str
    status: str = "STATUS_UNKNOWN"
    status_detail: str = ""
    failure_info: _Info | None = None
    create_time: str = ""
    results: _Results | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the images that it left."""
        return tuple(image.digest for image in self.results.images) if self.results else ()

    @property
    def is_running(self) -> bool:
        return self.status in _RUNNING


class _Builds(msgspec.Struct):
    builds: list[CloudBuild] = []


class _Begun(msgspec.Struct):
    build: CloudBuild


class _Operation(msgspec.Struct):
    metadata: _Begun


class Builds:
    """The builds of one order, as one account sees them."""

    def __init__(self, account: Account, bucket: Bucket) -> None:
        self._account, self._bucket = account, bucket

    async def find(self, order: Order) -> CloudBuild | None:
        """The deployment's build, the first one when a lost answer led to two; None when none was started."""
        path, query = _path(order), {"filter": f'tags="{naming.build_tag(order)}"', "pageSize": "20"}
        found = await self._account.call("GET", "cloudbuild", path, _Builds, query=query)
        return min(found.builds, key=lambda build: (build.create_time, build.id), default=None)

    async def start(self, order: Order, staged: Staged) -> CloudBuild:
        """Start it. Ask `find` first."""
        body = _request(order, staged)
        return (await self._account.call("POST", "cloudbuild", _path(order), _Operation, body=body)).metadata.build

    async def stop(self, order: Order, build: CloudBuild) -> None:
        """End it for real; one that has ended meanwhile is left as it is."""
        path = f"{_path(order)}/{build.id}:cancel"
        try:
            body = {"projectId": target_of(order).project_id, "id": build.id}
            await self._account.call("POST", "cloudbuild", path, CloudBuild, body=body)
        except Answered as error:
            if error.http_status != 404 and error.status != "FAILED_PRECONDITION":
                raise

    async def shown(self, order: Order, build: CloudBuild, staged: Staged | None) -> Build:
        """The build in the port's own terms. A failed one has the last words of its log."""
        status = _status(build)
        message = await self._last_words(order, build) if status == "failed" else ""
        version = (staged.dart if staged else "") or "of the Dockerfile"
        info = build.failure_info
        return Build(
            id=build.id,
            status=status,
            message=message,
            remedy=_remedy(order, info) if status == "failed" and info else "",
            toolchain=Toolchain(engine=ENGINE, version=version),
        )

    async def log(self, order: Order, build: CloudBuild, cursor: int) -> LogChunk:
        """What the build wrote, from the byte `cursor` on."""
        content = (await self._bucket.read(naming.log_name(order, build.id), first=cursor))[:LOG_BYTES_MAX]
        whole = whole_characters(content)
        return LogChunk(text=whole.decode(errors="replace"), next_cursor=cursor + len(whole))

    async def _last_words(self, order: Order, build: CloudBuild) -> str:
        log = await self._bucket.read(naming.log_name(order, build.id), last_bytes=LAST_WORDS_BYTES)
        info = build.failure_info
        said = [build.status_detail, info.detail if info else "", log.decode(errors="replace").strip()]
        return "\n".join(part for part in said if part) or f"Cloud Build ended with {build.status}."


def _remedy(order: Order, info: _Info) -> str:
    """What mends it, after which the function is deployed again."""
    identity = identity_of(order)
    match info.type:
        case "USER_BUILD_STEP":
            return "Mend what the build's log names, and deploy again."
        case "PUSH_NOT_AUTHORIZED":
            member = f"serviceAccount:{identity.service_account_email}"
            return repository_grant(target_of(order), member, "roles/artifactregistry.repoAdmin")
        case "PUSH_FAILED" if "not found" in info.detail.lower():
            return create_repository(target_of(order))
        case "LOGGING_FAILURE" | "FETCH_SOURCE_FAILED":
            return bucket_grant(bucket_of(order), identity)
        case _:
            return ""


def _path(order: Order) -> str:
    target = target_of(order)
    return f"/v1/projects/{target.project_id}/locations/{target.region}/builds"


def _request(order: Order, staged: Staged) -> dict[str, Any]:
    identity, image = identity_of(order), f"{naming.image_path(order)}:{naming.tag(order)}"
    if not staged.generation:
        raise ProviderRefused("bundle_missing", "There is nothing to build.", "Deploy again.")
    argument = f"{VERSION_ARGUMENT}={order.release.runtime}"
    return {
        "source": {"storageSource": {"bucket": staged.bucket, "object": staged.name, "generation": staged.generation}},
        "steps": [{"name": DOCKER, "args": ["build", "--build-arg", argument, "-t", image, "."]}],
        "images": [image],
        "timeout": f"{BUILD_SECONDS_MAX}s",
        "queueTtl": f"{QUEUE_SECONDS_MAX}s",
        "serviceAccount": f"projects/{identity.gcp_project_id}/serviceAccounts/{identity.service_account_email}",
        "logsBucket": naming.log_folder(order),
        "options": {"logging": "GCS_ONLY", "machineType": MACHINE},
        "tags": ["dcf", naming.build_tag(order), f"dcf-function-{order.release.function_id}"],
    }


def _status(build: CloudBuild) -> Literal["running", "succeeded", "failed", "stopped"]:
    if build.is_running:
        return "running"
    if build.status == "SUCCESS":
        return "succeeded"
    return "stopped" if build.status == "CANCELLED" else "failed"
