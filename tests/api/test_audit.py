"""The log over HTTP: its filters, its pages and its stream; history, differences and causes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Request

from api.event_stream import Streams, StreamsFull
from api.first_start import OWNER_ID, TENANT_ID
from api.permit import Permit
from commands.execute import Context, execute
from commands.person import RegisterPerson
from commands.progress import ClaimDeployment
from domain.event import SYSTEM_TENANT
from domain.sealed import Sealed
from eventstore.meta import Actor
from tests.api.steps import a_function, a_project, ask, connected, fields_of, is_problem, the_files
from tests.api.world import World


async def _queued(client: httpx.AsyncClient, **headers: str) -> dict[str, Any]:
    """A deployment of a new function in a new project."""
    project_id = await a_project(client, f"shop-{uuid4().hex[:6]}")
    await connected(client, project_id)
    function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
    body = {"functionId": function_id, "provider": "local", "target": {}, "reason": "first try"}
    answer = await client.post(f"/api/v1/projects/{project_id}/deployments", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    queued: dict[str, Any] = answer.json()
    return queued


async def _registered(world: World) -> str:
    """A person the service knows."""
    person_id = uuid4()
    command = RegisterPerson(
        tenant_id=SYSTEM_TENANT, at=world.services.clock(), person_id=person_id, name=Sealed("c2VhbGVk")
    )
    await execute(world.log, command, Context(actor=Actor("system"), command_id=uuid4(), correlation_id=uuid4()))
    return str(person_id)


async def _types(client: httpx.AsyncClient, **params: str) -> list[str]:
    answer = await client.get("/api/v1/audit/events", params=params)
    assert answer.status_code == 200, answer.text
    return [item["type"] for item in answer.json()["items"]]


class TestListAuditEvents:
    async def test_each_filter_leaves_what_fits_it(self, client: httpx.AsyncClient) -> None:
        queued = await _queued(client)
        other = await a_project(client, "another")
        events = (await ask(client, "GET", "/audit/events?limit=200"))["items"]
        own = [event for event in events if event["projectId"] == queued["projectId"]]
        first, last = own[0], own[-1]
        cases: tuple[tuple[dict[str, str], Callable[[dict[str, Any]], bool]], ...] = (
            ({"projectId": queued["projectId"]}, lambda e: e["projectId"] == queued["projectId"]),
            ({"projectId": other}, lambda e: e["entityId"] == other),
            ({"entityId": queued["deploymentId"]}, lambda e: e["entityId"] == queued["deploymentId"]),
            ({"correlationId": last["correlationId"]}, lambda e: e["correlationId"] == last["correlationId"]),
            ({"type": "artifact.staged"}, lambda e: e["type"] == "artifact.staged"),
            ({"actorId": last["actor"]["id"]}, lambda e: e["actor"]["id"] == last["actor"]["id"]),
            ({"from": first["position"]}, lambda e: events.index(e) > events.index(first)),
            ({"to": last["at"]}, lambda e: e["at"] <= last["at"]),
        )
        for params, fits in cases:
            found = (await client.get("/api/v1/audit/events", params={**params, "limit": "200"})).json()["items"]
            assert found == [event for event in events if fits(event)], params
            assert found

        assert {e["type"] for e in own} >= {"project.created", "integration.connected", "artifact.staged"}
        assert {e["type"] for e in own} >= {"function.created", "deployment.queued"}

    async def test_a_refused_command_shows(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        refused = await client.post("/api/v1/projects", json={"name": "shop"}, headers={"X-Request-Id": str(uuid4())})
        assert refused.status_code == 409

        answer = await client.get("/api/v1/audit/events?type=command.refused")

        (event,) = answer.json()["items"]
        assert event["correlationId"] == refused.json()["correlationId"]
        assert event["data"]["code"] == "project_name_taken"
        assert await _types(client, projectId=project_id) == ["project.created"]

    async def test_pages_join(self, client: httpx.AsyncClient) -> None:
        queued = await _queued(client)
        whole = (await ask(client, "GET", f"/audit/events?projectId={queued['projectId']}&limit=200"))["items"]
        joined, cursor = [], ""
        while True:
            path = f"/audit/events?projectId={queued['projectId']}&limit=3{cursor}"
            page = await ask(client, "GET", path)
            joined += page["items"]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"

        assert joined == whole

    async def test_pages_join_the_newest_first_too(self, client: httpx.AsyncClient) -> None:
        queued = await _queued(client)
        path = f"/audit/events?projectId={queued['projectId']}"
        whole = (await ask(client, "GET", f"{path}&limit=200"))["items"]
        within = f"{path}&from={whole[1]['position']}&to={whole[-2]['position']}&order=newestFirst&limit=2"
        joined, cursor = [], ""
        while True:
            page = await ask(client, "GET", f"{within}{cursor}")
            joined += page["items"]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"

        assert joined == whole[-2:1:-1]
        answer = await client.get(f"/api/v1{path}&order=newestFirst", headers={"Accept": "text/event-stream"})
        assert is_problem(answer, 422, "parameter_invalid")
        answer = await client.get(f"/api/v1{path}&limit=2", headers={"Accept": "text/event-stream"})
        assert is_problem(answer, 422, "parameter_invalid")
        assert fields_of(answer) == ["limit"]

    async def test_no_credential_is_shown_not_even_its_hash(self, world: World, client: httpx.AsyncClient) -> None:
        assert "api_key.created" in await _types(client)

        assert b"secretHash" not in (await client.get("/api/v1/audit/events?limit=200")).content

    async def test_a_tenant_sees_no_other(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        stranger_key = await world.stranger_key()
        async with world.client(stranger_key) as stranger:
            tenant_id = (await stranger.get("/api/v1/me")).json()["tenant"]["tenantId"]
            assert await _types(stranger, projectId=project_id) == []
            assert set(await _types(stranger)) == {"tenant.created", "api_key.created"}

        for asked in ({"tenantId": tenant_id}, {"type": "deployment.\0"}, {"actorId": "\0"}):
            answer = await client.get("/api/v1/audit/events", params=asked)
            assert is_problem(answer, 422, "parameter_invalid")

    @pytest.mark.parametrize("store", ["memory", "postgres"])
    async def test_an_operator_sees_all_tenants_or_one(self, store: str, database_url: str, tmp_path: Any) -> None:
        from tests.api.world import world_in_memory, world_on_postgres

        made = world_in_memory(tmp_path) if store == "memory" else world_on_postgres(database_url, tmp_path)
        async with made as world, world.client(await world.stranger_key()) as stranger, world.client() as client:
            own = UUID((await client.get("/api/v1/me")).json()["tenant"]["tenantId"])
            other = UUID((await stranger.get("/api/v1/me")).json()["tenant"]["tenantId"])
            await a_project(client)
            await a_project(stranger)
            async with world.client(world.operator_key) as operator:
                everything = (await ask(operator, "GET", "/audit/events?type=project.created"))["items"]
                one = (await ask(operator, "GET", f"/audit/events?type=project.created&tenantId={other}"))["items"]

        assert [UUID(event["tenantId"]) for event in everything] == [own, other]
        assert one == everything[1:]


class TestStream:
    async def test_goes_on_where_it_was_left_and_ends_where_asked(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        before = (await ask(client, "GET", "/audit/events?limit=200"))["items"]
        project_id = await a_project(client)
        await a_function(client, project_id)
        events = (await ask(client, "GET", "/audit/events?limit=200"))["items"]

        answer = await client.get(
            "/api/v1/audit/events",
            params={"to": events[-1]["position"]},
            headers={"Accept": "text/event-stream", "Last-Event-ID": before[-1]["position"]},
        )

        assert answer.headers["content-type"].startswith("text/event-stream")
        told = [block.split("\n") for block in answer.text.split("\n\n") if "data:" in block]
        assert [json.loads(lines[2].removeprefix("data: ")) for lines in told] == events[len(before) :]
        assert [lines[0] for lines in told] == [f"id: {event['position']}" for event in events[len(before) :]]
        assert [lines[1] for lines in told] == [f"event: {event['type']}" for event in events[len(before) :]]

    async def test_tells_of_an_event_as_soon_as_it_is_recorded(self, postgres_world: World) -> None:
        """Goal: on PostgreSQL, with the engine beside it, an open stream hears of a write. Method: the application is
        called as a server calls it, since the test client waits for the end of an answer."""
        told: asyncio.Queue[bytes] = asyncio.Queue()
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if body := message.get("body"):
                told.put_nowait(body)

        headers = [
            (b"authorization", f"Bearer {postgres_world.owner_key}".encode()),
            (b"accept", b"text/event-stream"),
            (b"host", b"api.test"),
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/api/v1/audit/events",
            "raw_path": b"/api/v1/audit/events",
            "root_path": "",
            "query_string": b"type=project.created",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {},
        }
        listening = asyncio.create_task(postgres_world.app(scope, receive, send))
        async with asyncio.timeout(60), postgres_world.client() as client:
            assert (await told.get()).startswith(b"retry:")
            await asyncio.sleep(0.2)
            project_id = await a_project(client)
            message = await told.get()
            gone.set()
            await listening

        assert b"event: project.created" in message
        assert project_id.encode() in message

    async def test_there_is_a_limit_to_how_many(self) -> None:
        async def nothing() -> Any:
            await asyncio.Event().wait()
            yield b""

        async def as_it_is(item: bytes) -> bytes:
            return item

        streams, permit = Streams(1), Permit(Request({"type": "http"}))  # type: ignore[arg-type]
        opened = streams.open(nothing(), as_it_is, permit=permit)
        first = opened._chunks.__aiter__()
        await first.__anext__()
        with pytest.raises(StreamsFull):
            streams.open(nothing(), as_it_is, permit=permit)
        await first.aclose()  # type: ignore[attr-defined]

        streams.open(nothing(), as_it_is, permit=permit)


class TestHistory:
    async def test_says_who_did_what_why_and_what_it_changed(self, client: httpx.AsyncClient) -> None:
        queued = await _queued(client)
        deployment = f"/projects/{queued['projectId']}/deployments/{queued['deploymentId']}"
        await ask(client, "POST", f"{deployment}/cancel", {"reason": "wrong version"}, status=202)

        items = (await ask(client, "GET", f"/audit/history/{queued['deploymentId']}"))["items"]

        assert [item["type"] for item in items] == [
            "deployment.queued",
            "deployment.cancel_requested",
            "deployment.canceled",
        ]
        assert [item["reason"] for item in items] == ["first try", "wrong version", "wrong version"]
        assert {item["actor"]["type"] for item in items} == {"key"}
        changed = {
            change["path"]: (change["before"], change["after"]) for item in items[1:] for change in item["changes"]
        }
        assert changed["/status"] == ("queued", "canceled")
        assert changed["/cancelRequested"] == (False, True)
        made = {change["path"]: change for change in items[0]["changes"]}
        assert made["/status"] == {"path": "/status", "before": None, "after": "queued"}

    async def test_pages_join_and_events_of_others_are_told(self, client: httpx.AsyncClient, world: World) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id)
        for number in range(5):
            changes = {"functionId": function_id, "description": f"number {number}"}
            await ask(client, "PUT", "/functions/update", changes)
        path = f"/audit/history/{function_id}"
        whole = (await ask(client, "GET", path))["items"]
        joined, cursor = [], ""
        while True:
            page = await ask(client, "GET", f"{path}?limit=2{cursor}")
            joined += page["items"]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"

        assert joined == whole
        assert [c["after"] for item in whole[1:] for c in item["changes"] if c["path"] == "/description"] == [
            f"number {number}" for number in range(5)
        ]

    async def test_what_was_never_there_is_not_found(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        async with world.client(await world.stranger_key()) as stranger:
            answers = [
                await client.get(f"/api/v1/audit/history/{uuid4()}"),
                await stranger.get(f"/api/v1/audit/history/{project_id}"),
                await stranger.get(f"/api/v1/audit/diff/{project_id}"),
            ]

        assert all(is_problem(answer, 404, "entity_not_found") for answer in answers)

    async def test_a_member_has_one_though_it_has_no_stream(self, world: World, client: httpx.AsyncClient) -> None:
        person_id = await _registered(world)
        member = f"/tenant/members/{person_id}"
        await ask(client, "POST", "/tenant/members", {"personId": person_id, "role": "viewer"}, status=201)
        await ask(client, "PATCH", member, {"role": "admin"})
        await ask(client, "DELETE", member)
        await ask(client, "POST", "/tenant/members", {"personId": person_id, "role": "viewer"}, status=201)

        items = (await ask(client, "GET", f"/audit/history/{person_id}"))["items"]

        roles = [
            (item["type"], [(c["before"], c["after"]) for c in item["changes"] if c["path"] == "/role"])
            for item in items
        ]
        assert roles == [
            ("tenant.member_added", [(None, "viewer")]),
            ("tenant.member_role_changed", [("viewer", "admin")]),
            ("tenant.member_removed", [("admin", None)]),
            ("tenant.member_added", [(None, "viewer")]),
        ]
        page = await ask(client, "GET", f"/audit/history/{person_id}?limit=2")
        rest = await ask(client, "GET", f"/audit/history/{person_id}?cursor={page['nextCursor']}")
        assert [*page["items"], *rest["items"]] == items

    async def test_an_operator_asks_about_any_tenant(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        tenant_id = (await ask(client, "GET", "/me"))["tenant"]["tenantId"]
        own = (await ask(client, "GET", f"/audit/history/{project_id}"))["items"]
        correlation_id = own[0]["correlationId"]
        paths = [f"/audit/{what}/{project_id}" for what in ("history", "diff", "entities")]
        paths.append(f"/audit/causes/{correlation_id}")
        async with world.client(world.operator_key) as operator:
            unnamed = [await operator.get(f"/api/v1{path}") for path in paths]
            named = [await ask(operator, "GET", f"{path}?tenantId={tenant_id}") for path in paths]

        assert [answer.status_code for answer in unnamed] == [404] * 4
        assert named == [await ask(client, "GET", path) for path in paths]
        async with world.client(await world.stranger_key()) as stranger:
            for path in paths:
                answer = await stranger.get(f"/api/v1{path}", params={"tenantId": tenant_id})
                assert is_problem(answer, 422, "parameter_invalid")


class TestEntityAsOf:
    async def test_shows_anything_by_its_id_as_its_own_address_does(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        queued = await _queued(client)
        project = f"/projects/{queued['projectId']}"
        addresses = {
            queued["projectId"]: project,
            queued["functionId"]: f"{project}/functions/{queued['functionId']}",
            str(OWNER_ID): f"/tenant/members/{OWNER_ID}",
            str(TENANT_ID): "/tenant",
        }
        for id, path in addresses.items():
            found = await ask(client, "GET", f"/audit/entities/{id}")
            there = await ask(client, "GET", path)
            # How much of its limits a tenant uses is no part of what is recorded of it.
            there.pop("limits", None)
            assert found["value"] == there, found["kind"]

    async def test_then_as_now(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        (made,) = (await ask(client, "GET", f"/audit/history/{project_id}"))["items"]
        await ask(client, "PATCH", f"/projects/{project_id}", {"name": "store"})

        then = await ask(client, "GET", f"/audit/entities/{project_id}?asOf={made['position']}")
        now = await ask(client, "GET", f"/audit/entities/{project_id}")

        assert (then["kind"], then["value"]["name"], then["position"]) == ("project", "shop", made["position"])
        assert now["value"]["name"] == "store"

    async def test_what_was_not_there_then_is_not_found(self, world: World, client: httpx.AsyncClient) -> None:
        before = await world.services.tokens.of(await world.log.head())
        project_id = await a_project(client)

        answers = [
            await client.get(f"/api/v1/audit/entities/{project_id}", params={"asOf": before}),
            await client.get(f"/api/v1/audit/entities/{uuid4()}"),
        ]

        assert all(is_problem(answer, 404, "entity_not_found") for answer in answers)


class TestDiff:
    async def test_names_each_field_that_differs_between_two_moments(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id, environment={"A": "1", "B": "2"})
        first = (await ask(client, "GET", f"/audit/history/{function_id}"))["items"][0]["position"]
        changes = {"functionId": function_id, "environment": {"A": "3", "C": "4"}}
        await ask(client, "PUT", "/functions/update", changes)

        found = await ask(client, "GET", f"/audit/diff/{function_id}?from={first}")
        same = await ask(client, "GET", f"/audit/diff/{function_id}?from={first}&to={first}")
        made = await ask(client, "GET", f"/audit/diff/{function_id}?to={first}")

        differing = {c["path"]: (c["before"], c["after"]) for c in found["changes"]}
        assert {path: pair for path, pair in differing.items() if path not in ("/updatedAt", "/revision")} == {
            "/environment/A": ("1", "3"),
            "/environment/B": ("2", None),
            "/environment/C": (None, "4"),
        }
        assert same["changes"] == []
        assert (made["existedBefore"], made["existsAfter"]) == (False, True)


class TestCauses:
    async def test_leads_from_the_request_to_what_the_runner_did(self, world: World, client: httpx.AsyncClient) -> None:
        name = str(uuid4())
        queued = await _queued(client, **{"X-Request-Id": name})
        event = (await ask(client, "GET", f"/audit/events?correlationId={name}&type=deployment.queued"))["items"][0]
        claim = ClaimDeployment(
            tenant_id=UUID(event["tenantId"]),
            at=world.services.clock(),
            deployment_id=UUID(queued["deploymentId"]),
            function_id=UUID(queued["functionId"]),
            epoch=1,
            runner_id="runner-1",
        )
        position = event["position"].partition(":")[2]
        context = Context(
            actor=Actor("runner", "runner-1"), command_id=uuid4(), correlation_id=UUID(name), causation_id=position
        )
        await execute(world.log, claim, context)

        tree = await ask(client, "GET", f"/audit/causes/{name}")

        request, runner = tree["commands"]
        assert (request["depth"], request["causedBy"], request["actor"]["type"]) == (0, None, "key")
        assert "deployment.queued" in [e["type"] for e in request["events"]]
        assert (runner["depth"], runner["causedBy"], runner["actor"]["type"]) == (1, event["position"], "runner")
        assert [e["type"] for e in runner["events"]] == ["deployment.claimed"]
        assert tree["complete"] is True

    async def test_of_nothing_are_not_found(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.get(f"/api/v1/audit/causes/{uuid4()}"), 404, "correlation_not_found")


class TestAKeyForSomeProjects:
    async def test_reads_the_trail_of_these_and_nothing_of_any_other(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        """
        Goal: what a key for some projects is shown of the log is what the tenant's owner finds in it of these projects.
        Method: two projects with the same in each; every way into the log, for the one, for the other, for what never was.
        """
        mine, theirs = await _queued(client), await _queued(client)
        person = await _registered(world)
        of_all = (await ask(client, "GET", "/audit/events?limit=200"))["items"]
        of_mine = [event for event in of_all if event["projectId"] == mine["projectId"]]
        async with world.client(await _narrow(client, mine["projectId"])) as narrow:
            seen = (await ask(narrow, "GET", "/audit/events?limit=200"))["items"]
            newest = (await ask(narrow, "GET", "/audit/events?limit=3&order=newestFirst"))["items"]
            elsewhere = (await ask(narrow, "GET", f"/audit/events?projectId={theirs['projectId']}"))["items"]
            one = f"/audit/events?entityId={theirs['deploymentId']}"
            assert (await ask(narrow, "GET", one))["items"] == []

            for name, id_of in (("deploymentId", mine), ("functionId", mine), ("projectId", mine)):
                for path in ("history", "diff", "entities"):
                    same = f"/audit/{path}/{id_of[name]}"
                    assert await ask(narrow, "GET", same) == await ask(client, "GET", same), same
            for hidden in (theirs["deploymentId"], theirs["functionId"], theirs["projectId"], person, str(TENANT_ID)):
                for path in ("history", "diff", "entities"):
                    answer, unknown = [await narrow.get(f"/api/v1/audit/{path}/{id}") for id in (hidden, uuid4())]
                    assert is_problem(answer, 404, "entity_not_found"), answer.text
                    assert answer.json()["detail"] == unknown.json()["detail"]
            by_mine, by_theirs = (
                next(event["correlationId"] for event in of_all if event["entityId"] == one["deploymentId"])
                for one in (mine, theirs)
            )
            causes = await ask(narrow, "GET", f"/audit/causes/{by_mine}")
            assert causes == await ask(client, "GET", f"/audit/causes/{by_mine}")
            assert is_problem(await narrow.get(f"/api/v1/audit/causes/{by_theirs}"), 404, "correlation_not_found")
            assert is_problem(await narrow.get("/api/v1/audit/export"), 403, "permission_missing")

        assert len(of_mine) > 5
        assert seen == of_mine
        assert newest == of_mine[:-4:-1]
        assert elsewhere == []

    async def test_for_two_sees_both(self, client: httpx.AsyncClient, world: World) -> None:
        one, other, third = [await a_project(client, f"p-{number}") for number in range(3)]

        async with world.client(await _narrow(client, one, other)) as narrow:
            seen = (await ask(narrow, "GET", "/audit/events?limit=200"))["items"]

        assert {event["projectId"] for event in seen} == {one, other}
        assert third not in str(seen)


async def _narrow(client: httpx.AsyncClient, *projects: str) -> str:
    wanted = {"name": uuid4().hex, "role": "viewer", "projects": list(projects)}
    key: str = (await ask(client, "POST", "/keys", wanted, status=201))["key"]
    return key
