"""The agent put together from its settings, for as long as a block runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from process.key_ring import KeyRing
from providers.local.agent import Agent
from providers.local.agent_key import keep_wrapped, unlock
from providers.local.builder import Builder
from providers.local.caller import Caller
from providers.local.confinement import Confinement
from providers.local.door import Door
from providers.local.engine import EngineName, Surroundings
from providers.local.fleet import AGENT_VARIABLE, Fleet
from providers.local.keeper import Patience
from providers.local.ledger import Ledger
from providers.local.outbound import Outbound
from providers.local.relay import session
from providers.local.routes import RouteTable
from providers.local.secrets import AgentSecrets
from providers.local.store import Store
from providers.local.toolchain import Toolchains

log = structlog.get_logger()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is made from. `environment` is what build commands see, `hidden` what functions must not."""

    toolchain_dir: Path
    environment: Mapping[str, str]
    hidden: tuple[Path, ...]
    # 32 bytes that close what the functions' secrets are on disk, the same ones at every start; None where the ring gives them.
    secret_key: bytes | None
    former_secret_keys: tuple[bytes, ...] = ()
    # Where a key service holds the master key: what gives the agent a key of its own, once the service answers.
    ring: KeyRing | None = None
    # Where functions with a network of their own get to: the web by a proxy, or nowhere. `all`: they have none of their own.
    outbound: Literal["web", "none", "all"] = "web"
    only_engine: EngineName | None = None
    # The network that podman or docker give builds and functions; empty for the engine's own choice.
    container_network: str = ""
    stop_seconds_max: float = 10.0
    patience: Patience = Patience()


@asynccontextmanager
async def agent(plan: Plan, store: Store) -> AsyncIterator[Door]:
    """A running agent's door. Leaving the block ends every process it runs, and gives up the store.

    Raises AgentRunning when another agent owns the store.
    """
    name = store.own()
    ledger = Ledger(store)
    routes = RouteTable(store, store.routes())
    toolchains = Toolchains(_surroundings(plan), plan.only_engine)
    client = session()
    path = plan.environment.get("PATH", "")
    confinement = await Confinement.probe(plan.hidden, store.folder, path, own_network=plan.outbound != "all")
    builder = Builder(store, ledger, {**plan.environment, AGENT_VARIABLE: name}, confinement)
    secrets = AgentSecrets(plan.secret_key, plan.former_secret_keys)
    fleet = Fleet(
        store,
        ledger,
        toolchains,
        client,
        name=name,
        environment=plan.environment,
        confinement=confinement,
        outbound=Outbound() if plan.outbound == "web" else None,
        patience=plan.patience,
        secrets=secrets,
    )
    caller = Caller(routes, fleet)
    unlocking: asyncio.Task[None] | None = None
    working = Agent(store, ledger, toolchains, builder, fleet, routes, secrets)
    try:
        await working.start()
        if plan.ring is not None:
            unlocking = asyncio.create_task(_see_to_the_key(plan.ring, secrets, working))
        yield Door(working, store, toolchains, routes, fleet, caller)
    finally:
        if unlocking is not None:
            unlocking.cancel()
        if plan.ring is not None:
            await plan.ring.close()
        await working.stop(plan.stop_seconds_max)
        await client.close()


async def _see_to_the_key(ring: KeyRing, secrets: AgentSecrets, working: Agent) -> None:
    try:
        await unlock(ring, secrets, working.close_anew)
        await keep_wrapped(ring)
    except Exception:
        log.exception("agent_key_given_up")


def _surroundings(plan: Plan) -> Surroundings:
    return Surroundings(
        search_path=plan.environment.get("PATH", ""),
        environment=plan.environment,
        toolchain_dir=plan.toolchain_dir,
        dart_home=plan.environment.get("DART_HOME", ""),
        network=plan.container_network,
    )
