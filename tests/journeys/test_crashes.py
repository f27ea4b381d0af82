"""`kill -9` of any process at any recorded step: the deployment still ends well, with one build."""

from __future__ import annotations

import hashlib
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from api.resumable_uploads import PIECE_BYTES
from eventstore.embedded import Place
from tests.journeys.test_deployment import STEPS
from tests.support.service import Journey, Service, until

MODULES = ["runner", "projections", "api"]
KILLED_AT = STEPS[:-2]  # After the last two, written together, there is nothing left to interrupt.
STEP_SECONDS_MAX = 90
PATIENCE_SECONDS = 60

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


class Patient(Journey):
    """Asks again while the API is away."""

    def ask(self, method: str, path: str, body: object = None, *, status: int | tuple[int, ...] = 200) -> Any:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return super().ask(method, path, body, status=status)
            except (httpx.TransportError, AssertionError) as error:
                passing = isinstance(error, httpx.TransportError) or ": 503 " in str(error)
                if method != "GET" or not passing or time.monotonic() > end:
                    raise
                time.sleep(0.05)


def _dropped(api: httpx.Client, location: str, at: int, sent: bytes, *, announced: int) -> socket.socket:
    """A request that has sent so much of what it announced, and waits."""
    url = httpx.URL(api.base_url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=10)
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: here\r\nAuthorization: {api.headers['authorization']}\r\n"
        f"Content-Type: application/partial-upload\r\nUpload-Offset: {at}\r\nUpload-Complete: ?1\r\n"
        f"Content-Length: {announced}\r\n\r\n"
    )
    connection.sendall(head.encode() + sent)
    return connection


def test_an_upload_goes_on_after_the_api_was_killed_in_the_middle(service: Service) -> None:
    """Goal: what was taken is there, and comes to the whole file. Method: kill -9 while a piece arrives, twice; resume."""
    content = b"void main() {}\n" + b"// a line of a large file\n" * 48_000
    with service.client() as api:
        journey = Patient(api)
        project_id = journey.ask("POST", "/projects", {"name": "large"}, status=201)["projectId"]
        begun = api.post(
            f"/api/v1/projects/{project_id}/uploads?kind=code",
            content=content[:PIECE_BYTES],
            headers={"Upload-Complete": "?0", "Upload-Length": str(len(content))},
        )
        location = begun.headers["location"]
        assert begun.headers["upload-offset"] == str(PIECE_BYTES)

        for _ in range(2):
            offset = journey.ask("GET", location.removeprefix("/api/v1"))["offset"]
            with _dropped(
                api, location, offset, content[offset : offset + PIECE_BYTES + 999], announced=len(content) - offset
            ):
                time.sleep(0.2)
                service.kill("api")
        offset = journey.ask("GET", location.removeprefix("/api/v1"))["offset"]
        done = api.patch(
            location,
            content=content[offset:],
            headers={
                "Upload-Offset": str(offset),
                "Upload-Complete": "?1",
                "Content-Type": "application/partial-upload",
            },
        )

    assert PIECE_BYTES <= offset < len(content)
    assert done.status_code == 201, done.text
    assert done.json()["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()


def test_what_was_asked_for_when_the_api_was_killed_is_done_once(service: Service) -> None:
    """Goal: between taking a request and answering it nothing is lost or doubled. Method: kill -9 while the append waits
    for the log's lock; then ask again, with the same key, until there is an answer."""
    with service.client() as api, ThreadPoolExecutor(1) as asking:
        journey = Patient(api)
        journey.prepare("killed in between")
        body = {"functionId": journey.draft("hello"), "provider": "local", "target": {}}
        path, key = f"/api/v1/projects/{journey.project_id}/deployments", {"Idempotency-Key": str(uuid4())}

        with psycopg.connect(Place.of(service.data_dir).url()) as holder:
            holder.execute("SELECT pg_advisory_xact_lock(4919, 1)")
            asked = asking.submit(api.post, path, json=body, headers=key)
            until(lambda: holder.execute(_WAITING).fetchone(), seconds=60, what="the append waits")
            service.kill("api")
            holder.rollback()
        assert isinstance(asked.exception(timeout=60), httpx.TransportError), "there was no answer"

        def again() -> httpx.Response | None:
            try:
                answer = api.post(path, json=body, headers=key)
            except httpx.TransportError:
                return None
            return None if answer.status_code == 503 else answer

        answer = until(again, seconds=PATIENCE_SECONDS, what="an answer")
        listed = journey.ask("GET", path.removeprefix("/api/v1"))["items"]
        assert answer.status_code == 202, answer.text
        assert [one["deploymentId"] for one in listed] == [answer.json()["deploymentId"]]
        types = [event["type"] for event in journey.events(listed[0]["deploymentId"])]
        assert types.count("deployment.queued") == 1


_WAITING = (
    "SELECT true FROM pg_locks WHERE locktype = 'advisory' AND classid = 4919 AND objid = 1 AND NOT granted LIMIT 1"
)


def _await_step(journey: Journey, deployment_id: str, step: str) -> None:
    def look() -> bool:
        return any(event["type"] == step for event in journey.events(deployment_id))

    until(look, seconds=STEP_SECONDS_MAX, what=f"{step} recorded")


@pytest.mark.parametrize(
    "modules", [MODULES, *(pytest.param([module], marks=pytest.mark.proof) for module in MODULES)], ids=" and ".join
)
def test_a_deployment_survives_a_process_killed_at_every_recorded_step(service: Service, modules: list[str]) -> None:
    """Goal: no crash loses, doubles or blocks a deployment. Method: kill one of the processes, in turn, each time a step
    shows up."""
    with service.client() as api:
        journey = Patient(api)
        journey.prepare("crash of " + " and ".join(modules))
        deployment_id = journey.deploy(journey.draft("hello"))

        for step, module in zip(KILLED_AT, cycle(modules), strict=False):
            _await_step(journey, deployment_id, step)
            service.kill(module)
        ended = journey.ended(deployment_id)
        answer = httpx.get(ended["url"], timeout=30)
        recorded = Counter(event["type"] for event in journey.events(deployment_id))

    assert ended["status"] == "succeeded", ended
    assert answer.status_code == 200
    assert recorded["deployment.build_started"] == 1
    assert recorded["deployment.build_succeeded"] == 1
    assert recorded["deployment.succeeded"] == 1
    assert recorded["deployment.queued"] == 1
