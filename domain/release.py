"""Everything a deployment pins, so that it can be made again exactly."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from domain.clouds import ProviderName, Target

ArtifactKind = Literal["code", "docker", "yaml"]
Access = Literal["private", "public"]


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """How a function is set in motion, and the settings the catalog's schema asks for."""

    type: str = "http"
    settings: dict[str, object] = msgspec.field(default_factory=dict)


class SourceRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One artifact file of a release. `digest` is `sha256:` and 64 hexadecimal digits."""

    kind: ArtifactKind
    artifact_id: UUID
    file_name: str
    digest: str
    size_bytes: int


class Toolchain(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What really built and ran the code."""

    engine: str
    version: str
    # The stand-in VM is older than the runtimes offered and has no package resolution.
    stand_in: bool = False


class PinnedImage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an earlier deployment of the function built, and with what."""

    reference: str
    digest: str
    toolchain: Toolchain | None = None


class Inputs(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What of a release its author decides. `artifacts` holds the ids of the files that are named, by kind."""

    runtime: str
    trigger: Trigger
    access: Access
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    secret_versions: dict[str, int] = msgspec.field(default_factory=dict)
    artifacts: dict[ArtifactKind, UUID] = msgspec.field(default_factory=dict)


class Release(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The immutable record of all inputs of a deployment. With an `image` nothing is built: it is run as it is."""

    function_id: UUID
    function_revision: int
    sources: tuple[SourceRef, ...]
    runtime: str
    trigger: Trigger
    access: Access
    environment: dict[str, str]
    secret_versions: dict[str, int] = msgspec.field(default_factory=dict)
    # Under which id each secret's value is kept, closed; the runner alone opens it.
    secret_values: dict[str, UUID] = msgspec.field(default_factory=dict)
    provider: ProviderName
    target: Target
    integration_version: int
    # Where the function answers: /{tenant}/{project}/{function}/ on the functions' origin.
    address: tuple[str, str, str]
    health_path: str = "/"
    start_seconds_max: int = 30
    memory_mb_max: int = 256
    request_seconds_max: int = 60
    image: PinnedImage | None = None

    @property
    def inputs(self) -> Inputs:
        """The part that its author decided."""
        return Inputs(
            runtime=self.runtime,
            trigger=self.trigger,
            access=self.access,
            environment=self.environment,
            secret_versions=self.secret_versions,
            artifacts={source.kind: source.artifact_id for source in self.sources},
        )
