"""What happens to deployments, followed as it happens."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.first_start import TENANT_ID
from audit.following import following
from commands.execute import Context, execute
from commands.ids import new_id
from commands.progress import ClaimDeployment, RecordWaiting
from eventstore.leases import MemoryLeases
from eventstore.log import Log
from eventstore.meta import Actor
from projections.deployment_events import TIMELINE
from providers.simulated.provider import SimulatedProvider
from providers.simulated.weather import Behaviour
from runner.composition import Stores, make_runner
from tests.api.served import Message, served, stream
from tests.api.steps import a_function, a_project, ask, connected, is_problem, the_files
from tests.api.world import World
from tests.runner.mailbox import Mailbox

CUTS = 50


@pytest.fixture
async def deployment(client: httpx.AsyncClient) -> Any:
    project_id = await a_project(client)
    await connected(client, project_id)
    asked = {"functionId": await a_function(client, project_id), "provider": "local", "target": {}}
    files = await the_files(client, project_id)
    return await ask(
        client, "POST", f"/projects/{project_id}/deployments", {**asked, "artifactFiles": files}, status=202
    )


async def waiting(world: World, deployment: Any, times: int) -> None:
    """So many more events of the deployment."""
    common: dict[str, Any] = {"tenant_id": TENANT_ID, "at": world.services.clock(), "epoch": 1}
    ids: dict[str, Any] = {
        name: UUID(deployment[camel])
        for name, camel in (("deployment_id", "deploymentId"), ("function_id", "functionId"))
    }
    commands = [RecordWaiting(**common, **ids, step="build", message=str(n), retry_in_seconds=1) for n in range(times)]
    for command in (ClaimDeployment(**common, **ids, runner_id="a runner"), *commands):
        context = Context(actor=Actor("runner", "a runner"), command_id=new_id(), correlation_id=new_id())
        await execute(world.log, command, context)
        await asyncio.sleep(0)


class LateOnce:
    """A log that tells of its last event from the second question on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._behind = 1

    async def head(self) -> int:
        behind, self._behind = self._behind, 0
        return await self._log.head() - behind

    async def wait_beyond(self, position: int, *, seconds_max: float) -> bool:
        return await self._log.wait_beyond(position, seconds_max=seconds_max)


@asynccontextmanager
async def at_work(world: World, *, build_seconds: float) -> AsyncIterator[None]:
    """A runner of the world's deployments, inside the block."""
    cloud, stop, services = SimulatedProvider(1, clock=time.monotonic), asyncio.Event(), world.services
    cloud.behaviour = defaultdict(lambda: Behaviour(build_seconds=build_seconds))
    stores = Stores(
        log=services.log,
        reader=services.reader,
        leases=MemoryLeases(services.clock),
        contents=services.contents,
        build_logs=services.build_logs,
        secrets=services.secrets,
        sealing=services.sealing,
        ticks=services.ticks,
        deliveries=services.deliveries,
    )
    runner = make_runner(
        stores,
        {"local": cloud},
        clock=services.clock,
        random=Random(1),
        new_id=new_id,
        registry=CollectorRegistry(),
        sender=Mailbox(),
        deployments_max=5,
    )
    working = asyncio.create_task(runner.run(stop))
    try:
        yield
    finally:
        stop.set()
        await working


class TestFollow:
    async def test_a_stream_cut_fifty_times_tells_each_event_once(self, world: World, deployment: Any) -> None:
        """Goal: Last-Event-ID goes on exactly where the caller was cut off.
        Method: read a few events of a growing timeline, cut, come back, fifty times; then compare with the pages."""
        path = f"/projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}/events"
        chance, told = Random(7), list[Message]()
        async with served(world) as api:
            writing = asyncio.create_task(waiting(world, deployment, 3 * CUTS))
            for _ in range(CUTS):
                resume = {"Last-Event-ID": told[-1].id} if told else {}
                async with stream(api, path, **resume) as messages:
                    for _ in range(chance.randint(1, 3)):
                        told.append(await anext(messages))
            await writing
            listed = await ask(api, "GET", f"{path}?limit=200")

        assert [message.data for message in told] == listed["items"][: len(told)]
        assert [message.id for message in told] == [item["position"] for item in listed["items"][: len(told)]]
        assert {message.event for message in told} <= {item["type"] for item in listed["items"]}

    async def test_what_is_recorded_while_it_looks_is_told_once(self, world: World, deployment: Any) -> None:
        """Goal: no event twice, also of those between the head that was asked for and the page that was read.
        Method: a log whose head is asked for just before the last event was recorded."""
        await waiting(world, deployment, 3)
        log, of = LateOnce(world.log), UUID(deployment["deploymentId"])

        followed = following(log, world.services.reader, TIMELINE, TENANT_ID, (of,), after=0, seconds_max=0.2)  # type: ignore[arg-type]
        told = [item.position async for item in followed if item.event is not None]

        assert told == sorted(set(told))
        assert told[-1] == await world.log.head()

    async def test_a_project_tells_of_all_its_deployments(self, world: World, deployment: Any) -> None:
        path = f"/projects/{deployment['projectId']}/events"
        async with served(world) as api:
            async with stream(api, path) as messages:
                first = await anext(messages)
                await waiting(world, deployment, 1)
                later = [await anext(messages), await anext(messages)]
            listed = await ask(api, "GET", path)

        assert [message.data for message in (first, *later)] == listed["items"]
        assert {item["deploymentId"] for item in listed["items"]} == {deployment["deploymentId"]}

    async def test_ends_when_the_process_stops(self, world: World, deployment: Any) -> None:
        path = f"/projects/{deployment['projectId']}/events"
        async with served(world) as api, stream(api, path) as messages:
            await anext(messages)
            world.app.streams.close()

            assert [message async for message in messages] == []

    async def test_knows_nothing_of_another_tenants(self, world: World, deployment: Any) -> None:
        async with world.client(await world.stranger_key()) as stranger:
            base = f"/api/v1/projects/{deployment['projectId']}"
            headers = {"Accept": "text/event-stream"}
            for path, code in (
                (f"{base}/events", "project_not_found"),
                (f"{base}/deployments/{deployment['deploymentId']}/events", "deployment_not_found"),
                (f"{base}/deployments/{deployment['deploymentId']}/logs", "deployment_not_found"),
            ):
                assert is_problem(await stranger.get(path, headers=headers), 404, code)


class TestBuildLog:
    async def test_is_read_piece_by_piece(self, world: World, client: httpx.AsyncClient, deployment: Any) -> None:
        path = f"/projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}/logs"
        nothing = await ask(client, "GET", path)
        await self.said(world, deployment, "compiling\n", 0, 10)
        first = await ask(client, "GET", path)
        await self.said(world, deployment, "done\n", 10, 15)
        rest = await ask(client, "GET", f"{path}?cursor={first['nextCursor']}")

        assert nothing == {"text": "", "nextCursor": "0", "droppedBytes": 0}
        assert (first["text"], rest["text"], rest["nextCursor"]) == ("compiling\n", "done\n", "15")
        assert is_problem(await client.get(f"/api/v1{path}?cursor=x"), 422, "parameter_invalid")

    async def test_is_followed_until_the_build_is_over(
        self, world: World, client: httpx.AsyncClient, deployment: Any
    ) -> None:
        base = f"/projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}"
        await self.said(world, deployment, "compiling\n", 0, 10)
        async with served(world) as api, stream(api, f"{base}/logs") as messages:
            first = await anext(messages)
            await self.said(world, deployment, "done\n", 10, 15)
            await ask(client, "POST", f"{base}/cancel", {}, status=202)
            rest = [message async for message in messages]
        async with served(world) as api, stream(api, f"{base}/logs", **{"Last-Event-ID": first.id}) as messages:
            again = [message async for message in messages]

        assert first.data["text"] == "compiling\n"
        assert [message.data["text"] for message in rest] == ["done\n"]
        assert [message.data["text"] for message in again] == ["done\n"]

    async def test_is_followed_while_a_runner_has_it_built(
        self, world: World, client: httpx.AsyncClient, deployment: Any
    ) -> None:
        """Goal: whoever deploys sees the build as it goes. Method: a runner over the same stores, and a cloud whose build
        says two lines a second and would go on for ten minutes, were it not canceled."""
        base = f"/projects/{deployment['projectId']}/deployments/{deployment['deploymentId']}"
        async with served(world) as api, at_work(world, build_seconds=600), stream(api, f"{base}/logs") as messages:
            told = [(await anext(messages)).data["text"], (await anext(messages)).data["text"]]
            meanwhile = await ask(client, "GET", base)
            await ask(client, "POST", f"{base}/cancel", {}, status=202)
            told += [message.data["text"] async for message in messages]

        assert meanwhile["status"] == "running"
        lines = "".join(told).splitlines()
        assert lines == [f"line {line}" for line in range(len(lines))]
        assert len(lines) >= 2

    @staticmethod
    async def said(world: World, deployment: Any, text: str, start: int, end: int) -> None:
        ids = TENANT_ID, UUID(deployment["deploymentId"])
        await world.services.build_logs.append(*ids, text, cursor=start, next_cursor=end)
