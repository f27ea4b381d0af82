"""Artifacts: the same file of a project is one artifact, however often it comes."""

from __future__ import annotations

from domain.artifact import Kept
from domain.clouds import LocalStorage
from domain.integration import StorageNotConfigured
from domain.project import ProjectIsArchived, ProjectUnknown
from tests.support import a
from tests.support.scenario import given


class TestStageArtifact:
    def test_records_what_the_file_is(self) -> None:
        given(a.project_created()).when(a.stage_artifact("code")).then(a.artifact_staged("code"))

    def test_records_the_sdk_constraint_of_a_pubspec(self) -> None:
        given(a.project_created()).when(a.stage_artifact("yaml", sdk_constraint="^3.5.0")).then(
            a.artifact_staged("yaml", sdk_constraint="^3.5.0")
        )

    def test_changes_nothing_when_the_same_file_comes_again(self) -> None:
        given(a.project_created(), a.artifact_staged("code")).when(a.stage_artifact("code")).then_nothing()

    def test_is_staged_anew_when_the_same_file_is_kept_elsewhere_now(self) -> None:
        kept = Kept(storage=LocalStorage(), name="dcf/files/1")

        given(a.project_created(), *a.integration_ready(), a.artifact_staged("code")).when(
            a.stage_artifact("code", kept=kept)
        ).then(a.artifact_staged("code", kept=kept))

    def test_refuses_a_storage_that_was_given_up_while_the_bytes_were_on_their_way(self) -> None:
        kept = Kept(storage=LocalStorage(), name="dcf/files/1")

        given(a.project_created(), *a.integration_ready(), a.integration_disconnected()).when(
            a.stage_artifact("code", kept=kept)
        ).then_refused(StorageNotConfigured)

    def test_tells_apart_files_of_one_content_by_kind_name_and_project(self) -> None:
        one = a.stage_artifact("code")
        others = (
            a.stage_artifact("yaml", file_name=one.file_name),
            a.stage_artifact("code", file_name="other.dart"),
            a.stage_artifact("code", project_id=a.OTHER_PROJECT_ID),
            a.stage_artifact("code", digest="sha256:" + "1" * 64),
        )

        assert one.artifact_id not in {other.artifact_id for other in others}
        assert one.artifact_id == a.stage_artifact("code").artifact_id

    def test_refuses_an_archived_project(self) -> None:
        given(a.project_created(), a.project_archived()).when(a.stage_artifact()).then_refused(ProjectIsArchived)

    def test_refuses_a_project_that_never_was(self) -> None:
        given().when(a.stage_artifact()).then_refused(ProjectUnknown)
