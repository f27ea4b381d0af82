"""Webhooks over HTTP: made, changed, looked at; the secret shown once, and nothing of it ever again."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.first_start import TENANT_ID
from commands.basis import fold
from domain.webhook import WEBHOOK, Webhook
from tests.api.steps import a_project, ask, fields_of, is_problem
from tests.api.world import World

URL = "https://ci.example.com/dcf"


async def a_webhook(client: httpx.AsyncClient, project_id: str, **changes: Any) -> Any:
    return await ask(client, "POST", f"/projects/{project_id}/webhooks", {"url": URL, **changes}, status=201)


class TestCreating:
    async def test_shows_the_secret_once(self, world: World, client: httpx.AsyncClient) -> None:
        path = f"/api/v1/projects/{await a_project(client)}/webhooks"
        key = {"Idempotency-Key": str(uuid4())}

        first = await client.post(path, json={"url": URL}, headers=key)
        again = await client.post(path, json={"url": URL}, headers=key)
        shown = await client.get(f"/api/v1{first.headers['location'].removeprefix('/api/v1')}")

        secret = first.json()["secret"]
        assert secret.startswith("whsec_")
        assert again.json() == {**first.json(), "secret": None}
        assert secret not in shown.text
        assert shown.json()["delivering"] is None
        recorded = await world.log.read(0, limit=1_000)
        assert not any(secret.encode() in event.data or secret.encode() in event.meta for event in recorded)

    async def test_the_secret_that_is_shown_is_the_one_that_signs(
        self, world: World, client: httpx.AsyncClient
    ) -> None:
        made = await a_webhook(client, await a_project(client))
        webhook_id = UUID(made["webhookId"])
        state: Webhook = await fold(world.services.log, WEBHOOK, WEBHOOK.stream(TENANT_ID, webhook_id))
        assert state.secret_id is not None

        opened = await world.services.secrets.open(TENANT_ID, webhook_id, state.secret_id)

        assert opened.reveal() == made["secret"]

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            ({"url": "http://ci.example.com/"}, "webhook_url_not_allowed", "url"),
            ({"url": "https://169.254.169.254/latest/meta-data"}, "webhook_url_not_allowed", "url"),
            ({"url": "https://[::ffff:127.0.0.1]/"}, "webhook_url_not_allowed", "url"),
            ({"url": "https://ada:opensesame@ci.example.com/"}, "webhook_url_not_allowed", "url"),
            ({"url": URL, "types": ["deployment.eaten"]}, "webhook_type_unknown", "types[0]"),
            ({"url": URL, "types": ["function.created"]}, "webhook_type_unknown", "types[0]"),
        ],
    )
    async def test_refuses_what_could_not_be_sent(
        self, client: httpx.AsyncClient, body: dict[str, Any], code: str, field: str
    ) -> None:
        answer = await client.post(f"/api/v1/projects/{await a_project(client)}/webhooks", json=body)

        assert is_problem(answer, 422, code)
        assert fields_of(answer) == [field]
        assert "opensesame" not in answer.text

    async def test_counts_them_against_the_plan(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        limits = (await ask(client, "GET", "/tenant"))["limits"]
        limit = next(one["limit"] for one in limits if one["name"] == "webhooksPerProject")
        made = [await a_webhook(client, project_id) for _ in range(limit)]

        full = await client.post(f"/api/v1/projects/{project_id}/webhooks", json={"url": URL})
        await ask(client, "DELETE", f"/projects/{project_id}/webhooks/{made[0]['webhookId']}")
        freed = await client.post(f"/api/v1/projects/{project_id}/webhooks", json={"url": URL})

        assert is_problem(full, 409, "limit_reached")
        assert freed.status_code == 201


class TestOne:
    async def test_is_changed_switched_and_removed(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        path = f"/projects/{project_id}/webhooks/{(await a_webhook(client, project_id))['webhookId']}"

        changed = await ask(client, "PATCH", path, {"types": ["deployment.failed", "deployment.failed"]})
        off = await ask(client, "PATCH", path, {"status": "off"})
        test = await client.post(f"/api/v1{path}/test")
        replay = await client.post(f"/api/v1{path}/replay", json={"after": "1:1"})
        on = await ask(client, "PATCH", path, {"status": "active", "description": "Tells our CI"})
        removed = await ask(client, "DELETE", path)
        again = await client.patch(f"/api/v1{path}", json={"status": "active"})

        assert changed["types"] == ["deployment.failed"]
        assert (off["status"], on["status"], removed["status"]) == ("off", "active", "removed")
        assert is_problem(test, 409, "webhook_off")
        assert is_problem(replay, 409, "webhook_off")
        assert on["description"] == "Tells our CI"
        assert is_problem(again, 409, "webhook_removed")

    async def test_gets_another_secret(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        made = await a_webhook(client, project_id)
        path = f"/projects/{project_id}/webhooks/{made['webhookId']}/rotate-secret"

        rotated = await ask(client, "POST", path, {"overlapSeconds": 0}, status=201)

        assert rotated["secret"] not in (None, made["secret"])

    async def test_of_another_project_is_none(self, client: httpx.AsyncClient) -> None:
        made = await a_webhook(client, await a_project(client))
        other = await a_project(client, "other")

        for method, way in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
            path = f"/api/v1/projects/{other}/webhooks/{made['webhookId']}{way}"
            answer = await client.request(method, path, json={} if method == "PATCH" else None)
            assert is_problem(answer, 404, "webhook_not_found"), (method, way)

    async def test_stands_in_the_history_as_it_was(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        made = await client.post(f"/api/v1/projects/{project_id}/webhooks", json={"url": URL})
        path = f"/projects/{project_id}/webhooks/{made.json()['webhookId']}"
        await ask(client, "PATCH", path, {"url": "https://ci2.example.com/"})

        then = await ask(client, "GET", f"{path}?asOf={made.headers['event-position']}")
        history = await ask(client, "GET", f"/audit/history/{made.json()['webhookId']}")

        assert then["url"] == URL
        assert [entry["type"] for entry in history["items"]] == ["webhook.created", "webhook.changed"]
