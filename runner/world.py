"""All that a runner works with, given to it at composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from uuid import UUID

import msgspec

from domain.deployment import Deployment
from eventstore.build_logs import BuildLogs
from eventstore.contents import Contents
from eventstore.log import Log
from eventstore.sealing import Sealing
from eventstore.secret_values import SecretVault
from process.key_ring import KeyRing
from providers.provider import Observation, Provider
from runner.metrics import Metrics
from runner.plan import Step, next_step

Plan = Callable[[Deployment, Observation | None, datetime], Step]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """`redact` is given every text a build said before it is written."""

    log: Log
    providers: Mapping[str, Provider]
    contents: Contents
    build_logs: BuildLogs
    secrets: SecretVault
    sealing: Sealing
    clock: Callable[[], datetime]
    random: Random
    new_id: Callable[[], UUID]
    metrics: Metrics
    redact: Callable[[str], str]
    # The tenants' keys, where a key service wraps them.
    ring: KeyRing | None = None
    plan: Plan = next_step


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment this runner has, until its lease ends or another runner has a higher epoch."""

    tenant_id: UUID
    deployment_id: UUID
    function_id: UUID
    epoch: int
    runner_id: str
