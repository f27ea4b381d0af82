"""`python -m providers.local`: the agent of this machine, reached over a Unix socket only its user may use."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import structlog
from prometheus_client import REGISTRY

from process import logs
from process.health import Health
from process.master_key import MasterKeyUnusable, local_keys
from process.ports import AddressUnusable, PortTaken, listen_again
from process.serving import serving
from process.settings import SettingInvalid, Settings
from process.sockets import SocketDirectoryUnsafe, socket_directory
from process.stopping import stop_requested
from providers.key_services.catalogue import key_ring
from providers.local.agent_key import FileWrappedKey
from providers.local.client import SOCKET_NAME
from providers.local.composition import Plan, agent
from providers.local.engine import EngineName
from providers.local.store import AgentRunning, Store
from providers.local.unix_socket import listen

# Where everybody of the machine may put something: functions of all tenants are one user.
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - they become invisible
# What is left of the time to stop after the functions had theirs.
RESERVE_SECONDS = 1.0


def main() -> int:
    """Run until SIGTERM; 1 when it cannot be started."""
    try:
        settings = Settings.from_environment(os.environ)
        logs.set_up("agent", style=settings.log_format, level=settings.log_level)
        asyncio.run(_run(settings))
    except (
        SettingInvalid,
        PortTaken,
        AddressUnusable,
        SocketDirectoryUnsafe,
        AgentRunning,
        MasterKeyUnusable,
    ) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _run(settings: Settings) -> None:
    store = Store(settings.data_dir / "agent")
    store.own()  # Before anything that an agent already running could notice.
    port = listen_again(
        settings.host, settings.agent_port, variable="DCF_AGENT_PORT", name="agent", data_dir=settings.data_dir
    )
    with stop_requested() as stop:
        async with agent(_plan(settings), store) as door:
            listener = listen(socket_directory(settings.data_dir) / SOCKET_NAME)
            REGISTRY.register(door.metrics)
            health = Health({"store": door.ready})
            async with serving(door, listener), serving(health, port):
                structlog.get_logger().info("agent_ready", health_port=port.getsockname()[1])
                await stop.wait()


def _plan(settings: Settings) -> Plan:
    keys = local_keys(settings, "agent-secrets")
    closes = settings.master_key_service is None
    return Plan(
        toolchain_dir=settings.toolchains,
        environment={key: value for key, value in os.environ.items() if not key.startswith("DCF_")},
        hidden=hidden_from_functions(settings, os.environ),
        secret_key=keys.current if closes else None,
        former_secret_keys=keys.former if closes or keys.current is None else (keys.current, *keys.former),
        ring=key_ring(settings, FileWrappedKey(settings.data_dir / "agent" / "wrapped-key.json")),
        outbound=settings.functions_outbound,
        only_engine=_engine(settings.local_engine),
        container_network=settings.container_network,
        stop_seconds_max=max(1.0, settings.stop_seconds_max - RESERVE_SECONDS),
    )


def hidden_from_functions(settings: Settings, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Our own data, keys and sockets; the home of our user, where people keep theirs; and where the machine's services have
    their sockets, an engine's among them that does as root what it is asked, and a database's; and where functions could leave each other something."""
    home = Path(environment.get("HOME") or "/")
    others = [Path("/run"), *SHARED, *([home] if home.is_absolute() and len(home.parts) > 1 else ())]
    return (settings.data_dir, socket_directory(settings.data_dir), *others)


def _engine(given: str | None) -> EngineName | None:
    for name in get_args(EngineName):
        if name == given:
            chosen: EngineName = name
            return chosen
    if given is None:
        return None
    raise SettingInvalid("DCF_LOCAL_ENGINE", f"must be one of {', '.join(get_args(EngineName))}")


if __name__ == "__main__":
    sys.exit(main())
