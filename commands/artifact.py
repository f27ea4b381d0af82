"""Commands about artifacts."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.artifact import ARTIFACT, ArtifactDiscarded, ArtifactStaged, DockerfileFacts, Kept, artifact_id
from domain.clouds import ProviderName, provider_of
from domain.event import Decision
from domain.integration import INTEGRATION, StorageNotConfigured, integration_id
from domain.project import PROJECT, require_open
from domain.release import ArtifactKind


class StageArtifact(Command, frozen=True, kw_only=True, tag="StageArtifact"):
    """The bytes are stored already; this records that they are an artifact of the project."""

    project_id: UUID
    kind: ArtifactKind
    file_name: str
    digest: str
    size_bytes: int
    provider: ProviderName | None = None
    sdk_constraint: str | None = None
    has_main: bool | None = None
    dockerfile: DockerfileFacts | None = None
    kept: Kept | None = None

    @property
    def artifact_id(self) -> UUID:
        return artifact_id(self.project_id, self.kind, self.file_name, self.digest)


class DiscardArtifact(Command, frozen=True, kw_only=True, tag="DiscardArtifact"):
    """Asked by a runner that found nothing that needs the file."""

    artifact_id: UUID
    retention_days: int


ArtifactCommand = StageArtifact | DiscardArtifact


def reads(command: ArtifactCommand) -> Reads:
    if isinstance(command, StageArtifact):
        yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
    yield ARTIFACT, ARTIFACT.stream(command.tenant_id, command.artifact_id)


def decide(command: ArtifactCommand, states: States) -> Decision:
    match command:
        case StageArtifact():
            return _stage(command, states)
        case DiscardArtifact():
            return _discard(command, states)
        case _:
            assert_never(command)


def _stage(command: StageArtifact, states: States) -> Decision:
    require_open(states.of(PROJECT, command.tenant_id, command.project_id))
    stream = ARTIFACT.stream(command.tenant_id, command.artifact_id)
    known = states.at(ARTIFACT, stream)
    if command.kept is not None:
        _require_configured(command, command.kept, states)
    if known.exists and not known.discarded and known.kept == command.kept:
        return Decision()  # The same file twice is one artifact.
    staged = ArtifactStaged(
        project_id=command.project_id,
        kind=command.kind,
        file_name=command.file_name,
        digest=command.digest,
        size_bytes=command.size_bytes,
        provider=command.provider,
        sdk_constraint=command.sdk_constraint,
        has_main=command.has_main,
        dockerfile=command.dockerfile,
        kept=command.kept,
    )
    return Decision(facts=facts(stream, staged))


def _require_configured(command: StageArtifact, kept: Kept, states: States) -> None:
    """While the bytes were on their way the project may have been disconnected, or have moved."""
    integration = states.of(
        INTEGRATION, command.tenant_id, integration_id(command.project_id, provider_of(kept.storage))
    )
    if integration.storage != kept.storage:
        raise StorageNotConfigured


def _discard(command: DiscardArtifact, states: States) -> Decision:
    stream = ARTIFACT.stream(command.tenant_id, command.artifact_id)
    known = states.at(ARTIFACT, stream)
    if not known.exists or known.discarded:
        return Decision()
    discarded = ArtifactDiscarded(retention_days=command.retention_days, size_bytes=known.size_bytes)
    return Decision(facts=facts(stream, discarded))


ARTIFACTS = Decider(commands=(StageArtifact, DiscardArtifact), reads=reads, decide=decide)
