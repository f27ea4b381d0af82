"""What all writes have in common: keys, positions, waiting, the record of refusals."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from api.first_start import TENANT_ID
from api.refusal_cap import REFUSALS_AT_ONCE_MAX, RefusalCap
from eventstore.memory import MemoryLog
from tests.api.steps import a_draft, a_function, a_project, ask, fields_of, is_problem, upload
from tests.api.world import World

_AZURE = {
    "subscriptionId": "0192d3a4-5b6c-7d8e-9f00-000000000013",
    "resourceGroup": "functions",
    "region": "westeurope",
    "registry": "acmefunctions",
    "environmentName": "functions",
    "appName": "hello",
}


class TestIdempotencyKey:
    async def test_the_same_key_and_request_get_the_very_first_answer(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key-1"}
        first = await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)
        await ask(client, "PATCH", f"/projects/{first.json()['projectId']}", {"name": "moved on"})

        again = await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)

        assert (again.status_code, again.content) == (first.status_code, first.content)
        for name in ("location", "etag", "event-position"):
            assert again.headers[name] == first.headers[name]

    async def test_a_refusal_is_repeated_too(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client, "shop")
        headers = {"Idempotency-Key": "key-1"}
        first = await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)
        await ask(client, "PATCH", f"/projects/{project_id}", {"name": "gone"})

        again = await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)

        assert is_problem(again, 409, "project_name_taken")
        assert again.content == first.content

    async def test_another_body_or_address_with_it_is_refused(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key-1"}
        first, second = await a_project(client, "first"), await a_project(client, "second")
        await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)
        await client.patch(f"/api/v1/projects/{first}", json={"name": "one"}, headers=headers)

        body = await client.post("/api/v1/projects", json={"name": "other"}, headers=headers)
        address = await client.patch(f"/api/v1/projects/{second}", json={"name": "one"}, headers=headers)

        assert is_problem(body, 409, "idempotency_key_reused")
        assert is_problem(address, 409, "idempotency_key_reused")

    async def test_the_same_said_in_another_order_is_the_same_request(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        headers = {"Idempotency-Key": "key-1", "Content-Type": "application/json"}
        said = {"name": "hello", "projectId": project_id, "environment": {"A": "1", "B": "2"}}
        first = await client.post("/api/v1/functions", content=json.dumps(said), headers=headers)
        other = {"environment": {"B": "2", "A": "1"}, "projectId": project_id, "name": "hello"}

        again = await client.post("/api/v1/functions", content=json.dumps(other, indent=2), headers=headers)

        assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)

    async def test_the_order_of_a_list_is_part_of_what_is_said(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key-1"}
        wanted = {"name": "ci", "role": "developer", "scopes": ["functions:read", "functions:write"]}
        await client.post("/api/v1/keys", json=wanted, headers=headers)

        other = await client.post("/api/v1/keys", json=wanted | {"scopes": wanted["scopes"][::-1]}, headers=headers)

        assert is_problem(other, 409, "idempotency_key_reused")

    async def test_what_an_earlier_version_recorded_by_its_bytes_is_the_same_request(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        """Method: the body as it was sent is recorded as it was before bodies were put in order."""
        body = b'{ "name" : "shop" }'
        headers = {"Idempotency-Key": "key-1", "Content-Type": "application/json"}
        await client.post("/api/v1/projects", content=body, headers=headers)
        assert isinstance(world.log, MemoryLog)
        recorded = world.log._commands
        [(at, kept)] = [(at, kept) for at, kept in recorded.items() if kept.reply]
        recorded[at] = msgspec.structs.replace(
            kept, request_hash=hashlib.sha256(b"POST /api/v1/projects?\n" + body).digest()
        )

        again = await client.post("/api/v1/projects", content=body, headers=headers)
        other = await client.post("/api/v1/projects", content=b'{"name":"shop"}', headers=headers)

        assert again.status_code == 201
        assert is_problem(other, 409, "idempotency_key_reused")

    async def test_another_callers_key_is_another_key(self, world: World, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key-1"}
        await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)

        async with world.client(await world.stranger_key()) as stranger:
            answer = await stranger.post("/api/v1/projects", json={"name": "elsewhere"}, headers=headers)

        assert answer.status_code == 201

    async def test_replayed_by_others_gives_them_nothing_of_the_first_answer(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        """The very same request, key and all, by another tenant, by another key of the same tenant, and by an operator."""
        headers = {"Idempotency-Key": "key-1"}
        wanted = {"name": "ci", "role": "developer"}
        first = await client.post("/api/v1/keys", json=wanted, headers=headers)

        async with (
            world.client(await world.stranger_key()) as stranger,
            world.client(await world.key(TENANT_ID, "owner")) as colleague,
            world.client(await world.key(TENANT_ID, "viewer")) as viewer,
            world.client(world.operator_key) as operator,
        ):
            theirs = [await one.post("/api/v1/keys", json=wanted, headers=headers) for one in (stranger, colleague)]
            refused = [await one.post("/api/v1/keys", json=wanted, headers=headers) for one in (viewer, operator)]
        again = await client.post("/api/v1/keys", json=wanted, headers=headers)

        made = {answer.json()["keyId"] for answer in (first, *theirs)}
        assert len(made) == 3, "each made a key of its own"
        assert all(answer.json()["key"] for answer in theirs)
        assert [answer.status_code for answer in refused] == [403, 422]
        assert (again.json()["keyId"], again.json()["key"]) == (first.json()["keyId"], None)

    @pytest.mark.parametrize("key", ["", "x" * 256])
    async def test_a_key_that_cannot_be_one_is_refused(self, client: httpx.AsyncClient, key: str) -> None:
        answer = await client.post("/api/v1/projects", json={"name": "shop"}, headers={"Idempotency-Key": key})

        assert is_problem(answer, 422, "parameter_invalid")


class TestRefused:
    async def test_names_the_place_the_log_has_it_at(self, world: World, client: httpx.AsyncClient) -> None:
        await a_project(client, "shop")

        answer = await client.post("/api/v1/projects", json={"name": "shop"})

        position = int(answer.headers["event-position"].removeprefix("1:"))
        (stored,) = await world.log.read(position - 1, limit=1)
        assert stored.type == "command.refused"

    async def test_names_none_where_nothing_is_recorded(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/api/v1/projects", json={})

        assert "event-position" not in answer.headers


class TestRefusedBeforeItIsDecided:
    """A route looks at something, or asks a cloud, before there is a command to decide about."""

    async def test_the_refusal_is_what_the_key_answers_whatever_happened_since(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        project_id = await a_project(client)
        local = f"/api/v1/projects/{project_id}/integrations/local"
        headers = {"Idempotency-Key": "key-1"}
        first = await client.post(f"{local}/verify", json={}, headers=headers)
        refused = (await world.log.read(await world.log.head() - 1, limit=1))[0]
        await client.post(f"{local}/connect", json={})

        again = await client.post(f"{local}/verify", json={}, headers=headers)
        anew = await client.post(f"{local}/verify", json={}, headers={"Idempotency-Key": "key-2"})

        assert is_problem(again, 404, "integration_not_found")
        assert again.content == first.content
        assert again.headers["event-position"] == first.headers["event-position"] == f"1:{refused.position}"
        assert anew.status_code == 200
        assert refused.type == "command.refused"
        assert all(part.encode() in refused.data for part in ("verifyLocal", "integration_not_found", project_id))

    async def test_what_was_done_is_what_the_key_answers_though_it_would_be_refused_now(
        self, client: httpx.AsyncClient
    ) -> None:
        project_id = await a_project(client)
        uploaded = await upload(client, "code", project_id, idempotency_key="key-1")
        await ask(client, "POST", f"/projects/{project_id}/archive", {})

        again = await upload(client, "code", project_id, idempotency_key="key-1")
        other = await upload(client, "code", project_id, b"void main() {}", idempotency_key="key-1")
        anew = await upload(client, "code", project_id)

        assert (again.status_code, again.content) == (201, uploaded.content)
        assert again.headers["event-position"] == uploaded.headers["event-position"]
        assert is_problem(other, 409, "idempotency_key_reused")
        assert is_problem(anew, 409, "project_archived")

    async def test_another_body_with_it_is_refused(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id)
        path, headers = f"/api/v1/projects/{project_id}/deployments", {"Idempotency-Key": "key-1"}
        azure = {"functionId": function_id, "provider": "azure", "target": _AZURE}
        first = await client.post(path, json=azure, headers=headers)

        again = await client.post(path, json=azure, headers=headers)
        other = await client.post(path, json={**azure, "provider": "local", "target": {}}, headers=headers)

        assert is_problem(first, 422, "provider_not_offered")
        assert again.content == first.content
        assert is_problem(other, 409, "idempotency_key_reused")

    async def test_a_save_keeps_it_too(self, client: httpx.AsyncClient) -> None:
        draft = a_draft(await a_project(client), runtime="3.9.0")
        headers = {"Idempotency-Key": "key-1"}
        first = await client.post("/api/v1/functions/save", json=draft, headers=headers)

        again = await client.post("/api/v1/functions/save", json=draft, headers=headers)
        other = await client.post("/api/v1/functions/save", json={**draft, "runtime": "3.11.0"}, headers=headers)

        assert is_problem(first, 422, "runtime_not_selectable")
        assert again.content == first.content
        assert is_problem(other, 409, "idempotency_key_reused")

    async def test_a_form_that_does_not_fit_uses_no_key_up(self, world: World, client: httpx.AsyncClient) -> None:
        headers, head = {"Idempotency-Key": "key-1"}, await world.log.head()
        for body in ("{", '{"name":"shop","colour":"red"}', '{"name":"shop","name":"shop"}'):
            answer = await client.post(
                "/api/v1/projects", content=body, headers=headers | {"Content-Type": "application/json"}
            )
            assert answer.status_code in (400, 422)

        made = await client.post("/api/v1/projects", json={"name": "shop"}, headers=headers)

        assert made.status_code == 201
        assert await world.log.head() == head + 1

    async def test_only_looking_keeps_nothing(self, world: World, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        function_id = await a_function(client, project_id)
        path, headers = f"/api/v1/projects/{project_id}/deployments", {"Idempotency-Key": "key-1"}
        asked = {"functionId": function_id, "provider": "local", "target": {}}
        head = await world.log.head()

        looked = await client.post(path, json={**asked, "validateOnly": True}, headers=headers)

        assert is_problem(looked, 422, "artifact_missing")
        assert await world.log.head() == head
        assert is_problem(await client.post(path, json=asked, headers=headers), 422, "artifact_missing")


class TestPositions:
    async def test_a_read_may_ask_for_what_a_write_reached(self, client: httpx.AsyncClient) -> None:
        made = await client.post("/api/v1/projects", json={"name": "shop"}, headers={"Prefer": "respond-async"})

        answer = await client.get(made.headers["location"], headers={"If-Position": made.headers["event-position"]})

        assert made.headers["preference-applied"] == "respond-async"
        assert answer.json() == made.json()

    @pytest.mark.parametrize(
        ("token", "status", "code"),
        [
            ("1:999999", 503, "not_yet_visible"),
            ("2:1", 409, "position_of_another_epoch"),
            ("soon", 422, "malformed_position"),
        ],
    )
    async def test_one_that_is_not_reached_is_refused(
        self, client: httpx.AsyncClient, token: str, status: int, code: str
    ) -> None:
        answer = await client.get("/api/v1/projects", headers={"If-Position": token})

        assert is_problem(answer, status, code)
        assert fields_of(answer) == ([] if status == 503 else ["If-Position"])
        assert ("retry-after" in answer.headers) == (status == 503)

    @pytest.mark.parametrize(
        ("prefer", "applied"),
        [("Respond-Async, wait=3", True), ("return=minimal; a=b, respond-async", True), ("not-respond-async", False)],
    )
    async def test_preferences_are_read_name_by_name(
        self, client: httpx.AsyncClient, prefer: str, applied: bool
    ) -> None:
        made = await client.post("/api/v1/projects", json={"name": "shop"}, headers={"Prefer": prefer})

        assert ("preference-applied" in made.headers) is applied


class TestCorrelation:
    async def test_the_callers_name_for_a_request_comes_back_and_is_recorded(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        name = str(uuid4())

        answer = await client.post("/api/v1/projects", json={"name": "shop"}, headers={"X-Request-Id": name})

        assert answer.headers["x-request-id"] == name
        last = (await world.log.read(await world.log.head() - 1, limit=1))[0]
        assert name.encode() in last.meta

    async def test_a_trace_names_it_too(self, client: httpx.AsyncClient) -> None:
        trace = uuid4().hex

        answer = await client.get("/api/v1/nowhere", headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})

        assert UUID(answer.json()["correlationId"]).hex == trace

    @pytest.mark.parametrize(
        "trace",
        [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ],
    )
    async def test_what_is_no_trace_names_nothing(self, client: httpx.AsyncClient, trace: str) -> None:
        answer = await client.get("/api/v1/projects", headers={"traceparent": trace})

        assert "traceparent" not in answer.headers

    async def test_a_trace_of_a_later_version_may_say_more(self, client: httpx.AsyncClient) -> None:
        trace = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more"

        answer = await client.get("/api/v1/projects", headers={"traceparent": trace})

        assert answer.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
        assert answer.headers["traceparent"].endswith("-00")

    async def test_any_other_name_is_given_back_as_it_was(self, client: httpx.AsyncClient) -> None:
        answers = [await client.get("/api/v1/nowhere", headers={"X-Request-Id": "build 7"}) for _ in range(2)]
        named = [await client.get("/api/v1/nowhere", headers={"X-Request-Id": "build-7"}) for _ in range(2)]

        assert answers[0].headers["x-request-id"] != "build 7"
        assert named[0].headers["x-request-id"] == "build-7"
        assert named[0].json()["correlationId"] == named[1].json()["correlationId"]


class TestIfMatch:
    async def test_takes_the_etag_in_each_form_it_travels_in(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        path = f"/api/v1/projects/{project_id}"
        for number, form in enumerate(('"{}"', '"{}-gzip"', 'W/"{}"')):
            version = (await client.get(path)).headers["etag"].strip('"')
            answer = await client.patch(
                path, json={"name": f"shop {number}"}, headers={"If-Match": form.format(version)}
            )
            assert answer.status_code == 200

    async def test_is_given_by_a_write_that_changes_nothing(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client, "shop")
        path = f"/api/v1/projects/{project_id}"
        headers = {"Idempotency-Key": "key-1"}

        same = [await client.patch(path, json={"name": "shop"}, headers=headers) for _ in range(2)]

        shown = (await client.get(path)).headers["etag"]
        assert [answer.headers["etag"] for answer in same] == [shown, shown]
        moved = await client.patch(path, json={"name": "store"}, headers={"If-Match": shown})
        assert moved.status_code == 200

    @pytest.mark.parametrize("tag", ['"1"', "1", '"b-00"', "é"])
    async def test_refuses_any_other(self, client: httpx.AsyncClient, tag: str) -> None:
        project_id = await a_project(client)

        answer = await client.patch(
            f"/api/v1/projects/{project_id}", json={"name": "new"}, headers={b"If-Match": tag.encode("latin-1")}
        )

        assert is_problem(answer, 412, "precondition_failed")


class TestRefusals:
    async def test_are_recorded_with_names_and_no_values(self, world: World, client: httpx.AsyncClient) -> None:
        await a_project(client, "shop")
        await client.post("/api/v1/projects", json={"name": "SHOP"})

        last = (await world.log.read(await world.log.head() - 1, limit=1))[0]

        assert last.type == "command.refused"
        assert b"project_name_taken" in last.data
        assert b"SHOP" not in last.data

    def test_are_capped_and_the_cap_recovers(self) -> None:
        now = [0.0]
        cap, tenant_id = RefusalCap(lambda: now[0]), uuid4()
        for _ in range(int(REFUSALS_AT_ONCE_MAX)):
            assert cap.has_room(tenant_id)
            cap.spend(tenant_id)

        assert not cap.has_room(tenant_id)
        assert cap.has_room(uuid4())
        now[0] += 1.0
        assert cap.has_room(tenant_id)
