"""A function that is called by its schedule, in processes as they run for real."""

from __future__ import annotations

import pytest

from tests.support.service import Journey, Service, until

pytestmark = [pytest.mark.proof, pytest.mark.timeout(400)]


def test_a_function_is_called_when_its_schedule_is_due(service: Service) -> None:
    with service.client() as api:
        journey = Journey(api)
        journey.prepare("punctual")
        every_minute = {"type": "schedule", "settings": {"cron": "* * * * *", "timeZone": "Europe/Madrid"}}
        function_id = journey.draft("cuckoo", trigger=every_minute)
        journey.ended(journey.deploy(function_id))
        path = f"/projects/{journey.project_id}/functions/{function_id}/ticks"

        [tick] = until(
            lambda: [one for one in journey.ask("GET", path)["items"] if one["status"] != "firing"] or None,
            seconds=180,
            what="a tick",
        )

    assert (tick["status"], tick["httpStatus"]) == ("succeeded", 200)
    assert tick["takenAt"][:16] == tick["dueAt"][:16]
