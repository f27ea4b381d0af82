"""Calls of the service itself to functions of the local provider."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from providers.local.client import AgentSocket, LocalProvider
from providers.provider import Call, Calling, NoAnswer, Order, ProviderBusy, ProviderRefused
from tests.providers.grounds import PROBE, Ground, deployed, local, order, sources, until, withdrawn

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place(msgspec.Struct, frozen=True):
    """The local provider, and a function there that does what it is asked to."""

    ground: Ground
    probe: Order
    folder: Path

    async def call(self, probe: Order | None = None, seconds_max: float = 3, **wanted: Any) -> int:
        """Call the function, and tell it what to do about it."""
        provider = self.ground.provider
        assert isinstance(provider, Calling)
        call = Call(
            address=(probe or self.probe).release.address,
            headers=(("content-type", "application/json"), ("ce-id", "tick-1"), ("ce-type", "test")),
            body=json.dumps(wanted).encode(),
            seconds_max=seconds_max,
        )
        return (await provider.call(call)).status


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("local")
    async with local(folder) as ground:
        wanted = order(access="private")
        await deployed(ground.provider, wanted, sources(PROBE))
        yield Place(ground, wanted, folder)
        await withdrawn(ground.provider, wanted)


async def calls(place: Place) -> list[dict[str, Any]]:
    """What the function was called with so far."""
    path = "/".join(place.probe.release.address)
    connector = aiohttp.UnixConnector(str(place.folder / "a.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://agent/serve/private/{path}/calls") as answer,
    ):
        found: list[dict[str, Any]] = json.loads(await answer.read())
        return found


class TestACall:
    async def test_reaches_a_private_function_as_post_with_its_headers_and_body(self, place: Place) -> None:
        assert await place.call(status=202) == 202

        last = (await calls(place))[-1]
        assert json.loads(last["body"]) == {"status": 202}
        assert last["headers"]["ce-id"] == "tick-1"
        assert last["headers"]["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("wanted", "seconds_max", "words"), [({"break": True}, 30, "broke off"), ({"sleep": 5_000}, 0.5, "within 0.5")]
    )
    async def test_says_when_the_function_was_called_and_did_not_answer(
        self, place: Place, wanted: dict[str, Any], seconds_max: float, words: str
    ) -> None:
        before = len(await calls(place))

        with pytest.raises(NoAnswer, match=words):
            await place.call(seconds_max=seconds_max, **wanted)

        await until(lambda: calls(place), lambda called: len(called) == before + 1)

    async def test_is_refused_where_no_function_serves(self, place: Place) -> None:
        with pytest.raises(ProviderRefused, match="No function answers"):
            await place.call(order())

    async def test_says_that_the_function_was_not_called_while_it_is_started_again(self, place: Place) -> None:
        await _get(place, "crash?n=1")

        with pytest.raises(ProviderBusy):
            await place.call()

        await until(lambda: _status(place), lambda status: status == 204)

    async def test_says_that_the_function_was_not_called_while_the_agent_is_away(self, place: Place) -> None:
        agent = AgentSocket(place.folder / "nobody.sock")
        provider = LocalProvider(agent, lambda: "")

        with pytest.raises(ProviderBusy, match="not there"):
            await Place(Ground(provider=provider, target=place.ground.target), place.probe, place.folder).call()
        await agent.close()


async def _status(place: Place) -> int:
    try:
        return await place.call()
    except (ProviderBusy, NoAnswer):
        return 0


async def _get(place: Place, path: str) -> None:
    address = "/".join(place.probe.release.address)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place.folder / "a.sock"))) as session,
        session.get(f"http://agent/serve/private/{address}/{path}") as answer,
    ):
        await answer.read()
