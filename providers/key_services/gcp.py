"""Google Cloud KMS: encrypt and decrypt with additional data, each way with checksums, as the application's default credentials."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Never, TypeVar

import aiohttp
import msgspec
from gcloud.aio.auth import Token

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged
from providers.gcp.errors import Answered
from providers.gcp.wire import Wire
from providers.key_services.crc32c import crc32c
from providers.provider import ProviderUnreachable

PREFIX = "gcp-kms:"
SCOPE = "https://www.googleapis.com/auth/cloudkms"
_SERVICE = "cloudkms"
_NAME = re.compile(
    r"projects/[a-z0-9:.-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}"
)
_KEYS_FILE = "GOOGLE_APPLICATION_CREDENTIALS"

T = TypeVar("T")


class _Encrypted(msgspec.Struct):
    name: str
    ciphertext: str
    checksum: str = msgspec.field(name="ciphertextCrc32c")
    got_key_whole: bool = msgspec.field(name="verifiedPlaintextCrc32c", default=False)
    got_context_whole: bool = msgspec.field(name="verifiedAdditionalAuthenticatedDataCrc32c", default=False)


class _Decrypted(msgspec.Struct):
    plaintext: str
    checksum: str = msgspec.field(name="plaintextCrc32c")


class GcpKeyService:
    """One symmetric key of Cloud KMS. Its primary version wraps; whichever version wrapped, the service finds by itself."""

    def __init__(self, key: str, endpoints: str, environment: Mapping[str, str]) -> None:
        """`key` fits `is_key`; `endpoints` is a URL with `{service}` in it; `environment` may name a file of credentials."""
        self._key, self._environment = key, environment
        self._wire = Wire(endpoints)
        self._token: Token | None = None
        self._reading = asyncio.Lock()

    @property
    def name(self) -> str:
        return PREFIX + self._key

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        bound_to = context.encoded()
        body = {
            "plaintext": _text(key),
            "plaintextCrc32c": str(crc32c(key)),
            "additionalAuthenticatedData": _text(bound_to),
            "additionalAuthenticatedDataCrc32c": str(crc32c(bound_to)),
        }
        answer = await self._call("encrypt", body, _Encrypted)
        content = self._whole(answer.ciphertext, answer.checksum)
        if not (answer.got_key_whole and answer.got_context_whole):
            raise self._damaged()
        if not self._is_ours(answer.name):
            raise KeyServiceAway(f"{self.name} answers for {answer.name}.", _REACH)
        return WrappedKey(self.name, answer.name, content)

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        if not self._is_ours(wrapped.version) or not wrapped.content:
            raise WrappingForged(f"The key was not wrapped by {self.name}.")
        bound_to = context.encoded()
        body = {
            "ciphertext": _text(wrapped.content),
            "ciphertextCrc32c": str(crc32c(wrapped.content)),
            "additionalAuthenticatedData": _text(bound_to),
            "additionalAuthenticatedDataCrc32c": str(crc32c(bound_to)),
        }
        answer = await self._call("decrypt", body, _Decrypted)
        return self._whole(answer.plaintext, answer.checksum)

    async def close(self) -> None:
        await self._wire.close()

    def _is_ours(self, version: str) -> bool:
        start, found, number = version.partition("/cryptoKeyVersions/")
        return bool(found) and start == self._key and number.isdecimal()

    def _whole(self, text: str, checksum: str) -> bytes:
        """The bytes of an answer, if they are those that were sent. Raises KeyServiceAway: the next answer may be."""
        try:
            content = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise self._damaged() from error
        if checksum != str(crc32c(content)):
            raise self._damaged()
        return content

    def _damaged(self) -> KeyServiceAway:
        return KeyServiceAway(f"What {self.name} answers is damaged on the way.", _REACH)

    async def _call(self, verb: str, body: dict[str, str], answer: type[T]) -> T:
        try:
            token = await self._bearer()
            return await self._wire.call("POST", _SERVICE, f"/v1/{self._key}:{verb}", answer, token=token, body=body)
        except ProviderUnreachable as error:
            raise KeyServiceAway(f"{self.name} cannot be asked: {error.message}", _REACH) from error
        except Answered as error:
            self._told(error, verb)

    def _told(self, error: Answered, verb: str) -> Never:
        """Raises what the error means to whoever needs the key."""
        said = f"{self.name} answers {error.status or error.http_status}: {error.message}"
        right = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
        match error.http_status, error.status:
            case 400, "INVALID_ARGUMENT" if "checksum" in error.message.lower():
                raise KeyServiceAway(f"What {self.name} was asked is damaged on the way.", _REACH) from error
            case 400, "INVALID_ARGUMENT" if verb == "decrypt":
                raise WrappingForged(
                    f"The key was not wrapped by {self.name} for this, or was changed since."
                ) from error
            case 400 | 403 | 404, _:
                remedy = f"See that the key's primary version is enabled and that this service has {right} on it."
                raise KeyServiceRefused(said, remedy) from error
            case 401, _:
                self._token = None  # Read anew: what gives tokens may have been changed.
                raise KeyServiceAway(said, _CREDENTIALS) from error
            case _:
                raise KeyServiceAway(said, _REACH, retry_after_seconds=error.retry_in_seconds or 5.0) from error

    async def _bearer(self) -> str:
        """A token of whoever this process is to Google. Raises KeyServiceAway."""
        try:
            # One at a time: whoever is the first in the library to ask, and gives up, gives up for all who wait with it.
            async with self._reading:
                if self._token is None:
                    given = await asyncio.to_thread(_credentials, self._environment.get(_KEYS_FILE, ""))
                    session: Any = self._wire.session  # Declared as requests' own, and meant to be aiohttp's as well.
                    self._token = Token(service_file=given, session=session, scopes=[SCOPE])
                text = await self._token.get()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError) as error:
            said = str(error) or type(error).__name__
            raise KeyServiceAway(f"{self.name} cannot be asked without a token: {said}", _CREDENTIALS) from error
        if not text:
            raise KeyServiceAway(f"{self.name} cannot be asked without a token.", _CREDENTIALS)
        return text


_REACH = "See that cloudkms.googleapis.com is reached from here, and whether Google tells of an outage."
_CREDENTIALS = (
    "See that this process is somebody to Google: a service account of the machine or the cluster, or the file that"
    f" {_KEYS_FILE} names."
)


def is_key(name: str) -> bool:
    """Whether it names a key as Cloud KMS does."""
    return _NAME.fullmatch(name) is not None


def _credentials(path: str) -> io.StringIO | None:
    """The file that the operator names, in which the library wants to be told of what kind the source of a token is.

    Raises OSError, ValueError.
    """
    if not path:
        return None
    data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object.")  # noqa: TRY004 - of a file's content, not of an argument
    source = data.get("credential_source")
    if isinstance(source, dict) and "type" not in source:
        source["type"] = next((kind for kind in ("file", "url") if kind in source), "")
    return io.StringIO(json.dumps(data))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
