"""Messages over real HTTP: signed so that others can check it, and sent nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from domain.webhook_signature import key_of, secret_text, signed_headers
from process.outbound import Reachable, reachable
from process.secret import Secret
from runner.webhook_sender import Answered, HttpSender, Message

KEY, FORMER = b"k" * 32, b"f" * 32
MESSAGE = Message(id="msg_1", body=b'{"type":"deployment.succeeded"}')
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = reachable("127.0.0.0/8")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def address(answer: Answer) -> AsyncIterator[str]:
    """Somewhere that answers like that."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/dcf"
    finally:
        await runner.cleanup()


async def send(url: str, where: Reachable = HERE) -> Answered:
    async with HttpSender(where) as sender:
        return await sender.send(url, MESSAGE, [Secret(secret_text(KEY)), Secret(secret_text(FORMER))], at=NOW)


class TestSending:
    async def test_signs_as_the_standard_says(self) -> None:
        got: list[tuple[web.BaseRequest, bytes]] = []

        async def answer(request: web.Request) -> web.Response:
            got.append((request, await request.read()))
            return web.Response(status=204)

        async with address(answer) as url:
            assert (await send(url)).status == 204

        ((request, body),) = got
        headers = request.headers
        assert (request.method, body, headers["content-type"]) == ("POST", MESSAGE.body, "application/json")
        assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        assert headers["webhook-signature"].split(" ") == [
            "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in (KEY, FORMER)
        ]

    async def test_a_published_example_is_signed_as_published(self) -> None:
        """The example of the Standard Webhooks' own libraries."""
        key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        at = datetime.fromtimestamp(1614265330, UTC)

        headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [key], at=at)

        assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    async def test_follows_no_redirect(self) -> None:
        asked: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response(status=307, headers={"location": "/elsewhere"})

        async with address(answer) as url:
            assert (await send(url)).status == 307

        assert asked == ["/dcf"]

    @pytest.mark.parametrize(
        ("given", "seconds"),
        [("120", 120.0), ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0), ("soon", 0.0), ("-5", 0.0), ("9" * 30, 1e30)],
    )
    async def test_hears_how_long_to_stay_away(self, given: str, seconds: float) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=429, headers={"retry-after": given})

        async with address(answer) as url:
            answered = await send(url)

        assert answered.status == 429
        assert answered.retry_after_seconds == pytest.approx(seconds)

    async def test_reads_nothing_of_what_is_answered(self) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            endless = web.StreamResponse()
            await endless.prepare(request)
            await endless.write(b"the secrets of the network\n")
            return endless

        async with address(answer) as url:
            answered = await send(url)

        assert answered == Answered(status=200, message="It answered 200.")

    async def test_says_when_nobody_is_there(self) -> None:
        assert (await send("http://127.0.0.1:9/")).message.startswith("It could not be reached")
        assert (await send("http://nobody.invalid/")).message == "The host's name is not known."


class TestWhereItMayNot:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
    async def test_nothing_is_sent(self, host: str) -> None:
        asked: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response()

        async with address(answer) as url:
            answered = await send(url.replace("127.0.0.1", host), Reachable())

        assert answered.status is None
        assert answered.message
        assert asked == []
