"""Each example is a good function: it outlives its callers, ends well at SIGTERM, and does what it says."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

import pytest

from cli.manifest import read_manifest
from commands.dart_source import declares_main
from commands.dockerfile import notices, read_dockerfile
from commands.pubspec import read_pubspec
from domain.version import Version, VersionConstraint
from tests.examples.conftest import EXAMPLES, Function

NAMES = ["hello", "json_api", "schedule"]

Running = Callable[[str], Function]


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_is_one_the_service_takes_without_a_remark(self, name: str) -> None:
        folder = EXAMPLES / name
        dockerfile = (folder / "Dockerfile").read_bytes()

        assert declares_main((folder / "main.dart").read_bytes())
        assert notices(read_dockerfile(dockerfile)) == ()
        assert dockerfile.count(b"\nFROM ") == 1, "two stages"
        sdk = read_pubspec((folder / "pubspec.yaml").read_bytes()).sdk
        assert sdk is not None
        assert VersionConstraint.parse_sdk(sdk).allows(Version.parse("3.11.0"))
        read_manifest(folder)

    def test_outlives_callers_who_leave_in_the_middle(self, running: Running, name: str) -> None:
        function = running(name)

        with function.connect() as half_sent:
            half_sent.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nce-id: 1\r\nContent-Length: 100\r\n\r\nabc")
        with function.connect() as reset:
            reset.sendall(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n")
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        assert function.api.get("/").status_code == 200

    def test_finishes_what_is_under_way_at_sigterm(self, start: Running, name: str) -> None:
        function = start(name)
        idle = function.api.get("/")

        with function.connect() as under_way:
            under_way.sendall(b'POST /notes HTTP/1.1\r\nHost: f\r\nce-id: 1\r\nContent-Length: 15\r\n\r\n{"text":')
            time.sleep(0.3)  # It is in the example's hands when the signal comes.
            function.terminate()
            under_way.sendall(b'"milk"}')
            answer = under_way.recv(1000)

        assert idle.status_code == 200
        assert answer.split()[1][:1] == b"2"
        assert function.ended()[0] == 0


class TestHello:
    def test_greets_as_it_is_told(self, running: Running) -> None:
        function = running("hello")

        assert function.api.get("/", params={"name": "Ada"}).text == "Ahoy, Ada!\n"


class TestSchedule:
    def test_runs_an_event_once_however_often_it_is_delivered(self, running: Running) -> None:
        api = running("schedule").api
        before = api.get("/").json()["runs"]
        event = {"ce-id": "7", "ce-time": "2026-01-02T03:00:00Z"}

        first, again = api.post("/", headers=event), api.post("/", headers=event)
        another = api.post("/", headers={**event, "ce-id": "8"})

        assert first.json() == again.json() == {"result": "done for 2026-01-02T03:00:00Z"}
        assert another.status_code == 200
        assert api.get("/").json() == {"runs": before + 2}

    def test_takes_only_events(self, running: Running) -> None:
        api = running("schedule").api

        assert api.post("/").status_code == 400
        assert api.put("/").status_code == 405


class TestJsonApi:
    """Against our own few lines of shelf: with the real one it is built wherever packages can be had."""

    def test_keeps_notes(self, running: Running) -> None:
        api = running("json_api").api

        made = api.post("/notes", json={"text": "milk"})
        place = made.headers["location"]

        assert (made.status_code, made.json()["text"]) == (201, "milk")
        assert api.get("/notes").json() == {"items": [made.json()]}
        assert api.get(f"/{place}").json() == made.json()
        assert api.delete(f"/{place}").status_code == 204
        assert api.get(f"/{place}").status_code == 404

    def test_refuses_by_status(self, running: Running) -> None:
        api = running("json_api").api

        assert api.post("/notes", content=b"milk").status_code == 400
        assert api.post("/notes", json={"text": ""}).status_code == 422
        assert api.post("/notes", content=b" " * 1_000_000).status_code == 413
        assert api.put("/notes").status_code == 405
        assert api.get("/elsewhere").status_code == 404
