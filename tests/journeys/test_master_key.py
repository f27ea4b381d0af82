"""The master key is changed while two API processes serve, and the former one is taken away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service import ROOT, Service, another_api, until

OLD, NEW = "the-master-key-of-before-0123456789abcdef", "the-master-key-from-now-on-0123456789abcdef"
EMAILS = [f"person-{number}@example.com" for number in range(12)]


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Service]:
    """A service whose processes have all been restarted once: they close with the old key, and open with both."""
    running = Service(tmp_path / "service", DCF_MASTER_KEY=OLD, DCF_FORMER_MASTER_KEYS=NEW)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.proof
def test_the_master_key_is_changed_with_nobody_noticing(rotating: Service) -> None:
    """
    Goal: what is sealed for people is read and written at every moment of a rotation, and needs the new key alone afterwards.
    Method: an API with either key as its current one, both asked all along, while a runner with the new key wraps anew; then
    an API that was never told the old one.
    """
    newer = {"DCF_MASTER_KEY": NEW, "DCF_FORMER_MASTER_KEYS": OLD}
    invited: list[str] = []
    with (
        rotating.client() as before,
        another_api(rotating, **newer) as url,
        httpx.Client(base_url=url, headers=before.headers, timeout=60) as after,
    ):
        apis = (before, after)

        def works() -> None:
            for api in apis:
                invited.append(EMAILS[len(invited)])
                made = api.post("/api/v1/tenant/invitations", json={"email": invited[-1], "role": "viewer"})
                assert made.status_code == 201, made.text
            for api in apis:
                assert _emails(api) == invited

        works()
        assert _state(rotating, after)["formerKeysNeeded"] is True
        with _runner(rotating, **newer) as runner:
            works()
            until(lambda: _state(rotating, after)["personKeys"]["byOtherKeys"] <= 2, seconds=60, what="wrapped anew")
            works()
            assert runner.poll() is None
        # Whoever is late closes with the old key still; the next runner that starts sees to it.
        with _runner(rotating, **newer):
            until(lambda: _state(rotating, after)["formerKeysNeeded"] is False, seconds=60, what="the former key free")

        with another_api(rotating, DCF_MASTER_KEY=NEW) as alone, httpx.Client(base_url=alone, timeout=60) as last:
            last.headers = before.headers
            assert _emails(last) == invited
            assert _state(rotating, last)["formerKeysNeeded"] is False
        doctor = _doctor(rotating, **newer)

    assert "every key that is kept is wrapped by it; DCF_FORMER_MASTER_KEYS can be unset" in doctor


def _emails(api: httpx.Client) -> list[str]:
    items = api.get("/api/v1/tenant/invitations?limit=100").json()["items"]
    return sorted((item["email"] for item in items), key=EMAILS.index)


def _state(service: Service, api: httpx.Client) -> Any:
    key = (service.data_dir / "operator.key").read_text().strip()
    answer = api.get("/api/v1/operations/master-key", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _runner(service: Service, **environment: str) -> subprocess.Popen[bytes]:
    """A runner beside the service's own; leaving the block waits for it."""
    return _Ended(
        [sys.executable, "-m", "runner"],
        cwd=ROOT,
        env={**service.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class _Ended(subprocess.Popen[bytes]):
    def __exit__(self, *raised: Any) -> None:
        self.terminate()
        super().__exit__(*raised)


def _doctor(service: Service, **environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "cli", "doctor"],
        cwd=ROOT,
        env={**service.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return found.stdout
