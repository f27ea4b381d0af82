"""Processes replaced while they work, and runners of two versions at once: nobody who deploys notices."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from api.first_start import TENANT_ID
from domain.deployment import DEPLOYMENT
from eventstore.codec import Codec
from eventstore.database import connect
from eventstore.embedded import Place
from eventstore.log import Append
from eventstore.meta import Actor, Meta
from tests.journeys.this_machine import ThisMachine
from tests.support.crew import Crew
from tests.support.newer_runner import APPROVABLE, DeploymentApproved
from tests.support.service import Journey, until

NEWER = Actor("person", "somebody")
# A fast machine may have built it before the runner that builds is asked to go.
UPGRADES_MAX = 5

_SESSIONS = """
    SELECT pid
      FROM pg_stat_activity
     WHERE application_name LIKE 'dcf %'
"""

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with tempfile.TemporaryDirectory(prefix="dcf-upgrades-", ignore_cleanup_errors=True) as directory:
        running = Crew(Path(directory), runners=2)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.mark.proof
def test_runners_replaced_one_after_another_lose_nothing_and_are_gone_within_ten_seconds(crew: Crew) -> None:
    """Goal: an upgrade of the runners is not noticed. Method: SIGTERM to each while a build is under way, then a new one."""
    with crew.client() as api, ThisMachine().slowly() as large:
        journey = Journey(api)
        journey.prepare("upgrade")
        journey.files["code_file"] = journey.upload("code", "main.dart", large)
        function_id, handed_over = journey.draft("slow"), False
        for _ in range(UPGRADES_MAX):
            slow = journey.deploy(function_id)
            until(partial(_builds, journey, slow), seconds=60, what="a build")
            for runner in crew.runners:
                crew.replace(runner)
            ended = journey.ended(slow)
            recorded = _types(journey, slow)
            assert ended["status"] == "succeeded", ended
            assert recorded["deployment.build_started"] == 1
            handed_over = recorded["deployment.claimed"] > 1
            if handed_over:
                break

    assert handed_over


@pytest.mark.proof
def test_whoever_is_asked_to_stop_while_the_database_is_silent_is_gone_within_ten_seconds_all_the_same(
    crew: Crew,
) -> None:
    """Goal: nothing that does not answer keeps a process. Method: the sessions' own processes are stopped, not ended, so that the
    connections stay open and nobody speaks."""
    names, sessions = ("api", "projections", crew.runners[0]), asyncio.run(_sessions(crew))
    for session in sessions:
        os.kill(session, signal.SIGSTOP)
    try:
        seconds = crew.replace(*names)
    finally:
        for session in sessions:
            with suppress(ProcessLookupError):
                os.kill(session, signal.SIGCONT)
    crew.await_ready()

    assert sessions
    assert min(seconds.values()) > 1, f"one was kept by nothing: {seconds}"


@pytest.mark.proof
def test_old_and_new_runners_work_side_by_side_on_one_log(crew: Crew) -> None:
    """Goal: what newer code recorded waits for newer code, and nothing else does. Method: an event the old ones do not know
    is recorded of a deployment that waits; then a runner that knows it is started beside them."""
    with crew.client() as api:
        journey = Journey(api)
        journey.prepare("side by side")
        approved, other = journey.draft("approved"), journey.draft("other")
        old = crew.runners
        for runner in old:
            crew.end(runner)
        waits = journey.deploy(approved)
        asyncio.run(_approve(crew, UUID(waits)))
        for runner in old:
            crew.launch(runner)
        by_the_old = journey.ended(journey.deploy(other))["status"]
        meanwhile = journey.deployment(waits)["status"]
        crew.modules["runner-newer"] = "tests.support.newer_runner"
        crew.launch("runner-newer")
        by_the_new = journey.ended(waits)["status"]
        left_alone = _types(journey, waits)

    assert (by_the_old, meanwhile, by_the_new) == ("succeeded", "queued", "succeeded")
    assert left_alone["deployment.claimed"] == 1


async def _sessions(crew: Crew) -> list[int]:
    """The processes of the database that serve ours."""
    async with connect(Place.of(crew.data_dir).url(), role="dcf_owner", size_max=1) as database:
        return [row["pid"] for row in await database.fetch(_SESSIONS)]


def _builds(journey: Journey, deployment_id: str) -> bool:
    return _types(journey, deployment_id)["deployment.build_started"] > 0


def _types(journey: Journey, deployment_id: str) -> Counter[str]:
    return Counter(event["type"] for event in journey.events(deployment_id))


async def _approve(crew: Crew, deployment_id: UUID) -> None:
    """As a process of the newer version would."""
    codec = Codec([APPROVABLE])
    async with crew.opened() as log:
        stream = DEPLOYMENT.stream(TENANT_ID, deployment_id)
        [before] = await log.load([stream])
        event = codec.new_event(stream, before[-1].version + 1, DeploymentApproved(by="somebody"), Meta(actor=NEWER))
        await log.append(Append(tenant_id=TENANT_ID, command_id=uuid4(), events=(event,)))
