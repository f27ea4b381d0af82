"""The customer's Google Cloud as one of our projects may use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from domain.clouds import GcpIdentity, GcpStorage, GcpTarget
from providers.gcp.errors import Answered, told
from providers.gcp.identity import Tokens, Whose
from providers.gcp.wire import Wire
from providers.provider import Order, ProviderRefused

T = TypeVar("T")


class Account:
    """Calls made as the service account of one project's integration."""

    def __init__(self, wire: Wire, tokens: Tokens, tenant_id: UUID, project_id: UUID, identity: GcpIdentity) -> None:
        self.wire, self.identity = wire, identity
        self._tokens, self._tenant_id, self._project_id = tokens, tenant_id, project_id

    @property
    def whose(self) -> Whose:
        """The tenant, the project and the identity."""
        return self._tenant_id, self._project_id, self.identity

    async def token(self) -> str:
        """An access token. Raises ProviderRefused or ProviderBusy."""
        return await self._tokens.of(self._tenant_id, self._project_id, self.identity)

    async def call(
        self,
        method: str,
        service: str,
        path: str,
        answer: type[T],
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> T:
        """The answer to one call. Raises Answered, ProviderRefused, ProviderBusy or ProviderUnreachable."""
        token = await self.token()
        try:
            return await self.wire.call(method, service, path, answer, token=token, query=query, body=body)
        except Answered as error:
            if error.http_status == 401:
                self.forget_token()
            error.of(service, path)
            raise

    async def found(
        self,
        method: str,
        service: str,
        path: str,
        answer: type[T],
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> T | None:
        """The answer to one call, or None when there is no such thing."""
        try:
            return await self.call(method, service, path, answer, query=query, body=body)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise

    def forget_token(self) -> None:
        self._tokens.forget(self._tenant_id, self._project_id, self.identity)


class told_apart:  # noqa: N801 - read as a phrase: async with told_apart(identity)
    """Turns Google's errors into what the port of the clouds declares."""

    def __init__(self, identity: GcpIdentity) -> None:
        self._identity = identity

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Answered):
            raise told(error, self._identity) from error


def identity_of(order: Order) -> GcpIdentity:
    """The order's identity. Raises ProviderRefused when the project is not connected to Google Cloud."""
    if not isinstance(order.identity, GcpIdentity):
        raise ProviderRefused(
            "provider_not_connected", "The project is not connected to Google Cloud.", "Connect and verify it again."
        )
    return order.identity


def bucket_of(order: Order) -> str:
    """The bucket the order stages in. Raises ProviderRefused when there is none."""
    if not isinstance(order.storage, GcpStorage):
        raise ProviderRefused(
            "storage_not_configured", "The project has no bucket.", "Check and save one: POST …/gcp/bucket/check."
        )
    return order.storage.bucket


def target_of(order: Order) -> GcpTarget:
    """The order's target. Raises ProviderRefused for that of another cloud."""
    target = order.release.target
    if not isinstance(target, GcpTarget):
        raise ProviderRefused("provider_mismatch", "This is no target of Google Cloud.", "Deploy again.")
    return target
