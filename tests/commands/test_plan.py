"""Plans are data: defining one again changes it for everybody who has it."""

from __future__ import annotations

from tests.support import a
from tests.support.scenario import given


class TestDefinePlan:
    def test_defines_it(self) -> None:
        given().when(a.define_plan()).then(a.plan_defined())

    def test_redefines_it_with_other_limits(self) -> None:
        given(a.plan_defined()).when(a.define_plan(limits=a.limits(projects=9))).then(a.plan_defined(projects=9))

    def test_redefines_it_with_other_entitlements(self) -> None:
        given(a.plan_defined()).when(a.define_plan(entitlements=("gke",))).then(a.plan_defined(entitlements=("gke",)))

    def test_changes_nothing_when_it_is_the_same(self) -> None:
        given(a.plan_defined()).when(a.define_plan()).then_nothing()
