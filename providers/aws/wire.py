"""Calls of Amazon's APIs: one client for each service and region, which signs as whoever the call is made for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from providers.aws.errors import answered, unanswered
from providers.aws.keys import Keys

if TYPE_CHECKING:
    from providers.aws.session import Session

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


class Wire:
    """The way to Amazon. `endpoints` is a URL with `{service}` in it, or None for Amazon's own addresses.

    Make one a process, close it at the end.
    """

    def __init__(self, endpoints: str | None = None) -> None:
        self._endpoints = endpoints
        self._session: Session | None = None
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
        if self._session is None:
            self._session = await asyncio.to_thread(_session, self._endpoints)
        return await self._open.enter_async_context(self._session.client(service, region))


def _session(endpoints: str | None) -> Session:
    """Loads Amazon's library, which takes a moment."""
    from providers.aws.session import Session

    return Session(endpoints, _ACTING.get)
