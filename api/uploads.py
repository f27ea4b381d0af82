"""Uploads: a source file becomes an artifact of a project."""

from __future__ import annotations

from typing import Annotated, Any, get_args
from uuid import UUID

import msgspec
from litestar import Request, post

from api.answer import Answer
from api.body import streamed
from api.example_ids import PROJECT_ID
from api.form import AROUND_BYTES_MAX, Form, read_form
from api.operation import Operation
from api.reading import tenant_of
from api.refusals import BodyInvalid, FormMalformed
from api.services import Services, services_of
from api.writing import Reply, Writing, recorded_time
from commands.artifact import StageArtifact
from commands.basis import fold
from commands.command import States
from commands.dart_source import declares_main
from commands.dockerfile import DockerfileNotUnderstood, read_dockerfile
from commands.pubspec import PubspecNotUnderstood, read_pubspec
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

_NAMES: dict[ArtifactKind, str] = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
_FIELDS = ("projectId", "provider")


class FileEmpty(Invalid):
    """The file is empty."""

    code = "file_empty"
    remedy = "Upload the file with its content."


class FileNotText(Invalid):
    """The file is not text in UTF-8."""

    code = "file_not_utf8"
    remedy = "Save the file as UTF-8 and upload it again."


class FileNameNotTaken(Invalid):
    """The file has a name its kind cannot have."""

    code = "file_name_not_taken"


class ProviderAmbiguous(Invalid):
    """The project keeps files with several providers, so the upload has to name one."""

    code = "provider_ambiguous"
    remedy = "Send the part `provider`."


# In a form the bytes stand as they are, not in Base64.
FileBytes = Annotated[
    str, msgspec.Meta(extra_json_schema={"contentMediaType": "application/octet-stream", "format": "binary"})
]


class UploadForm(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The parts of the form. `provider` is needed only when the storage of several is configured."""

    file: FileBytes
    project_id: UUID
    provider: ProviderName | None = None


_EXAMPLES: dict[ArtifactKind, str] = {
    "code": "void main() => print('hello');\n",
    "docker": "FROM dart:stable AS build\nFROM scratch\nCOPY --from=build /runtime/ /\n",
    "yaml": "name: hello\nenvironment:\n  sdk: ^3.9.0\n",
}
_UNREADABLE: dict[ArtifactKind, tuple[type[Refusal], ...]] = {
    "code": (),
    "docker": (DockerfileNotUnderstood,),
    "yaml": (PubspecNotUnderstood, ConstraintNotUnderstood),
}


def _operation(kind: ArtifactKind) -> Operation:
    return Operation(
        name=f"upload{kind.capitalize()}",
        permission="artifacts:write",
        summary=f"Upload a {_NAMES[kind]}",
        tag="Artifacts",
        takes=UploadForm,
        takes_form=True,
        answers={200: Artifact, 201: Artifact},
        example={"file": _EXAMPLES[kind], "projectId": str(PROJECT_ID)},
        writes=True,
        refusals=(
            ProjectUnknown,
            ProjectIsArchived,
            FormMalformed,
            FileNameNotTaken,
            FileEmpty,
            FileNotText,
            ProviderAmbiguous,
            StorageNotConfigured,
            *_UNREADABLE[kind],
        ),
    )


@post("/functions/upload/code", status_code=201, opt=_operation("code").as_opt())
async def upload_code(request: Request[Any, Any, Any]) -> Answer:
    return await _upload(request, "code")


@post("/functions/upload/docker", status_code=201, opt=_operation("docker").as_opt())
async def upload_docker(request: Request[Any, Any, Any]) -> Answer:
    return await _upload(request, "docker")


@post("/functions/upload/yaml", status_code=201, opt=_operation("yaml").as_opt())
async def upload_yaml(request: Request[Any, Any, Any]) -> Answer:
    return await _upload(request, "yaml")


async def _upload(request: Request[Any, Any, Any], kind: ArtifactKind) -> Answer:
    services = services_of(request)
    form = await _form(request, services)
    writing = Writing(request, msgspec.json.encode((form.digest, form.file_name, sorted(form.fields.items()))))
    tenant_id = writing.principal.tenant_id
    project_id, provider = _named(form)
    _check(kind, form)
    facts = _facts(kind, form.content)
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
    command = StageArtifact(
        **writing.asked,
        project_id=project_id,
        kind=kind,
        file_name=form.file_name,
        digest=form.digest,
        size_bytes=len(form.content),
        provider=await _kept_with(services, tenant_id, project_id, provider),
        **facts,
    )
    # The bytes first: an artifact that is recorded can always be read.
    await services.contents.put(tenant_id, form.digest, form.content)
    return await writing.do(command, lambda states: _answer(command, states))


async def _form(request: Request[Any, Any, Any], services: Services) -> Form:
    limit = await _bytes_max(request, services)
    chunks = streamed(request, bytes_max=limit + AROUND_BYTES_MAX)
    return await read_form(request, chunks, fields=_FIELDS, file_bytes_max=limit)


async def _bytes_max(request: Request[Any, Any, Any], services: Services) -> int:
    """The smaller of the plan's limit and the service's own."""
    tenant = await services.reader.one(TENANT, tenant_of(request))
    if tenant is None:
        return services.upload_bytes_max
    plan = await services.reader.one(PLAN, SYSTEM_TENANT, plan_stream(tenant.row.plan).id)
    return min(plan.row.limits.upload_bytes, services.upload_bytes_max) if plan else services.upload_bytes_max


def _named(form: Form) -> tuple[UUID, ProviderName | None]:
    """The project and provider the form names."""
    try:
        project_id = msgspec.convert(form.fields.get("projectId"), UUID)
    except msgspec.ValidationError as error:
        raise _part_invalid("projectId", "the id of a project is needed") from error
    provider = form.fields.get("provider") or None
    if provider is not None and provider not in get_args(ProviderName):
        raise _part_invalid("provider", f"one of {', '.join(get_args(ProviderName))}")
    return project_id, provider  # type: ignore[return-value]  # just checked


def _check(kind: ArtifactKind, form: Form) -> None:
    if form.file_name != _NAMES[kind]:
        raise FileNameNotTaken(
            f"A file uploaded as {kind} is named {_NAMES[kind]}.",
            errors=(FieldError(field="file", message=f"named {_NAMES[kind]}"),),
            remedy=f"Upload it under the file name {_NAMES[kind]}.",
        )
    if not form.content:
        raise FileEmpty(errors=(FieldError(field="file", message="empty"),))
    try:
        form.content.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 from byte {error.start} on"
        raise FileNotText(errors=(FieldError(field="file", message=message),)) from error


def _facts(kind: ArtifactKind, content: bytes) -> dict[str, Any]:
    """What the file says that deployments are checked by, as fields of the command."""
    match kind:
        case "code":
            return {"has_main": declares_main(content)}
        case "docker":
            return {"dockerfile": read_dockerfile(content)}
        case "yaml":
            return {"sdk_constraint": read_pubspec(content).sdk}


async def _kept_with(
    services: Services, tenant_id: UUID, project_id: UUID, named: ProviderName | None
) -> ProviderName | None:
    """The provider whose storage keeps the file; None: our own store does, since none is configured yet."""
    configured: list[ProviderName] = []
    for provider in services.providers:
        stream = INTEGRATION.stream(tenant_id, integration_id(project_id, provider))
        state: Integration = await fold(services.log, INTEGRATION, stream)
        if state.connected and state.storage is not None:
            configured.append(provider)
    if named is not None:
        if named not in configured:
            raise StorageNotConfigured(errors=(FieldError(field="provider", message="no storage configured"),))
        return named
    if len(configured) > 1:
        raise ProviderAmbiguous(errors=(FieldError(field="provider", message=f"one of {', '.join(configured)}"),))
    return configured[0] if configured else None


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
    )
    return Reply(
        body=body,
        status=201 if is_new else 200,
        location=f"/api/v1/projects/{command.project_id}/artifacts/{command.artifact_id}",
        position="last" if is_new else "unchanged",
    )


def _part_invalid(name: str, message: str) -> BodyInvalid:
    return BodyInvalid(
        f"The form's part {name!r} cannot be used: {message}.", errors=(FieldError(field=name, message=message),)
    )


UPLOAD_ROUTES = (upload_code, upload_docker, upload_yaml)
