"""Projects as the API shows them."""

from __future__ import annotations

from datetime import timedelta

from projections.projects import PROJECTS, DeployLock, Project
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
            deploy_lock=None,
            created_at=a.AT + timedelta(seconds=1),
            updated_at=a.AT + timedelta(seconds=3),
        )
    ]


async def test_shows_the_lock_that_was_recorded_last_and_who_made_it() -> None:
    until = a.AT + timedelta(days=2)
    locked = (a.deployments_locked("audit"), a.deployments_locked("stocktaking", until))

    [row] = await rows_of(PROJECTS, a.project_created(), *locked)
    [unlocked] = await rows_of(PROJECTS, a.project_created(), *locked, a.deployments_unlocked())

    assert row.deploy_lock == DeployLock(
        reason="stocktaking", locked_by=a.LOCKED_BY, locked_at=a.AT + timedelta(seconds=3), expires_at=until
    )
    assert unlocked.deploy_lock is None
