"""A webhook on a real service: told over HTTP, with signatures that its owner can check, across a runner that is killed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import Journey, Service, until

SENTINEL = "sentinel-7f3a9c51"


class Receiver:
    """Takes what comes, once it `is_up`."""

    def __init__(self) -> None:
        self.is_up = False
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.is_up:
                    receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204 if receiver.is_up else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """It says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/dcf"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def told(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path / "service", DCF_WEBHOOK_NETWORKS="127.0.0.0/8")
    try:
        running.start()
        yield running
    finally:
        running.stop()


# Its parts are tried apart in the suite: the telling in tests/runner/test_webhooks.py, HTTP in test_webhook_sender.py.
@pytest.mark.proof
@pytest.mark.timeout(300)
def test_is_told_everything_that_happens(own: Service, receiver: Receiver) -> None:
    with own.client() as api:
        journey = Journey(api)
        journey.prepare("told")
        path = f"/projects/{journey.project_id}/webhooks"
        made = journey.ask("POST", path, {"url": receiver.url}, status=201)
        function_id = journey.draft("greeter")
        secret = f"/projects/{journey.project_id}/functions/{function_id}/secrets/TOKEN"
        journey.ask("PUT", secret, {"value": SENTINEL})
        journey.ended(journey.deploy(function_id))
        told = f"{path}/{made['webhookId']}/deliveries?limit=200"

        def all_deliveries() -> Any:
            return journey.ask("GET", told)["items"]

        # A webhook is heard of some seconds after it was made, which may be after the deployment's end.
        until(lambda: any(one["attempts"] for one in all_deliveries()), seconds=60, what="the first telling fails")
        own.kill("runner")
        receiver.is_up = True

        def all_told() -> bool:
            wanted = journey.ask("GET", f"/projects/{journey.project_id}/events?limit=200")["items"]
            return [event["position"] for event in wanted] == [told["data"]["position"] for told in receiver.told()]

        until(all_told, seconds=120, what="everything is told")
        # What was received is put down once its answer has come back.
        until(
            lambda: {one["status"] for one in all_deliveries()} == {"delivered"},
            seconds=60,
            what="everything is put down as delivered",
        )
        deliveries = all_deliveries()

    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    for headers, body in receiver.got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{right}"
        assert SENTINEL.encode() not in body
    assert {told["type"] for told in receiver.told()} > {"deployment.queued", "deployment.succeeded"}
    assert deliveries[-1]["attempts"] > 1
    assert made["secret"] not in own.log()
    assert SENTINEL not in own.log()
