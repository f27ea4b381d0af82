"""A process says over HTTP that it lives, whether it is ready, and what it counted."""

from __future__ import annotations

import httpx
from prometheus_client import CollectorRegistry, Counter

from process.health import Health
from process.ports import listen
from process.serving import serving


async def _well() -> None:
    """Nothing is wrong."""


async def _broken() -> None:
    raise ConnectionError("the database does not answer")


def _client(health: Health) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(health), base_url="http://health")


class TestHealth:
    async def test_is_ready_when_all_checks_pass(self) -> None:
        async with _client(Health({"database": _well})) as http:
            answer = await http.get("/health/ready")

        assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {"database": "ok"}})

    async def test_says_what_is_wrong(self) -> None:
        async with _client(Health({"database": _broken, "agent": _well})) as http:
            answer = await http.get("/health/ready")

        assert answer.status_code == 503
        assert answer.json() == {
            "ready": False,
            "checks": {"database": "the database does not answer", "agent": "ok"},
        }

    async def test_lives_even_when_it_is_not_ready(self) -> None:
        async with _client(Health({"database": _broken})) as http:
            assert (await http.get("/health/live")).status_code == 200

    async def test_tells_its_metrics(self) -> None:
        registry = CollectorRegistry()
        Counter("dcf_turns", "Turns taken.", registry=registry).inc(3)

        async with _client(Health({}, registry=registry)) as http:
            answer = await http.get("/metrics")

        assert "dcf_turns_total 3.0" in answer.text

    async def test_knows_nothing_else(self) -> None:
        async with _client(Health({})) as http:
            assert (await http.get("/other")).status_code == 404
            assert (await http.post("/health/live")).status_code == 405


class TestServing:
    async def test_answers_on_the_socket_it_was_given_and_closes_it(self) -> None:
        listener = listen("127.0.0.1", 0, variable="DCF_RUNNER_PORT")
        port = listener.getsockname()[1]

        async with serving(Health({}), listener), httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/health/live")).json() == {"live": True}

        assert listener.fileno() == -1
