"""In what releases differ, and what making up for it takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.clouds import AwsTarget
from domain.function import ArtifactFiles
from domain.release import Release, Trigger
from domain.release_diff import Difference, between, needs_of, since
from tests.support import a

OTHER_SOURCE = msgspec.structs.replace(a.source("code"), artifact_id=a.id_of(40), digest="sha256:" + "1" * 64)
NIGHTLY = Trigger(type="schedule", settings={"cron": "0 3 * * *"})
AWS = AwsTarget(
    region="eu-west-1",
    function_name="greet",
    role_arn="arn:aws:iam::123456789012:role/dcf",
    code_build_project="build",
    ecr_repository="functions",
    execution_role_arn="arn:aws:iam::123456789012:role/run",
)
# Another value for every field that a release pins, and what that takes.
CHANGES: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "sources": ((OTHER_SOURCE, a.source("yaml")), [("sources.code", "build")]),
    "runtime": ("3.10.0", [("runtime", "build")]),
    "trigger": (NIGHTLY, [("trigger", "redeploy")]),
    "access": ("public", [("access", "redeploy")]),
    "environment": ({"A": "1", "B": "2"}, [("environment.A", "redeploy"), ("environment.B", "redeploy")]),
    "secret_versions": ({"TOKEN": 2}, [("secretVersions.TOKEN", "redeploy")]),
    "provider": ("aws", [("provider", "build")]),
    "target": (AWS, [("target", "build")]),
    "integration_version": (5, [("integrationVersion", "redeploy")]),
    "address": (("acme", "shop", "hello"), [("address", "redeploy")]),
    "health_path": ("/health", [("healthPath", "redeploy")]),
    "start_seconds_max": (5, [("startSecondsMax", "redeploy")]),
    "memory_mb_max": (512, [("memoryMbMax", "redeploy")]),
    "request_seconds_max": (5, [("requestSecondsMax", "redeploy")]),
}
# What says where a release comes from, and is no input of what runs.
# A secret is told apart by its version; where its value is kept says nothing to anybody.
NO_INPUTS = {"function_id", "function_revision", "image", "secret_values"}


class TestBetween:
    def test_looks_at_every_input(self) -> None:
        assert CHANGES.keys() | NO_INPUTS == set(Release.__struct_fields__)

    @pytest.mark.parametrize("field", CHANGES)
    def test_names_what_differs_and_what_it_takes(self, field: str) -> None:
        value, expected = CHANGES[field]

        found = between(a.release(), a.release(**{field: value}))

        assert [(difference.field, difference.needs) for difference in found] == expected

    def test_finds_nothing_between_a_release_and_one_that_went_back_to_it(self) -> None:
        went_back = a.release(image=a.pinned_image(), function_revision=1)

        assert between(a.release(function_revision=1), went_back) == ()

    def test_shows_both_values_and_none_where_there_is_none(self) -> None:
        before, after = a.release(environment={"A": "1", "B": "2"}), a.release(environment={"A": "3"})

        assert between(before, after) == (
            Difference(field="environment.A", before="1", after="3", needs="redeploy"),
            Difference(field="environment.B", before="2", after=None, needs="redeploy"),
        )


class TestSince:
    LIVE = a.release().inputs

    def test_finds_nothing_when_what_is_saved_is_live(self) -> None:
        files = ArtifactFiles(code_file=a.staged_id("code"), yaml_file=a.staged_id("yaml"))
        saved = a.authored(name="Hello", description="x", artifact_files=files)

        assert since(self.LIVE, saved.inputs) == ()

    def test_does_not_count_files_that_are_not_saved_with_the_function(self) -> None:
        assert since(self.LIVE, a.authored().inputs) == ()

    def test_counts_a_file_that_was_staged_since(self) -> None:
        saved = a.authored(artifact_files=ArtifactFiles(code_file=a.id_of(40)))

        assert since(self.LIVE, saved.inputs) == (
            Difference(field="sources.code", before=a.staged_id("code"), after=a.id_of(40), needs="build"),
        )

    @pytest.mark.parametrize("field", ["runtime", "trigger", "access", "environment"])
    def test_counts_what_the_author_decides(self, field: str) -> None:
        value, expected = CHANGES[field]

        found = since(self.LIVE, a.authored(**{field: value}).inputs)

        assert [(difference.field, difference.needs) for difference in found] == expected


class TestNeedsOf:
    @pytest.mark.parametrize(
        ("changes", "needs"),
        [
            ({}, None),
            ({"access": "public"}, "redeploy"),
            ({"access": "public", "runtime": "3.10.0"}, "build"),
        ],
    )
    def test_is_a_build_as_soon_as_one_of_them_needs_it(self, changes: dict[str, Any], needs: str | None) -> None:
        assert needs_of(between(a.release(), a.release(**changes))) == needs
