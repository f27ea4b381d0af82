"""Images in ECR: each deployment's has a tag of its own, so that one goes without taking another's."""

from __future__ import annotations

from typing import Any

from providers.aws import naming
from providers.aws.account import Account, target_of
from providers.aws.errors import Answered
from providers.provider import Image, Order, ProviderRefused

# What ECR says of a tag that it does not have.
_GONE = "ImageNotFound"


class Images:
    """The image of one order, as one account sees it."""

    def __init__(self, account: Account, order: Order) -> None:
        self._account, self._order, self._target = account, order, target_of(order)

    async def find(self) -> Image | None:
        """The image of the deployment's own tag."""
        tag = {"imageTag": naming.tag(self._order)}
        found = await self._found("describe_images", imageIds=[tag])
        details = found["imageDetails"] if found else []
        return self._image(details[0]["imageDigest"]) if details else None

    async def name(self, digest: str) -> Image:
        """Let an image that is there have this deployment's tag too. Raises ProviderRefused (`image_missing`)."""
        found = await self._found("batch_get_image", imageIds=[{"imageDigest": digest}])
        images = found["images"] if found else []
        for one in found.get("failures", []) if found else []:
            if one["failureCode"] != _GONE:
                raise ProviderRefused(
                    "AWS_IMAGE_UNREADABLE",
                    f"ECR does not give the image {digest}: {one['failureCode']}: {one.get('failureReason', '')}",
                    "Mend what ECR names, and deploy again.",
                )
        if not images:
            raise ProviderRefused(
                "image_missing", "The image is no longer in the repository.", "Deploy from the sources."
            )
        try:
            await self._call(
                "put_image",
                imageManifest=images[0]["imageManifest"],
                imageManifestMediaType=images[0]["imageManifestMediaType"],
                imageDigest=digest,
                imageTag=naming.tag(self._order),
            )
        except Answered as error:
            if error.code != "ImageAlreadyExistsException":
                raise
        return self._image(digest)

    async def remove(self) -> tuple[str, ...]:
        """Take the deployment's tag away, and the image with the last one; it may be gone already. What ECR does not
        delete is named, with its words."""
        found = await self._found("batch_delete_image", imageIds=[{"imageTag": naming.tag(self._order)}])
        failures = found.get("failures", []) if found else []
        return tuple(
            f"image {naming.image_path(self._target)}:{one['imageId']['imageTag']}"
            f" ({one['failureCode']}: {one.get('failureReason', '')})"
            for one in failures
            if one["failureCode"] != _GONE
        )

    def _image(self, digest: str) -> Image:
        return Image(reference=f"{naming.image_path(self._target)}@{digest}", digest=digest)

    async def _found(self, call: str, **parameters: Any) -> Any:
        return await self._account.found(
            "ecr", call, region=self._target.region, repositoryName=self._target.ecr_repository, **parameters
        )

    async def _call(self, call: str, **parameters: Any) -> Any:
        return await self._account.call(
            "ecr", call, region=self._target.region, repositoryName=self._target.ecr_repository, **parameters
        )
