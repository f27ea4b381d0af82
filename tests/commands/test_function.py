"""Functions: what an author may save, and what becomes of the names they answer under."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from commands.claimed import taken
from commands.function import (
    ENVIRONMENT_BYTES_MAX,
    ENVIRONMENT_VARIABLES_MAX,
    SECRETS_MAX,
    FileChanges,
    FunctionExists,
)
from domain.artifact import ArtifactOfAnotherKind, ArtifactUnknown
from domain.event import Fact
from domain.function import (
    ArtifactFiles,
    EnvironmentNameNotAllowed,
    EnvironmentTooLarge,
    EnvironmentValueNotAllowed,
    Function,
    FunctionIsArchived,
    FunctionIsLive,
    FunctionNameTaken,
    FunctionUnknown,
    NameOfBoth,
    SecretUnknown,
    TooManySecrets,
)
from domain.naming import NameNotAllowed
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.release import Trigger
from domain.runtime import RuntimeNotSelectable, RuntimeUnknown
from domain.tenant import TenantUnknown
from domain.trigger import TriggerSettingsInvalid, TriggerUnavailable, TriggerUnknown
from tests.support import a
from tests.support.scenario import fold, given

PROJECT = (*a.tenant_with_plan(), a.project_created(), a.runtime_added())
DRAFT = (*PROJECT, a.function_created())
LIVE = a.deployment_active()
DAY = timedelta(days=1)
OLD = "3.9.0"

# What is wrong with a record is refused alike when it is created and when it is changed.
WRONG: list[tuple[dict[str, Any], type[Exception], tuple[str, ...] | None]] = [
    ({"name": "a/b"}, NameNotAllowed, ("name",)),
    ({"runtime": "9.9.9"}, RuntimeUnknown, ("runtime",)),
    ({"trigger": Trigger(type="magic")}, TriggerUnknown, ("trigger.type",)),
    ({"trigger": Trigger(settings={"path": "/"})}, TriggerSettingsInvalid, ("trigger.settings.path",)),
    ({"trigger": Trigger(type="schedule")}, TriggerSettingsInvalid, ("trigger.settings.cron",)),
    ({"trigger": Trigger(type="schedule", settings={"cron": "daily"})}, TriggerSettingsInvalid, None),
    *(
        (
            {"provider": provider, "trigger": Trigger(type="schedule", settings={"cron": "0 3 1 * 1"})},
            TriggerSettingsInvalid,
            ("trigger.settings.cron",),
        )
        for provider in ("aws", "azure", "gcp")
    ),
    (
        {"trigger": Trigger(type="schedule", settings={"cron": "0 25 * * *", "timeZone": "Mars/Olympus"})},
        TriggerSettingsInvalid,
        ("trigger.settings.cron", "trigger.settings.timeZone"),
    ),
    (
        {"trigger": Trigger(type="event", settings={"source": "orders"}), "provider": "local"},
        TriggerUnavailable,
        ("trigger.type",),
    ),
    ({"environment": {"PORT": "1"}}, EnvironmentNameNotAllowed, ("environment.PORT",)),
    ({"environment": {"DCF_KEY": "1"}}, EnvironmentNameNotAllowed, ("environment.DCF_KEY",)),
    ({"environment": {"1A": "1"}}, EnvironmentNameNotAllowed, ("environment.1A",)),
    ({"environment": {"A=B": "1"}}, EnvironmentNameNotAllowed, None),
    ({"environment": {"": "1"}}, EnvironmentNameNotAllowed, None),
    ({"environment": {"A": "nul\0"}}, EnvironmentValueNotAllowed, ("environment.A",)),
    (
        {"environment": {f"A{n}": "" for n in range(ENVIRONMENT_VARIABLES_MAX + 1)}},
        EnvironmentTooLarge,
        ("environment",),
    ),
    ({"environment": {"A": "ä" * (ENVIRONMENT_BYTES_MAX // 2)}}, EnvironmentTooLarge, ("environment",)),
    ({"artifact_files": ArtifactFiles(code_file=a.id_of(99))}, ArtifactUnknown, ("artifactFiles.code_file",)),
]


class TestCreateFunction:
    def test_creates_a_draft_claims_its_name_in_the_project_and_counts_it(self) -> None:
        given(*PROJECT).when(a.create_function(name="Say Hello")).then(
            a.function_created(slug="say-hello", name="Say Hello"),
            claims=(a.claim("function", f"{a.PROJECT_ID}/say-hello", a.FUNCTION_ID),),
            counters=(a.count("functions", str(a.PROJECT_ID), 1, 5),),
        )

    def test_keeps_what_the_author_says_whole(self) -> None:
        said: dict[str, Any] = {
            "description": "Greets.",
            "access": "public",
            "provider": "local",
            "environment": {"GREETING": "Hello"},
            "artifact_files": ArtifactFiles(code_file=a.staged_id("code"), docker_file=a.staged_id("docker")),
        }

        given(*PROJECT, a.artifact_staged("code"), a.artifact_staged("docker")).when(a.create_function(**said)).then(
            a.function_created(**said)
        )

    def test_saves_a_schedule_while_no_provider_is_named(self) -> None:
        nightly = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})

        given(*PROJECT).when(a.create_function(trigger=nightly)).then(a.function_created(trigger=nightly))

    @pytest.mark.parametrize(("wrong", "refusal", "fields"), WRONG)
    def test_refuses(self, wrong: dict[str, Any], refusal: Any, fields: tuple[str, ...] | None) -> None:
        given(*PROJECT).when(a.create_function(**wrong)).then_refused(refusal, fields=fields)

    @pytest.mark.parametrize("date", ["deprecation_announced_at", "block_new_deploys_after"])
    def test_refuses_a_runtime_from_the_instant_it_is_no_longer_selectable(self, date: str) -> None:
        runtime = a.runtime_added(OLD, **{date: a.AT})

        given(*PROJECT, runtime).when(a.create_function(runtime=OLD)).then_refused(RuntimeNotSelectable)

    def test_takes_a_runtime_until_that_instant(self) -> None:
        runtime = a.runtime_added(OLD, deprecation_announced_at=a.AT + timedelta(microseconds=1))

        given(*PROJECT, runtime).when(a.create_function(runtime=OLD)).then(a.function_created(runtime=OLD))

    def test_refuses_an_artifact_of_another_project(self) -> None:
        elsewhere = a.artifact_staged("code", project_id=a.OTHER_PROJECT_ID)
        files = ArtifactFiles(code_file=a.staged_id("code", a.OTHER_PROJECT_ID))

        given(*PROJECT, elsewhere).when(a.create_function(artifact_files=files)).then_refused(ArtifactUnknown)

    def test_refuses_an_artifact_of_another_kind(self) -> None:
        files = ArtifactFiles(yaml_file=a.staged_id("code"))

        given(*PROJECT, a.artifact_staged("code")).when(a.create_function(artifact_files=files)).then_refused(
            ArtifactOfAnotherKind, fields=("artifactFiles.yaml_file",)
        )

    def test_refuses_an_id_that_is_a_function_already(self) -> None:
        given(*DRAFT).when(a.create_function()).then_refused(FunctionExists)

    def test_refuses_a_project_that_never_was(self) -> None:
        given(*a.tenant_with_plan()).when(a.create_function()).then_refused(ProjectUnknown)

    def test_refuses_an_archived_project(self) -> None:
        given(*PROJECT, a.project_archived()).when(a.create_function()).then_refused(ProjectIsArchived)

    def test_refuses_a_tenant_that_never_was(self) -> None:
        given(a.project_created(), a.runtime_added()).when(a.create_function()).then_refused(TenantUnknown)

    def test_is_told_when_the_name_is_taken(self) -> None:
        claim = a.claim("function", f"{a.PROJECT_ID}/greet", a.FUNCTION_ID)

        assert type(taken(claim, a.OTHER_FUNCTION_ID)) is FunctionNameTaken


class TestUpdateFunction:
    def test_records_the_whole_record_after_the_change(self) -> None:
        given(*PROJECT, a.function_created(description="Greets.")).when(a.update_function(access="public")).then(
            a.function_updated(description="Greets.", access="public"), claims=(), counters=()
        )

    def test_asks_nothing_again_of_what_stays_as_it_was(self) -> None:
        """What was taken once, perhaps under another rule, is in nobody's way who changes something else."""
        given(*PROJECT, a.function_created(environment={"PORT": "80"})).when(a.update_function(access="public")).then(
            a.function_updated(environment={"PORT": "80"}, access="public")
        )

    def test_takes_a_provider_back(self) -> None:
        given(*PROJECT, a.function_created(provider="local")).when(a.update_function(provider=None)).then(
            a.function_updated(provider=None)
        )

    def test_changes_nothing_when_the_record_stays_the_same(self) -> None:
        given(*DRAFT).when(a.update_function(name="Greet", access="private")).then_nothing()

    def test_keeps_the_files_that_are_not_named_and_takes_away_what_is_named_none(self) -> None:
        staged = (a.artifact_staged("code"), a.artifact_staged("docker"), a.artifact_staged("yaml"))
        both = ArtifactFiles(code_file=a.staged_id("code"), docker_file=a.staged_id("docker"))
        changes = FileChanges(yaml_file=a.staged_id("yaml"), docker_file=None)

        given(*PROJECT, *staged, a.function_created(artifact_files=both)).when(
            a.update_function(artifact_files=changes)
        ).then(
            a.function_updated(
                artifact_files=ArtifactFiles(code_file=a.staged_id("code"), yaml_file=a.staged_id("yaml"))
            )
        )

    def test_changes_nothing_when_no_file_is_named(self) -> None:
        files = ArtifactFiles(code_file=a.staged_id("code"))

        given(*PROJECT, a.artifact_staged("code"), a.function_created(artifact_files=files)).when(
            a.update_function(artifact_files=FileChanges())
        ).then_nothing()

    def test_claims_a_new_name_and_keeps_the_segment_it_answers_under(self) -> None:
        given(*DRAFT).when(a.update_function(name="Hello")).then(
            a.function_updated(name="Hello"), claims=(_named("hello"),)
        )

    def test_gives_back_a_name_it_only_had_in_between(self) -> None:
        given(*DRAFT, a.function_updated(name="Hello")).when(a.update_function(name="Bye")).then(
            a.function_updated(name="Bye"), claims=(_named("bye"), _named("hello", release=True))
        )

    def test_claims_nothing_when_only_the_spelling_changes(self) -> None:
        given(*DRAFT).when(a.update_function(name="GREET")).then(a.function_updated(name="GREET"), claims=())

    def test_leaves_a_runtime_that_is_being_retired_where_it_is(self) -> None:
        retiring = (a.runtime_added(OLD, deprecation_announced_at=a.AT - DAY), a.function_created(runtime=OLD))

        given(*PROJECT, *retiring).when(a.update_function(access="public")).then(
            a.function_updated(runtime=OLD, access="public")
        )

    def test_refuses_to_move_to_a_runtime_that_is_being_retired(self) -> None:
        retiring = a.runtime_added(OLD, deprecation_announced_at=a.AT - DAY)

        given(*DRAFT, retiring).when(a.update_function(runtime=OLD)).then_refused(RuntimeNotSelectable)

    @pytest.mark.parametrize(("wrong", "refusal", "fields"), WRONG)
    def test_refuses(self, wrong: dict[str, Any], refusal: Any, fields: tuple[str, ...] | None) -> None:
        given(*DRAFT).when(a.update_function(**wrong)).then_refused(refusal, fields=fields)

    def test_refuses_a_function_that_never_was(self) -> None:
        given(*PROJECT).when(a.update_function()).then_refused(FunctionUnknown)

    def test_refuses_a_function_of_another_project_as_if_it_never_was(self) -> None:
        given(*DRAFT).when(a.update_function(project_id=a.OTHER_PROJECT_ID)).then_refused(FunctionUnknown)

    def test_refuses_an_archived_function(self) -> None:
        given(*DRAFT, a.function_archived()).when(a.update_function(access="public")).then_refused(FunctionIsArchived)

    def test_refuses_an_archived_project(self) -> None:
        given(*DRAFT, a.project_archived()).when(a.update_function(access="public")).then_refused(ProjectIsArchived)


class TestArchiveFunction:
    def test_gives_back_its_names_and_its_place(self) -> None:
        given(*DRAFT, a.function_updated(name="Hello")).when(a.archive_function(reason="unused")).then(
            a.function_archived("unused"),
            claims=(_named("greet", release=True), _named("hello", release=True)),
            counters=(a.count("functions", str(a.PROJECT_ID), -1),),
        )

    def test_archives_one_whose_deployments_are_all_undeployed(self) -> None:
        undeployed = (a.deployment_requested(), a.function_deployed(), a.function_undeployed())

        given(*DRAFT, *undeployed).when(a.archive_function()).then(a.function_archived())

    def test_asking_twice_changes_nothing(self) -> None:
        given(*DRAFT, a.function_archived()).when(a.archive_function()).then_nothing()

    def test_refuses_while_a_deployment_is_active(self) -> None:
        given(*DRAFT, a.deployment_requested(), a.function_deployed()).when(a.archive_function()).then_refused(
            FunctionIsLive
        )

    def test_undeploys_first_when_asked_to(self) -> None:
        given(*LIVE).when(a.archive_function(reason="unused", undeploy_first=True)).then(
            a.archive_requested("unused"), a.undeploy_requested("unused"), claims=(), counters=()
        )

    def test_asks_for_no_undeployment_twice(self) -> None:
        given(*LIVE, a.archive_requested(), a.undeploy_requested()).when(
            a.archive_function(undeploy_first=True)
        ).then_nothing()

    def test_refuses_while_a_deployment_has_no_outcome(self) -> None:
        given(*DRAFT, a.deployment_requested()).when(a.archive_function()).then_refused(FunctionIsLive)

    def test_refuses_a_function_of_another_project_as_if_it_never_was(self) -> None:
        archived = (*DRAFT, a.function_archived())

        given(*DRAFT).when(a.archive_function(project_id=a.OTHER_PROJECT_ID)).then_refused(FunctionUnknown)
        given(*archived).when(a.archive_function(project_id=a.OTHER_PROJECT_ID)).then_refused(FunctionUnknown)

    def test_refuses_a_function_that_never_was(self) -> None:
        given(*PROJECT).when(a.archive_function()).then_refused(FunctionUnknown)


class TestStatus:
    def test_goes_from_draft_to_deployed_and_back_to_undeployed(self) -> None:
        deployed = (a.function_created(), a.deployment_requested(), a.function_deployed())

        assert _folded(a.function_created()).status == "draft"
        assert _folded(a.function_created(), a.deployment_requested(), a.deployment_ended()).status == "draft"
        assert _folded(*deployed).status == "deployed"
        assert _folded(*deployed, a.function_undeployed()).status == "undeployed"
        assert _folded(*deployed, a.function_undeployed(), a.function_archived()).status == "archived"


class TestChangedSinceDeploy:
    DEPLOYED = (a.function_created(), a.deployment_requested(), a.function_deployed(function_revision=1))

    def test_is_true_once_a_running_release_would_notice(self) -> None:
        assert not _folded(*self.DEPLOYED).changed_since_deploy
        assert _folded(*self.DEPLOYED, a.function_updated(environment={"A": "1"})).changed_since_deploy

    def test_does_not_mind_names_and_descriptions(self) -> None:
        assert not _folded(*self.DEPLOYED, a.function_updated(name="Hello", description="x")).changed_since_deploy

    def test_is_false_again_after_the_next_deployment(self) -> None:
        again = (
            *self.DEPLOYED,
            a.function_updated(access="public"),
            a.function_deployed(number=2, function_revision=2, access="public"),
        )

        assert not _folded(*again).changed_since_deploy

    def test_is_false_when_what_was_changed_is_changed_back(self) -> None:
        there_and_back = (a.function_updated(access="public"), a.function_updated(access="private"))

        assert not _folded(*self.DEPLOYED, *there_and_back).changed_since_deploy

    def test_is_true_after_going_back_to_what_is_no_longer_saved(self) -> None:
        went_back = (a.function_updated(access="public"), a.function_deployed(number=2, function_revision=1))

        assert _folded(*self.DEPLOYED, *went_back).changed_since_deploy

    def test_counts_revisions_where_the_log_does_not_tell_the_inputs(self) -> None:
        deployed = a.function_deployed()
        old = Fact(deployed.stream, msgspec.structs.replace(deployed.event, inputs=None))

        assert not _folded(a.function_created(), old).changed_since_deploy
        assert _folded(a.function_created(), old, a.function_updated(access="public")).changed_since_deploy

    def test_is_false_for_what_is_not_deployed(self) -> None:
        assert not _folded(a.function_created(), a.function_updated(access="public")).changed_since_deploy


def _folded(*facts: Fact) -> Function:
    function: Function = fold(facts)[facts[0].stream]
    return function


def _named(segment: str, *, release: bool = False) -> Any:
    return a.claim("function", f"{a.PROJECT_ID}/{segment}", a.FUNCTION_ID, release=release)


class TestSetSecret:
    def test_records_which_value_it_is_and_nothing_of_it(self) -> None:
        given(*DRAFT).when(a.set_secret()).then(a.secret_set())

    def test_counts_on_also_after_it_was_removed(self) -> None:
        given(*DRAFT, a.secret_set(), a.secret_removed()).when(a.set_secret(value_id=a.id_of(61))).then(
            a.secret_set(version=2, value_id=a.id_of(61))
        )

    def test_refuses_the_name_of_a_variable(self) -> None:
        taken = a.function_updated(environment={"TOKEN": "1"})

        given(*DRAFT, taken).when(a.set_secret()).then_refused(NameOfBoth, fields=("name",))

    @pytest.mark.parametrize("name", ["PORT", "DCF_KEY", "9", "A B", ""])
    def test_refuses_a_name_no_variable_can_have(self, name: str) -> None:
        given(*DRAFT).when(a.set_secret(name=name)).then_refused(EnvironmentNameNotAllowed, fields=("name",))

    def test_refuses_more_than_there_may_be_but_not_another_value(self) -> None:
        full = [a.secret_set(f"S{number}") for number in range(SECRETS_MAX)]

        given(*DRAFT, *full).when(a.set_secret()).then_refused(TooManySecrets)
        given(*DRAFT, *full).when(a.set_secret(name="S0")).then(a.secret_set("S0", version=2))

    def test_refuses_a_function_of_another_project_and_one_that_is_archived(self) -> None:
        given(*DRAFT).when(a.set_secret(project_id=a.OTHER_PROJECT_ID)).then_refused(FunctionUnknown)
        given(*DRAFT, a.function_archived()).when(a.set_secret()).then_refused(FunctionIsArchived)


class TestRemoveSecret:
    def test_records_that_it_is_gone(self) -> None:
        given(*DRAFT, a.secret_set()).when(a.remove_secret()).then(a.secret_removed())

    def test_refuses_one_there_is_not(self) -> None:
        given(*DRAFT).when(a.remove_secret()).then_refused(SecretUnknown)


class TestAFunctionWithSecrets:
    def test_refuses_a_variable_with_the_name_of_one(self) -> None:
        given(*DRAFT, a.secret_set()).when(a.update_function(environment={"TOKEN": "1"})).then_refused(
            NameOfBoth, fields=("environment.TOKEN",)
        )

    def test_has_changed_since_it_was_deployed_when_one_was_set(self) -> None:
        stream = a.function_created().stream
        before: Function = fold((a.function_created(), *LIVE))[stream]
        after: Function = fold((a.function_created(), *LIVE, a.secret_set()))[stream]

        assert not before.changed_since_deploy
        assert after.changed_since_deploy
