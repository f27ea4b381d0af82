"""This machine as a provider, and the way to its functions: both over the agent's Unix socket."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

import aiohttp
import msgspec
from yarl import URL

from domain.clouds import Identity, Storage
from domain.release import Access
from providers.local.messages import Asked, Busy, Refused, SentSource, Unanswered
from providers.local.records import Route
from providers.local.relay import Receive, Scope, Send, end_to_end, relay, session
from providers.provider import (
    NO_SECRETS,
    Answered,
    Build,
    Bundle,
    Call,
    Finding,
    Image,
    LogChunk,
    NoAnswer,
    Observation,
    Order,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
    Secrets,
    Service,
    Source,
    Step,
)
from providers.spool import piece_at, size_of

VERB_SECONDS_MAX = 30.0
# What the agent may take beyond the time the function has.
CALL_SECONDS_MORE = 5.0
ROUTE_SECONDS_MAX = 5.0
SOCKET_NAME = "agent.sock"
_REMEDY = "Start the agent: `python -m providers.local`; `make run` does."

Address = tuple[str, str, str]
_T = TypeVar("_T")
_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix", b"forwarded")


class AgentSocket:
    """Connections to the agent, kept and shared. Make one a process, close it at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made when first asked for, inside the running loop."""
        if self._session is None:
            self._session = session(str(self._path))
        return self._session

    async def close(self) -> None:
        if self._session:
            await self._session.close()


class LocalProvider:
    """The provider `local`. `origin` says, when asked, under which URL the functions answer (`http://host:port`)."""

    name = "local"

    def __init__(self, agent: AgentSocket, origin: Callable[[], str]) -> None:
        self._agent = agent
        self._origin = origin

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        """Whether the agent answers and has an engine; an agent that is down is a failed step."""
        try:
            return await self._ask("verify_identity", Asked(), Finding)
        except ProviderUnreachable as error:
            return _down("agent_reachable", error)

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        """Whether the agent's store can be written."""
        try:
            return await self._ask("check_storage", Asked(), Finding)
        except ProviderUnreachable as error:
            return _down("store_writable", error)

    async def observe(self, order: Order) -> Observation:
        seen = await self._ask("observe", Asked(order=order), Observation)
        if seen.service is None:
            return seen
        return msgspec.structs.replace(seen, service=self._addressed(order, seen.service))

    async def bundle(self, order: Order, sources: tuple[Source, ...]) -> Bundle:
        return await self._ask("bundle", Asked(order=order, sources=tuple(_sent(one) for one in sources)), Bundle)

    async def start_build(self, order: Order) -> Build:
        return await self._ask("start_build", Asked(order=order), Build)

    async def stop_build(self, order: Order) -> None:
        await self._ask("stop_build", Asked(order=order), None)

    async def build_log(self, order: Order, cursor: int) -> LogChunk:
        return await self._ask("build_log", Asked(order=order, cursor=cursor), LogChunk)

    async def push(self, order: Order) -> Image:
        return await self._ask("push", Asked(order=order), Image)

    async def apply(self, order: Order, secrets: Secrets = NO_SECRETS) -> Service:
        asked = Asked(order=order, secrets={name: value.reveal() for name, value in secrets.items()})
        return self._addressed(order, await self._ask("apply", asked, Service))

    async def promote(self, order: Order) -> Service:
        return self._addressed(order, await self._ask("promote", Asked(order=order), Service))

    async def withdraw(self, order: Order) -> tuple[str, ...]:
        return await self._ask("withdraw", Asked(order=order), tuple[str, ...])

    async def call(self, call: Call) -> Answered:
        """Call the function that serves an address of this machine."""
        timeout = aiohttp.ClientTimeout(total=call.seconds_max + CALL_SECONDS_MORE)
        try:
            async with self._agent.session.post(
                "http://agent/verbs/call", data=msgspec.json.encode(Asked(call=call)), timeout=timeout
            ) as response:
                status, body = response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise ProviderBusy(f"The agent is not there: {_words(error)}.") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"The agent broke off: {_words(error)}.") from error
        if status == 200:
            return msgspec.json.decode(body, type=Answered)
        raise _problem(status, body)

    def _addressed(self, order: Order, service: Service) -> Service:
        return msgspec.structs.replace(service, url=f"{self._origin()}/{_path(order.release.address)}/")

    async def _ask(self, verb: str, asked: Asked, answer: type[_T] | None) -> _T:
        timeout = aiohttp.ClientTimeout(total=VERB_SECONDS_MAX)
        try:
            async with self._agent.session.post(
                f"http://agent/verbs/{verb}", data=msgspec.json.encode(asked), timeout=timeout
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnreachable(f"The agent does not answer: {_words(error)}.") from error
        if response.status == 200:
            return msgspec.json.decode(body, type=answer)
        raise _problem(response.status, body)


def _sent(source: Source) -> SentSource:
    content = piece_at(source.content, 0, size_of(source.content))
    return SentSource(kind=source.kind, file_name=source.file_name, digest=source.digest, content=content)


class Functions:
    """The functions served on this machine, for the process that faces their callers."""

    def __init__(self, agent: AgentSocket) -> None:
        self._agent = agent

    async def route(self, address: Address) -> Route | None:
        """Who answers at (tenant, project, function) and whether it is private; None when nobody does.

        Raises ProviderUnreachable.
        """
        timeout = aiohttp.ClientTimeout(total=ROUTE_SECONDS_MAX)
        try:
            url = URL(f"http://agent/routes/{_path(address)}", encoded=True)
            async with self._agent.session.get(url, timeout=timeout) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnreachable(f"The agent does not answer: {_words(error)}.") from error
        return msgspec.json.decode(body, type=Route) if response.status == 200 else None

    async def forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        address: Address,
        cleared: Access,
        path: bytes,
        drop: Collection[bytes] = (),
    ) -> None:
        """Answer an ASGI request with the function's own answer, both bodies as streams.

        `cleared` is what the caller has been found to be allowed: pass `private` only after authentication. `path` is
        what follows the address in the raw path, without its leading slash; headers named in `drop` (lower case) stay
        behind. Whatever goes wrong is answered as a problem: 404, 413, 502, 503, 504.
        """
        query = scope["query_string"].decode("latin-1")
        target = f"http://agent/serve/{cleared}/{_path(address)}/{path.decode('latin-1')}{'?' if query else ''}{query}"
        headers = [*end_to_end(scope["headers"], {*drop, *_FORWARDED}), *_forwarded(scope, address)]
        await relay(scope, receive, send, client=self._agent.session, url=URL(target, encoded=True), headers=headers)


def _path(address: Address) -> str:
    return "/".join(quote(part, safe="") for part in address)


def _forwarded(scope: Scope, address: Address) -> list[tuple[bytes, bytes]]:
    """Who asked, and under which address; what the caller says of that himself is believed only as a chain."""
    given = dict(scope["headers"])
    asker = scope["client"][0].encode() if scope.get("client") else b"unknown"
    chain = given.get(b"x-forwarded-for")
    return [
        (b"x-forwarded-for", b", ".join((chain, asker)) if chain else asker),
        (b"x-forwarded-proto", scope.get("scheme", "http").encode()),
        (b"x-forwarded-host", given.get(b"host", b"")),
        (b"x-forwarded-prefix", f"/{_path(address)}".encode()),
    ]


def _words(error: Exception) -> str:
    return str(error) or "it takes too long"


def _problem(status: int, body: bytes) -> Exception:
    try:
        said: Refused | Busy | Unanswered = msgspec.json.decode(body, type=Refused | Busy | Unanswered)
    except msgspec.DecodeError:
        return ProviderUnreachable(f"The agent answered {status}; its log says why.")
    match said:
        case Refused():
            return ProviderRefused(said.code, said.message, said.remedy)
        case Unanswered():
            return NoAnswer(said.message)
        case Busy():
            return ProviderBusy(said.message, retry_in_seconds=said.retry_in_seconds)


def _down(step: str, error: ProviderUnreachable) -> Finding:
    failed = Step(name=step, status="failed", code="agent_unreachable", message=error.message, remedy=_REMEDY)
    return Finding(status="failed", steps=(failed,))
