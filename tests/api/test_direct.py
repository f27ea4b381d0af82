"""Handlers are called without what Litestar would do between: nothing of that may be asked for by any route."""

from __future__ import annotations

import inspect

import httpx
import pytest
from litestar.connection.base import empty_receive, empty_send
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.admission import admit
from api.app import routed
from api.direct import _Request
from api.operation import operations


def _handlers() -> list[tuple[HTTPRoute, HTTPRouteHandler]]:
    return [(route, handler) for route, handler, _ in operations(routed())]


class TestARoute:
    def test_takes_the_request_and_what_its_address_names(self) -> None:
        for route, handler in _handlers():
            assert set(inspect.signature(handler.fn).parameters) == {"request", *route.path_parameters}, handler

    def test_asks_for_nothing_that_is_done_between(self) -> None:
        for _, handler in _handlers():
            assert not handler.resolve_guards(), handler
            assert not handler.resolve_dependencies(), handler
            assert handler.resolve_before_request() is admit, handler
            assert not any(layer.after_request for layer in handler.ownership_layers), handler
            assert handler.resolve_after_response() is None, handler
            assert not handler.cache, handler
            assert inspect.iscoroutinefunction(handler.fn), handler


class TestARequest:
    def test_has_all_that_litestar_gives_when_it_is_asked_for(self) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"a=1", "headers": [(b"cookie", b"c=2")]}
        request = _Request(scope, empty_receive, empty_send)

        assert request.query_params["a"] == "1"
        assert request.cookies == {"c": "2"}
        assert request.is_connected
        with pytest.raises(AttributeError):
            _ = request.nothing


class TestAnAddress:
    @pytest.mark.parametrize("path", ["/api/v1/runtimes", "/api/v1/runtimes/", "//api/v1//runtimes"])
    async def test_may_be_written_in_more_ways_than_one(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.get(f"http://api{path}")).status_code == 200

    async def test_of_a_host_that_cannot_be_one_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/v1/runtimes", headers={"Host": "no host"})

        assert answer.status_code == 422

    async def test_of_nothing_is_a_problem(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/api/v1/nothing")).json()["code"] == "route_unknown"
        assert (await client.put("/api/v1/runtimes")).headers["allow"]
