"""Uploads: a source file becomes an artifact of a project."""

from __future__ import annotations

from typing import IO, Annotated, Any, get_args
from uuid import UUID

import msgspec
from litestar import Request, post
from msgspec import UNSET, UnsetType

from api.answer import Answer
from api.body import streamed
from api.example_ids import PROJECT_ID
from api.form import AROUND_BYTES_MAX, Form, read_form
from api.operation import Operation
from api.reading import require_within, tenant_of
from api.refusals import BodyInvalid, FileNameNotTaken, FormMalformed
from api.services import Services, services_of
from api.staging import NAMES, File, bytes_max_of, refusals_of, stage
from api.writing import Writing
from domain.clouds import ProviderName
from domain.refusal import FieldError
from domain.release import ArtifactKind
from projections.artifacts import Artifact
from providers.spool import spool

_FIELDS = ("projectId", "provider")


# In a form the bytes stand as they are, not in Base64.
FileBytes = Annotated[
    str, msgspec.Meta(extra_json_schema={"contentMediaType": "application/octet-stream", "format": "binary"})
]


class UploadForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The parts of the form. `provider` is needed only when the storage of several is configured."""

    file: FileBytes
    project_id: UUID
    provider: ProviderName | UnsetType = UNSET


_EXAMPLES: dict[ArtifactKind, str] = {
    "code": "void main() => print('hello');\n",
    "docker": "FROM dart:stable AS build\nFROM scratch\nCOPY --from=build /runtime/ /\n",
    "yaml": "name: hello\nenvironment:\n  sdk: ^3.9.0\n",
}


def _operation(kind: ArtifactKind) -> Operation:
    return Operation(
        name=f"upload{kind.capitalize()}",
        permission="artifacts:write",
        summary=f"Upload a {NAMES[kind]}",
        tag="Artifacts",
        takes=UploadForm,
        takes_form=True,
        answers={200: Artifact, 201: Artifact},
        example={"file": _EXAMPLES[kind], "projectId": str(PROJECT_ID)},
        writes=True,
        within_projects=True,
        refusals=(FormMalformed, FileNameNotTaken, *refusals_of(kind)),
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
    with spool() as content:
        form = await _form(request, services, content)
        writing = Writing(request, msgspec.json.encode((form.digest, form.file_name, sorted(form.fields.items()))))
        project_id, provider = _named(form)
        require_within(request, project_id)
        _check_name(kind, form.file_name)
        file = File(project_id=project_id, kind=kind, content=content, digest=form.digest, provider=provider)
        return await stage(services, writing, file)


async def _form(request: Request[Any, Any, Any], services: Services, into: IO[bytes]) -> Form:
    limit = await bytes_max_of(services, tenant_of(request))
    chunks = streamed(request, bytes_max=limit + AROUND_BYTES_MAX)
    return await read_form(request, chunks, into, fields=_FIELDS, file_bytes_max=limit)


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


def _check_name(kind: ArtifactKind, file_name: str) -> None:
    if file_name != NAMES[kind]:
        raise FileNameNotTaken(
            f"A file uploaded as {kind} is named {NAMES[kind]}.",
            errors=(FieldError(field="file", message=f"named {NAMES[kind]}"),),
            remedy=f"Upload it under the file name {NAMES[kind]}.",
        )


def _part_invalid(name: str, message: str) -> BodyInvalid:
    return BodyInvalid(
        f"The form's part {name!r} cannot be used: {message}.", errors=(FieldError(field=name, message=message),)
    )


UPLOAD_ROUTES = (upload_code, upload_docker, upload_yaml)
