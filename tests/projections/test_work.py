"""The runner's work list."""

from __future__ import annotations

import pytest

from domain.event import Fact
from projections.memory_reader import MemoryReader
from projections.work import WORK, WORK_WAITING
from tests.projections.history import CODEC, META, History, memory_log, rows_of
from tests.support import a

UNDER_WAY = (a.deployment_queued(), a.deployment_claimed(epoch=4))


@pytest.mark.parametrize(
    ("facts", "waits", "under_way"),
    [
        ((a.deployment_queued(),), True, False),
        (UNDER_WAY, False, True),
        ((*UNDER_WAY, a.release_started()), False, True),
        ((*UNDER_WAY, a.cancel_requested()), False, True),
        ((*UNDER_WAY, a.deployment_succeeded()), False, False),
        ((*UNDER_WAY, a.deployment_failed(remaining=("image",))), False, False),
        ((*UNDER_WAY, a.deployment_succeeded(), a.undeploy_requested()), True, False),
        ((*UNDER_WAY, a.deployment_succeeded(), a.undeploy_requested(), a.undeploy_started()), False, True),
    ],
)
async def test_says_whether_a_runner_may_begin_or_has_begun(
    facts: tuple[Fact, ...], waits: bool, under_way: bool
) -> None:
    (row,) = await rows_of(WORK, *facts)

    assert (row.waits, row.under_way) == (waits, under_way)


@pytest.mark.parametrize(
    "facts",
    [
        (*UNDER_WAY, a.deployment_failed()),
        (a.deployment_queued(), a.deployment_canceled()),
        (*UNDER_WAY, a.deployment_succeeded(), a.undeploy_requested(), a.deployment_undeployed()),
    ],
)
async def test_forgets_what_can_never_have_work_again(facts: tuple[Fact, ...]) -> None:
    assert await rows_of(WORK, *facts) == []


async def test_knows_the_newest_claim() -> None:
    (row,) = await rows_of(WORK, *UNDER_WAY, a.deployment_claimed(epoch=5, runner_id="runner-2"))

    assert (row.epoch, row.runner_id, row.slot) == (5, "runner-2", f"{a.FUNCTION_ID}/local")


async def test_is_due_when_undeploying_was_asked_for() -> None:
    (row,) = await rows_of(WORK, *UNDER_WAY, a.deployment_succeeded(), a.undeploy_requested())

    assert row.due_position == 4


async def test_carries_the_correlation_id_of_the_request_behind_it() -> None:
    (row,) = await rows_of(WORK, *UNDER_WAY)

    assert row.correlation_id == META.correlation_id


async def test_lists_what_of_a_tenant_waits_in_the_order_it_was_asked_for() -> None:
    log = memory_log()
    others = (a.deployment_queued(a.id_of(12)), a.deployment_queued(a.id_of(13)))
    await History(log).record(*UNDER_WAY, a.deployment_succeeded(), *others, a.undeploy_requested())

    found = await MemoryReader(log, CODEC, (WORK,)).rows(WORK_WAITING, a.TENANT_ID)

    assert [one.id for one in found] == [a.id_of(12), a.id_of(13), a.DEPLOYMENT_ID]
