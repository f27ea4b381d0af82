"""Pages of other origins: which may use the API from a browser, and that a preflight is answered rightly."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.cross_origin import PREFLIGHT_SECONDS, origins
from process.settings import SettingInvalid
from tests.api.world import World

CONSOLE = "https://console.example"
ASKED = {"Origin": CONSOLE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


def _client(world: World, *allowed: str) -> httpx.AsyncClient:
    app = create_app(world.services, {}, lambda _: None, origins=allowed)
    headers = {"Authorization": f"Bearer {world.owner_key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api.test", headers=headers)


def _of_browsers(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


class TestAPageOfAnotherOrigin:
    async def test_is_told_nothing_unless_it_is_named(self, world: World) -> None:
        async with _client(world) as client, _client(world, "https://other.example") as other:
            for answer in (
                await client.get("/api/v1/projects", headers={"Origin": CONSOLE}),
                await client.options("/api/v1/projects", headers=ASKED),
                await other.get("/api/v1/projects", headers={"Origin": CONSOLE}),
                await other.get("/api/v1/projects", headers={"Origin": "null"}),
                await other.options("/api/v1/projects", headers=ASKED),
                await other.options("/api/v1/projects", headers={**ASKED, "Origin": "https://other.example.evil"}),
            ):
                assert _of_browsers(answer) == set()

    async def test_that_is_named_reads_answers_refusals_and_what_has_not_changed(self, world: World) -> None:
        async with _client(world, CONSOLE, "https://other.example") as client:
            listed = await client.get("/api/v1/projects", headers={"Origin": CONSOLE})
            tag = {"Origin": CONSOLE, "If-None-Match": listed.headers["etag"]}
            answers = [
                listed,
                await client.get("/api/v1/projects", headers=tag),
                await client.get("/api/v1/nowhere", headers={"Origin": CONSOLE}),
                await client.get("/api/v1/projects", headers={"Origin": CONSOLE, "Authorization": "Bearer no"}),
            ]
            unasked = await client.get("/api/v1/projects")

        assert [answer.status_code for answer in answers] == [200, 304, 404, 401]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == CONSOLE
            assert "access-control-allow-credentials" not in answer.headers
            assert {"ETag", "Event-Position", "Retry-After"} <= set(
                answer.headers["access-control-expose-headers"].split(", ")
            )
        # What a cache keeps of one origin's answer is no answer for another.
        assert all("Origin" in answer.headers["vary"].split(", ") for answer in (*answers, unasked))

    async def test_asks_before_it_sends_and_is_told_what_the_address_takes(self, world: World) -> None:
        async with _client(world, CONSOLE) as client:
            told = await client.options("/api/v1/projects", headers=ASKED)

        assert (told.status_code, told.content) == (204, b"")
        assert told.headers["access-control-allow-origin"] == CONSOLE
        assert set(told.headers["access-control-allow-methods"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
        assert {"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Dcf-Tenant"} <= set(
            told.headers["access-control-allow-headers"].split(", ")
        )
        assert told.headers["access-control-max-age"] == str(PREFLIGHT_SECONDS)
        assert "access-control-allow-credentials" not in told.headers

    async def test_may_be_any_and_none_sends_cookies(self, world: World) -> None:
        async with _client(world, "*") as client:
            answer = await client.get("/api/v1/projects", headers={"Origin": CONSOLE})
            told = await client.options("/api/v1/projects", headers=ASKED)

        for one in (answer, told):
            assert one.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in one.headers

    async def test_reads_no_health_and_no_metrics(self, world: World) -> None:
        async with _client(world, "*") as client:
            assert _of_browsers(await client.get("/metrics", headers={"Origin": CONSOLE})) == set()


class TestOrigins:
    def test_are_named_as_browsers_send_them(self) -> None:
        named = "https://a.example http://localhost:5173 http://[::1]:8080"

        assert origins(named) == tuple(named.split())
        assert origins("") == ()

    @pytest.mark.parametrize(
        "text",
        [
            "console.example",
            "https://console.example/",
            "https://console.example/path",
            "https://Console.example",
            "https://console.example:443",
            "https://me@console.example",
            "https://*.example",
            "ftp://console.example",
            "null",
            "* https://console.example",
            "https://console.example:no",
        ],
    )
    def test_that_no_browser_would_send_stop_the_start(self, text: str) -> None:
        with pytest.raises(SettingInvalid, match="DCF_CORS_ORIGINS"):
            origins(text)


def test_the_setting_is_described() -> None:
    assert "`DCF_CORS_ORIGINS`" in (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
