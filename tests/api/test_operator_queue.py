"""What waits and what is under way, as operators see it."""

from __future__ import annotations

from uuid import UUID

from api.first_start import TENANT_ID
from commands.progress import ClaimDeployment
from tests.api.steps import a_function, a_project, ask, connected, the_files
from tests.api.world import World


class TestListQueue:
    async def test_shows_the_deployments_of_all_tenants_until_they_are_over(self, world: World) -> None:
        queued = []
        for key in (world.owner_key, await world.stranger_key()):
            async with world.client(key) as client:
                project_id = await a_project(client)
                await connected(client, project_id)
                function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
                asked = {"functionId": function_id, "provider": "local", "target": {}}
                path = f"/projects/{project_id}/deployments"
                queued.append((await ask(client, "POST", path, asked, status=202), path, key))
        (first, _, _), (second, path, key) = queued
        claim = ClaimDeployment(
            tenant_id=TENANT_ID,
            at=world.services.clock(),
            deployment_id=UUID(first["deploymentId"]),
            function_id=UUID(first["functionId"]),
            epoch=1,
            runner_id="a runner",
        )
        async with world.client(world.operator_key) as operator:
            waiting = (await ask(operator, "GET", "/operations/queue"))["items"]
            await world.record(claim)
            async with world.client(key) as client:
                await ask(client, "POST", f"{path}/{second['deploymentId']}/cancel", {}, status=202)
            left = (await ask(operator, "GET", "/operations/queue?limit=1"))["items"]

        assert [item["deploymentId"] for item in waiting] == [first["deploymentId"], second["deploymentId"]]
        assert {(item["status"], item["runnerId"]) for item in waiting} == {("queued", "")}
        assert len({item["tenantId"] for item in waiting}) == 2
        assert [item["askedAt"] for item in waiting] == [first["queuedAt"], second["queuedAt"]]
        assert [(item["deploymentId"], item["status"], item["runnerId"]) for item in left] == [
            (first["deploymentId"], "running", "a runner")
        ]
