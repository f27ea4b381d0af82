"""Calls of Amazon's APIs: one client for each service and region, which signs as whoever the call is made for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import aioboto3
import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError

from providers.aws.errors import answered, unanswered

CONNECT_SECONDS_MAX = 5
ANSWER_SECONDS_MAX = 25
CONNECTIONS_MAX = 50


class Keys(msgspec.Struct, frozen=True):
    """What STS gave for one role. `expires_at` is in seconds since 1970."""

    access_key: str
    secret_key: str
    session_token: str
    expires_at: float

    def __repr__(self) -> str:
        return "Keys(********)"


# Whom the call under way is made for. There is no default: a call for nobody is never signed.
_ACTING: ContextVar[Keys] = ContextVar("aws_keys")


@contextmanager
def acting(keys: Keys) -> Iterator[None]:
    """Calls inside the block are signed with these keys."""
    token = _ACTING.set(keys)
    try:
        yield
    finally:
        _ACTING.reset(token)


class _Acting(AioCredentials):  # type: ignore[misc] # aiobotocore ships no types
    """The credentials of whom the call is made for, so that one client serves every tenant."""

    def __init__(self) -> None:
        super().__init__("nobody", "nobody")

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = _ACTING.get()
        return ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.session_token, None)


class _Session(AioSession):  # type: ignore[misc] # aiobotocore ships no types
    """Looks for no credentials on this machine: what lies in its environment or its metadata service is not the tenant's."""

    async def get_credentials(self) -> AioCredentials:
        return _Acting()


class Wire:
    """The way to Amazon. `endpoints` is a URL with `{service}` in it, or None for Amazon's own addresses.

    Make one a process, close it at the end.
    """

    def __init__(self, endpoints: str | None = None) -> None:
        self._endpoints = endpoints
        self._session = aioboto3.Session(botocore_session=_Session())
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = asyncio.Lock()
        self._open = AsyncExitStack()

    async def close(self) -> None:
        """End the connections."""
        self._clients.clear()
        await self._open.aclose()

    async def call(self, service: str, region: str, call: str, **parameters: Any) -> Any:
        """The answer to one call, such as `create_function`. Raises Answered for an error, and for none
        ProviderUnreachable; ProviderRefused for parameters that Amazon's own model refuses."""
        client = await self.client(service, region)
        try:
            return await getattr(client, call)(**parameters)
        except ClientError as error:
            raise answered(error) from error
        except BotoCoreError as error:
            raise unanswered(error) from error

    async def client(self, service: str, region: str) -> Any:
        """The client of a service in a region, made when first asked for."""
        if (made := self._clients.get((service, region))) is not None:
            return made
        async with self._making:
            if (service, region) not in self._clients:
                self._clients[service, region] = await self._made(service, region)
            return self._clients[service, region]

    async def _made(self, service: str, region: str) -> Any:
        config = AioConfig(
            connect_timeout=CONNECT_SECONDS_MAX,
            read_timeout=ANSWER_SECONDS_MAX,
            max_pool_connections=CONNECTIONS_MAX,
            # The runner tries again under a budget of its own; an attempt in here would hide what was lost.
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path" if self._endpoints else "auto"},
            user_agent_extra="dart-cloud-functions",
            ignore_configured_endpoint_urls=True,
        )
        endpoint = self._endpoints.replace("{service}", service) if self._endpoints else None
        opened = self._session.client(service, region_name=region, config=config, endpoint_url=endpoint)
        return await self._open.enter_async_context(opened)
