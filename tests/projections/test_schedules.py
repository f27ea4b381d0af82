"""The schedules that runners keep."""

from __future__ import annotations

import pytest

from domain.event import Fact
from domain.release import Trigger
from projections.schedules import SCHEDULES
from tests.projections.history import rows_of
from tests.support import a

NIGHTLY = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
QUEUED = a.deployment_queued(release=a.release(trigger=NIGHTLY))
LATER = a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2, release=a.release(trigger=NIGHTLY))
REPLACED = a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID)
ACTIVE = (QUEUED, a.function_deployed())


async def test_are_kept_from_when_the_deployment_is_active() -> None:
    (waiting,) = await rows_of(SCHEDULES, QUEUED)
    (kept,) = await rows_of(SCHEDULES, *ACTIVE)

    assert waiting.active_since is None
    assert kept.active_since is not None
    assert (kept.cron, kept.time_zone, kept.address) == ("0 3 * * *", "Europe/Madrid", ("acme", "shop", "greet"))


@pytest.mark.parametrize(
    "facts",
    [
        (a.deployment_queued(), a.function_deployed()),
        (QUEUED, a.deployment_failed()),
        (QUEUED, a.deployment_canceled()),
        (*ACTIVE, a.function_undeployed()),
        (*ACTIVE, a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2), REPLACED),
    ],
)
async def test_are_none_where_no_active_deployment_has_one(facts: tuple[Fact, ...]) -> None:
    assert await rows_of(SCHEDULES, *facts) == []


async def test_pass_from_a_deployment_to_the_one_that_replaces_it() -> None:
    (kept,) = await rows_of(SCHEDULES, *ACTIVE, LATER, REPLACED)

    assert kept.deployment_id == a.LATER_DEPLOYMENT_ID
