"""Deployments as the API shows them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from domain.deployment import DEPLOYMENT, Deployment, Notice
from domain.event import Fact
from projections.deployments import DEPLOYMENTS
from tests.projections.history import CODEC, rows_of, stored
from tests.projections.stories import STORIES
from tests.support import a


async def rows(*facts: Fact) -> dict[Any, Any]:
    wanted = tuple(fact for fact in facts if fact.stream.category in ("deployment", "function"))
    return {row.deployment_id: row for row in await rows_of(DEPLOYMENTS, *wanted)}


async def test_an_active_one_has_exactly_the_fields_of_the_contract() -> None:
    warning = Notice(code="runtime_deprecating", message="Soon.", days_remaining=3)
    queued = a.deployment_queued(reason="first", warnings=(warning,))
    facts = [queued if fact == a.deployment_queued() else fact for fact in a.deployment_active()]

    row = (await rows(*facts))[a.DEPLOYMENT_ID]

    answer = json.loads(msgspec.json.encode(row))
    release = answer.pop("release")
    assert answer == {
        "deploymentId": str(a.DEPLOYMENT_ID),
        "functionId": str(a.FUNCTION_ID),
        "projectId": str(a.PROJECT_ID),
        "provider": "local",
        "target": {"provider": "local"},
        "number": 1,
        "origin": "deploy",
        "sourceDeploymentId": None,
        "status": "succeeded",
        "active": True,
        "url": "http://127.0.0.1/acme/shop/greet/",
        "warnings": [{"code": "runtime_deprecating", "message": "Soon.", "daysRemaining": 3}],
        "failure": None,
        "remaining": [],
        "drift": [],
        "queuedAt": "2026-03-01T12:00:03Z",
        "startedAt": "2026-03-01T12:00:04Z",
        "finishedAt": "2026-03-01T12:00:13Z",
        "reason": "first",
        "cancelRequested": False,
        "supersededBy": None,
        "retired": False,
        "withdrawn": False,
        "canRollback": {"allowed": False, "because": "The deployment is the active one.", "code": "rollback_active"},
        "queuePosition": None,
    }
    assert release["runtime"] == a.RUNTIME
    assert release["toolchain"] == {"engine": "dart-sdk", "version": a.RUNTIME, "standIn": False}
    assert (release["imageReference"], release["imageDigest"]) == ("images/1", a.DIGEST)


async def test_the_one_before_stays_succeeded_and_is_active_no_more() -> None:
    later = a.LATER_DEPLOYMENT_ID
    found = await rows(
        *a.deployment_active(),
        a.deployment_queued(later, 2),
        a.function_deployed(later, 2, replaced=a.DEPLOYMENT_ID),
    )

    assert (found[a.DEPLOYMENT_ID].status, found[a.DEPLOYMENT_ID].active) == ("succeeded", False)
    assert found[a.DEPLOYMENT_ID].can_rollback.allowed
    assert found[later].active


async def test_one_that_is_kept_no_longer_says_that_nobody_can_go_back_to_it() -> None:
    later = a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID)
    queued = a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2)

    row = (await rows(*a.deployment_active(), queued, later, a.deployment_retired()))[a.DEPLOYMENT_ID]

    assert (row.status, row.retired, row.can_rollback.code) == ("succeeded", True, "rollback_image_gone")


async def test_an_overtaken_one_names_its_cause() -> None:
    row = (await rows(*STORIES["overtaken"]))[a.DEPLOYMENT_ID]

    assert (row.status, row.superseded_by) == ("canceled", a.LATER_DEPLOYMENT_ID)


async def test_a_failed_one_says_why_and_what_is_left() -> None:
    row = (await rows(*STORIES["did not compile"]))[a.DEPLOYMENT_ID]

    assert (row.status, row.failure, row.remaining, row.url) == ("failed", a.FAILURE, ("bundle",), None)


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_says_of_every_deployment_what_the_aggregate_says(story: str) -> None:
    """The row is folded apart from the aggregate, for speed: so it is compared with it, event by event."""
    facts = [fact for fact in STORIES[story] if fact.stream.category in ("deployment", "function")]
    for count in range(1, len(facts) + 1):
        states: dict[Any, Deployment] = {}
        for event in await stored(*facts[:count]):
            if event.type.startswith("deployment."):
                before = states.get(event.stream_id, DEPLOYMENT.initial)
                states[event.stream_id] = DEPLOYMENT.evolve(before, CODEC.decode(event))
        try:
            found = await rows(*facts[:count])
        except Exception:  # noqa: BLE001 - a function's event about a deployment that this stretch leaves out
            assert not states
            continue
        assert found.keys() == states.keys()
        for id, state in states.items():
            assert _of_row(found[id]) == _of_state(state)


def _of_row(row: Any) -> tuple[Any, ...]:
    return (
        row.status, row.project_id, row.number, row.reason, row.warnings, row.origin, row.url, row.failure, row.remaining,
        row.cancel_requested, row.superseded_by, row.retired, row.withdrawn, row.drift, row.queued_at, row.started_at, row.finished_at,
        row.release.toolchain, row.release.image_digest or "", row.release.image_reference or "",
    )  # fmt: skip


def _of_state(state: Deployment) -> tuple[Any, ...]:
    return (
        state.status, state.project_id, state.number, state.reason, state.warnings, state.origin, state.url,
        state.failure, state.remaining, state.cancel_requested, state.superseded_by, state.retired, state.withdrawn, state.drift, state.queued_at,
        state.started_at, state.finished_at, state.toolchain, state.image_digest, state.image_reference,
    )  # fmt: skip
