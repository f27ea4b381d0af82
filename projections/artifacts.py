"""Artifacts: every uploaded source file, as the upload answered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from domain.artifact import ArtifactDiscarded, ArtifactStaged, artifact_path
from domain.clouds import ProviderName
from domain.release import ArtifactKind
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded


class Artifact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`digest` is `sha256:` and 64 hexadecimal digits; `provider` is None for what our own store keeps; `location` is
    where in a cloud's storage the bytes are. From `discardedAt` on the file is kept no longer; uploaded again, it is the same artifact."""

    artifact_id: UUID
    path: str
    file_name: str
    kind: ArtifactKind
    digest: str
    size_bytes: int
    provider: ProviderName | None
    created_at: datetime
    discarded_at: datetime | None = None
    location: str | None = None


class ArtifactRow(Artifact, frozen=True, kw_only=True, rename="camel"):
    project_id: UUID


def project(row: ArtifactRow | None, recorded: Recorded) -> ArtifactRow | None:
    match recorded.event:
        case ArtifactStaged() as event:
            return ArtifactRow(
                artifact_id=recorded.stream_id,
                path=artifact_path(event.project_id, recorded.stream_id, event.file_name),
                file_name=event.file_name,
                kind=event.kind,
                digest=event.digest,
                size_bytes=event.size_bytes,
                provider=event.provider,
                created_at=recorded.at,
                project_id=event.project_id,
                location=event.kept.location if event.kept else None,
            )
        case ArtifactDiscarded():
            return msgspec.structs.replace(present(row), discarded_at=recorded.at)
        case _:
            return row


ARTIFACTS = ReadModel(
    name="artifacts",
    version=5,
    row=ArtifactRow,
    interests=(ArtifactStaged, ArtifactDiscarded),
    keys=own_stream,
    project=project,
    columns=(
        Column("project_id", "uuid", lambda row: row.project_id),
        Column("digest", "text", lambda row: row.digest),
        Column("kept", "boolean", lambda row: row.discarded_at is None),
    ),
    indexes=(
        Index("in_order", "tenant_id, project_id, first_position"),
        Index("by_digest", "tenant_id, project_id, digest"),
        Index("kept", "tenant_id, first_position", where="kept"),
    ),
)


def _one(rows: Iterable[Found[ArtifactRow]], project_id: UUID, artifact_id: UUID) -> list[Found[ArtifactRow]]:
    return [found for found in rows if found.id == artifact_id and found.row.project_id == project_id]


def _by_digest(rows: Iterable[Found[ArtifactRow]], project_id: UUID, digest: str) -> list[Found[ArtifactRow]]:
    same = (found for found in rows if found.row.digest == digest and found.row.project_id == project_id)
    return sorted(same, key=lambda found: found.first_position)[:1]


def _page(rows: Iterable[Found[ArtifactRow]], project_id: UUID, after: int, limit: int) -> list[Found[ArtifactRow]]:
    return page_of((found for found in rows if found.row.project_id == project_id), "newest_first", after, limit)


# One artifact. Arguments: project id, artifact id.
ARTIFACT = Query(
    name="artifact",
    model=ARTIFACTS,
    answer=Artifact,
    parameters=("uuid", "uuid"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.id = $3",
    select=_one,
)

# The first artifact with these bytes. Arguments: project id, digest.
ARTIFACT_BY_DIGEST = Query(
    name="artifact_by_digest",
    model=ARTIFACTS,
    answer=Artifact,
    parameters=("uuid", "text"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.digest = $3 ORDER BY t.first_position LIMIT 1",
    select=_by_digest,
)

# All artifacts of a project. Arguments: project id.
ARTIFACTS_LIST = Query(
    name="artifacts_list",
    model=ARTIFACTS,
    answer=Artifact,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.first_position < $3
      ORDER BY t.first_position DESC
      LIMIT $4""",
    select=_page,
    order="newest_first",
)


def _kept(rows: Iterable[Found[ArtifactRow]], tenant_id: UUID, after: int, limit: int) -> list[Found[ArtifactRow]]:
    mine = (found for found in rows if found.tenant_id == tenant_id and found.row.discarded_at is None)
    return page_of(mine, "oldest_first", after, limit)


# All artifacts of a tenant that are kept. Arguments: the tenant.
ARTIFACTS_KEPT = Query(
    name="artifacts_kept",
    model=ARTIFACTS,
    answer=Artifact,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.kept AND t.first_position > $2 ORDER BY t.first_position LIMIT $3",
    select=_kept,
    audience="engine",
    order="oldest_first",
)
