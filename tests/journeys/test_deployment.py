"""Draft, deploy, change, break, undeploy: through every part, in processes as they run for real."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.service import HELLO, Journey, Service

STEPS = [
    "deployment.queued",
    "deployment.claimed",
    "deployment.bundled",
    "deployment.build_started",
    "deployment.build_succeeded",
    "deployment.pushed",
    "deployment.release_started",
    "deployment.release_applied",
    "deployment.release_verified",
    "deployment.activated",
    "deployment.succeeded",
]

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def journey(service: Service) -> Iterator[Journey]:
    with service.client() as api:
        yield Journey(api)


def test_a_function_goes_from_draft_to_answering_and_away_again(journey: Journey) -> None:
    journey.prepare("whole")
    function_id = journey.draft("hello")

    first = journey.ended(journey.deploy(function_id, reason="first"))
    answer = httpx.get(first["url"])
    changed = (HELLO / "main.dart").read_text().replace("Hello", "Good morning").encode()
    journey.files["code_file"] = journey.upload("code", "main.dart", changed)
    second = journey.ended(journey.deploy(function_id))
    answer_changed = httpx.get(second["url"])
    broken = journey.upload("code", "main.dart", b"void main() { this is not dart; }\n")
    failed = journey.ended(journey.deploy(function_id, artifactFiles={**journey.files, "code_file": broken}))
    answer_after_failure = httpx.get(second["url"])
    path = f"/projects/{journey.project_id}/deployments/{second['deploymentId']}"
    journey.ask("POST", f"{path}/undeploy", {}, status=202)
    gone = journey.ended(second["deploymentId"])
    answer_gone = httpx.get(second["url"])

    assert (first["status"], answer.status_code) == ("succeeded", 200)
    assert [event["type"] for event in journey.events(first["deploymentId"])] == STEPS
    assert first["url"] == second["url"]
    assert "Good morning" in answer_changed.text
    assert journey.deployment(first["deploymentId"])["active"] is False
    assert failed["status"] == "failed"
    assert "main.dart" in failed["failure"]["message"]
    assert "Good morning" in answer_after_failure.text
    assert gone["status"] == "undeployed"
    assert answer_gone.status_code == 404
    function = journey.ask("GET", f"/projects/{journey.project_id}/functions/{function_id}")
    assert function["status"] == "undeployed"


def test_a_release_carries_the_environment_it_was_queued_with(journey: Journey) -> None:
    journey.prepare("greeting")
    function_id = journey.draft("hello", environment={"GREETING": "Ahoy"})

    deployed = journey.ended(journey.deploy(function_id))
    journey.ask("PUT", "/functions/update", {"functionId": function_id, "environment": {"GREETING": "Later"}})
    answer = httpx.get(deployed["url"])

    assert "Ahoy" in answer.text
    function = journey.ask("GET", f"/projects/{journey.project_id}/functions/{function_id}")
    assert function["changedSinceDeploy"] is True


def test_a_private_function_asks_for_a_key_of_its_tenant(service: Service, journey: Journey) -> None:
    journey.prepare("secretive")
    function_id = journey.draft("whisper", access="private")

    deployed = journey.ended(journey.deploy(function_id))
    stranger = httpx.get(deployed["url"])
    owner = httpx.get(deployed["url"], headers={"Authorization": journey.api.headers["Authorization"]})

    assert stranger.status_code == 401
    assert stranger.headers["content-type"].startswith("application/problem+json")
    assert owner.status_code == 200


def test_every_event_says_who_and_because_of_what(journey: Journey) -> None:
    journey.prepare("accountable")
    deployment_id = journey.deploy(journey.draft("hello"))
    journey.ended(deployment_id)

    events = journey.events(deployment_id)

    assert {event["actor"]["type"] for event in events} == {"key", "runner"}
    assert len({event["correlationId"] for event in events}) == 1
    assert all(event["causationId"] for event in events)
    positions = [event["position"] for event in events]
    assert len(set(positions)) == len(positions)
