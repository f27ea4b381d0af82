"""What runners report, shuffled and doubled: whatever arrives in which order, the same comes of it."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import pytest

from commands.execute import Context, execute
from commands.progress import (
    ProgressCommand,
    RecordActivated,
    RecordBuildStarted,
    RecordBuildSucceeded,
    RecordBundled,
    RecordPushed,
    RecordReleaseApplied,
    RecordReleaseStarted,
    RecordReleaseVerified,
)
from domain.deployment import Deployment
from domain.refusal import Conflict
from eventstore.meta import Actor
from runner.world import Held
from tests.runner.test_advance import WHOLE_STORY
from tests.runner.town import Town
from tests.support import virtual_time

RUNNER = Actor("runner", "runner")
REPORTS: tuple[tuple[Any, dict[str, str]], ...] = (
    (RecordBundled, {"location": "bundle", "digest": "sha256:1"}),
    (RecordBuildStarted, {"build_id": "build-1"}),
    (RecordBuildSucceeded, {"build_id": "build-1"}),
    (RecordPushed, {"reference": "image", "digest": "sha256:2"}),
    (RecordReleaseStarted, {}),
    (RecordReleaseApplied, {"url": "http://here", "revision": "1"}),
    (RecordReleaseVerified, {}),
    (RecordActivated, {}),
)
# How often each is sent in all, until every one of them has come in its turn once.
ROUNDS_MAX = len(REPORTS)


def reported(held: Held, town: Town) -> list[ProgressCommand]:
    given: dict[str, Any] = {
        "tenant_id": held.tenant_id,
        "at": town.now(),
        "deployment_id": held.deployment_id,
        "function_id": held.function_id,
        "epoch": held.epoch,
    }
    return [command(**given, **fields) for command, fields in REPORTS]


async def delivered(town: Town, reports: list[ProgressCommand]) -> None:
    for report in reports:
        with suppress(Conflict):
            await execute(
                town.log, report, Context(actor=RUNNER, command_id=town.new_id(), correlation_id=town.new_id())
            )


async def came_of(seed: int | None) -> tuple[list[str], Deployment]:
    """The story and the state, with the reports in their order or, given a seed, shuffled and doubled."""
    town = Town()
    await town.found()
    await town.settle()
    deployment_id = await town.queue()
    reports = reported(await town.claim(deployment_id), town)
    if seed is None:
        await delivered(town, reports)
    else:
        random = Random(seed)
        for _ in range(ROUNDS_MAX):
            await delivered(town, random.sample(2 * reports, 2 * len(reports)))
    return await town.story(deployment_id), await town.deployment(deployment_id)


class TestReports:
    @pytest.mark.parametrize("seed", range(20))
    def test_shuffled_and_doubled_come_to_the_same(self, seed: int) -> None:
        story, state = virtual_time.run(came_of(seed))

        assert (story, state) == virtual_time.run(came_of(None))
        assert story == WHOLE_STORY
        assert state.status == "succeeded"
