"""`kill -9` of any process at any recorded step: the deployment still ends well, with one build."""

from __future__ import annotations

import time
from collections import Counter

import httpx
import pytest

from tests.journeys.test_deployment import STEPS
from tests.support.service import Journey, Service, until

KILLED_AT = STEPS[:-2]  # After the last two, written together, there is nothing left to interrupt.
STEP_SECONDS_MAX = 90
PATIENCE_SECONDS = 60

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


class Patient(Journey):
    """Asks again while the API is away."""

    def ask(self, method: str, path: str, body: object = None, *, status: int | tuple[int, ...] = 200) -> object:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return super().ask(method, path, body, status=status)
            except (httpx.TransportError, AssertionError) as error:
                passing = isinstance(error, httpx.TransportError) or ": 503 " in str(error)
                if method != "GET" or not passing or time.monotonic() > end:
                    raise
                time.sleep(0.05)


def _await_step(journey: Journey, deployment_id: str, step: str) -> None:
    def look() -> bool:
        return any(event["type"] == step for event in journey.events(deployment_id))

    until(look, seconds=STEP_SECONDS_MAX, what=f"{step} recorded")


@pytest.mark.parametrize("module", ["runner", "projections", "api"])
def test_a_deployment_survives_the_process_killed_at_every_recorded_step(service: Service, module: str) -> None:
    """Goal: no crash loses, doubles or blocks a deployment. Method: kill the process each time a step shows up."""
    with service.client() as api:
        journey = Patient(api)
        journey.prepare(f"crash {module}")
        deployment_id = journey.deploy(journey.draft("hello"))

        for step in KILLED_AT:
            _await_step(journey, deployment_id, step)
            service.kill(module)
        ended = journey.ended(deployment_id)
        answer = httpx.get(ended["url"])
        recorded = Counter(event["type"] for event in journey.events(deployment_id))

    assert ended["status"] == "succeeded", ended
    assert answer.status_code == 200
    assert recorded["deployment.build_started"] == 1
    assert recorded["deployment.build_succeeded"] == 1
    assert recorded["deployment.succeeded"] == 1
    assert recorded["deployment.queued"] == 1
