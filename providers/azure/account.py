"""The customer's Azure as one of our projects may use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from domain.clouds import AzureIdentity, AzureStorage, AzureTarget
from providers.azure.errors import Answered, told
from providers.azure.identity import MANAGEMENT, Tokens
from providers.azure.wire import Reply, Wire
from providers.provider import Order, ProviderRefused, ProviderUnreachable

T = TypeVar("T")
# Of a list: what would lie behind these is not looked at.
PAGES_MAX = 50


class Account:
    """Calls made as the application of one project's integration."""

    def __init__(self, wire: Wire, tokens: Tokens, tenant_id: UUID, project_id: UUID, identity: AzureIdentity) -> None:
        self.wire, self.identity = wire, identity
        self.whose = (tenant_id, project_id, identity)
        self._tokens = tokens

    async def token(self, scope: str) -> str:
        """An access token. Raises ProviderRefused or ProviderBusy."""
        return await self._tokens.of(self.whose, scope)

    def forget_token(self, scope: str) -> None:
        self._tokens.forget(self.whose, scope)

    async def ask(
        self,
        method: str,
        path: str,
        version: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        """What Resource Manager answers. Raises Answered, ProviderRefused, ProviderBusy or ProviderUnreachable."""
        return await self.go_on(
            method, f"{self.wire.management}{path}", query={"api-version": version, **(query or {})}, body=body
        )

    async def go_on(self, method: str, url: str, *, query: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        """The same, at an address that Resource Manager gave."""
        if not self.wire.leads_to_management(url):
            raise Answered(502, "Azure names an address that is not its own.")
        token = await self.token(MANAGEMENT)
        try:
            return await self.wire.call(method, url, token=token, query=query, body=body)
        except Answered as error:
            if error.http_status == 401:
                self.forget_token(MANAGEMENT)
            raise

    async def call(self, method: str, path: str, version: str, answer: type[T], **rest: Any) -> T:
        """The answer to one call."""
        return (await self.ask(method, path, version, **rest)).read(answer)

    async def found(self, method: str, path: str, version: str, answer: type[T], **rest: Any) -> T | None:
        """The answer to one call, or None when there is no such thing."""
        try:
            return await self.call(method, path, version, answer, **rest)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise

    async def gone(self, path: str, version: str) -> Reply | None:
        """What is answered to the removal of a thing; None when there is none."""
        try:
            return await self.ask("DELETE", path, version)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise

    async def all(self, path: str, version: str, item: type[T], *, query: Mapping[str, str] | None = None) -> list[T]:
        """All of a list, page after page. Raises like `ask`."""
        held: list[T] = []
        reply = await self.ask("GET", path, version, query=query)
        try:
            for _ in range(PAGES_MAX):
                page = reply.read(_Page)
                held += [msgspec.convert(one, item) for one in page.value]
                if not page.next_link:
                    break
                reply = await self.go_on("GET", page.next_link)
        except msgspec.ValidationError as error:
            raise ProviderUnreachable(f"Azure answered what cannot be read: {error}.") from error
        return held

    async def found_all(
        self, path: str, version: str, item: type[T], *, query: Mapping[str, str] | None = None
    ) -> list[T]:
        """The same; none where what would have them is not there."""
        try:
            return await self.all(path, version, item, query=query)
        except Answered as error:
            if error.http_status == 404:
                return []
            raise


class _Page(msgspec.Struct, rename="camel"):
    value: list[Any] = []
    next_link: str | None = None


class told_apart:  # noqa: N801 - read as a phrase: async with told_apart(identity)
    """Turns Azure's errors into what the port of the clouds declares."""

    def __init__(self, identity: AzureIdentity) -> None:
        self._identity = identity

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Answered):
            raise told(error, self._identity) from error


def identity_of(order: Order) -> AzureIdentity:
    """The order's identity. Raises ProviderRefused when the project is not connected to Azure."""
    if not isinstance(order.identity, AzureIdentity):
        raise ProviderRefused(
            "provider_not_connected", "The project is not connected to Azure.", "Connect and verify it again."
        )
    return order.identity


def storage_of(order: Order) -> AzureStorage:
    """Where the order stages. Raises ProviderRefused when there is no such place."""
    if not isinstance(order.storage, AzureStorage):
        raise ProviderRefused(
            "storage_not_configured", "The project has no container.", "Check and save one: POST …/azure/bucket/check."
        )
    return order.storage


def target_of(order: Order) -> AzureTarget:
    """The order's target. Raises ProviderRefused for what is none of Azure's."""
    target = order.release.target
    if not isinstance(target, AzureTarget):
        raise ProviderRefused("provider_mismatch", "This is no target in Azure.", "Name an Azure target.")
    return target
