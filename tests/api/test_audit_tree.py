"""Checkpoints, proofs and tiles over HTTP: good for anybody's verifier, and telling nothing of other tenants."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.first_start import TENANT_ID
from eventstore.event_lines import encode_event_line
from eventstore.tree.proofs import EventProof
from tests.api.steps import a_project, ask, grown, is_problem
from tests.api.world import World
from tests.eventstore.tree import textbook


async def _events(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await ask(client, "GET", "/audit/events?limit=200"))["items"]
    return items


def _bytes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


class TestProveEvent:
    async def test_every_event_of_the_tenant_is_proven_to_the_textbook(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        """*Method:* what the description and docs/audit.md say, and none of our code."""
        await a_project(client)
        await grown(world.services)
        key = (await ask(client, "GET", "/audit/verifier-keys"))["keys"][0]

        for event in await _events(client):
            proof = await ask(client, "GET", f"/audit/events/{event['position']}/proof")

            _, size, root = textbook.root_signed(proof["checkpoint"], key)
            leaf = textbook.leaf(textbook.entry(json.dumps(proof["event"])))
            path = _bytes(proof["hashes"])
            assert textbook.proves_inclusion(proof["leafIndex"], size, leaf, path, root)
            assert base64.b64decode(proof["leafHash"]) == leaf
            # What people read of an event is what was proven.
            assert (proof["event"]["type"], proof["event"]["streamId"]) == (event["type"], event["entityId"])
            assert proof["event"]["recordedAt"] == event["at"]
            # And all of it is in one file.
            file = EventProof.parse(proof["tlogProof"])
            assert (file.index, list(file.path), file.checkpoint) == (proof["leafIndex"], path, proof["checkpoint"])
            assert textbook.leaf(file.event) == leaf

    async def test_the_page_about_it_says_how_a_leaf_is_made(self, world: World, client: httpx.AsyncClient) -> None:
        page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
        [code] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        made: dict[str, Any] = {}
        exec(code, made)  # noqa: S102 - our own page
        await grown(world.services)

        for event in (await _events(client))[:5]:
            proof = await ask(client, "GET", f"/audit/events/{event['position']}/proof")
            line = json.loads(await ask_as_line(world, proof["leafIndex"] + 1))
            assert made["leaf_hash"](proof["event"]) == made["leaf_hash"](line) == base64.b64decode(proof["leafHash"])

    async def test_what_is_not_signed_yet_is_asked_for_again(self, world: World, client: httpx.AsyncClient) -> None:
        [first, *_] = await _events(client)
        early = await client.get(f"/api/v1/audit/events/{first['position']}/proof")
        await grown(world.services)
        await a_project(client)
        late = await client.get(f"/api/v1/audit/events/{(await _events(client))[-1]['position']}/proof")

        for answer in (early, late):
            assert is_problem(answer, 503, "nothing_signed_yet")
            assert answer.headers["retry-after"] == "5"

    async def test_under_the_checkpoint_that_is_asked_for(self, world: World, client: httpx.AsyncClient) -> None:
        old = await grown(world.services)
        await a_project(client)
        await grown(world.services)
        [first, *_] = await _events(client)
        path = f"/audit/events/{first['position']}/proof"

        assert (await ask(client, "GET", f"{path}?size={old.size}"))["checkpoint"] == old.note
        unknown = await client.get(f"/api/v1{path}?size={old.size - 1}")
        assert is_problem(unknown, 404, "checkpoint_not_found")
        last = (await _events(client))[-1]["position"]
        earlier = await client.get(f"/api/v1/audit/events/{last}/proof?size={old.size}")
        assert is_problem(earlier, 422, "parameter_invalid")

    async def test_another_tenant_s_event_is_none(self, world: World, client: httpx.AsyncClient) -> None:
        await a_project(client)
        await grown(world.services)
        last = (await _events(client))[-1]["position"]
        async with world.client(await world.stranger_key()) as stranger:
            for position in (last, "1:999999", "1:0"):
                answer = await stranger.get(f"/api/v1/audit/events/{position}/proof")
                assert is_problem(answer, 404, "event_not_found")

    async def test_the_hash_of_a_key_is_shown_to_who_may_export_alone(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        await grown(world.services)
        [made] = [event for event in await _events(client) if event["type"] == "api_key.created"]
        path = f"/audit/events/{made['position']}/proof"
        async with world.client(await world.key(TENANT_ID, "viewer")) as viewer:
            withheld = await ask(viewer, "GET", path)
        whole = await ask(client, "GET", path)

        assert (withheld["event"], withheld["withheld"]) == (None, "secret_hash")
        assert EventProof.parse(withheld["tlogProof"]).event == b""
        assert "secretHash" in whole["event"]["data"]
        assert {**whole, "event": 0, "withheld": 0, "tlogProof": 0} == {
            **withheld,
            "event": 0,
            "withheld": 0,
            "tlogProof": 0,
        }

    async def test_a_key_for_some_projects_proves_the_events_of_these(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        own, other = await a_project(client), await a_project(client, "another")
        made = {event["entityId"]: event["position"] for event in await _events(client)}
        await grown(world.services)
        body = {"name": "narrow", "role": "viewer", "projects": [own]}
        key = (await ask(client, "POST", "/keys", body, status=201))["key"]
        async with world.client(key) as narrow:
            assert (await ask(narrow, "GET", f"/audit/events/{made[own]}/proof"))["event"]["streamId"] == own
            for position in (made[other], "1:1"):
                answer = await narrow.get(f"/api/v1/audit/events/{position}/proof")
                assert is_problem(answer, 404, "event_not_found")

    async def test_operators_name_the_tenant(self, world: World, client: httpx.AsyncClient) -> None:
        await grown(world.services)
        last = (await _events(client))[-1]["position"]
        path = f"/audit/events/{last}/proof"
        async with world.client(world.operator_key) as operator:
            assert (await ask(operator, "GET", f"{path}?tenantId={TENANT_ID}"))["position"] == last
            assert is_problem(await operator.get(f"/api/v1{path}"), 404, "event_not_found")


class TestCheckpoints:
    async def test_none_is_there_before_the_first(self, client: httpx.AsyncClient) -> None:
        for path in ("checkpoint", "verifier-keys", "consistency?from=1"):
            assert is_problem(await client.get(f"/api/v1/audit/{path}"), 503, "nothing_signed_yet")
        assert (await ask(client, "GET", "/audit/checkpoints"))["items"] == []

    async def test_are_notes_and_listed(self, world: World, client: httpx.AsyncClient) -> None:
        old = await grown(world.services)
        await a_project(client)
        new = await grown(world.services)

        newest = await client.get("/api/v1/audit/checkpoint")
        before = await client.get(f"/api/v1/audit/checkpoint?size={old.size}")
        page = await ask(client, "GET", "/audit/checkpoints?limit=1")
        rest = await ask(client, "GET", f"/audit/checkpoints?cursor={page['nextCursor']}")

        assert newest.headers["content-type"] == "text/plain; charset=utf-8"
        assert (newest.text, before.text) == (new.note, old.note)
        assert [one["size"] for one in (*page["items"], *rest["items"])] == [old.size, new.size]
        assert rest["nextCursor"] is None


class TestProveConsistency:
    async def test_is_good_for_the_textbook(self, world: World, client: httpx.AsyncClient) -> None:
        old = await grown(world.services)
        await a_project(client)
        new = await grown(world.services)

        proof = await ask(client, "GET", f"/audit/consistency?from={old.size}")

        roots = [textbook.root_signed(one.note, one.verifier_keys[0])[2] for one in (old, new)]
        path = _bytes(proof["hashes"])
        assert (proof["oldSize"], proof["newSize"]) == (old.size, new.size)
        assert textbook.proves_consistency(old.size, roots[0], new.size, roots[1], path)

    @pytest.mark.parametrize("query", ["", "from=0", "from=2&to=1", "from=1&to=999999", "from=x"])
    async def test_names_what_cannot_be(self, world: World, client: httpx.AsyncClient, query: str) -> None:
        await grown(world.services)

        assert is_problem(await client.get(f"/api/v1/audit/consistency?{query}"), 422, "parameter_invalid")


class TestTiles:
    async def test_have_the_hashes_from_which_the_root_is_made(self, world: World, client: httpx.AsyncClient) -> None:
        signed = await grown(world.services)

        answer = await client.get(f"/api/v1/audit/tile/0/000.p/{signed.size}")

        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        events = await world.log.read(0, limit=signed.size)
        lines = [(await ask_as_line(world, event.position)) for event in events]
        assert answer.content == b"".join(textbook.leaf(textbook.entry(line)) for line in lines)

    @pytest.mark.parametrize(
        "tile",
        [
            "0/000",
            "0/001",
            "0/x001/000",
            "0/000.p/0",
            "0/000.p/255",
            "0/0",
            "9/000.p/1",
            "0/000/x",
            "0/entries",
            "0/x999/x999/x999/x999/x999/999",
        ],
    )
    async def test_that_are_not_there_are_none(self, world: World, client: httpx.AsyncClient, tile: str) -> None:
        await grown(world.services)

        assert is_problem(await client.get(f"/api/v1/audit/tile/{tile}"), 404, "tile_not_found")


async def ask_as_line(world: World, position: int) -> str:
    """The event as an export has it."""
    [event] = await world.log.read(position - 1, limit=1)
    return encode_event_line(event).decode()
