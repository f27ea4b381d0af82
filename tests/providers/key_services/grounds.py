"""Each key service with what stands in for its cloud, and how that is made to fail."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from process.key_service import KeyService
from providers.key_services.aws import AwsKeyService
from providers.key_services.azure import AzureKeyService
from providers.key_services.gcp import GcpKeyService
from tests.emulators.aws.account import CUSTOMER_KEY, CUSTOMER_SECRET
from tests.emulators.aws.server import Amazon
from tests.emulators.azure.vault import Vault
from tests.emulators.background import Background
from tests.emulators.gcp.account import Account, Policy
from tests.emulators.gcp.server import Google
from tests.emulators.images import Workshop
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


class Project:
    """An emulated project of Google's with a service account, and what makes tokens for its key, as oauth2.googleapis.com does."""

    def __init__(self, workshop: Workshop) -> None:
        self._background = Background()
        self.account = Account("acme-keys", "123456789012")
        self.google = Google(self.account, workshop, self._background)
        self._background.run(self.google.open())
        self.email = "dcf@acme-keys.iam.gserviceaccount.com"
        self.member = f"serviceAccount:{self.email}"
        self.account.service_accounts[self.email] = Policy()
        self.account.policy.add("roles/cloudkms.cryptoKeyEncrypterDecrypter", self.member)
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        # How long it takes to give a token.
        self.token_seconds = 0.0
        app = web.Application()
        app.router.add_post("/token", self._given)
        self.token_uri = f"http://127.0.0.1:{self._background.serve(app)}/token"

    def key(self) -> str:
        """The name of a new key."""
        name = f"projects/acme-keys/locations/europe-west1/keyRings/dcf/cryptoKeys/{uuid4()}"
        self.google.kms.rotate(name)
        return name

    def credentials(self, folder: Path) -> Path:
        """The file of the service account's key."""
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        file = folder / "service-account.json"
        told = {"client_email": self.email, "private_key": pem, "token_uri": self.token_uri}
        file.write_text(json.dumps({"type": "service_account", **told}))
        return file

    def close(self) -> None:
        self._background.run(self.google.close())
        self._background.close()

    async def _given(self, request: web.Request) -> web.Response:
        assertion = (await request.post())["assertion"]
        await asyncio.sleep(self.token_seconds)
        claims = jwt.decode(str(assertion), self._private.public_key(), ["RS256"], audience=self.token_uri)
        assert claims["scope"] == "https://www.googleapis.com/auth/cloudkms"
        token = self.account.new_token(f"serviceAccount:{claims['iss']}")
        return web.json_response({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})


def gcp_ground(project: Project) -> KeyGround:
    ours, theirs = project.key(), project.key()
    return KeyGround(
        service=GcpKeyService(ours, project.google.endpoints, os.environ),
        another=GcpKeyService(theirs, project.google.endpoints, os.environ),
        gone=GcpKeyService(ours, nobody(), os.environ),
        rotate=lambda: project.google.kms.rotate(ours),
        disable=lambda: project.google.kms.disabled.add(ours),
    )


def azure_environment(vault: Vault, folder: Path) -> dict[str, str]:
    """What a cluster of Azure's puts into its workloads."""
    file = folder / "federated-token"
    file.write_text(vault.assertion)
    return {
        "AZURE_CLIENT_ID": "00000000-0000-4000-8000-000000000001",
        "AZURE_TENANT_ID": "00000000-0000-4000-8000-000000000002",
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
    }


def azure_ground(vault: Vault, folder: Path) -> KeyGround:
    environment, ours, theirs = azure_environment(vault, folder), vault.key(), vault.key()
    name = ours.rpartition("/")[2]
    return KeyGround(
        service=AzureKeyService(ours, vault.endpoints, environment),
        another=AzureKeyService(theirs, vault.endpoints, environment),
        gone=AzureKeyService(ours, nobody(), environment),
        rotate=lambda: vault.rotate(name),
        disable=lambda: vault.disabled.add(name),
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
