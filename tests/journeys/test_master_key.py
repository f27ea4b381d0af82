"""The master key is changed while two API processes serve, and the former one is taken away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.emulators.aws.server import Amazon
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR
from tests.providers.key_services.grounds import amazon_credentials, made_key
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
@pytest.mark.timeout(600)
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
                until(partial(_lists, api, invited), seconds=30, what=f"{invited} listed")

        works()
        assert _state(rotating, after)["formerKeysNeeded"] is True
        with _runner(rotating, **newer) as runner:
            works()
            until(lambda: _state(rotating, after)["personKeys"]["byOtherKeys"] <= 2, seconds=120, what="wrapped anew")
            works()
            assert runner.poll() is None
        # Whoever is late closes with the old key still; the next runner that starts sees to it.
        with _runner(rotating, **newer):
            until(lambda: _state(rotating, after)["formerKeysNeeded"] is False, seconds=120, what="the former key free")

        with another_api(rotating, DCF_MASTER_KEY=NEW) as alone, httpx.Client(base_url=alone, timeout=60) as last:
            last.headers = before.headers
            assert _emails(last) == invited
            assert _state(rotating, last)["formerKeysNeeded"] is False
        doctor = _doctor(rotating, **newer)

    assert "every key that is kept is wrapped by it; DCF_FORMER_MASTER_KEYS can be unset" in doctor


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_key_service_takes_the_master_keys_place_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Goal: going over to a KMS stops nobody; afterwards nothing but the KMS opens what is kept; and while that is away, whoever had the
    keys goes on, who had not says so, and everything else works.
    Method: an API with either way of closing, a runner that wraps anew, one that has the KMS alone; then the KMS is taken away.
    """
    amazon_credentials(monkeypatch)
    made = workshop(tmp_path / "cloud", TOOLCHAIN_DIR, real=False)
    cloud = Amazon(made)
    name = f"aws-kms:{made_key(cloud)}"
    running = Service(
        tmp_path / "service",
        DCF_MASTER_KEY=OLD,
        DCF_FORMER_MASTER_KEY_SERVICES=name,
        DCF_AWS_ENDPOINTS=cloud.endpoints,
    )
    by_service = {
        "DCF_MASTER_KEY": OLD,
        "DCF_MASTER_KEY_SERVICE": name,
        "DCF_FORMER_MASTER_KEY_SERVICES": "",
        "DCF_AWS_ENDPOINTS": cloud.endpoints,
    }
    alone = {**by_service, "DCF_MASTER_KEY": ""}
    invited: list[str] = []
    try:
        running.start()
        with (
            running.client() as before,
            another_api(running, **by_service) as url,
            httpx.Client(base_url=url, headers=before.headers, timeout=60) as after,
        ):

            def works(*apis: httpx.Client) -> None:
                for api in apis:
                    invited.append(EMAILS[len(invited)])
                    told = api.post("/api/v1/tenant/invitations", json={"email": invited[-1], "role": "viewer"})
                    assert told.status_code == 201, told.text
                for api in apis:
                    until(partial(_lists, api, invited), seconds=30, what=f"{invited} listed")

            works(before, after)
            assert _state(running, after)["formerKeysNeeded"] is True
            with _runner(running, **by_service):
                until(lambda: _state(running, after)["formerKeysNeeded"] is False, seconds=120, what="the own key free")
                works(before, after)
            with _runner(running, **by_service):
                until(lambda: _state(running, after)["formerKeysNeeded"] is False, seconds=120, what="the own key free")
            state = _state(running, after)
            assert state["service"] == name
            assert state["tenantKeys"] == {"byCurrentKey": 2, "byOtherKeys": 0}
            assert "wraps and unwraps for this process" in _doctor(running, **alone)

            with another_api(running, **alone) as url_alone, httpx.Client(base_url=url_alone, timeout=60) as last:
                last.headers = before.headers
                works(last)
                asked = len([call for call in cloud.calls if call.startswith("kms.")])
                for _ in range(20):
                    assert _emails(last) == invited
                assert len([call for call in cloud.calls if call.startswith("kms.")]) == asked

                cloud.close()
                works(last)
                with another_api(running, **alone) as url_late, httpx.Client(base_url=url_late, timeout=60) as late:
                    late.headers = before.headers
                    began = time.monotonic()
                    refused = late.get("/api/v1/tenant/invitations")
                    assert (refused.status_code, refused.json()["code"]) == (503, "master_key_away")
                    assert int(refused.headers["retry-after"]) >= 1
                    assert time.monotonic() - began < 20
                    assert late.get("/api/v1/me").status_code == 200
                    assert late.post("/api/v1/projects", json={"name": "shop"}).status_code == 201
                works(last)
        assert "cannot be asked" in _doctor(running, **alone)
    finally:
        running.stop()
        cloud.close()
        made.close()


def _lists(api: httpx.Client, invited: list[str]) -> bool:
    return _emails(api) == invited


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
        timeout=120,
        check=False,
    )
    return found.stdout
