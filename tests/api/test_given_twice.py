"""What a request says twice: nobody can tell which is meant, so it is refused by name, in bodies and in headers."""

from __future__ import annotations

import httpx
import pytest

from tests.api.steps import a_function, a_project, ask, fields_of, is_problem

_JSON = {"Content-Type": "application/json"}


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            pytest.param('{"name":"shop","name":"store"}', "name", id="at the top"),
            pytest.param('{"name":"shop","name":"shop"}', "name", id="with the same value"),
            pytest.param('{"name":"shop","\\u006eame":"store"}', "name", id="spelled otherwise"),
            pytest.param('{"name":"","name":"store"}', "name", id="one of them as it may not be"),
            pytest.param('{"name":"shop","other":[{"a":1},{"b":{"c":1,"c":2}}]}', "other[1].b.c", id="deep in it"),
            pytest.param('{"name":"shop","":1,"":2}', "body", id="without a name"),
        ],
    )
    async def test_a_field_given_twice_is_named(self, client: httpx.AsyncClient, body: str, field: str) -> None:
        answer = await client.post("/api/v1/projects", content=body, headers=_JSON)

        assert is_problem(answer, 400, "field_repeated")
        assert fields_of(answer) == [field]
        assert field in answer.json()["detail"] or field == "body"
        assert answer.json()["remedy"] == "Send each field of an object once."
        assert (await ask(client, "GET", "/projects"))["items"] == []

    @pytest.mark.parametrize("depth", [500, 9_000])
    async def test_what_nobody_can_look_through_is_refused(self, client: httpx.AsyncClient, depth: int) -> None:
        deep = "[" * depth + '{"a":1,"a":2}' + "]" * depth

        for body in (deep, f'{{"name":"shop","name":"store","more":{deep}}}'):
            answer = await client.post("/api/v1/projects", content=body, headers=_JSON)
            assert answer.status_code == 400, answer.text

    async def test_an_entry_of_a_map_given_twice_is_named(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        body = f'{{"projectId":"{project_id}","name":"hello","environment":{{"A":"1","B":"2","A":"3"}}}}'

        answer = await client.post("/api/v1/functions", content=body, headers=_JSON)

        assert is_problem(answer, 400, "field_repeated")
        assert fields_of(answer) == ["environment.A"]

    async def test_one_name_in_several_objects_is_none_given_twice(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        schedule = {"type": "schedule", "settings": {"cron": "0 * * * *", "timeZone": "UTC"}}

        await a_function(client, project_id, trigger=schedule, environment={"name": "name", "runtime": "runtime"})


class TestHeaders:
    @pytest.mark.parametrize("second", ["the same", "another"])
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Authorization", "Bearer dcf_x"),
            ("Content-Type", "application/json"),
            ("Host", "test"),
            ("Dcf-Tenant", "01890a5d-ac96-774b-bcce-b302099a8057"),
            ("Idempotency-Key", "key-1"),
            ("If-Match", '"1"'),
        ],
    )
    async def test_a_header_of_one_value_given_twice_is_named(
        self, client: httpx.AsyncClient, name: str, value: str, second: str
    ) -> None:
        project_id = await a_project(client)
        body = b'{"name":"store"}'
        headers = [*_JSON.items()] if name != "Content-Type" else []

        answer = await client.patch(
            f"/api/v1/projects/{project_id}",
            content=body,
            headers=[*headers, (name, value), (name, value if second == "the same" else f"{value}0")],
        )

        assert is_problem(answer, 400, "header_repeated")
        assert fields_of(answer) == [name]
        assert "once" in answer.json()["remedy"]
        assert (await ask(client, "GET", f"/projects/{project_id}"))["name"] == "shop"

    async def test_the_host_has_to_be_named(self, client: httpx.AsyncClient) -> None:
        request = client.build_request("GET", "/api/v1/projects")
        del request.headers["host"]

        answer = await client.send(request)

        assert is_problem(answer, 400, "host_missing")
        assert fields_of(answer) == ["Host"]

    @pytest.mark.parametrize("name", ["If-Position", "Last-Event-ID"])
    async def test_a_read_refuses_them_too(self, client: httpx.AsyncClient, name: str) -> None:
        answer = await client.get("/api/v1/audit/events", headers=[(name, "1:1"), (name, "1:2")])

        assert is_problem(answer, 400, "header_repeated")
        assert [field.lower() for field in fields_of(answer)] == [name.lower()]

    async def test_lists_may_come_in_several_lines(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        tag = (await client.get(f"/api/v1/projects/{project_id}")).headers["etag"]

        unchanged = await client.get(
            f"/api/v1/projects/{project_id}", headers=[("If-None-Match", tag), ("If-None-Match", '"0"')]
        )
        written = await client.post(
            "/api/v1/projects", json={"name": "store"}, headers=[("Prefer", "respond-async"), ("Prefer", "wait=5")]
        )

        assert unchanged.status_code == 304
        assert written.headers["preference-applied"] == "respond-async"
