"""A source file whose bytes are all there becomes an artifact of a project, however it was sent."""

from __future__ import annotations

import codecs
from typing import IO, Any
from uuid import UUID

import msgspec

from api.answer import Answer
from api.kept_files import KEEPING, keep
from api.refusals import FileEmpty, FileNotText
from api.services import Services
from api.writing import Reply, Writing, recorded_time
from commands.artifact import StageArtifact
from commands.basis import fold
from commands.command import States
from commands.dart_source import SOURCE_BYTES_MAX, declares_main
from commands.dockerfile import DOCKERFILE_BYTES_MAX, DockerfileNotUnderstood, read_dockerfile
from commands.pubspec import PUBSPEC_BYTES_MAX, PubspecNotUnderstood, read_pubspec
from domain.artifact import ARTIFACT, artifact_path
from domain.clouds import ProviderName
from domain.event import SYSTEM_TENANT
from domain.integration import INTEGRATION, Integration, StorageNotConfigured, integration_id
from domain.plan import plan_stream
from domain.project import PROJECT, ProjectIsArchived, ProjectUnknown, require_open
from domain.refusal import FieldError, Invalid, Refusal
from domain.release import ArtifactKind
from domain.version import ConstraintNotUnderstood
from projections.artifacts import Artifact
from projections.plans import PLAN
from projections.tenants import TENANT
from providers.spool import piece_at, pieces, size_of

# What a file of each kind is called.
NAMES: dict[ArtifactKind, str] = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
_DECODED_BYTES = 64 * 1024


class ProviderAmbiguous(Invalid):
    """The project keeps files with several providers, so the upload has to name one."""

    code = "provider_ambiguous"
    remedy = "Send the part `provider`."


_UNREADABLE: dict[ArtifactKind, tuple[type[Refusal], ...]] = {
    "code": (),
    "docker": (DockerfileNotUnderstood,),
    "yaml": (PubspecNotUnderstood, ConstraintNotUnderstood),
}


def refusals_of(*kinds: ArtifactKind) -> tuple[type[Refusal], ...]:
    """Why a file of one of these kinds may not become an artifact."""
    own = (refusal for kind in kinds for refusal in _UNREADABLE[kind])
    return (
        ProjectUnknown,
        ProjectIsArchived,
        FileEmpty,
        FileNotText,
        ProviderAmbiguous,
        StorageNotConfigured,
        *KEEPING,
        *own,
    )


class File(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` is `sha256:` and 64 hexadecimal digits; `provider` the one the caller named."""

    project_id: UUID
    kind: ArtifactKind
    content: IO[bytes]
    digest: str
    provider: ProviderName | None


async def stage(services: Services, writing: Writing, file: File) -> Answer:
    """Keep the bytes and record the artifact. Raises what `refusals_of` its kind lists, and as `Writing.do`."""
    tenant_id = writing.principal.tenant_id
    _check(file)
    facts = _facts(file.kind, file.content)
    await require_open_project(services, tenant_id, file.project_id)
    integration = await kept_with(services, tenant_id, file.project_id, file.provider)
    command = StageArtifact(
        **writing.asked,
        project_id=file.project_id,
        kind=file.kind,
        file_name=NAMES[file.kind],
        digest=file.digest,
        size_bytes=size_of(file.content),
        provider=integration.provider if integration is not None else None,
        **facts,
    )
    # The bytes first: an artifact that is recorded can always be read.
    kept = await keep(services, tenant_id, integration, command.artifact_id, file.digest, file.content)
    command = msgspec.structs.replace(command, kept=kept)
    return await writing.do(command, lambda states: _answer(command, states))


async def require_open_project(services: Services, tenant_id: UUID, project_id: UUID) -> None:
    """Raises ProjectUnknown or ProjectIsArchived."""
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))


async def bytes_max_of(services: Services, tenant_id: UUID) -> int:
    """How large a file may be: the smaller of the plan's limit and the service's own."""
    tenant = await services.reader.one(TENANT, tenant_id)
    if tenant is None:
        return services.upload_bytes_max
    plan = await services.reader.one(PLAN, SYSTEM_TENANT, plan_stream(tenant.row.plan).id)
    return min(plan.row.limits.upload_bytes, services.upload_bytes_max) if plan else services.upload_bytes_max


async def kept_with(
    services: Services, tenant_id: UUID, project_id: UUID, named: ProviderName | None
) -> Integration | None:
    """The integration whose storage keeps a file; None: our own store does, since none is configured yet.

    Raises StorageNotConfigured or ProviderAmbiguous.
    """
    configured: dict[ProviderName, Integration] = {}
    for provider in services.providers:
        stream = INTEGRATION.stream(tenant_id, integration_id(project_id, provider))
        state: Integration = await fold(services.log, INTEGRATION, stream)
        if state.connected and state.storage is not None:
            configured[provider] = state
    if named is not None:
        if named not in configured:
            raise StorageNotConfigured(errors=(FieldError(field="provider", message="no storage configured"),))
        return configured[named]
    if len(configured) > 1:
        raise ProviderAmbiguous(errors=(FieldError(field="provider", message=f"one of {', '.join(configured)}"),))
    return next(iter(configured.values()), None)


def _check(file: File) -> None:
    if not size_of(file.content):
        raise FileEmpty(errors=(FieldError(field="file", message="empty"),))
    decoder, at = codecs.getincrementaldecoder("utf-8")(), 0
    for piece in (*pieces(file.content, _DECODED_BYTES), b""):
        held = len(decoder.getstate()[0])  # The beginning of a character whose end is in this piece.
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            message = f"not UTF-8 from byte {at - held + error.start} on"
            raise FileNotText(errors=(FieldError(field="file", message=message),)) from error
        at += len(piece)


def _facts(kind: ArtifactKind, content: IO[bytes]) -> dict[str, Any]:
    """What the file says that deployments are checked by, as fields of the command. Of what is too long to be looked into
    only so much is read that this is seen."""
    match kind:
        case "code":
            return {"has_main": declares_main(piece_at(content, 0, SOURCE_BYTES_MAX + 1))}
        case "docker":
            return {"dockerfile": read_dockerfile(piece_at(content, 0, DOCKERFILE_BYTES_MAX + 1))}
        case "yaml":
            return {"sdk_constraint": read_pubspec(piece_at(content, 0, PUBSPEC_BYTES_MAX + 1)).sdk}


def _answer(command: StageArtifact, states: States) -> Reply:
    state = states.of(ARTIFACT, command.tenant_id, command.artifact_id)
    is_new = state.created_at is None
    body = Artifact(
        artifact_id=command.artifact_id,
        path=artifact_path(command.project_id, command.artifact_id, state.file_name),
        file_name=state.file_name,
        kind=state.kind,
        digest=state.digest,
        size_bytes=state.size_bytes,
        provider=state.provider,
        created_at=recorded_time(state.created_at),
        location=state.kept.location if state.kept else None,
    )
    return Reply(
        body=body,
        status=201 if is_new else 200,
        location=f"/api/v1/projects/{command.project_id}/artifacts/{command.artifact_id}",
        position="last" if is_new else "unchanged",
    )
