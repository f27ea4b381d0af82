"""Dry runs: what a changed read model would show is told, and nothing is changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from audit.dry_run import NothingServed, dry_run
from audit.findings import Progress
from projections.audit_trail import AUDIT_TRAIL
from projections.functions import FUNCTIONS
from projections.recorded import Recorded
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, History
from tests.projections.stories import STORIES, about_others
from tests.support import a


def _quietly(_: Progress) -> None:
    """Progress is told to nobody."""


def _shouting(row: Any, recorded: Recorded) -> Any:
    after = FUNCTIONS.project(row, recorded)
    return after if after is row or after is None else msgspec.structs.replace(after, description="!")


@pytest.fixture
async def served(workshop: Workshop, history: History) -> Workshop:
    await history.record_together(STORIES["deployed and undeployed"])
    await history.record_together(about_others(STORIES["did not compile"], 1))
    await workshop.catch_up()
    return workshop


class TestDryRun:
    async def test_of_what_is_served_differs_in_nothing(self, served: Workshop) -> None:
        for model in (FUNCTIONS, AUDIT_TRAIL):
            _, findings = await dry_run(served.database, CODEC, model, _quietly)
            assert findings.differences == []
            assert findings.checked[f"{model.name} rows"] > 1

    async def test_names_each_field_that_would_be_otherwise(self, served: Workshop) -> None:
        changed = msgspec.structs.replace(FUNCTIONS, project=_shouting, version=FUNCTIONS.version + 1)
        before = [await served.table(FUNCTIONS), await served.standing(FUNCTIONS)]

        found, findings = await dry_run(served.database, CODEC, changed, _quietly, lane_bytes=1)

        assert found.version == FUNCTIONS.version
        assert findings.problems == {"differs": 2}
        assert findings.fields == {"/description": 2}
        (change,) = findings.differences[0].changes
        assert (change.before, change.after) == ("", "!")
        assert [await served.table(FUNCTIONS), await served.standing(FUNCTIONS)] == before
        assert not await served.database.fetchval(f"SELECT to_regclass('views.{changed.kind}') IS NOT NULL")

    async def test_tells_rows_that_would_be_made_or_go(self, served: Workshop) -> None:
        elsewhere = msgspec.structs.replace(FUNCTIONS, keys=lambda recorded: (recorded.tenant_id,), elsewhere=None)

        _, findings = await dry_run(served.database, CODEC, elsewhere, _quietly)

        assert findings.problems == {"missing": 2, "surplus": 2}

    async def test_tells_events_that_the_changed_code_cannot_fold(self, served: Workshop) -> None:
        def failing(row: Any, recorded: Recorded) -> Any:
            if recorded.stream_id == a.FUNCTION_ID and row is not None:
                raise ValueError("not this one")
            return FUNCTIONS.project(row, recorded)

        _, findings = await dry_run(
            served.database, CODEC, msgspec.structs.replace(FUNCTIONS, project=failing), _quietly
        )

        assert findings.problems == {"unreadable": 1}
        assert "not this one" in findings.differences[0].detail

    async def test_of_what_is_not_served_there_is_nothing_to_compare_with(self, served: Workshop) -> None:
        with pytest.raises(NothingServed):
            await dry_run(served.database, CODEC, msgspec.structs.replace(FUNCTIONS, name="robots"), _quietly)
