"""Each key service with what stands in for its cloud, and how that is made to fail."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from process.key_service import KeyService
from providers.key_services.aws import AwsKeyService
from tests.emulators.aws.account import CUSTOMER_KEY, CUSTOMER_SECRET
from tests.emulators.aws.server import Amazon
from tests.support.key_service import MemoryKeyService


class KeyGround(msgspec.Struct, frozen=True, kw_only=True):
    """A service under test. `another` has another key of the same account, `gone` the same key where nobody answers;
    `rotate` makes a new version of the key, and `disable` ends its use."""

    service: KeyService
    another: KeyService
    gone: KeyService
    rotate: Callable[[], object]
    disable: Callable[[], object]

    async def close(self) -> None:
        for service in (self.service, self.another, self.gone):
            await service.close()


def memory_ground() -> KeyGround:
    service, gone = MemoryKeyService(), MemoryKeyService()
    gone.away = True

    def disable() -> None:
        service.refuses = True

    another = MemoryKeyService("memory:another")
    return KeyGround(service=service, another=another, gone=gone, rotate=service.rotate, disable=disable)


def aws_ground(cloud: Amazon) -> KeyGround:
    kms: Any = cloud.client("kms")
    ours, theirs = made_key(cloud), made_key(cloud)
    return KeyGround(
        service=AwsKeyService(ours, cloud.endpoints),
        another=AwsKeyService(theirs, cloud.endpoints),
        gone=AwsKeyService(ours, nobody()),
        rotate=lambda: kms.rotate_key_on_demand(KeyId=ours),
        disable=lambda: kms.disable_key(KeyId=ours),
    )


def nobody() -> str:
    """An address at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/{{service}}"


def amazon_credentials(patch: pytest.MonkeyPatch, **more: str) -> None:
    """Of the emulated account, where Amazon's library looks for them by itself."""
    given = {"AWS_ACCESS_KEY_ID": CUSTOMER_KEY, "AWS_SECRET_ACCESS_KEY": CUSTOMER_SECRET, **more}
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        patch.delenv(name, raising=False)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", **given}.items():
        patch.setenv(name, value)


def made_key(cloud: Amazon) -> str:
    """The ARN of a new symmetric key."""
    return str(cloud.client("kms").create_key()["KeyMetadata"]["Arn"])
