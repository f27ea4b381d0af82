"""Projects as the API shows them."""

from __future__ import annotations

from datetime import timedelta

from projections.projects import PROJECTS, Project
from tests.projections.history import rows_of
from tests.support import a


async def test_shows_what_was_created_renamed_and_archived() -> None:
    rows = await rows_of(PROJECTS, a.project_created(), a.project_renamed("Store"), a.project_archived())

    assert rows == [
        Project(
            project_id=a.PROJECT_ID,
            name="Store",
            slug="shop",
            status="archived",
            created_at=a.AT + timedelta(seconds=1),
            updated_at=a.AT + timedelta(seconds=3),
        )
    ]
