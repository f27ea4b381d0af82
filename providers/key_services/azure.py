"""Azure Key Vault: an RSA key wraps (RSA-OAEP-256), and signs what it wrapped for whom, since wrapping binds nothing.

Whoever has the public half can wrap; only who may sign by the vault can have a wrapping taken for ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Never, TypeVar

import msgspec

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged
from providers.azure.errors import Answered
from providers.azure.wire import Wire
from providers.key_services.azure_identity import OwnTokens
from providers.provider import ProviderUnreachable

PREFIX = "azure-key-vault:"
_NAME = re.compile(
    r"https://(?P<host>[a-z0-9-]{3,24}\.(?P<domain>(?:vault|managedhsm)\.(?:azure\.net|azure\.cn|usgovcloudapi\.net)))"
    r"/keys/(?P<key>[A-Za-z0-9-]{1,127})"
)
_VERSION = re.compile(r"[0-9a-f]{32}")
_API = {"api-version": "7.4"}
_WRAPS, _SIGNS = "RSA-OAEP-256", "PS256"
_ROLES = {"vault": "Key Vault Crypto User", "managedhsm": "Managed HSM Crypto User"}
# Who gives tokens for the vaults of each of Azure's clouds: learn.microsoft.com, "National clouds".
_AUTHORITIES = {
    "azure.net": "https://login.microsoftonline.com",
    "azure.cn": "https://login.partner.microsoftonline.cn",
    "usgovcloudapi.net": "https://login.microsoftonline.us",
}

T = TypeVar("T")


class _Described(msgspec.Struct):
    kid: str


class _Found(msgspec.Struct):
    key: _Described


class _Done(msgspec.Struct):
    value: str


class _Verified(msgspec.Struct):
    value: bool


class _Signed(msgspec.Struct, array_like=True):
    """What is stored: the wrapped key, and the signature over it and its context."""

    wrapped: bytes
    signature: bytes


class _VersionUnknown(KeyServiceRefused):
    """There is no such version, or no such key."""


class AzureKeyService:
    """One RSA key of a Key Vault or a managed HSM. Its newest version wraps; the one that wrapped unwraps and is noted."""

    def __init__(self, key: str, endpoints: str | None, environment: Mapping[str, str]) -> None:
        """`key` fits `is_key`; `endpoints` is a URL with `{service}` in it, or None for Azure's own addresses."""
        found = _NAME.fullmatch(key)
        assert found is not None, "checked when settings were read"
        self._key = key
        self._root = f"https://{found['host']}"
        if endpoints:
            self._root = f"{endpoints.rstrip('/').replace('{service}', 'vault')}/{found['host']}"
        self._path = f"/keys/{found['key']}"
        self._wire = Wire(endpoints)
        kind, _, cloud = found["domain"].partition(".")
        self._role = _ROLES[kind]
        authority = self._wire.login if endpoints else _AUTHORITIES[cloud]
        self._tokens = OwnTokens(self._wire, f"https://{found['domain']}", environment, authority=authority)

    @property
    def name(self) -> str:
        return PREFIX + self._key

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        version = await self._newest()
        body = {"alg": _WRAPS, "value": _text(key)}
        wrapped = self._bytes((await self._call("POST", f"/{version}/wrapkey", _Done, body)).value)
        signing = {"alg": _SIGNS, "value": _text(_digest(wrapped, context))}
        signature = self._bytes((await self._call("POST", f"/{version}/sign", _Done, signing)).value)
        return WrappedKey(self.name, version, msgspec.msgpack.encode(_Signed(wrapped, signature)))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        version = wrapped.version
        if not _VERSION.fullmatch(version):
            raise self._forged()
        try:
            signed = msgspec.msgpack.decode(wrapped.content, type=_Signed)
        except msgspec.MsgspecError as error:
            raise self._forged() from error
        asked = {
            "alg": _SIGNS,
            "digest": _text(_digest(signed.wrapped, context)),
            "value": _text(signed.signature),
        }
        try:
            verified = (await self._call("POST", f"/{version}/verify", _Verified, asked)).value
        except _VersionUnknown as problem:
            await self._newest()  # Raises if it is the key that is not there.
            raise self._forged() from problem
        if not verified:
            raise self._forged()
        body = {"alg": _WRAPS, "value": _text(signed.wrapped)}
        return self._bytes((await self._call("POST", f"/{version}/unwrapkey", _Done, body)).value)

    async def close(self) -> None:
        await self._wire.close()

    async def _newest(self) -> str:
        """The version that the vault calls the key's by its bare name."""
        found = await self._call("GET", "", _Found)
        version = found.key.kid.rpartition("/")[2]
        if not _VERSION.fullmatch(version):
            raise KeyServiceAway(f"{self.name} answers for {found.key.kid}.", _REACH)
        return version

    async def _call(self, method: str, path: str, answer: type[T], body: Any = None) -> T:
        try:
            token = await self._tokens.get()
        except (Answered, ProviderUnreachable, OSError, ValueError) as error:
            raise KeyServiceAway(f"{self.name} cannot be asked without a token: {error}", _CREDENTIALS) from error
        url = self._root + self._path + path
        try:
            return (await self._wire.call(method, url, token=token, query=_API, body=body)).read(answer)
        except ProviderUnreachable as error:
            raise KeyServiceAway(f"{self.name} cannot be asked: {error.message}", _REACH) from error
        except Answered as error:
            self._told(error, path)

    def _told(self, error: Answered, path: str) -> Never:
        """Raises what the error means to whoever needs the key."""
        said = f"{self.name} answers {error.code or error.http_status}: {error.message}"
        if error.http_status == 400 and path.endswith(("/verify", "/unwrapkey")):
            raise self._forged() from error
        if error.http_status in (400, 403, 404, 409):
            kind = _VersionUnknown if error.http_status == 404 else KeyServiceRefused
            remedy = f"See that the key is an enabled RSA key that may wrap, unwrap, sign and verify, and that this service has the role {self._role} on it."
            raise kind(said, remedy) from error
        if error.http_status == 401:
            self._tokens.forget()
            raise KeyServiceAway(said, _CREDENTIALS) from error
        raise KeyServiceAway(said, _REACH, retry_after_seconds=error.retry_in_seconds or 5.0) from error

    def _forged(self) -> WrappingForged:
        return WrappingForged(f"The key was not wrapped by {self.name} for this, or was changed since.")

    def _bytes(self, text: str) -> bytes:
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError) as error:
            raise KeyServiceAway(f"What {self.name} answers cannot be read.", _REACH) from error


_REACH = "See that the vault's address is reached from here, and whether Azure tells of an outage."
_CREDENTIALS = (
    "See that this process is somebody to Azure: a workload identity of the cluster (AZURE_CLIENT_ID, AZURE_TENANT_ID,"
    " AZURE_FEDERATED_TOKEN_FILE), or the managed identity of the app or the machine."
)


def is_key(name: str) -> bool:
    """Whether it names a key of a vault, without a version, by an address of Azure's own."""
    return _NAME.fullmatch(name) is not None


def _digest(wrapped: bytes, context: KeyContext) -> bytes:
    return hashlib.sha256(context.encoded() + b"\n" + wrapped).digest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
