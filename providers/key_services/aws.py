"""AWS KMS: Encrypt and Decrypt with an encryption context, as whoever Amazon's library finds this process to be."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Never

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
)

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey, WrappingForged

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

PREFIX = "aws-kms:"
CONNECT_SECONDS_MAX = 2
ANSWER_SECONDS_MAX = 4

_ARN = re.compile(
    r"(?P<account>arn:(?P<partition>aws[a-z-]*):kms:(?P<region>[a-z0-9-]+):[0-9]{12}:)(?P<kind>key|alias)/[A-Za-z0-9/_-]{1,256}"
)

# What was wrapped is not what is unwrapped: another context, or other bytes.
_FORGED = {"InvalidCiphertextException", "IncorrectKeyException"}
# Whoever manages the key says no; everything else may be over in a moment.
_REFUSED = {
    "AccessDeniedException",
    "DisabledException",
    "InvalidArnException",
    "InvalidKeyUsageException",
    "KMSInvalidStateException",
    "NotFoundException",
    "ValidationException",
}
# Amazon does not know who asks, or not any more; credentials that have come since are found by a new session only.
_NOBODY = {"ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId", "UnrecognizedClientException"}


class AwsKeyService:
    """One symmetric key of AWS KMS, by its ARN or an alias's. Its rotation, automatic or not, is Amazon's own affair.

    The key is named when something is decrypted as well, so that no other key that this process may use stands in for it;
    what an alias led to when it wrapped is noted, and must be of the alias's account and region.
    """

    def __init__(self, arn: str, endpoints: str | None = None) -> None:
        """`arn` fits `is_key`; `endpoints` is a URL with `{service}` in it, or None for Amazon's own addresses."""
        found = _ARN.fullmatch(arn)
        assert found is not None, "checked when settings were read"
        self._arn, self._account, self._region = arn, found["account"], found["region"]
        self._by_alias = found["kind"] == "alias"
        self._endpoint = endpoints.replace("{service}", "kms") if endpoints else None
        self._session: AioSession | None = None
        self._client: Any = None
        self._making = asyncio.Lock()
        self._open = AsyncExitStack()

    @property
    def name(self) -> str:
        return PREFIX + self._arn

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        client = await self._made()
        try:
            answer = await client.encrypt(KeyId=self._arn, Plaintext=key, EncryptionContext=context.pairs())
        except (ClientError, BotoCoreError) as error:
            await self._look_for_credentials_again(client, error)
            self._told(error, "kms:Encrypt")
        return WrappedKey(self.name, answer["KeyId"], answer["CiphertextBlob"])

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        if not self._is_ours(wrapped.version):
            raise WrappingForged(f"The key was not wrapped by {self.name}.")
        client = await self._made()
        try:
            answer = await client.decrypt(
                KeyId=wrapped.version, CiphertextBlob=wrapped.content, EncryptionContext=context.pairs()
            )
        except (ClientError, BotoCoreError) as error:
            await self._look_for_credentials_again(client, error)
            self._told(error, "kms:Decrypt")
        key: bytes = answer["Plaintext"]
        return key

    async def close(self) -> None:
        self._client = self._session = None
        await self._open.aclose()

    async def _look_for_credentials_again(self, client: Any, error: ClientError | BotoCoreError) -> None:
        """A client keeps the credentials it was made with, none included: should it be those, the next call has a new one."""
        code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
        if code not in _NOBODY and not isinstance(error, NoCredentialsError | CredentialRetrievalError):
            return
        async with self._making:
            if self._client is client:
                await self.close()

    def _is_ours(self, arn: str) -> bool:
        if not self._by_alias:
            return arn == self._arn
        found = _ARN.fullmatch(arn)
        return found is not None and found["account"] == self._account and found["kind"] == "key"

    async def _made(self) -> Any:
        """The client, made when first asked for. Raises KeyServiceAway when this process is nobody to Amazon."""
        async with self._making:
            if self._client is None:
                if self._session is None:
                    self._session = await asyncio.to_thread(_session)
                try:
                    self._client = await self._open.enter_async_context(self._opened(self._session))
                except BotoCoreError as error:
                    self._told(error, "kms:Decrypt")
            return self._client

    def _opened(self, session: AioSession) -> Any:
        from aiobotocore.config import AioConfig

        config = AioConfig(
            connect_timeout=CONNECT_SECONDS_MAX,
            read_timeout=ANSWER_SECONDS_MAX,
            # Who asks tries again by itself, within a limit of all its attempts together.
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra="dart-cloud-functions",
        )
        return session.create_client("kms", region_name=self._region, endpoint_url=self._endpoint, config=config)

    def _told(self, error: ClientError | BotoCoreError, action: str) -> Never:
        """Raises what the error means to whoever needs the key."""
        if isinstance(error, ParamValidationError):  # No ciphertext is empty, or as long as that.
            raise WrappingForged(f"The key was not wrapped by {self.name}.") from error
        if not isinstance(error, ClientError):
            raise KeyServiceAway(f"{self.name} cannot be asked: {error}", _CREDENTIALS) from error
        code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        said = f"{self.name} answers {code}{f': {message}' if message else ''}"
        if code in _FORGED:
            raise WrappingForged(f"The key was not wrapped by {self.name} for this, or was changed since.") from error
        if code in _REFUSED:
            raise KeyServiceRefused(said, f"See that the key is enabled and lets this service {action}.") from error
        raise KeyServiceAway(said, _CREDENTIALS) from error


_CREDENTIALS = (
    "See that the address of KMS is reached from here, and that this process has credentials by the means of Amazon's"
    " library (a role of the machine, the container or the cluster, or AWS_* variables)."
)


def is_key(arn: str) -> bool:
    """Whether it names a key, or an alias of one, as AWS KMS does."""
    return _ARN.fullmatch(arn) is not None


def _session() -> AioSession:
    """Loads Amazon's library, which takes a moment."""
    from aiobotocore.session import get_session

    return get_session()
