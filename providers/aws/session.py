"""Amazon's library, loaded by whoever calls Amazon first: it takes a fifth of what a process would load."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.credentials import ReadOnlyCredentials

from providers.aws.keys import Keys

CONNECT_SECONDS_MAX = 5
ANSWER_SECONDS_MAX = 25
CONNECTIONS_MAX = 50


class Session:
    """Makes clients whose calls are signed with what `acting` gives at that moment."""

    def __init__(self, endpoints: str | None, acting: Callable[[], Keys]) -> None:
        self._endpoints = endpoints
        self._session = aioboto3.Session(botocore_session=_Session(_Acting(acting)))

    def client(self, service: str, region: str) -> AbstractAsyncContextManager[Any]:
        """The client of a service in a region."""
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
        client: AbstractAsyncContextManager[Any] = self._session.client(
            service, region_name=region, config=config, endpoint_url=endpoint
        )
        return client


class _Acting(AioCredentials):  # type: ignore[misc] # aiobotocore ships no types
    """The credentials of whom the call is made for, so that one client serves every tenant."""

    def __init__(self, acting: Callable[[], Keys]) -> None:
        super().__init__("nobody", "nobody")
        self._acting = acting

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = self._acting()
        return ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.session_token, None)


class _Session(AioSession):  # type: ignore[misc] # aiobotocore ships no types
    """Looks for no credentials on this machine: what lies in its environment or its metadata service is not the tenant's."""

    def __init__(self, acting: _Acting) -> None:
        super().__init__()
        self._acting = acting

    async def get_credentials(self) -> AioCredentials:
        return self._acting
