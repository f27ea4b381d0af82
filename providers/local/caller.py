"""Calls the function that serves an address, on behalf of the service itself: for schedules and events."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from yarl import URL

from providers.local.fleet import Fleet
from providers.local.keeper import Keeper
from providers.local.relay import CONNECT_SECONDS_MAX
from providers.local.routes import RouteTable
from providers.provider import Answered, Call, NoAnswer, ProviderBusy, ProviderRefused


class Caller:
    """Each call has a connection of its own: one that was kept may be closed at the very moment it is used again, and
    then nobody could tell whether the function had been called."""

    def __init__(self, routes: RouteTable, fleet: Fleet) -> None:
        self._routes = routes
        self._fleet = fleet

    async def call(self, call: Call) -> Answered:
        """As `Calling.call`."""
        route = self._routes.at(call.address)
        if route is None or route.deployment_id is None:
            message = f"No function answers at /{'/'.join(call.address)}/."
            raise ProviderRefused("function_not_found", message, "Deploy the function.")
        keeper = self._fleet.find(route.deployment_id)
        if keeper is None or keeper.status != "healthy":
            raise ProviderBusy("The function is being started again." if keeper else "The function does not run.")
        keeper.entered()
        try:
            return await self._called(call, keeper)
        finally:
            keeper.left()

    async def _called(self, call: Call, keeper: Keeper) -> Answered:
        url = URL(f"http://127.0.0.1:{keeper.port}/")
        try:
            async with (
                asyncio.timeout(call.seconds_max),
                _session(keeper) as session,
                session.post(url, data=call.body, headers=list(call.headers), allow_redirects=False) as answer,
            ):
                # The status is the answer; a body that breaks off or never ends changes nothing about it.
                with suppress(aiohttp.ClientError, TimeoutError):
                    async for _ in answer.content.iter_any():
                        pass
                return Answered(status=answer.status)
        except aiohttp.ClientConnectorError as error:
            raise ProviderBusy("The function does not take connections.") from error
        except TimeoutError:
            raise NoAnswer(f"The function did not answer within {call.seconds_max:g} seconds.") from None
        except aiohttp.ClientError as error:
            raise NoAnswer("The function broke off without an answer.") from error


def _session(keeper: Keeper) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=keeper.open_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX),
    )
