"""Images in Artifact Registry: each deployment's carries its id as a tag."""

from __future__ import annotations

from typing import Any

import msgspec

from providers.gcp import naming
from providers.gcp.account import Account, target_of
from providers.gcp.errors import Answered
from providers.provider import Image, Order


class _Tag(msgspec.Struct):
    version: str = ""


class _Version(msgspec.Struct, rename="camel"):
    related_tags: list[dict[str, Any]] = []


class Images:
    """The images of one order, as one account sees them."""

    def __init__(self, account: Account) -> None:
        self._account = account

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
            if error.http_status != 409:
                raise

    async def remove(self, order: Order) -> None:
        """Take the deployment's tag away, and the image too when no other deployment has one on it."""
        found = await self.find(order)
        if found is None:
            return
        package = _package(order)
        version = await self._account.found(
            "GET", "artifactregistry", f"{package}/versions/{found.digest}", _Version, query={"view": "FULL"}
        )
        if version is not None and len(version.related_tags) <= 1:
            path, query = f"{package}/versions/{found.digest}", {"force": "true"}
            await self._account.found("DELETE", "artifactregistry", path, dict[str, Any], query=query)
        else:
            await self._account.found(
                "DELETE", "artifactregistry", f"{package}/tags/{naming.tag(order)}", dict[str, Any]
            )


def _package(order: Order) -> str:
    return f"{naming.repository_path(target_of(order))}/packages/{naming.package(order)}"
