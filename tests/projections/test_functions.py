"""Functions as the API shows them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from domain.event import Fact
from domain.function import FUNCTION, Function
from projections import functions
from projections.functions import FUNCTIONS
from tests.projections.history import CODEC, rows_of, stored
from tests.support import a


async def row_of(*facts: Fact) -> Any:
    (row,) = await rows_of(FUNCTIONS, *facts)
    return row


async def test_a_draft_has_exactly_the_fields_of_the_contract() -> None:
    row = await row_of(a.function_created(environment={"A": "1"}))
    answer = json.loads(msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(row), type=functions.Function)))

    assert answer == {
        "functionId": str(a.FUNCTION_ID),
        "projectId": str(a.PROJECT_ID),
        "name": "Greet",
        "slug": "greet",
        "description": "",
        "trigger": {"type": "http", "settings": {}},
        "runtime": a.RUNTIME,
        "access": "private",
        "provider": None,
        "environment": {"A": "1"},
        "secretNames": [],
        "artifactFiles": {"code_file": None, "docker_file": None, "yaml_file": None},
        "status": "draft",
        "activeDeploymentId": None,
        "changedSinceDeploy": False,
        "revision": 1,
        "createdAt": "2026-03-01T12:00:01Z",
        "updatedAt": "2026-03-01T12:00:01Z",
    }


@pytest.mark.parametrize(
    ("facts", "status", "active", "changed"),
    [
        ((a.function_deployed(),), "deployed", a.DEPLOYMENT_ID, False),
        ((a.function_deployed(), a.function_updated(name="Other")), "deployed", a.DEPLOYMENT_ID, False),
        ((a.function_deployed(), a.function_updated(environment={"A": "2"})), "deployed", a.DEPLOYMENT_ID, True),
        (
            (
                a.function_deployed(),
                a.function_updated(environment={"A": "2"}),
                a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, function_revision=2, environment={"A": "2"}),
            ),
            "deployed",
            a.LATER_DEPLOYMENT_ID,
            False,
        ),
        ((a.function_deployed(), a.function_undeployed()), "undeployed", None, False),
        ((a.function_deployed(), a.function_undeployed(), a.function_archived()), "archived", None, False),
    ],
)
async def test_status_follows_what_is_active(
    facts: tuple[Fact, ...], status: str, active: object, changed: bool
) -> None:
    row = await row_of(a.function_created(), *facts)

    assert (row.status, row.active_deployment_id, row.changed_since_deploy) == (status, active, changed)


async def test_the_row_carries_all_of_the_aggregate_that_its_events_need() -> None:
    """What the aggregate learns to remember one day, the row has to remember too."""
    state: Function = FUNCTION.initial
    facts = (a.function_created(), a.function_deployed(), a.function_updated(environment={"A": "2"}))
    for event in await stored(*facts):
        state = FUNCTION.evolve(state, CODEC.decode(event))

    assert functions._state(await row_of(*facts)) == state
