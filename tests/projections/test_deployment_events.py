"""The timeline of a deployment."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from domain.deployment import DEPLOYMENT
from eventstore.codec import tag_of
from projections.deployment_events import DEPLOYMENT_EVENTS, TimelineEvent
from projections.deployment_messages import message_of
from tests.projections.history import META, rows_of
from tests.projections.stories import STORIES
from tests.support import a


async def test_an_entry_has_the_fields_of_the_contract() -> None:
    (row,) = await rows_of(DEPLOYMENT_EVENTS, a.release_applied())

    assert json.loads(msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(row), type=TimelineEvent))) == {
        "type": "deployment.release_applied",
        "at": "2026-03-01T12:00:01Z",
        "actor": {"type": "key", "id": "key-1"},
        "message": "The release was applied; it will answer at http://127.0.0.1/acme/shop/greet/.",
        "data": {"epoch": 1, "url": "http://127.0.0.1/acme/shop/greet/", "revision": "1"},
        "correlationId": str(META.correlation_id),
        "causationId": "command/1",
    }


async def test_the_first_entry_names_the_inputs_without_the_variables() -> None:
    (row,) = await rows_of(DEPLOYMENT_EVENTS, a.deployment_queued(release=a.release(environment={"TOKEN": "x"})))

    assert row.data["runtime"] == a.RUNTIME
    assert "environment" not in row.data


async def test_every_event_has_a_sentence() -> None:
    told: dict[str, Any] = {tag_of(type(fact.event)): fact.event for story in STORIES.values() for fact in story}
    wanted = {tag_of(event) for event in DEPLOYMENT.events}

    assert wanted <= told.keys()
    for tag in wanted:
        assert message_of(told[tag]).endswith(".") or ":" in message_of(told[tag])
