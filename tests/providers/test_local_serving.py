"""Functions of the local provider as their callers see them, through a process that faces them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import AF_INET

import httpx
import msgspec
import psutil
import pytest
import pytest_asyncio

from domain.release import Access
from process.ports import listen
from process.serving import serving
from providers.local import opener
from providers.local.client import AgentSocket, Functions
from providers.local.confinement import Confinement
from providers.local.outbound import proxy_variables
from providers.local.relay import REQUEST_BYTES_MAX, Receive, Scope, Send
from providers.provider import Order
from tests.providers.grounds import (
    HELLO,
    PROBE,
    Ground,
    applied,
    deployed,
    local,
    order,
    settled,
    sources,
    until,
    withdrawn,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The local provider, a client of its functions' origin, and the way in between."""

    ground: Ground
    client: httpx.AsyncClient
    functions: Functions

    def url(self, wanted: Order, rest: str = "") -> str:
        return f"/{'/'.join(wanted.release.address)}/{rest}"

    async def text(self, wanted: Order, rest: str = "") -> str:
        return (await self.client.get(self.url(wanted, rest))).text


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def front(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    folder = tmp_path_factory.mktemp("local")
    async with local(folder) as ground, _origin(folder / "a.sock") as (client, functions):
        yield Front(ground=ground, client=client, functions=functions)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def probe(front: Front) -> AsyncIterator[Order]:
    """A function that does what it is asked to."""
    environment = {"GREETING": "Ahoi", "PORT": "1", "DCF_FUNCTION_ID": "mine"}
    wanted = order(environment=environment, request_seconds_max=3, memory_mb_max=200)
    await deployed(front.ground.provider, wanted, sources(PROBE))
    yield wanted
    await withdrawn(front.ground.provider, wanted)


@asynccontextmanager
async def _origin(agent_socket: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Functions]]:
    agent = AgentSocket(agent_socket)
    functions = Functions(agent)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError  # No lifespan.
        tenant, project, function, path = scope["raw_path"].removeprefix(b"/").split(b"/", 3)
        address = (tenant.decode(), project.decode(), function.decode())
        cleared: Access = "private" if (b"x-cleared", b"yes") in scope["headers"] else "public"
        await functions.forward(scope, receive, send, address=address, cleared=cleared, path=path, drop=(b"x-cleared",))

    listener = listen("127.0.0.1", 0, variable="")
    port = listener.getsockname()[1]
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
    async with serving(app, listener, drain_seconds=1), client:
        yield client, functions
    await agent.close()


class TestARequest:
    async def test_reaches_the_function_below_its_address(self, front: Front, probe: Order) -> None:
        answer = await front.client.patch(
            front.url(probe, "request?a=%2F&b=%C3%A4"),
            headers={"X-Mine": "1", "X-Cleared": "yes", "Connection": "x-mine"},
        )

        seen = answer.json()
        assert (answer.status_code, answer.headers["x-answer"]) == (418, "yes")
        assert (seen["method"], seen["uri"]) == ("PATCH", "/request?a=%2F&b=%C3%A4")
        assert "x-mine" not in seen["headers"]
        assert "x-cleared" not in seen["headers"]
        assert seen["headers"]["x-forwarded-prefix"] == front.url(probe).rstrip("/")
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
        assert seen["headers"]["x-forwarded-host"] == front.client.base_url.netloc.decode()

    async def test_may_carry_a_large_body_which_is_streamed_both_ways(self, front: Front, probe: Order) -> None:
        body = b"0123456789abcdef" * 65536 * 8

        answer = await front.client.post(front.url(probe, "echo"), content=body)

        assert answer.content == body

    async def test_with_a_body_beyond_the_limit_is_refused(self, front: Front, probe: Order) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(REQUEST_BYTES_MAX // 2**20 + 2):
                yield bytes(2**20)

        answer = await front.client.post(front.url(probe, "count"), content=endless())

        assert answer.status_code == 413
        assert answer.json()["code"] == "body_too_large"

    async def test_to_an_address_where_nothing_is_says_so(self, front: Front) -> None:
        answer = await front.client.get("/acme/shop/nobody/")

        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "function_not_found"
        assert await front.functions.route(("acme", "shop", "nobody")) is None


class TestAnAnswer:
    async def test_comes_as_it_is_written(self, front: Front, probe: Order) -> None:
        loop = asyncio.get_running_loop()

        async with front.client.stream("GET", front.url(probe, "stream?n=5")) as answer:
            arrivals = [loop.time() async for _ in answer.aiter_lines()]

        assert len(arrivals) == 5
        assert arrivals[-1] - arrivals[0] > 0.2

    async def test_that_takes_too_long_becomes_a_504(self, front: Front, probe: Order) -> None:
        answer = await front.client.get(front.url(probe, "slow?n=20000"))

        assert answer.status_code == 504
        assert answer.json()["code"] == "function_timeout"

    async def test_that_breaks_off_becomes_a_502(self, front: Front, probe: Order) -> None:
        answer = await front.client.get(front.url(probe, "break"))

        assert answer.status_code == 502
        assert answer.json()["type"] == "urn:dcf:problem:function_unreachable"
        assert answer.json()["code"] == "function_unreachable"
        assert answer.json()["remedy"].startswith("Ask again")


class TestAFunction:
    async def test_sees_its_own_environment_and_nothing_of_ours(self, front: Front, probe: Order) -> None:
        seen = json.loads(await front.text(probe, "environment"))

        assert seen["GREETING"] == "Ahoi"
        assert seen["PORT"] != "1"
        assert seen["DCF_FUNCTION_ID"] == str(probe.release.function_id)
        assert seen["DCF_DEPLOYMENT_ID"] == str(probe.deployment_id)
        allowed = {"PATH", "LANG", "HOME", "TMPDIR", "GREETING", "PORT", "PWD", "OLDPWD", "SHLVL", "_"}
        assert {name for name in seen if not name.startswith("DCF_")} <= allowed | set(proxy_variables())

    async def test_that_dies_is_started_again(self, front: Front, probe: Order) -> None:
        before = await front.text(probe, "born")

        await front.client.get(front.url(probe, "crash?n=5"))

        async def born() -> str:
            answer = await front.client.get(front.url(probe, "born"))
            assert answer.status_code in (200, 502, 503)
            return answer.text if answer.status_code == 200 else ""

        assert await until(born, bool) != before

    async def test_that_eats_too_much_memory_is_ended_and_started_again(self, front: Front, probe: Order) -> None:
        await settled(front.ground.provider, probe, "healthy")

        await front.client.get(front.url(probe, "eat?n=300"))

        died = await settled(front.ground.provider, probe, "starting", "unhealthy")
        assert "its limit is 200 MB" in died.message
        assert (await settled(front.ground.provider, probe, "healthy")).serving

    async def test_that_is_private_needs_a_caller_who_was_let_in(self, front: Front) -> None:
        wanted = order(access="private")
        await deployed(front.ground.provider, wanted, sources(HELLO))

        route = await front.functions.route(wanted.release.address)
        assert route is not None
        assert (route.access, route.deployment_id, route.tenant_id) == (
            "private",
            wanted.deployment_id,
            wanted.tenant_id,
        )
        assert (await front.client.get(front.url(wanted))).status_code == 503
        answer = await front.client.get(front.url(wanted, "?name=Ada"), headers={"X-Cleared": "yes"})
        assert answer.text == "Hello, Ada!\n"
        await withdrawn(front.ground.provider, wanted)

        assert (await front.client.get(front.url(wanted))).status_code == 404

    async def test_is_replaced_without_a_failed_request(self, front: Front) -> None:
        """
        Goal: callers notice a new release by its answers only.
        Method: four callers ask without a pause while the second release takes over, one of them slowly.
        """
        first = order(environment={"ANSWER": "first"}, number=1)
        second = order(environment={"ANSWER": "second"}, number=2, function_id=first.release.function_id)
        await deployed(front.ground.provider, first, sources(PROBE))
        seen: list[tuple[int, str]] = []
        enough = asyncio.Event()

        async def ask(path: str) -> None:
            while not enough.is_set():
                answer = await front.client.get(front.url(first, path))
                seen.append((answer.status_code, answer.text))

        asking = [asyncio.create_task(ask(path)) for path in ("", "", "", "slow?n=400")]
        await deployed(front.ground.provider, second, sources(PROBE))
        await settled(front.ground.provider, first, "stopped")
        enough.set()
        await asyncio.gather(*asking)

        assert {status for status, _ in seen} == {200}
        assert {text for _, text in seen} == {"first", "second", "slept"}
        assert seen[-1][1] != "first"
        await withdrawn(front.ground.provider, second)
        await withdrawn(front.ground.provider, first)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only where this machine gives functions a network of their own."""
    folder = tmp_path_factory.mktemp("apart")
    if not (await Confinement.probe((folder,), folder, os.environ["PATH"])).own_network:
        pytest.skip("this machine gives ordinary users no namespaces")


@pytest.mark.usefixtures("apart")
class TestItsNetwork:
    async def test_leads_to_no_port_of_this_machine(self, front: Front, probe: Order) -> None:
        """Those of the API, of the database, of the agent: all are ports or sockets of this machine."""
        with listen("0.0.0.0", 0, variable="") as ours:
            port = ours.getsockname()[1]
            own = {one.address for name in psutil.net_if_addrs().values() for one in name if one.family == AF_INET}

            found = {
                host: await front.text(probe, f"connect?host={host}&n={port}")
                for host in {"127.0.0.1", "0.0.0.0", *own}
            }

        assert "127.0.0.1" in own
        assert set(found.values()) == {"not reached"}, found

    async def test_lets_only_the_agent_in(self, front: Front, probe: Order) -> None:
        port = json.loads(await front.text(probe, "environment"))["PORT"]
        other = order()
        await deployed(front.ground.provider, other, sources(PROBE))

        seen = await front.text(other, f"connect?host=127.0.0.1&n={port}")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(port))
        await withdrawn(front.ground.provider, other)

        assert seen == "not reached"
        assert await front.text(probe, f"connect?host=127.0.0.1&n={port}") == "reached", "its own it reaches"

    async def test_takes_many_at_once(self, front: Front, probe: Order) -> None:
        answers = await asyncio.gather(*(front.client.get(front.url(probe, "slow?n=200")) for _ in range(60)))

        assert {answer.text for answer in answers} == {"slept"}

    @pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1:8000/"])
    async def test_has_a_way_out_that_leads_neither_here_nor_to_a_cloud(
        self, front: Front, probe: Order, url: str
    ) -> None:
        seen = await front.text(probe, f"fetch?url={url}")

        assert seen.startswith("403 Functions and builds of this machine reach the internet"), seen

    async def test_is_entered_again_when_the_way_in_is_killed(self, front: Front, probe: Order) -> None:
        before = await front.text(probe, "born")
        openers = [one for one in psutil.Process().children(recursive=True) if opener.__file__ in one.cmdline()]
        for one in openers:
            one.kill()

        async def born() -> str:
            # Each on a connection of its own, of which a few are in stock.
            answers = await asyncio.gather(*(front.client.get(front.url(probe, "born")) for _ in range(20)))
            return before if {answer.text for answer in answers} == {before} else ""

        assert openers
        assert await until(born, bool) == before


FAILS_ITS_HEALTH = b"""import 'dart:io';
void main() async {
  final server = await HttpServer.bind('0.0.0.0', int.parse(Platform.environment['PORT']!));
  stderr.writeln('I am ${Platform.script}');
  await for (final request in server) {
    request.response.statusCode = 500;
    await request.response.close();
  }
}
"""


class TestOneThatDoesNotComeUp:
    async def test_is_told_what_it_answered_and_nothing_of_where_it_is_kept(self, front: Front) -> None:
        wanted = order(ground=front.ground, start_seconds_max=2)

        service = await applied(front.ground.provider, wanted, sources(FAILS_ITS_HEALTH))

        assert service.status == "unhealthy"
        assert "/ answered 500, and never a status under 500 within 2 seconds" in service.message
        assert "I am " in service.message
        assert "file://" not in service.message
        await withdrawn(front.ground.provider, wanted)
