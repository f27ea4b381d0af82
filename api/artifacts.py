"""Artifacts: list them, get one, download its bytes."""

from __future__ import annotations

import base64
import re
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from litestar import Request, get
from litestar.params import FromPath

from api.answer import Answer, entity, unchanged
from api.as_of import AS_OF, reached_as_of
from api.file_answer import FileAnswer
from api.kept_files import READING, read_into
from api.listing import PAGE_PARAMETERS, Listed, asked, page, row_bytes
from api.operation import Operation
from api.permit import Permit
from api.reading import found_or, reached, require_project, tenant_of
from api.services import Services
from api.uploads import FileBytes
from domain.artifact import ArtifactUnknown
from domain.project import ProjectUnknown
from domain.refusal import NotFound
from projections.artifacts import ARTIFACT, ARTIFACT_BY_DIGEST, ARTIFACTS_LIST, Artifact
from projections.query import Found
from providers.spool import spool

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ContentGone(NotFound):
    """The bytes of the artifact are not kept any more, or are not what was uploaded."""

    code = "artifact_content_gone"
    remedy = "Upload the file again."


_LIST = Operation(
    name="listArtifacts",
    permission="artifacts:read",
    summary="List the artifacts of a project, newest first",
    tag="Artifacts",
    answers={200: Listed[Artifact]},
    query=(*PAGE_PARAMETERS, AS_OF),
    refusals=(ProjectUnknown,),
)


@get("/projects/{project_id:uuid}/artifacts", opt=_LIST.as_opt())
async def list_artifacts(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(ARTIFACTS_LIST, tenant_id, project_id, after=wanted.after, limit=wanted.limit)
    if not found.items:
        await require_project(services, tenant_id, project_id)
    return await page(services, ARTIFACTS_LIST, found)


_GET = Operation(
    name="getArtifact",
    permission="artifacts:read",
    summary="Get what is known of an artifact, by its id or its digest",
    tag="Artifacts",
    answers={200: Artifact},
    query=(AS_OF,),
    refusals=(ArtifactUnknown,),
)


@get("/projects/{project_id:uuid}/artifacts/{artifact:str}", opt=_GET.as_opt())
async def get_artifact(request: Request[Any, Any, Any], project_id: FromPath[UUID], artifact: FromPath[str]) -> Answer:
    found = await _named(await reached_as_of(request), tenant_of(request), project_id, artifact)
    return entity(request, row_bytes(ARTIFACT, found), found.position)


_DOWNLOAD = Operation(
    name="downloadArtifact",
    permission="artifacts:read",
    summary="Download the bytes of an artifact, by its id or its digest",
    tag="Artifacts",
    answers={200: FileBytes},
    gives="application/octet-stream",
    shows=("Content-Disposition", "Repr-Digest"),
    refusals=(
        ArtifactUnknown,
        ContentGone,
        *READING,
    ),
)


@get("/projects/{project_id:uuid}/artifacts/{artifact:str}/content", opt=_DOWNLOAD.as_opt())
async def download_artifact(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], artifact: FromPath[str]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    known = (await _named(services, tenant_id, project_id, artifact)).row
    tag = f'"{known.digest}"'.encode()
    headers = (
        (b"etag", tag),
        # Bytes under their digest never change.
        (b"cache-control", b"private, max-age=31536000, immutable"),
        (b"content-disposition", f'attachment; filename="{known.file_name}"'.encode()),
        (b"repr-digest", b"sha-256=:" + base64.b64encode(bytes.fromhex(known.digest.partition(":")[2])) + b":"),
    )
    if (same := unchanged(request, tag, headers)) is not None:
        return same
    content = spool()
    with ExitStack() as until_answered:
        until_answered.enter_context(content)
        if not await read_into(services, tenant_id, known.artifact_id, content):
            raise ContentGone
        until_answered.pop_all()
    return FileAnswer(content, media_type=b"application/octet-stream", headers=headers, permit=Permit(request))


async def _named(services: Services, tenant_id: UUID, project_id: UUID, reference: str) -> Found[Artifact]:
    """The artifact of that id or digest. Raises ArtifactUnknown."""
    if _DIGEST.fullmatch(reference):
        by_digest = await services.reader.one(ARTIFACT_BY_DIGEST, tenant_id, project_id, reference)
        return found_or(ArtifactUnknown, by_digest)
    try:
        artifact_id = UUID(reference)
    except ValueError:
        raise ArtifactUnknown from None
    return found_or(ArtifactUnknown, await services.reader.one(ARTIFACT, tenant_id, project_id, artifact_id))


ARTIFACT_ROUTES = (list_artifacts, get_artifact, download_artifact)
