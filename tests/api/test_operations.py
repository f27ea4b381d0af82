"""What operators do, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from tests.api.steps import a_function, a_project, ask, fields_of, is_problem, the_files
from tests.api.world import World


@pytest.fixture
async def operator(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(world.operator_key) as made:
        yield made


class TestRuntimes:
    async def test_are_added_and_their_dates_moved(
        self, world: World, operator: httpx.AsyncClient, client: httpx.AsyncClient
    ) -> None:
        now = world.services.clock()
        added = await ask(
            operator,
            "POST",
            "/operations/runtimes",
            {"version": "3.12.0", "releasedAt": "2026-05-13T00:00:00Z"},
            status=201,
        )
        announced = {"deprecationAnnouncedAt": (now - timedelta(days=1)).isoformat()}
        moved = await ask(operator, "PATCH", "/operations/runtimes/3.12.0", announced)
        back = await ask(operator, "PATCH", "/operations/runtimes/3.12.0", {"deprecationAnnouncedAt": None})

        assert (added["supportPhase"], moved["supportPhase"]) == ("supported", "deprecating")
        assert back == added
        listed = await ask(client, "GET", "/runtimes")
        assert listed["supported"][0] == added

    async def test_dates_are_kept_in_utc(self, operator: httpx.AsyncClient) -> None:
        moved = await ask(
            operator, "PATCH", "/operations/runtimes/3.10.0", {"blockNewDeploysAfter": "2099-02-11T01:00:00+02:00"}
        )
        never = await operator.patch(
            "/api/v1/operations/runtimes/3.10.0", json={"disableExecutionAfter": "9999-12-31T23:59:59-05:00"}
        )

        assert moved["blockNewDeploysAfter"] == "2099-02-10T23:00:00Z"
        assert is_problem(never, 422, "body_invalid")
        assert fields_of(never) == ["disableExecutionAfter"]

    async def test_the_default_must_be_supported(self, operator: httpx.AsyncClient) -> None:
        chosen = await ask(operator, "PUT", "/operations/default-runtime", {"version": "3.10.0"})
        refused = await operator.put("/api/v1/operations/default-runtime", json={"version": "3.9.0"})

        assert chosen["version"] == "3.10.0"
        assert (await ask(operator, "GET", "/runtimes"))["default"] == "3.10.0"
        assert is_problem(refused, 422, "runtime_not_selectable")

    async def test_refuses_by_name(self, operator: httpx.AsyncClient) -> None:
        again = {"version": "3.11.0", "releasedAt": "2026-02-11T00:00:00Z"}
        early = {"disableExecutionAfter": "2020-01-01T00:00:00Z"}

        assert is_problem(await operator.post("/api/v1/operations/runtimes", json=again), 409, "runtime_exists")
        assert is_problem(
            await operator.patch("/api/v1/operations/runtimes/3.11.0", json=early), 422, "dates_out_of_order"
        )
        assert is_problem(await operator.patch("/api/v1/operations/runtimes/9.9.9", json={}), 404, "runtime_not_found")


class TestPlans:
    async def test_are_defined_and_shown(self, operator: httpx.AsyncClient) -> None:
        plans = {plan["name"]: plan for plan in (await ask(operator, "GET", "/operations/plans"))["items"]}
        sandbox = {name: value for name, value in plans["sandbox"].items() if name != "name"}
        sandbox["limits"]["projects"] = 7
        tag = (await operator.get("/api/v1/operations/plans/sandbox")).headers["etag"]

        defined = await operator.put("/api/v1/operations/plans/sandbox", json=sandbox, headers={"If-Match": tag})
        late = await operator.put("/api/v1/operations/plans/sandbox", json=sandbox, headers={"If-Match": tag})

        got = await operator.get("/api/v1/operations/plans/sandbox")
        assert defined.json()["limits"]["projects"] == 7
        assert (got.json(), got.headers["etag"]) == (defined.json(), defined.headers["etag"])
        assert is_problem(late, 412, "precondition_failed")

    async def test_refuses_by_name(self, operator: httpx.AsyncClient) -> None:
        wrong = await operator.put("/api/v1/operations/plans/gold", json={"limits": {"projects": -1}})
        unnamed = {"projects": 1, "functionsPerProject": 1, "members": 1}
        unnamed |= {"concurrentDeployments": 1, "queuedDeployments": 1}

        assert is_problem(wrong, 422, "body_invalid")
        assert fields_of(wrong) == ["limits.projects"]
        assert is_problem(
            await operator.put("/api/v1/operations/plans/a%20-", json={"limits": unnamed}), 422, "name_not_allowed"
        )
        assert is_problem(await operator.get("/api/v1/operations/plans/gold"), 404, "plan_not_found")


class TestUsage:
    async def test_counts_what_each_tenant_has(
        self, world: World, operator: httpx.AsyncClient, client: httpx.AsyncClient
    ) -> None:
        project_id = await a_project(client)
        await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
        await ask(client, "POST", f"/projects/{await a_project(client, 'gone')}/archive", {})
        await world.stranger_key()

        own, other = (await ask(operator, "GET", "/operations/usage"))["items"]

        assert (own["name"], own["projects"], own["functions"], own["members"]) == ("default", 1, 1, 1)
        assert (own["artifacts"], own["deployments"], other["projects"]) == (3, 0, 0)


class TestAccess:
    async def test_is_for_operators_alone(self, client: httpx.AsyncClient) -> None:
        for answer in (
            await client.get("/api/v1/operations/usage"),
            await client.get("/api/v1/operations/plans"),
            await client.put("/api/v1/operations/default-runtime", json={"version": "3.10.0"}),
        ):
            assert is_problem(answer, 403, "permission_missing")
