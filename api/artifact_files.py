"""How requests name artifacts: by the path or the id an upload answered with."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from commands.function import FileChanges
from domain.artifact import ArtifactUnknown
from domain.function import ArtifactFiles
from domain.refusal import FieldError

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_ID = re.compile(_UUID)
_PATH = re.compile(rf"/?projects/({_UUID})/artifacts/({_UUID})/[^/]+")

Reference = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=512, description="The `path` or `artifactId` of an upload to the same project."
    ),
]


class ArtifactFilesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The function's files; the names are part of the contract."""

    code_file: Reference | None = None
    docker_file: Reference | None = None
    yaml_file: Reference | None = None


class ArtifactFileChangesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files to change: what is left out stays, null takes a file from the record."""

    code_file: Reference | UnsetType | None = UNSET
    docker_file: Reference | UnsetType | None = UNSET
    yaml_file: Reference | UnsetType | None = UNSET


def file_changes(files: ArtifactFileChangesRequest, project_id: UUID | None) -> FileChanges:
    """The changes with the artifacts that are meant. Raises ArtifactUnknown."""
    named = {name: value for name in files.__struct_fields__ if (value := getattr(files, name)) is not UNSET}
    return FileChanges(**{name: _artifact_id(name, value, project_id) for name, value in named.items()})


def artifact_ids(files: ArtifactFilesRequest, project_id: UUID | None) -> ArtifactFiles:
    """The artifacts that are meant. Raises ArtifactUnknown for what names none, or one of another project."""
    found = {name: _artifact_id(name, getattr(files, name), project_id) for name in files.__struct_fields__}
    return ArtifactFiles(**found)


def _artifact_id(name: str, reference: str | None, project_id: UUID | None) -> UUID | None:
    if reference is None:
        return None
    if _ID.fullmatch(reference):
        return UUID(reference)
    path = _PATH.fullmatch(reference)
    if path is None or (project_id is not None and UUID(path[1]) != project_id):
        raise ArtifactUnknown(errors=(FieldError(field=f"artifactFiles.{name}", message="no such artifact"),))
    return UUID(path[2])
