"""Whatever has happened, and wherever whoever rebuilds is killed: the build is what the worker made."""

from __future__ import annotations

import itertools
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.catalogue import READ_MODELS
from projections.read_model import AnyModel
from tests.projections.conftest import Workshop
from tests.projections.history import History, fold
from tests.projections.rebuild.conftest import Rebuilds
from tests.projections.rebuild.mortal_pool import Killed, MortalPool
from tests.projections.rebuild.test_steps import assert_same
from tests.projections.stories import STORIES, about_others, mingle

_numbers = itertools.count(1)


@settings(
    max_examples=12,
    deadline=None,
    # Each example goes on with the log of the one before: a history that grows.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    chosen=st.lists(st.sampled_from(sorted(STORIES)), min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
    model=st.sampled_from(READ_MODELS),
    lanes=st.integers(1, 3),
    kills=st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=3),
)
async def test_a_rebuild_that_is_killed_anywhere_is_the_fold(
    workshop: Workshop,
    history: History,
    rebuilds: Rebuilds,
    chosen: list[str],
    chance: random.Random,
    model: AnyModel,
    lanes: int,
    kills: list[tuple[int, bool]],
) -> None:
    await history.record_together(mingle([about_others(STORIES[name], next(_numbers)) for name in chosen], chance))
    await workshop.worker(model)  # Its first build is made when nobody has.
    before = await rebuilds.served(model)
    await workshop.catch_up(before)
    job = await rebuilds.request(model)
    for number, after in kills:
        asked = itertools.count(1)

        def die(*_: object, asked: Any = asked, number: int = number) -> None:
            if next(asked) == number:
                raise Killed

        try:
            dying = MortalPool(rebuilds.tools.database, die, after=after)
            await rebuilds.carry_out(await rebuilds.job(job), model, database=dying, lanes=lanes)
        except Killed:
            pass
        job = await rebuilds.job(job)
        if job.ended_at is not None:
            break
    if job.ended_at is None:
        job = await rebuilds.carry_out(job, model, lanes=lanes)

    assert (job.step, job.problem) == ("done", "")
    build = await rebuilds.served(model)
    assert build.build == job.build
    await assert_same(workshop, build, before)
    plain = {key: row.raw for key, row in (await fold(workshop.log, model)).items()}
    assert {key: row.raw for key, row in (await workshop.table(build)).items()} == plain
