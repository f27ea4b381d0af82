"""Puts a runner together from what it is given: stores and clouds that are real, or in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from uuid import UUID

import msgspec
from prometheus_client import CollectorRegistry

from commands.basis import CODEC
from eventstore.build_logs import BuildLogs, MemoryBuildLogs
from eventstore.contents import Contents, MemoryContents
from eventstore.leases import Leases, MemoryLeases
from eventstore.log import Log
from eventstore.memory import MemoryLog
from eventstore.sealing import MemoryPersonKeys, Sealing
from eventstore.secret_values import KEY_BYTES, MemorySecretStore, SecretVault
from eventstore.ticks import MemoryTicks, Ticks
from eventstore.webhook_deliveries import Deliveries, MemoryDeliveries
from process.key_ring import KeyRing
from process.logs import redact
from projections.artifacts import ARTIFACTS
from projections.deployment_events import DEPLOYMENT_EVENTS
from projections.deployments import DEPLOYMENTS
from projections.functions import FUNCTIONS
from projections.integrations import INTEGRATIONS
from projections.memory_reader import MemoryReader
from projections.plans import PLANS
from projections.projects import PROJECTS
from projections.reader import Reader
from projections.schedules import SCHEDULES
from projections.tenants import TENANTS
from projections.webhooks import WEBHOOKS
from projections.work import WORK
from providers.provider import Provider
from runner.drift import Drift
from runner.duties import Duties
from runner.loop import Runner
from runner.metrics import Metrics
from runner.plan import next_step
from runner.propagation import Propagation
from runner.retention import Retention
from runner.schedules import Schedules
from runner.webhook_sender import Sender
from runner.webhooks import Webhooks
from runner.work_list import ProjectedWork
from runner.world import Plan, World

# What a runner asks, itself or by its duties.
MODELS = (
    WORK,
    SCHEDULES,
    DEPLOYMENTS,
    INTEGRATIONS,
    TENANTS,
    PLANS,
    PROJECTS,
    FUNCTIONS,
    ARTIFACTS,
    WEBHOOKS,
    DEPLOYMENT_EVENTS,
)


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """What runners share: two runners with the same stores work on the same deployments."""

    log: Log
    reader: Reader
    leases: Leases
    contents: Contents
    build_logs: BuildLogs
    secrets: SecretVault
    sealing: Sealing
    ticks: Ticks
    deliveries: Deliveries
    # The tenants' keys, where a key service wraps them.
    ring: KeyRing | None = None


def stores_in_memory(clock: Callable[[], datetime]) -> Stores:
    """Stores that live as long as the process, under the caller's clock."""
    log = MemoryLog(clock)
    return Stores(
        log=log,
        reader=MemoryReader(log, CODEC, MODELS),
        leases=MemoryLeases(clock),
        contents=MemoryContents(clock),
        build_logs=MemoryBuildLogs(clock),
        secrets=SecretVault(MemorySecretStore(), key=bytes(KEY_BYTES)),
        sealing=Sealing(MemoryPersonKeys()),
        ticks=MemoryTicks(clock),
        deliveries=MemoryDeliveries(),
    )


def make_runner(
    stores: Stores,
    providers: Mapping[str, Provider],
    *,
    clock: Callable[[], datetime],
    random: Random,
    new_id: Callable[[], UUID],
    registry: CollectorRegistry,
    sender: Sender,
    deployments_max: int,
    drift_seconds: float = 300.0,
    retention_seconds: float = 3600.0,
    plan: Plan = next_step,
) -> Runner:
    """A runner of its own name. Start it with `run`. `drift_seconds` is how long clouds are left alone between two looks,
    `retention_seconds` how long nothing is taken away between two rounds."""
    world = World(
        log=stores.log,
        providers=providers,
        contents=stores.contents,
        build_logs=stores.build_logs,
        secrets=stores.secrets,
        sealing=stores.sealing,
        ring=stores.ring,
        clock=clock,
        random=random,
        new_id=new_id,
        metrics=Metrics(registry),
        redact=without_secrets,
        plan=plan,
    )
    runner_id = new_id()
    schedules = Schedules(stores.reader, stores.ticks, providers, clock=clock, random=random, metrics=world.metrics)
    drift = Drift(stores.reader, world, runner_id=runner_id, pause_seconds=drift_seconds)
    retention = Retention(
        stores.reader,
        stores.ticks,
        stores.deliveries,
        world,
        runner_id=runner_id,
        pause_seconds=retention_seconds,
    )
    propagation = Propagation(stores.reader, world, runner_id=runner_id)
    webhooks = Webhooks(stores.reader, stores.deliveries, sender, world, runner_id=runner_id)
    duties = Duties(
        (schedules, drift, retention, propagation, webhooks), stores.leases, runner_id=runner_id, random=random
    )
    work = ProjectedWork(stores.reader)
    return Runner(world, work, stores.leases, duties, runner_id=runner_id, deployments_max=deployments_max)


def without_secrets(text: str) -> str:
    """The text without what looks like a credential."""
    return str(redact(None, "", {"text": text})["text"])
