"""An artifact: an uploaded source file, known by the digest of its bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID, uuid5

import msgspec

from domain.clouds import AwsStorage, AzureStorage, GcpStorage, LocalStorage, ProviderName, Storage
from domain.event import Aggregate, Event
from domain.refusal import Conflict, Invalid, NotFound
from domain.release import ArtifactKind


class DockerfileFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a Dockerfile says of the image it makes. `user`, `ports` and `start` are those of the last stage.

    `bases` are the images taken from outside; `start` is how the server is started: as a list of words, or by a shell.
    `secret_names` are variables that, by their name, hold what should not stay in an image.
    """

    bases: tuple[str, ...] = ()
    final_base: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    start: Literal["", "exec", "shell"] = ""
    adds_from_afar: bool = False
    secret_names: tuple[str, ...] = ()


class Kept(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the bytes are in a storage of the project's: under which name."""

    storage: Storage
    name: str

    @property
    def location(self) -> str:
        """The same as its cloud writes it."""
        match self.storage:
            case AwsStorage(bucket=bucket):
                return f"s3://{bucket}/{self.name}"
            case GcpStorage(bucket=bucket):
                return f"gs://{bucket}/{self.name}"
            case AzureStorage(account=account, container=container):
                return f"https://{account}.blob.core.windows.net/{container}/{self.name}"
            case LocalStorage():
                return self.name
            case _:
                assert_never(self.storage)


class ArtifactStaged(Event, frozen=True, kw_only=True, tag="artifact.staged"):
    project_id: UUID
    kind: ArtifactKind
    file_name: str
    digest: str
    size_bytes: int
    # Whose storage was configured: that of none (our own store keeps the bytes), or of a provider.
    provider: ProviderName | None = None
    # Read from a pubspec when it was uploaded: the text of `environment.sdk`.
    sdk_constraint: str | None = None
    # Read from a main.dart: whether it has a `main`; none: not looked at, or it may come from another file.
    has_main: bool | None = None
    # Read from a Dockerfile.
    dockerfile: DockerfileFacts | None = None
    # Where the bytes are; none: in our own store.
    kept: Kept | None = None


class ArtifactDiscarded(Event, frozen=True, kw_only=True, tag="artifact.discarded"):
    """Nothing needed the file for as long as the plan keeps such files: it can no longer be deployed, and its bytes go."""

    retention_days: int
    size_bytes: int


ArtifactEvent = ArtifactStaged | ArtifactDiscarded


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    discarded: bool = False
    project_id: UUID = UUID(int=0)
    kind: ArtifactKind = "code"
    file_name: str = ""
    digest: str = ""
    size_bytes: int = 0
    provider: ProviderName | None = None
    sdk_constraint: str | None = None
    has_main: bool | None = None
    dockerfile: DockerfileFacts | None = None
    kept: Kept | None = None
    created_at: datetime | None = None


class ArtifactUnknown(NotFound):
    """There is no such artifact in this project."""

    code = "artifact_not_found"
    remedy = "Upload the file first and give the `path` or `artifactId` the upload answered with."


class ArtifactOfAnotherKind(Invalid):
    """The artifact was uploaded as another kind of file."""

    code = "artifact_of_another_kind"
    remedy = "Give code_file an upload of code, docker_file one of docker, yaml_file one of yaml."


class ArtifactGone(Invalid):
    """The file is kept no longer: no function names it, and no kept release was made from it."""

    code = "artifact_gone"
    remedy = "Upload the file again; it is then the same artifact as before."


class ArtifactOutOfReach(Conflict):
    """The file lies in a storage of a provider that the project is not connected to any more."""

    code = "artifact_out_of_reach"
    remedy = (
        "Upload the file again, which keeps it where the project keeps its files now; or connect the provider again."
    )


def evolve(artifact: Artifact, event: ArtifactEvent) -> Artifact:
    match event:
        case ArtifactStaged():
            return Artifact(
                exists=True,
                project_id=event.project_id,
                kind=event.kind,
                file_name=event.file_name,
                digest=event.digest,
                size_bytes=event.size_bytes,
                provider=event.provider,
                sdk_constraint=event.sdk_constraint,
                has_main=event.has_main,
                dockerfile=event.dockerfile,
                kept=event.kept,
                created_at=event.at,
            )
        case ArtifactDiscarded():
            return msgspec.structs.replace(artifact, discarded=True)
        case _:
            assert_never(event)


ARTIFACT = Aggregate(name="artifact", events=(ArtifactStaged, ArtifactDiscarded), initial=Artifact(), evolve=evolve)


def artifact_id(project_id: UUID, kind: ArtifactKind, file_name: str, digest: str) -> UUID:
    """The same file uploaded again to the same project is the same artifact."""
    return uuid5(project_id, f"{kind}/{file_name}/{digest}")


def artifact_path(project_id: UUID, artifact: UUID, file_name: str) -> str:
    """The name by which requests refer to the artifact."""
    return f"projects/{project_id}/artifacts/{artifact}/{file_name}"
