"""The agent's HTTP, spoken over its Unix socket: the provider's verbs, the routes, and the functions' own requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import get_args
from urllib.parse import unquote
from uuid import UUID

import msgspec
import structlog
from yarl import URL

from domain.release import Access
from providers.local.agent import Agent
from providers.local.caller import Caller
from providers.local.fleet import Fleet
from providers.local.messages import Asked, Busy, Refused, Unanswered
from providers.local.metrics import FleetMetrics
from providers.local.readiness import check_store, verify_engine
from providers.local.records import Route
from providers.local.relay import Receive, Scope, Send, end_to_end, relay, send_problem
from providers.local.routes import Address, RouteTable
from providers.local.store import Store
from providers.local.toolchain import Toolchains
from providers.provider import NoAnswer, Order, ProviderBusy, ProviderRefused

VERB_BYTES_MAX = 64 * 1024 * 1024
RETRY_AFTER = (b"retry-after", b"1")

log = structlog.get_logger()


class Door:
    """An ASGI application. `POST /verbs/<verb>`, `GET /routes/<tenant>/<project>/<function>`, and
    `/serve/<access>/<tenant>/<project>/<function>/…` for a request that was cleared for functions of that access."""

    def __init__(
        self,
        agent: Agent,
        store: Store,
        toolchains: Toolchains,
        routes: RouteTable,
        fleet: Fleet,
        caller: Caller,
    ) -> None:
        self._agent = agent
        self._store = store
        self._toolchains = toolchains
        self._routes = routes
        self._fleet = fleet
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        # The path as it was sent: what is encoded stays encoded on its way to the function.
        match scope["raw_path"].decode("latin-1").split("/", 6):
            case ["", "verbs", verb]:
                await self._verb(verb, receive, send)
            case ["", "routes", tenant, project, function]:
                await self._route(_address(tenant, project, function), send)
            case ["", "serve", access, tenant, project, function, *rest] if access in get_args(Access):
                address = _address(tenant, project, function)
                await self._serve(access, address, "".join(rest), scope, receive, send)
            case _:
                await send_problem(send, 404, "Not found", "not_found", "The agent has no such address.")

    @property
    def metrics(self) -> FleetMetrics:
        """What the agent can say of itself in numbers."""
        return FleetMetrics(self._fleet)

    async def ready(self) -> None:
        """A check of the agent's health. Raises OSError when its store cannot be written."""
        self._store.try_writing()

    async def _verb(self, verb: str, receive: Receive, send: Send) -> None:
        try:
            asked = msgspec.json.decode(await _body(receive), type=Asked)
            answer = await self._done(verb, asked)
        except ProviderRefused as error:
            await _send_json(send, 422, Refused(code=error.code, message=error.message, remedy=error.remedy))
        except ProviderBusy as error:
            await _send_json(send, 503, Busy(message=error.message, retry_in_seconds=error.retry_in_seconds))
        except NoAnswer as error:
            await _send_json(send, 504, Unanswered(message=error.message))
        except msgspec.DecodeError as error:
            await _send_json(
                send, 422, Refused(code="invalid", message=str(error), remedy="Use the agent's own client.")
            )
        else:
            await _send_json(send, 200, answer)

    async def _done(self, verb: str, asked: Asked) -> object:
        if verb == "verify_identity":
            return await verify_engine(self._toolchains)
        if verb == "check_storage":
            return check_store(self._store)
        if verb == "call" and asked.call is not None:
            return await self._caller.call(asked.call)
        if asked.order is None:
            raise ProviderRefused("invalid", "An order is needed.", "Use the agent's own client.")
        if verb == "bundle":
            return await self._agent.bundle(asked.order, asked.sources)
        if verb == "build_log":
            return await self._agent.build_log(asked.order, asked.cursor)
        if verb == "apply":
            return await self._agent.apply(asked.order, asked.secrets)
        verbs: dict[str, Callable[[Order], Awaitable[object]]] = {
            "observe": self._agent.observe,
            "start_build": self._agent.start_build,
            "stop_build": self._agent.stop_build,
            "push": self._agent.push,
            "promote": self._agent.promote,
            "withdraw": self._agent.withdraw,
        }
        if verb not in verbs:
            raise ProviderRefused("invalid", f"There is no verb {verb}.", "Use the agent's own client.")
        return await verbs[verb](asked.order)

    async def _route(self, address: Address, send: Send) -> None:
        if route := self._routes.at(address):
            await _send_json(send, 200, route)
        else:
            await send_problem(send, 404, "Not found", "function_not_found", "No function answers here.")

    async def _serve(
        self, cleared: str, address: Address, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        route = self._routes.at(address)
        if route is None or route.deployment_id is None:
            await send_problem(send, 404, "Not found", "function_not_found", "No function answers here.")
        elif route.access == "private" and cleared != "private":
            # It became private after its caller was let in.
            detail = "The function has just been replaced; ask again."
            await send_problem(send, 503, "Replaced", "function_replaced", detail, (RETRY_AFTER,))
        else:
            await self._pass_on(route, route.deployment_id, path, scope, receive, send)

    async def _pass_on(
        self, route: Route, deployment_id: UUID, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        keeper = self._fleet.find(deployment_id)
        if keeper is None or keeper.status != "healthy":
            detail = "The function is being started again." if keeper else "The function does not run."
            await send_problem(send, 503, "Not running", "function_not_running", detail, (RETRY_AFTER,))
            return
        query = scope["query_string"].decode("latin-1")
        url = URL(f"http://127.0.0.1:{keeper.port}/{path}{'?' if query else ''}{query}", encoded=True)
        keeper.entered()
        try:
            await relay(
                scope,
                receive,
                send,
                client=keeper.session,
                url=url,
                headers=end_to_end(scope["headers"]),
                seconds_max=route.request_seconds_max,
            )
        finally:
            keeper.left()


def _address(tenant: str, project: str, function: str) -> Address:
    return unquote(tenant), unquote(project), unquote(function)


async def _body(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > VERB_BYTES_MAX:
            raise ProviderRefused("too_large", f"At most {VERB_BYTES_MAX} bytes are taken.", "Send smaller sources.")
        more = message.get("more_body", False)
    return b"".join(parts)


async def _send_json(send: Send, status: int, answer: object) -> None:
    body = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
