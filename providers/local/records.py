"""What the agent remembers on disk: one record a deployment, one route a function."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from domain.release import Access
from providers.local.engine import EngineName
from providers.provider import Build, Bundle, Image, Order

Wanted = Literal["nothing", "running", "stopped", "withdrawn"]


class ProcessMark(msgspec.Struct, frozen=True, kw_only=True):
    """A process as it can be recognised again: the same number, started at the same tick of the same boot."""

    pid: int
    start_ticks: int
    boot_id: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for one deployment and how far it came. `wanted` is what should be true of its process."""

    order: Order
    bundle: Bundle | None = None
    files: dict[str, str] = msgspec.field(default_factory=dict)  # Name in the build folder to digest.
    engine: EngineName | None = None
    build: Build | None = None
    build_process: ProcessMark | None = None
    built_digest: str = ""  # Of the output file, under which it is stored.
    image: Image | None = None
    wanted: Wanted = "nothing"
    sealed_secrets: str = ""  # What providers.local.secrets closed.
    process: ProcessMark | None = None
    port: int = 0

    @property
    def id(self) -> UUID:
        return self.order.deployment_id

    @property
    def name(self) -> str:
        """What the deployment's things are called in a container engine."""
        return f"dcf-{self.id}"


class Route(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a function answers. `number` is the highest that ever served, and stays when nothing serves any more."""

    function_id: UUID
    tenant_id: UUID
    project_id: UUID
    address: tuple[str, str, str]
    access: Access
    number: int
    deployment_id: UUID | None
    request_seconds_max: int
