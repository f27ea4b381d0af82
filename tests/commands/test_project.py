"""Projects: names are unique within a tenant, and counted."""

from __future__ import annotations

import pytest

from commands.claimed import FunctionsChanged, full, taken
from commands.project import ProjectExists
from domain.event import Counter
from domain.naming import NameNotAllowed
from domain.plan import PlanUnknown
from domain.project import ProjectIsArchived, ProjectIsLive, ProjectNameTaken, ProjectUnknown
from domain.refusal import LimitReached
from domain.tenant import TenantUnknown
from tests.support import a
from tests.support.scenario import given


class TestCreateProject:
    def test_creates_claims_its_name_and_counts_it(self) -> None:
        given(*a.tenant_with_plan(projects=7)).when(a.create_project(name="My Shop")).then(
            a.project_created(name="My Shop", slug="my-shop"),
            claims=(a.claim("project", "my-shop", a.PROJECT_ID),),
            counters=(a.count("projects", "tenant", 1, 7),),
        )

    def test_refuses_an_id_that_is_a_project_already(self) -> None:
        given(*a.tenant_with_plan(), a.project_created()).when(a.create_project()).then_refused(ProjectExists)

    @pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "ä", "a\n", "x" * 64, "-a", "a-"])
    def test_refuses_a_name_that_could_not_stand_in_an_address(self, name: str) -> None:
        given(*a.tenant_with_plan()).when(a.create_project(name=name)).then_refused(NameNotAllowed, fields=("name",))

    @pytest.mark.parametrize("name", ["a", "x" * 63, "A.b_c-d e", "0"])
    def test_takes_names_of_letters_digits_and_what_joins_words(self, name: str) -> None:
        given(*a.tenant_with_plan()).when(a.create_project(name=name)).then(
            a.project_created(name=name, slug=name.lower().translate(str.maketrans("._ ", "---")))
        )

    def test_refuses_a_tenant_that_never_was(self) -> None:
        given(a.plan_defined()).when(a.create_project()).then_refused(TenantUnknown)

    def test_refuses_a_tenant_whose_plan_is_not_defined(self) -> None:
        given(a.tenant_created()).when(a.create_project()).then_refused(PlanUnknown)

    def test_is_told_when_the_name_is_taken(self) -> None:
        assert type(taken(a.claim("project", "shop", a.PROJECT_ID), a.OTHER_PROJECT_ID)) is ProjectNameTaken

    def test_is_told_how_many_there_may_be(self) -> None:
        refusal = full(a.count("projects", "tenant", 1, 3), 3)

        assert type(refusal) is LimitReached
        assert refusal.detail == "Projects: 3 of at most 3 are in use."


class TestRenameProject:
    def test_claims_the_new_name_and_keeps_the_segment_it_answers_under(self) -> None:
        given(a.project_created()).when(a.rename_project(name="Store")).then(
            a.project_renamed("Store"), claims=(a.claim("project", "store", a.PROJECT_ID),), counters=()
        )

    def test_gives_back_a_name_it_only_had_in_between(self) -> None:
        given(a.project_created(), a.project_renamed("Store")).when(a.rename_project(name="Market")).then(
            a.project_renamed("Market"),
            claims=(
                a.claim("project", "market", a.PROJECT_ID),
                a.claim("project", "store", a.PROJECT_ID, release=True),
            ),
        )

    def test_gives_nothing_back_when_only_the_spelling_changes(self) -> None:
        given(a.project_created(), a.project_renamed("Store")).when(a.rename_project(name="STORE")).then(
            a.project_renamed("STORE"), claims=(a.claim("project", "store", a.PROJECT_ID),)
        )

    def test_changes_nothing_when_it_has_the_name(self) -> None:
        given(a.project_created()).when(a.rename_project(name="Shop")).then_nothing()

    def test_refuses_a_name_that_could_not_stand_in_an_address(self) -> None:
        given(a.project_created()).when(a.rename_project(name="?")).then_refused(NameNotAllowed)

    def test_refuses_an_archived_project(self) -> None:
        given(a.project_created(), a.project_archived()).when(a.rename_project()).then_refused(ProjectIsArchived)

    def test_refuses_a_project_that_never_was(self) -> None:
        given().when(a.rename_project()).then_refused(ProjectUnknown)


class TestArchiveProject:
    PROJECT = (*a.tenant_with_plan(), a.project_created(), a.runtime_added())

    def test_gives_back_its_names_and_its_place(self) -> None:
        given(*self.PROJECT, a.project_renamed("Store")).when(a.archive_project(reason="closed")).then(
            a.project_archived(reason="closed"),
            claims=(
                a.claim("project", "shop", a.PROJECT_ID, release=True),
                a.claim("project", "store", a.PROJECT_ID, release=True),
            ),
            counters=(*self.seen(0), a.count("projects", "tenant", -1)),
        )

    def test_leaves_functions_that_are_not_live_where_they_are(self) -> None:
        given(*self.PROJECT, a.function_created()).when(a.archive_project(function_ids=(a.FUNCTION_ID,))).then(
            a.project_archived(), counters=(*self.seen(1), a.count("projects", "tenant", -1))
        )

    def test_refuses_while_a_function_is_live(self) -> None:
        archive = a.archive_project(function_ids=(a.FUNCTION_ID,))

        given(*a.deployment_active()).when(archive).then_refused(ProjectIsLive)
        given(*a.deployment_under_way()).when(archive).then_refused(ProjectIsLive)

    def test_is_told_when_a_function_came_that_was_not_looked_at(self) -> None:
        assert type(full(self.seen(0)[0], 1)) is FunctionsChanged

    def test_asking_twice_changes_nothing(self) -> None:
        given(*self.PROJECT, a.project_archived()).when(a.archive_project()).then_nothing()

    def test_refuses_a_project_that_never_was(self) -> None:
        given(*a.tenant_with_plan()).when(a.archive_project()).then_refused(ProjectUnknown)

    @staticmethod
    def seen(functions: int) -> tuple[Counter, Counter]:
        """The count of functions may not be more than what was looked at; it stays as it is."""
        step = 10**9 - functions
        up = a.count("functions", str(a.PROJECT_ID), step, 10**9)
        return up, a.count("functions", str(a.PROJECT_ID), -step)
