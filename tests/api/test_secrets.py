"""Secrets over HTTP: set, named, pinned, removed, and nowhere to be seen."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.first_start import TENANT_ID
from eventstore.wrapping import KeyWrapping
from process.key_ring import KeyRing, MemoryWrappedKeys
from tests.api.steps import ask, is_problem
from tests.api.world import World, now
from tests.support.key_service import MemoryKeyService

# Nothing else looks like it, so that any trace of it is one.
SENTINEL = "sentinel-7f3a9c-never-to-be-seen"


@pytest.fixture
async def place(client: httpx.AsyncClient) -> str:
    """Where a new function's secrets are."""
    return await _place(client)


async def _place(client: httpx.AsyncClient) -> str:
    project = (await ask(client, "POST", "/projects", {"name": "shop"}, status=201))["projectId"]
    draft = {
        "projectId": project,
        "name": "hello",
        "trigger": {"type": "http"},
        "runtime": "3.11.0",
        "access": "public",
    }
    function = (await ask(client, "POST", "/functions", draft, status=201))["functionId"]
    return f"/api/v1/projects/{project}/functions/{function}/secrets"


class TestSetSecret:
    async def test_answers_with_a_version_that_rises(self, client: httpx.AsyncClient, place: str) -> None:
        first = await client.put(f"{place}/API_TOKEN", json={"value": SENTINEL})
        second = await client.put(f"{place}/API_TOKEN", json={"value": "another"})
        listed = (await client.get(place)).json()
        function = (await client.get(place.removesuffix("/secrets"))).json()

        assert (first.status_code, first.json()["version"], second.json()["version"]) == (200, 1, 2)
        assert listed == {"items": [second.json()]}
        assert function["secretNames"] == ["API_TOKEN"]

    async def test_repeated_under_one_key_is_done_once(self, client: httpx.AsyncClient, place: str) -> None:
        once = {"Idempotency-Key": uuid4().hex}
        first, again = [await client.put(f"{place}/A", json={"value": SENTINEL}, headers=once) for _ in range(2)]
        other = await client.put(f"{place}/A", json={"value": "another"}, headers=once)

        assert again.json() == first.json()
        assert is_problem(other, 409, "idempotency_key_reused")

    async def test_while_the_key_service_is_away_says_so_and_changes_nothing(
        self, world: World, client: httpx.AsyncClient, place: str
    ) -> None:
        service = MemoryKeyService()
        ring = KeyRing(MemoryWrappedKeys(now), current=service)
        world.services.secrets._wrapping = KeyWrapping("function-secrets", key=None, ring=ring)
        service.away = True
        head, once = await world.log.head(), {"Idempotency-Key": uuid4().hex}

        away = await client.put(f"{place}/A", json={"value": SENTINEL}, headers=once)
        head_after = await world.log.head()
        service.away = False
        again = await client.put(f"{place}/A", json={"value": SENTINEL}, headers=once)

        assert is_problem(away, 503, "master_key_away")
        assert int(away.headers["retry-after"]) > 0
        assert "memory:one" not in away.text
        assert head_after == head
        assert (again.status_code, again.json()["version"]) == (200, 1)

    @pytest.mark.parametrize("name", ["PORT", "DCF_X", "9LIVES", "A-B"])
    async def test_refuses_names_no_variable_can_have(self, client: httpx.AsyncClient, place: str, name: str) -> None:
        answer = await client.put(f"{place}/{name}", json={"value": SENTINEL})

        assert is_problem(answer, 422, "environment_name_not_allowed")

    async def test_refuses_values_no_process_can_be_given_and_repeats_none(
        self, client: httpx.AsyncClient, place: str
    ) -> None:
        for value in (SENTINEL + "\0", SENTINEL * 550):
            answer = await client.put(f"{place}/A", json={"value": value})
            assert answer.status_code == 422
            assert SENTINEL not in answer.text
        unknown = await client.put(f"{place}/A", json={"value": "x", SENTINEL: 1})
        assert unknown.status_code == 422

    async def test_refuses_the_name_of_a_variable_and_the_other_way_round(
        self, client: httpx.AsyncClient, place: str
    ) -> None:
        function_id = place.split("/")[-2]
        change = {"functionId": function_id, "environment": {"TAKEN": "1"}}
        await client.put("/api/v1/functions/update", json=change)
        await client.put(f"{place}/MINE", json={"value": SENTINEL})

        both = {"functionId": function_id, "environment": {"MINE": "1"}}
        assert is_problem(await client.put(f"{place}/TAKEN", json={"value": "x"}), 422, "name_of_both")
        assert is_problem(await client.put("/api/v1/functions/update", json=both), 422, "name_of_both")

    async def test_is_for_developers_and_not_for_viewers(self, world: World, place: str) -> None:
        async with (
            world.client(await world.key(TENANT_ID, "viewer")) as viewer,
            world.client(await world.key(TENANT_ID, "developer")) as developer,
        ):
            refused = await viewer.put(f"{place}/A", json={"value": SENTINEL})
            assert is_problem(refused, 403, "permission_missing")
            assert (await developer.put(f"{place}/A", json={"value": SENTINEL})).status_code == 200
            assert [item["name"] for item in (await viewer.get(place)).json()["items"]] == ["A"]

    async def test_of_another_tenants_function_is_that_of_none(self, world: World, place: str) -> None:
        async with world.client(await world.stranger_key()) as stranger:
            for answer in (
                await stranger.get(place),
                await stranger.put(f"{place}/A", json={"value": "x"}),
                await stranger.delete(f"{place}/A"),
            ):
                assert is_problem(answer, 404, "function_not_found")


class TestRemoveSecret:
    async def test_leaves_the_others_and_never_gives_a_version_twice(
        self, client: httpx.AsyncClient, place: str
    ) -> None:
        await client.put(f"{place}/A", json={"value": "1"})
        await client.put(f"{place}/B", json={"value": "2"})

        left = await client.delete(f"{place}/A")
        missing = await client.delete(f"{place}/A")
        again = await client.put(f"{place}/A", json={"value": "3"})

        assert [item["name"] for item in left.json()["items"]] == ["B"]
        assert is_problem(missing, 404, "secret_not_found")
        assert again.json()["version"] == 2


class TestASecretValue:
    async def test_is_in_no_answer_no_event_no_row_and_no_line_of_the_log(
        self, postgres_world: World, database_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with postgres_world.client() as client:
            place = await _place(client)
            answers = [
                await client.put(f"{place}/A", json={"value": SENTINEL}),
                await client.put(f"{place}/A", json={"value": SENTINEL}, headers={"If-Match": '"1"'}),
                await client.put(f"{place}/PORT", json={"value": SENTINEL}),
                await client.put(f"{place}/A", json={"valu": SENTINEL}),
                await client.put(f"{place}/A", content=SENTINEL.encode()),
                await client.get(place),
                await client.get(place.removesuffix("/secrets")),
                await client.get("/api/v1/audit/events"),
            ]
        await asyncio.sleep(0)

        assert not any(SENTINEL in answer.text for answer in answers)
        assert SENTINEL not in "".join(capsys.readouterr())
        assert await _tables_with(database_url, SENTINEL) == []


async def _tables_with(database_url: str, text: str) -> list[str]:
    """Every table of ours in which the text stands, as it is or in bytes."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('log', 'views', 'work', 'vault')"
        )
        assert len(tables) > 20
        hexadecimal = text.encode().hex()
        return [
            f"{schema}.{table}"
            for schema, table in tables
            if await connection.fetchval(
                f'SELECT count(*) FROM {schema}."{table}" t WHERE t::text LIKE $1 OR t::text LIKE $2',
                f"%{text}%",
                f"%{hexadecimal}%",
            )
        ]
    finally:
        await connection.close()
