"""A runtime retires by its dates alone: each phase begins at its instant, and everything that asks goes by it.

Method: one service under a clock that the test moves, asked over HTTP a tick before and at each date.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.runs import succeeded
from tests.api.steps import a_draft, a_function, a_project, ask, connected, fields_of, is_problem, the_files
from tests.api.world import World, world_in_memory

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
BEGIN = datetime(2026, 12, 1, 8, 30, tzinfo=UTC)
ANNOUNCED, BLOCKED, STOPPED = BEGIN + 10 * DAY, BEGIN + 40 * DAY, BEGIN + 70 * DAY
RETIRING, NEXT = "3.11.0", "3.12.0"


class Clock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.at = BEGIN

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(tmp_path: Path, clock: Clock) -> AsyncIterator[World]:
    """3.11.0, the default, has all its dates before it; 3.12.0 follows it."""
    async with world_in_memory(tmp_path, clock=clock) as made:
        async with made.client(made.operator_key) as operator:
            follows = {"version": NEXT, "releasedAt": (BEGIN - DAY).isoformat()}
            await ask(operator, "POST", "/operations/runtimes", follows, status=201)
            dates = {
                "deprecationAnnouncedAt": ANNOUNCED.isoformat(),
                "blockNewDeploysAfter": BLOCKED.isoformat(),
                "disableExecutionAfter": STOPPED.isoformat(),
            }
            await ask(operator, "PATCH", f"/operations/runtimes/{RETIRING}", dates)
        yield made


async def ready(client: httpx.AsyncClient) -> dict[str, Any]:
    """What asks for a deployment of a function on the runtime that retires."""
    project_id = await a_project(client)
    await connected(client, project_id)
    function_id = await a_function(
        client, project_id, runtime=RETIRING, artifactFiles=await the_files(client, project_id)
    )
    return {"projectId": project_id, "functionId": function_id, "provider": "local", "target": {}}


async def deploy(client: httpx.AsyncClient, asked: dict[str, Any], **more: object) -> httpx.Response:
    body = {name: value for name, value in asked.items() if name != "projectId"} | more
    return await client.post(f"/api/v1/projects/{asked['projectId']}/deployments", json=body)


def days_left(answer: httpx.Response, code: str) -> list[int]:
    """The days that the warnings of a kind name."""
    return [warning["daysRemaining"] for warning in answer.json()["warnings"] if warning["code"] == code]


class TestEachInstant:
    @pytest.mark.parametrize(
        ("at", "phase", "days"),
        [
            pytest.param(BEGIN, "supported", None, id="before"),
            pytest.param(ANNOUNCED - TICK, "supported", None, id="a tick before it is announced"),
            pytest.param(ANNOUNCED, "deprecating", 30, id="announced"),
            pytest.param(BLOCKED - DAY, "deprecating", 1, id="a day before deployments end"),
            pytest.param(BLOCKED - TICK, "deprecating", 0, id="a tick before deployments end"),
            pytest.param(BLOCKED, "disabled", None, id="deployments end"),
            pytest.param(STOPPED - TICK, "disabled", None, id="a tick before execution ends"),
            pytest.param(STOPPED, "disabled", None, id="execution ends"),
        ],
    )
    async def test_decides_alike_wherever_it_is_asked(
        self, world: World, clock: Clock, at: datetime, phase: str, days: int | None
    ) -> None:
        async with world.client() as client:
            asked = await ready(client)
            clock.at = at

            groups = await ask(client, "GET", "/runtimes")
            alias = await ask(client, "GET", "/runtime-versions")
            drafted = await client.post(
                "/api/v1/functions", json=a_draft(asked["projectId"], name="new", runtime=RETIRING)
            )
            saved = await client.post(
                "/api/v1/functions/save", json=a_draft(asked["projectId"], name="newer", runtime=RETIRING)
            )
            draft = {"projectId": asked["projectId"], "name": "newest"}
            unnamed = await ask(client, "POST", "/functions", draft, status=201)
            checked = await deploy(client, asked, validateOnly=True)
            queued = await deploy(client, asked)

        (row,) = [row for row in groups[phase] if row["version"] == RETIRING]
        assert alias == groups
        assert row["supportPhase"] == phase
        assert (row["deployable"], row["executable"]) == (phase != "disabled", at < STOPPED)
        assert groups["default"] == (RETIRING if phase == "supported" else NEXT)
        assert unnamed["runtime"] == groups["default"]
        for answer in (drafted, saved):
            if phase == "supported":
                assert answer.status_code == 201
            else:
                assert is_problem(answer, 422, "runtime_not_selectable")
                assert fields_of(answer) == ["runtime"]
                assert "GET /api/v1/runtimes" in answer.json()["remedy"]
        for answer, status in ((checked, 200), (queued, 202)):
            if phase == "disabled":
                assert is_problem(answer, 409, "runtime_not_deployable")
                assert "supported runtime" in answer.json()["remedy"]
            else:
                assert answer.status_code == status
                assert days_left(answer, "runtime_deprecating") == ([] if days is None else [days])


class TestWhatIsThereAlready:
    async def test_is_changed_and_moved_on_in_every_phase_and_never_back(self, world: World, clock: Clock) -> None:
        async with world.client() as client:
            function_id = (await ready(client))["functionId"]
            for at in (ANNOUNCED, BLOCKED, STOPPED):
                clock.at = at
                await ask(client, "PUT", "/functions/update", {"functionId": function_id, "description": f"{at}"})
            await ask(client, "PUT", "/functions/update", {"functionId": function_id, "runtime": NEXT})

            back = await client.put("/api/v1/functions/update", json={"functionId": function_id, "runtime": RETIRING})

        assert is_problem(back, 422, "runtime_not_selectable")

    async def test_is_gone_back_to_while_it_may_run_and_built_again_while_it_may_be_built(
        self, world: World, clock: Clock
    ) -> None:
        async with world.client() as client:
            asked = await ready(client)
            first, _second = [await _succeeded(world, client, asked) for _ in range(2)]
            again = f"/api/v1/projects/{asked['projectId']}/deployments/{first['deploymentId']}"
            found = {}
            for at in (BLOCKED - TICK, BLOCKED, STOPPED - TICK, STOPPED):
                clock.at = at
                shown = (await client.get(again)).json()["canRollback"]
                back = await client.post(f"{again}/rollback", json={})
                built = await client.post(f"{again}/redeploy", json={})
                found[at] = (shown, back, built)

        deprecated, blocked, ending, ended = found.values()
        assert [answer.status_code for answer in deprecated[1:]] == [202, 202]
        assert days_left(deprecated[1], "runtime_deprecating") == [0]
        for shown, back, built in (blocked, ending):
            assert shown["allowed"]
            assert back.status_code == 202
            assert is_problem(built, 409, "runtime_not_deployable")
        assert days_left(blocked[1], "runtime_not_deployable") == [30]
        assert days_left(ending[1], "runtime_not_deployable") == [0]
        assert not ended[0]["allowed"]
        assert is_problem(ended[1], 409, "rollback_runtime_ended")

    async def test_is_told_in_the_groups_of_the_instant_asked_about(self, world: World, clock: Clock) -> None:
        async with world.client() as client:
            clock.at = STOPPED + DAY
            groups = {
                at: await ask(client, "GET", f"/runtimes?asOf={at.isoformat().replace('+00:00', 'Z')}")
                for at in (ANNOUNCED - TICK, ANNOUNCED, BLOCKED)
            }

        assert [
            next(phase for phase in ("supported", "deprecating", "disabled") if _holds(body[phase]))
            for body in groups.values()
        ] == ["supported", "deprecating", "disabled"]
        assert [body["default"] for body in groups.values()] == [RETIRING, NEXT, NEXT]


class TestTheSdkOfAPubspec:
    async def test_is_held_against_what_can_be_deployed_at_that_instant(self, world: World, clock: Clock) -> None:
        async with world.client() as client:
            asked = await ready(client)
            clock.at = BLOCKED
            await ask(client, "PUT", "/functions/update", {"functionId": asked["functionId"], "runtime": NEXT})
            files = await the_files(
                client, asked["projectId"], yaml=b"name: a\nenvironment: {sdk: '>=3.11.0 <3.12.0'}\n"
            )

            refused = await deploy(client, asked, artifactFiles=files)

        assert is_problem(refused, 422, "sdk_constraint_not_met")
        assert fields_of(refused) == ["artifactFiles.yaml_file"]
        assert refused.json()["remedy"].endswith(f"Deployable are: {NEXT}, 3.10.0.")


def _holds(rows: list[dict[str, Any]]) -> bool:
    return any(row["version"] == RETIRING for row in rows)


async def _succeeded(world: World, client: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    deployment: dict[str, Any] = (await deploy(client, asked)).json()
    await succeeded(world, deployment)
    return deployment
