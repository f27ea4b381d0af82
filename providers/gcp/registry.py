"""Images in Artifact Registry: each deployment's carries its id as a tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from providers.gcp import naming
from providers.gcp.account import Account, target_of
from providers.gcp.errors import Answered, Status, of_status
from providers.gcp.grants import create_repository
from providers.provider import Image, Order, ProviderRefused


class _Tag(msgspec.Struct):
    version: str = ""


class _Repository(msgspec.Struct):
    name: str = ""


class _Version(msgspec.Struct, rename="camel"):
    name: str = ""
    related_tags: list[_Tag] = []


class _Operation(msgspec.Struct):
    error: Status | None = None


class Images:
    """The images of one order, as one account sees them."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def require(self, order: Order) -> None:
        """Raises ProviderRefused where there is no repository to keep images in, or Answered."""
        target = target_of(order)
        if await self._account.found("GET", "artifactregistry", naming.repository_path(target), _Repository) is None:
            raise ProviderRefused(
                "GCP_REPOSITORY_NOT_FOUND",
                f"There is no repository {target.artifact_repository} in {target.region} of the project {target.project_id}.",
                create_repository(target),
            )

    async def find(self, order: Order) -> Image | None:
        """What carries the deployment's tag."""
        path = f"{_package(order)}/tags/{naming.tag(order)}"
        found = await self._account.found("GET", "artifactregistry", path, _Tag)
        if found is None:
            return None
        digest = found.version.rpartition("/")[2]
        return Image(reference=f"{naming.image_path(order)}@{digest}", digest=digest)

    async def keeps(self, order: Order, digest: str) -> bool:
        """Whether the function's image of this digest is still there."""
        path = f"{_package(order)}/versions/{digest}"
        return await self._account.found("GET", "artifactregistry", path, _Version) is not None

    async def name(self, order: Order, digest: str) -> None:
        """Put the deployment's tag on an image that another one built, so that it stays while either needs it."""
        package = _package(order)
        body = {"version": f"{package.removeprefix('/v1/')}/versions/{digest}"}
        try:
            await self._account.call(
                "POST", "artifactregistry", f"{package}/tags", _Tag, query={"tagId": naming.tag(order)}, body=body
            )
        except Answered as error:
            if error.http_status == 404:  # Whoever had it took it away meanwhile.
                raise image_gone() from error
            if error.http_status != 409:
                raise

    async def remove(self, order: Order, digests: Iterable[str]) -> None:
        """Take the deployment's tag away, and then the images that no other deployment has one on: Google refuses to give up one
        that has. `digests` are known without the tag, which is gone already when we died in between."""
        found, package = await self.find(order), _package(order)
        if found is not None:
            tag = f"{package}/tags/{naming.tag(order)}"
            await self._account.found("DELETE", "artifactregistry", tag, dict[str, Any])
        for digest in sorted({*digests, found.digest if found else ""} - {""}):
            await self._remove_unless_tagged(f"{package}/versions/{digest}")

    async def _remove_unless_tagged(self, path: str) -> None:
        """Google does not say with which error it refuses: of one that it did refuse, the tags are looked at."""
        try:
            operation = await self._account.found("DELETE", "artifactregistry", path, _Operation)
            if operation is not None and operation.error is not None:
                raise of_status(operation.error, 400).of("artifactregistry", path)
        except Answered as error:
            if error.http_status != 400 or not await self._is_tagged(path):
                raise

    async def _is_tagged(self, path: str) -> bool:
        """Whether a deployment needs the image, or it is gone."""
        shown = await self._account.found("GET", "artifactregistry", path, _Version, query={"view": "FULL"})
        return shown is None or bool(shown.related_tags)


def image_gone() -> ProviderRefused:
    """The refusal of a release whose image was taken away."""
    return ProviderRefused("image_missing", "The image is no longer in the registry.", "Deploy from the sources.")


def _package(order: Order) -> str:
    return f"{naming.repository_path(target_of(order))}/packages/{naming.package(order)}"
