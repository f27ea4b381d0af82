"""A key revoked at one API process is of no use at another, both of them real."""

from __future__ import annotations

import time

import httpx

from tests.support.service import Journey, Service, another_api

SECONDS_MAX = 1.0


def test_a_revoked_key_is_refused_by_every_api_process_within_a_second(service: Service) -> None:
    with service.client() as owner, another_api(service) as url:
        journey = Journey(owner)
        made = journey.ask("POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {made['key']}"}, timeout=20) as machine:
            assert machine.get("/api/v1/me").status_code == 200

            journey.ask("DELETE", f"/keys/{made['keyId']}")
            time.sleep(SECONDS_MAX)
            refused = machine.get("/api/v1/me")

    assert refused.status_code == 401
