"""The providers there are: the only place that lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from domain.clouds import ProviderName
from process.settings import Settings
from process.sockets import socket_directory
from providers.aws.provider import AwsProvider
from providers.azure.provider import AzureProvider
from providers.gcp.provider import GcpProvider
from providers.issuer import Issuer, ProjectedToken, token_source
from providers.local.client import SOCKET_NAME, AgentSocket, LocalProvider
from providers.provider import Provider


class Clouds(msgspec.Struct, frozen=True, kw_only=True):
    """Every provider by name, and what they share. Make one a process, close it at the end."""

    providers: dict[ProviderName, Provider]
    agent: AgentSocket
    token_source: Issuer | ProjectedToken
    closing: tuple[Callable[[], Awaitable[None]], ...]

    async def close(self) -> None:
        """End the connections."""
        for close in self.closing:
            await close()


def clouds(settings: Settings, *, public_url: Callable[[], str], functions_url: Callable[[], str]) -> Clouds:
    """All providers. The URLs are those of the API and of this machine's functions, told when asked.

    Raises SocketDirectoryUnsafe.
    """
    agent = AgentSocket(socket_directory(settings.data_dir) / SOCKET_NAME)
    tokens = token_source(
        public_url,
        data_dir=settings.data_dir,
        keys_file=settings.issuer_keys_file,
        token_file=settings.identity_token_file,
    )
    gcp = GcpProvider(tokens, settings.gcp_endpoints)
    aws = AwsProvider(tokens, settings.aws_endpoints)
    azure = AzureProvider(tokens, settings.azure_endpoints)
    return Clouds(
        providers={"local": LocalProvider(agent, functions_url), "gcp": gcp, "aws": aws, "azure": azure},
        agent=agent,
        token_source=tokens,
        closing=(agent.close, gcp.close, aws.close, azure.close),
    )
