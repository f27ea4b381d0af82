"""What operators do, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from api.first_start import TENANT_ID
from eventstore.sealing import Sealing
from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files
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
        assert fields_of(refused) == ["version"]

    async def test_refuses_by_name(self, operator: httpx.AsyncClient) -> None:
        again = {"version": "3.11.0", "releasedAt": "2026-02-11T00:00:00Z"}
        early = {"disableExecutionAfter": "2020-01-01T00:00:00Z"}

        assert is_problem(await operator.post("/api/v1/operations/runtimes", json=again), 409, "runtime_exists")
        refused = await operator.patch("/api/v1/operations/runtimes/3.11.0", json=early)
        assert is_problem(refused, 422, "dates_out_of_order")
        assert fields_of(refused) == ["disableExecutionAfter"]
        assert is_problem(await operator.patch("/api/v1/operations/runtimes/9.9.9", json={}), 404, "runtime_not_found")


class TestImpact:
    async def test_names_functions_and_deployments_of_every_tenant(
        self, world: World, operator: httpx.AsyncClient, client: httpx.AsyncClient
    ) -> None:
        project_id = await a_project(client)
        await connected(client, project_id)
        files = await the_files(client, project_id)
        live = await a_function(client, project_id, artifactFiles=files)
        wanted = {"functionId": live, "provider": "local", "target": {}}
        queued = await ask(client, "POST", f"/projects/{project_id}/deployments", wanted, status=202)
        await succeeded(world, queued)
        await ask(client, "PUT", "/functions/update", {"functionId": live, "runtime": "3.10.0"})
        await a_function(client, project_id, name="draft")
        async with world.client(await world.stranger_key()) as stranger:
            await a_function(stranger, await a_project(stranger), name="theirs")

        named = await ask(operator, "GET", "/operations/runtimes/3.11.0/functions")
        first = await ask(operator, "GET", "/operations/runtimes/3.11.0/functions?limit=1")
        active = await ask(operator, "GET", "/operations/runtimes/3.11.0/deployments")

        assert [item["name"] for item in named["items"]] == ["draft", "theirs"]
        assert len({item["tenantId"] for item in named["items"]}) == 2
        rest = await ask(operator, "GET", f"/operations/runtimes/3.11.0/functions?cursor={first['nextCursor']}")
        assert first["items"] + rest["items"] == named["items"]
        # Saved on another runtime already, it still runs on this one.
        assert [item["deploymentId"] for item in active["items"]] == [queued["deploymentId"]]

        counts = await ask(operator, "GET", "/operations/runtimes/3.11.0/impact")
        assert (counts["functions"], counts["activeDeployments"]) == (2, 1)
        by_tenant = {item["tenantId"]: item for item in counts["tenants"]}
        assert counts["tenants"][0]["tenantId"] == active["items"][0]["tenantId"]
        assert counts["tenantCount"] == len(by_tenant) == 2
        for tenant_id, counted in by_tenant.items():
            assert counted["functions"] == sum(item["tenantId"] == tenant_id for item in named["items"])
            assert counted["activeDeployments"] == sum(item["tenantId"] == tenant_id for item in active["items"])

    async def test_tells_the_days_left_of_dates_that_are_not_set(
        self, world: World, operator: httpx.AsyncClient
    ) -> None:
        path, now = "/operations/runtimes/3.10.0", world.services.clock()
        supposed = {
            "deprecationAnnouncedAt": (now - timedelta(days=1)).isoformat(),
            "blockNewDeploysAfter": (now + timedelta(days=90, hours=6)).isoformat(),
        }
        answer = await operator.get(f"/api/v1{path}/impact", params=supposed)
        before = {"blockNewDeploysAfter": "2020-01-01T00:00:00Z"}

        assert answer.status_code == 200
        told = answer.json()
        assert (told["supportPhase"], told["tenants"], told["functions"]) == ("deprecating", [], 0)
        assert (told["daysUntilDeprecating"], told["daysUntilBlocked"], told["daysUntilDisabled"]) == (0, 90, None)
        assert (await ask(operator, "GET", f"{path}/impact"))["daysUntilBlocked"] is None  # Nothing was set.
        assert is_problem(await operator.get(f"/api/v1{path}/impact", params=before), 422, "dates_out_of_order")

    async def test_refuses_a_runtime_that_never_was(self, operator: httpx.AsyncClient) -> None:
        for what in ("functions", "deployments", "impact"):
            answer = await operator.get(f"/api/v1/operations/runtimes/9.9.9/{what}")
            assert is_problem(answer, 404, "runtime_not_found")


class TestChoosePlan:
    async def test_holds_at_once_and_shows_everywhere(
        self, operator: httpx.AsyncClient, client: httpx.AsyncClient
    ) -> None:
        await a_project(client, "first")
        path = f"/operations/tenants/{TENANT_ID}/plan"
        one = {
            "projects": 1,
            "functionsPerProject": 1,
            "members": 1,
            "concurrentDeployments": 1,
            "queuedDeployments": 1,
        }
        await ask(operator, "PUT", "/operations/plans/tiny", {"limits": one})

        moved = await ask(operator, "PUT", path, {"plan": "tiny"})
        again = await ask(operator, "PUT", path, {"plan": "tiny"})

        shown = await ask(client, "GET", "/tenant")
        used = {item["name"]: (item["used"], item["limit"]) for item in shown.pop("limits")}
        assert moved == again == shown
        assert used["projects"] == (1, 1)
        assert moved["plan"] == "tiny"
        refused = await client.post("/api/v1/projects", json={"name": "second"})
        assert is_problem(refused, 409, "limit_reached")

    async def test_refuses_by_name(self, operator: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
        nobody = f"/api/v1/operations/tenants/{uuid4()}/plan"

        assert is_problem(await operator.put(nobody, json={"plan": "sandbox"}), 404, "tenant_not_found")
        path = f"/api/v1/operations/tenants/{TENANT_ID}/plan"
        assert is_problem(await operator.put(path, json={"plan": "gold"}), 404, "plan_not_found")
        assert is_problem(
            await operator.put(path, json={"plan": "sandbox"}, headers={"If-Match": '"1"'}), 412, "precondition_failed"
        )
        assert is_problem(await client.put(path, json={"plan": "sandbox"}), 403, "permission_missing")


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

    async def test_takes_whole_numbers_however_they_are_written(self, operator: httpx.AsyncClient) -> None:
        limits = {"projects": 3.0, "functionsPerProject": 1, "members": 1}
        limits |= {"concurrentDeployments": 1e1, "queuedDeployments": 1}

        defined = await ask(operator, "PUT", "/operations/plans/gold", {"limits": limits})
        broken = await operator.put("/api/v1/operations/plans/gold", json={"limits": {**limits, "projects": 3.5}})

        assert (defined["limits"]["projects"], defined["limits"]["concurrentDeployments"]) == (3, 10)
        assert is_problem(broken, 422, "body_invalid")
        assert fields_of(broken) == ["limits.projects"]


class TestUsage:
    async def test_says_that_it_is_known_as_of_now_alone(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.get("/api/v1/operations/usage", params={"asOf": "2026-01-01T00:00:00Z"})

        assert is_problem(answer, 422, "only_of_now")

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


class TestMasterKey:
    async def test_tells_whether_a_former_one_is_still_needed(self, world: World) -> None:
        services = world.services
        former = Sealing(services.sealing._keys, key_encryption_key=b"f" * 32)
        person = uuid4()

        async with world.client(world.operator_key) as operator:
            before = await ask(operator, "GET", "/operations/master-key")
            await former.seal(TENANT_ID, person, "name", "Zoë")
            needed = await ask(operator, "GET", "/operations/master-key")
            await services.sealing.erase(TENANT_ID, person)
            after = await ask(operator, "GET", "/operations/master-key")

        assert before["formerKeysNeeded"] is after["formerKeysNeeded"] is False
        assert needed["formerKeysNeeded"] is True
        assert needed["personKeys"] == {**before["personKeys"], "byOtherKeys": 1}
