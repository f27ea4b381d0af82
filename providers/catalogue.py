"""The providers there are: the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from domain.clouds import ProviderName
from process.sockets import socket_directory
from providers.local.client import SOCKET_NAME, AgentSocket, LocalProvider
from providers.provider import Provider


class Clouds(msgspec.Struct, frozen=True, kw_only=True):
    """Every provider by name, and the connections they share. Make one a process, close it at the end."""

    providers: dict[ProviderName, Provider]
    agent: AgentSocket

    async def close(self) -> None:
        """End the connections."""
        await self.agent.close()


def clouds(data_dir: Path, functions_origin: Callable[[], str]) -> Clouds:
    """All providers. `functions_origin` says, when asked, under which URL this machine's functions answer."""
    agent = AgentSocket(socket_directory(data_dir) / SOCKET_NAME)
    return Clouds(providers={"local": LocalProvider(agent, functions_origin)}, agent=agent)
