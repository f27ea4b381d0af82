"""What every answer has."""

from __future__ import annotations

import asyncio
import errno
import io
import logging

import asyncpg
import httpx
import pytest
import structlog

from api.access_log import note_as_json, note_in_log
from api.app import create_app
from api.errors import refusal_of
from api.refusals import OutcomeNotKnown, Unexpected
from eventstore.log import DiskFull, OutcomeUnknown, StoreUnavailable
from process import logs
from tests.api.steps import a_project, is_problem
from tests.api.world import World


class TestEveryAnswer:
    async def test_has_safe_headers(self, client: httpx.AsyncClient) -> None:
        for path in ("/api/v1/projects", "/nowhere"):
            answer = await client.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"]

    async def test_head_is_get_without_a_body(self, client: httpx.AsyncClient) -> None:
        project_id = await a_project(client)
        path = f"/api/v1/projects/{project_id}"

        got, head = await client.get(path), await client.head(path)

        assert (head.status_code, head.content) == (200, b"")
        assert (head.headers["etag"], head.headers["content-length"]) == (
            got.headers["etag"],
            got.headers["content-length"],
        )

    async def test_options_names_the_methods(self, client: httpx.AsyncClient) -> None:
        answer = await client.options("/api/v1/projects")

        assert answer.status_code == 204
        assert {"GET", "POST"} <= {method.strip() for method in answer.headers["allow"].split(",")}

    async def test_another_method_is_405_and_names_those_there_are(self, client: httpx.AsyncClient) -> None:
        answer = await client.delete("/api/v1/projects")

        assert is_problem(answer, 405, "method_not_allowed")
        assert "POST" in answer.headers["allow"]

    async def test_a_stream_has_a_beginning_too(self, client: httpx.AsyncClient) -> None:
        answer = await client.head("/api/v1/audit/events", headers={"Accept": "text/event-stream"})

        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"].startswith("text/event-stream")

    async def test_an_unknown_address_is_404(self, client: httpx.AsyncClient) -> None:
        assert is_problem(await client.get("/api/v1/nowhere"), 404, "route_unknown")
        assert is_problem(await client.get("/"), 404, "route_unknown")


class TestTheLogOfRequests:
    @pytest.mark.parametrize("style", ["text", "json"])
    async def test_has_one_printable_line_for_each_whatever_its_address_and_headers(
        self, world: World, style: str
    ) -> None:
        """What callers choose is in there: the address, their name for the request, the credential's kind."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        logs.set_up("api", style=style, stream=out)
        note = note_in_log if style == "text" else note_as_json(out.buffer)
        app = create_app(world.services, {}, note)
        evil = "%0A12:00:00%20info%20all_is_well%0D%1B%5B2J%C2%9B31m%E2%80%A8%E2%80%AE%00x"
        headers = {"X-Request-Id": "a\tb", "Dcf-Tenant": "x\x1b", "Authorization": "Bearer dcf_\x1b[2J"}
        try:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
                await client.get(f"/api/v1/{evil}", headers=headers)
                await client.get(f"/api/v1/projects/{evil}", headers=headers)
            await asyncio.sleep(0)  # The lines of one turn of the loop are written at its end.
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            structlog.reset_defaults()

        written = out.buffer.getvalue().decode()
        assert [line for line in written.split("\n") if not line.isprintable()] == []
        assert written.count("\n") == written.count("request_answered") == 2


class TestParameters:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/projects?validateOnly=true"),
            ("POST", "/functions?projectId=x"),
            ("GET", "/me?asOf=2020-01-01T00:00:00Z"),
            ("DELETE", "/keys/0192d3a4-0000-7000-8000-000000000002?force=1"),
            ("GET", "/functions/trigger-types?limit=1"),
        ],
    )
    async def test_that_would_be_ignored_are_refused(self, client: httpx.AsyncClient, method: str, path: str) -> None:
        assert is_problem(await client.request(method, f"/api/v1{path}"), 422, "parameter_invalid")

    async def test_are_refused_after_the_credential(self, world: World) -> None:
        async with world.client("") as nobody:
            assert is_problem(await nobody.get("/api/v1/me?x=1"), 401, "credential_missing")


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "refusal"),
        [
            (OutcomeUnknown(), OutcomeNotKnown),
            (ConnectionRefusedError(), StoreUnavailable),
            (TimeoutError(), StoreUnavailable),
            (asyncpg.AdminShutdownError("terminating connection due to administrator command"), StoreUnavailable),
            (
                asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"),
                StoreUnavailable,
            ),
            (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), StoreUnavailable),
            (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
            (asyncpg.DiskFullError("could not extend file"), DiskFull),
            (KeyError("x"), Unexpected),
        ],
    )
    def test_what_nobody_refused_is_told_apart(self, error: Exception, refusal: type[Exception]) -> None:
        assert isinstance(refusal_of(error), refusal)


class TestHealth:
    async def test_is_open_and_ready(self, client: httpx.AsyncClient) -> None:
        ready = await client.get("/health/ready")
        live = await client.get("/health/live")
        metrics = await client.get("/metrics")

        assert (ready.status_code, live.status_code, metrics.status_code) == (200, 200, 200)
