"""Whatever has happened, and wherever whoever rebuilds is killed: the build is what the worker made."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.catalogue import READ_MODELS
from projections.dropping import drop_old
from projections.read_model import AnyModel
from projections.rebuild.jobs import Job
from tests.projections.conftest import Workshop
from tests.projections.history import History, fold
from tests.projections.rebuild.conftest import Rebuilds
from tests.projections.rebuild.mortal_pool import Killed, MortalPool
from tests.projections.rebuild.test_steps import assert_same
from tests.projections.stories import STORIES, about_others, mingle

_numbers = itertools.count(1)
# Between two of the questions at which an attempt dies.
_STRIDE = 9


@settings(
    max_examples=6,
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
        await _killed_at(rebuilds, job, model, number, after=after, lanes=lanes)
        job = await rebuilds.job(job)
        if job.ended_at is not None:
            break
    if job.ended_at is None:
        job = await rebuilds.carry_out(job, model, lanes=lanes)

    await _assert_right(workshop, rebuilds, model, job, before)


async def test_every_read_model_killed_again_and_again_is_the_fold(
    workshop: Workshop, history: History, rebuilds: Rebuilds
) -> None:
    """Goal: of no read model does it matter where. Method: each attempt dies a few questions later than the one before."""
    stories = [about_others(story, next(_numbers)) for _, story in sorted(STORIES.items())]
    await history.record_together(mingle(stories, random.Random(7)))
    for first, model in enumerate(READ_MODELS):
        await workshop.catch_up(model)
        job = await rebuilds.request(model)
        for number in itertools.count(1 + first % _STRIDE, _STRIDE):
            await _killed_at(rebuilds, job, model, number, after=bool(number % 2), lanes=1 + first % 2)
            job = await rebuilds.job(job)
            if job.ended_at is not None:
                break

        await _assert_right(workshop, rebuilds, model, job, model)


@pytest.mark.proof
@pytest.mark.parametrize("model", READ_MODELS, ids=lambda model: model.name)
@settings(
    max_examples=1,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    chosen=st.lists(st.sampled_from(sorted(STORIES)), min_size=3, max_size=5),
    chance=st.randoms(use_true_random=False),
    lanes=st.integers(1, 3),
    after=st.booleans(),
)
async def test_a_rebuild_that_is_killed_at_every_question_in_turn_is_the_fold(
    model: AnyModel,
    workshop: Workshop,
    history: History,
    rebuilds: Rebuilds,
    chosen: list[str],
    chance: random.Random,
    lanes: int,
    after: bool,
) -> None:
    await history.record_together(mingle([about_others(STORIES[name], next(_numbers)) for name in chosen], chance))
    await workshop.worker(model)
    for number in itertools.count(1):
        before = await rebuilds.served(model)
        await workshop.catch_up(before)
        job = await rebuilds.request(model)
        killed = await _killed_at(rebuilds, job, model, number, after=after, lanes=lanes)
        job = await rebuilds.job(job)
        if job.ended_at is None:
            job = await rebuilds.carry_out(job, model, lanes=lanes)

        await _assert_right(workshop, rebuilds, model, job, before)
        await drop_old(workshop.database, model.name)
        if not killed:
            return


async def _killed_at(rebuilds: Rebuilds, job: Job, model: AnyModel, number: int, *, after: bool, lanes: int) -> bool:
    """Carry the job out until so many questions were asked of the database; whether it came to that."""
    asked = itertools.count(1)

    def die(*_: object) -> None:
        if next(asked) == number:
            raise Killed

    dying = MortalPool(rebuilds.tools.database, die, after=after)
    try:
        await rebuilds.carry_out(await rebuilds.job(job), model, database=dying, lanes=lanes)
    except Killed:
        return True
    return False


async def _assert_right(workshop: Workshop, rebuilds: Rebuilds, model: AnyModel, job: Job, before: AnyModel) -> None:
    assert (job.step, job.problem) == ("done", ""), model.name
    build = await rebuilds.served(model)
    assert build.build == job.build
    await assert_same(workshop, build, before)
    plain = {key: row.raw for key, row in (await fold(workshop.log, model)).items()}
    assert {key: row.raw for key, row in (await workshop.table(build)).items()} == plain
