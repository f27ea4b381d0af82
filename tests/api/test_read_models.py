"""What operators see of the read models over HTTP, and what they have done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.contract import operations
from tests.api.steps import a_project, ask, is_problem
from tests.api.world import World

SECONDS_MAX = 90
AT = "/operations/projections"
# Made anew one after another, so that the last waits a while.
NAMES = ("audit_trail", "deployments", "functions", "artifacts", "plans")


@pytest.fixture
async def operator(postgres_world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with postgres_world.client(postgres_world.operator_key) as made:
        yield made


async def led(operator: httpx.AsyncClient, operation: str, name: str) -> Any:
    """The job that the operation was accepted as, by the link that the description has for it."""
    [(method, path, said)] = [found for found in operations() if found[2]["operationId"] == operation]
    [link] = said["responses"]["202"]["links"].values()
    [(_, target, _)] = [found for found in operations() if found[2]["operationId"] == link["operationId"]]
    answer = await operator.request(method, path.format(name=name), json={})
    assert answer.status_code == 202, answer.text
    for parameter, expression in link["parameters"].items():
        target = target.replace("{" + parameter + "}", answer.json()[expression.removeprefix("$response.body#/")])
    return await ask(operator, "GET", target.removeprefix("/api/v1"))


async def ended(operator: httpx.AsyncClient, job: Any) -> Any:
    """The job once it is over."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            seen = await ask(operator, "GET", f"{AT}/jobs/{job['jobId']}")
            if seen["endedAt"] is not None:
                return seen
            await asyncio.sleep(0.05)


class TestStatus:
    async def test_shows_every_read_model_and_how_far_it_is(
        self, operator: httpx.AsyncClient, postgres_client: httpx.AsyncClient
    ) -> None:
        await a_project(postgres_client)

        listed = (await ask(operator, "GET", AT))["items"]
        projects = await ask(operator, "GET", f"{AT}/projects")

        assert {"projects", "deployments", "audit_trail"} <= {item["name"] for item in listed}
        assert (projects["lagEvents"], projects["lagSeconds"], projects["parkedStreams"]) == (0, 0, 0)
        assert projects["served"] == {"version": projects["codeVersion"], "build": 0}
        assert projects["job"] is None
        assert (await ask(operator, "GET", f"{AT}/projects/parked"))["items"] == []


class TestJobs:
    async def test_rebuild_switch_back_and_drop(
        self, operator: httpx.AsyncClient, postgres_client: httpx.AsyncClient
    ) -> None:
        """The whole life of a build; whoever reads sees the same all the while."""
        project_id = await a_project(postgres_client)
        read = await ask(postgres_client, "GET", f"/projects/{project_id}")

        asked = await operator.post(f"/api/v1{AT}/projects/rebuild", json={})
        done = await ended(operator, asked.json())

        assert asked.status_code == 202
        assert asked.headers["location"] == f"/api/v1{AT}/jobs/{done['jobId']}"
        assert (done["step"], done["problem"], done["share"]) == ("done", "", 1)
        assert (done["findings"]["compared"], done["findings"]["differing"], done["findings"]["wrong"]) == (
            True,
            [],
            [],
        )
        assert done["requestedBy"].startswith("operator")
        served = await ask(operator, "GET", f"{AT}/projects")
        assert (served["served"]["build"], served["previous"]["build"]) == (1, 0)
        assert await ask(postgres_client, "GET", f"/projects/{project_id}") == read

        await ended(operator, await led(operator, "switchReadModelBack", "projects"))
        back = await ask(operator, "GET", f"{AT}/projects")
        assert (back["served"]["build"], back["previous"]["build"]) == (0, 1)

        dropped = await ended(operator, await ask(operator, "POST", f"{AT}/projects/drop-old", {}, status=202))
        assert dropped["findings"] == {"dropped": [f"projects_v{back['codeVersion']}_b1"]}
        assert is_problem(
            await operator.post(f"/api/v1{AT}/projects/switch-back", json={}), 409, "nothing_to_switch_back_to"
        )
        assert await ask(postgres_client, "GET", f"/projects/{project_id}") == read

    async def test_one_that_waits_behind_others_is_canceled(self, operator: httpx.AsyncClient) -> None:
        waiting = [await ask(operator, "POST", f"{AT}/{name}/rebuild", {}, status=202) for name in NAMES]

        job = await led(operator, "cancelProjectionJob", NAMES[-1])

        assert job["jobId"] == waiting[-1]["jobId"]
        assert (await ended(operator, job))["step"] == "canceled"

    async def test_verify_and_replay_say_what_they_found(
        self, operator: httpx.AsyncClient, postgres_client: httpx.AsyncClient
    ) -> None:
        await a_project(postgres_client)

        verified = await ended(operator, await ask(operator, "POST", f"{AT}/projects/verify", {}, status=202))
        replayed = await ended(operator, await ask(operator, "POST", f"{AT}/projects/replay-parked", {}, status=202))

        assert (verified["findings"]["rows"], verified["findings"]["servedRows"]) == (1, 1)
        assert replayed["findings"] == {"applied": 0, "left": 0}
        assert (await ask(operator, "GET", f"{AT}/projects"))["served"]["build"] == 0

    async def test_one_key_is_one_job(self, operator: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "once"}
        path = f"/api/v1{AT}/plans/rebuild"

        first = (await operator.post(path, json={}, headers=headers)).json()
        await ended(operator, first)
        again = (await operator.post(path, json={}, headers=headers)).json()
        other = (await operator.post(path, json={})).json()

        assert again["jobId"] == first["jobId"]
        assert again["step"] == "done"
        assert other["jobId"] != first["jobId"]


class TestRefusals:
    async def test_are_told_by_name(self, operator: httpx.AsyncClient) -> None:
        unknown = "/api/v1/operations/projections/jobs/0195d3a4-5b6c-7d8e-9f00-112233445566"

        assert is_problem(await operator.get(f"/api/v1{AT}/nothing"), 404, "read_model_not_found")
        assert is_problem(await operator.post(f"/api/v1{AT}/nothing/rebuild", json={}), 404, "read_model_not_found")
        assert is_problem(await operator.post(f"/api/v1{AT}/plans/rebuild", json={"now": True}), 422, "body_invalid")
        assert is_problem(await operator.post(f"/api/v1{AT}/plans/cancel", json={}), 409, "no_projection_job")
        assert is_problem(await operator.get(unknown), 404, "projection_job_not_found")

    async def test_tenants_see_and_change_nothing(self, client: httpx.AsyncClient) -> None:
        for answer in (
            await client.get(f"/api/v1{AT}"),
            await client.get(f"/api/v1{AT}/projects/parked"),
            await client.post(f"/api/v1{AT}/projects/rebuild", json={}),
            await client.post(f"/api/v1{AT}/projects/drop-old", json={}),
        ):
            assert is_problem(answer, 403, "permission_missing")
