"""A key revoked at one API process is of no use at another, both of them real."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.service import ROOT, Journey, Service, until

SECONDS_MAX = 1.0


def test_a_revoked_key_is_refused_by_every_api_process_within_a_second(service: Service) -> None:
    with service.client() as owner, _another_api(service) as url:
        journey = Journey(owner)
        made = journey.ask("POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {made['key']}"}, timeout=20) as machine:
            assert machine.get("/api/v1/me").status_code == 200

            journey.ask("DELETE", f"/keys/{made['keyId']}")
            time.sleep(SECONDS_MAX)
            refused = machine.get("/api/v1/me")

    assert refused.status_code == 401


@contextmanager
def _another_api(service: Service) -> Iterator[str]:
    """The address of a second API process of the service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DCF_")}
    given = {"DCF_DATA_DIR": str(service.data_dir), "DCF_PORT": str(port), "DCF_FUNCTIONS_PORT": "0"}
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health/live", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    with subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env={**inherited, **given, "DCF_DATABASE_DURABLE": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(answers, seconds=60, what="a second API")
            yield url
        finally:
            process.terminate()
