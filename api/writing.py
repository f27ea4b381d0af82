"""One write from request to answer: its key and conditions, the command, the stored reply, the wait until it is seen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
from litestar import Request

from api.answer import JSON, PROBLEM, Answer, Header, encoded, etag
from api.compression import plain_tag
from api.errors import headers_of, problem_of
from api.exchange import Exchange, exchange_of
from api.operation import operation_of
from api.principal import Principal
from api.refusals import ParameterInvalid
from api.services import Services, services_of
from commands.command import Command, States
from commands.execute import Context, Done, KeyReused, Named, RefusedBefore, execute, named_ids, refuse
from commands.ids import random_id
from domain.event import SYSTEM_TENANT, StreamRef
from domain.refusal import FieldError, PreconditionFailed, Refusal
from domain.uuids import named_uuid

# Stands where the time of recording belongs: a byte that encoded JSON never holds. Replies are stored with it, so that
# repeating a request gives the very same body.
_NOW = b"\x01"
# Stands where a secret belongs that only the first answer shows; a repeated request finds null in its place.
_ONCE = b"\x02"
SHOWN_ONCE = cast("str | None", msgspec.Raw(_ONCE))
_RECORDED_NOW = cast("datetime", msgspec.Raw(_NOW))

_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_TAG = re.compile(rb'"([0-9]{1,18})"')
_EntityPosition = Literal["first", "last", "unchanged", "none"]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a recorded command answers with.

    `position` says which of the recorded events is the last that touches the entity answered with, for its ETag;
    `unchanged` when nothing of the entity's own was recorded, so that it has the one it had; `none` when the answer is no
    entity, or its ETag is not to be known here.
    """

    body: object
    status: int = 200
    location: str = ""
    position: _EntityPosition = "last"


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """The line before the body in a stored reply."""

    status: int
    location: str = ""
    position: _EntityPosition = "unchanged"
    code: str = ""
    # Where the entity's last event stands that was there before; 0: not known.
    stood: int = 0


_KEPT = msgspec.json.Decoder(_Kept)
_NOTHING_AT_HAND = (b"", _Kept(status=200), b"")


def recorded_time(at: datetime | None) -> datetime:
    """The time in a state, or what becomes the time of recording when it is the command's own event that sets it."""
    return _RECORDED_NOW if at is None else at


class Writing:
    """A write under way. `asked` is what every command needs: the tenant and the instant.

    `content` is all that the caller said, apart from the address: repeated under one key it must be the same. None: it is
    known later (`content_is`). From when it is known every refusal is kept under the key, also one from before a decision,
    but for those of another day (Busy) and those of a form that does not fit (docs/decisions/0012-refusals-are-kept.md).
    """

    def __init__(self, request: Request[Any, Any, Any], content: bytes | None) -> None:
        self._exchange: Exchange = exchange_of(request.scope)
        self._services: Services = services_of(request)
        principal = self._exchange.principal
        assert principal is not None, "a route that writes has a permission, so its caller is known"
        self.principal: Principal = principal
        header = self._exchange.header
        self._if_match = header(b"if-match")
        self._respond_async = _prefers_async(header(b"prefer") or "")
        # Whose log has what comes of it.
        self._tenant_id = self.principal.tenant_id
        self._command_id = _command_id(self.principal, request, header(b"idempotency-key"))
        self._address = f"{request.method} {request.scope['path']}?".encode() + request.scope["query_string"]
        self._request = request
        self._at_hand: tuple[bytes, _Kept, bytes] = _NOTHING_AT_HAND
        if content is not None:
            self.content_is(content)
        self.asked: Mapping[str, Any] = {"tenant_id": self.principal.tenant_id, "at": self._services.clock()}

    @property
    def preferences(self) -> tuple[Header, ...]:
        """The header that says which of the caller's wishes was granted."""
        return ((b"preference-applied", b"respond-async"),) if self._respond_async else ()

    def content_is(self, content: bytes) -> None:
        """What the caller sent, where that is known only later."""
        self._request_hash = self._hash(content)
        self._exchange.keep = self._kept

    def is_about(self, tenant_id: UUID) -> None:
        """Another tenant, which exists: what is recorded under the key is kept there, refusals from before the decision too."""
        self._tenant_id = tenant_id

    def _hash(self, content: bytes) -> bytes:
        return hashlib.sha256(self._address + b"\n" + content).digest()

    def _was_asked(self, request_hash: bytes) -> bool:
        """Whether the hash, recorded under this request's key, is of what this request says. Earlier versions of the service
        took the body as it was sent: whoever repeats across an upgrade sends the same bytes."""
        return request_hash == self._request_hash or request_hash == self._hash(self._exchange.body_as_sent)

    def records_nothing(self) -> None:
        """A refusal is not kept: what is asked is only looked at, or is none of the business of who is asked about."""
        self._exchange.keep = None

    async def answered_before(self) -> Answer | None:
        """What this very request was answered under its key; None: nothing was recorded. Raises KeyReused for another."""
        found = await self._services.log.find(self._tenant_id, self._command_id)
        if found is None:
            return None
        if not self._was_asked(found.request_hash):
            raise KeyReused
        if found.outcome == "refused":
            return await self._answer(found.reply, position=found.last_position)
        done = Done(
            first_position=found.first_position,
            last_position=found.last_position,
            recorded_at=found.recorded_at,
            reply=found.reply,
            repeated=True,
        )
        return await self._answer(found.reply, position=found.last_position, done=done)

    def own_id(self, what: str) -> UUID:
        """An id that is this request's own, the same one when it is repeated under its key."""
        return named_uuid(self._command_id, what)

    @property
    def command_id(self) -> UUID:
        """The same for requests that are repeated under one Idempotency-Key, another for all others."""
        return self._command_id

    @property
    def correlation_id(self) -> UUID:
        """What everything that this request sets in motion is known by."""
        return self._exchange.correlation_id

    def new_id(self) -> UUID:
        """An id for what the command makes."""
        return self._services.new_id()

    async def do(
        self,
        command: Command,
        answer_with: Callable[[States], Reply],
        *,
        entity: StreamRef | None = None,
        versions: Mapping[int, int] | None = None,
        record_refusals: bool = True,
        secret: str | None = None,
    ) -> Answer:
        """Record the command and answer once it can be read. `entity` is the stream If-Match speaks of.

        `versions` gives the stream's last position for each ETag there is, where these are not the same.
        Without `record_refusals` a refusal is kept only if it is what the caller is answered.
        `secret` is shown where the reply says SHOWN_ONCE, and never kept.

        Raises the Refusal; a repeated request gets what the first one got, refusals included.
        """
        context = self._context(
            record_refusals=record_refusals,
            if_position=self._precondition(entity, versions),
            on_recorded=lambda states: self._rendered(
                answer_with(states), states, entity if versions is None else None
            ),
        )
        if record_refusals:
            self._exchange.keep = None
        try:
            done = await execute(self._services.log, command, context)
        except RefusedBefore as before:
            return await self._answer(before.reply, position=before.position)
        except Refusal as refusal:
            await self._place(refusal)
            raise
        if not self._respond_async:
            await self._services.reader.wait_for(done.last_position, seconds_max=self._services.wait_seconds_max)
        return await self._answer(
            done.reply, position=done.last_position, done=done, secret=None if done.repeated else secret
        )

    @property
    def has_precondition(self) -> bool:
        """Whether the caller sent If-Match."""
        return self._if_match is not None

    def _precondition(
        self, entity: StreamRef | None, versions: Mapping[int, int] | None
    ) -> tuple[StreamRef, set[int]] | None:
        given = self._if_match
        if given is None or given.strip() == "*":
            return None
        if entity is None:
            raise PreconditionFailed("This request takes no If-Match: it names nothing that exists already.")
        tags = (_TAG.fullmatch(plain_tag(part.strip())) for part in given.encode("latin-1").split(b","))
        positions = {int(tag[1]) for tag in tags if tag is not None}
        return entity, positions if versions is None else {versions[at] for at in positions if at in versions}

    def _context(self, *, record_refusals: bool = True, **more: Any) -> Context:
        return Context(
            actor=self.principal.actor,
            command_id=self._command_id,
            correlation_id=self._exchange.correlation_id,
            request_hash=self._request_hash,
            was_asked=self._was_asked,
            record_refusals=record_refusals and self._services.refusal_cap.has_room(self.principal.tenant_id),
            on_refused=self._kept_refusal,
            **more,
        )

    async def _kept(self, refusal: Refusal) -> Answer:
        """Record a refusal from before the decision; raises it, or gives what the request was answered the first time."""
        ids = {name: value for name, value in self._request.path_params.items() if isinstance(value, UUID)}
        named = Named(
            tenant_id=self._tenant_id,
            name=self._exchange.operation,
            project_id=ids.get("project_id"),
            about=named_ids(ids),
        )
        try:
            done = await refuse(self._services.log, named, self._context(), refusal)
        except RefusedBefore as before:
            return await self._answer(before.reply, position=before.position)
        except Refusal as raised:
            await self._place(raised)
            raise
        return await self._answer(done.reply, position=done.last_position, done=done)

    async def _place(self, refusal: Refusal) -> None:
        """Have the answer say where the refusal is recorded, as that of a request done would."""
        if refusal.recorded_at is not None:
            self._exchange.place = (await self._event_position(refusal.recorded_at),)

    async def _event_position(self, position: int) -> Header:
        tokens = self._services.tokens
        return b"event-position", (tokens.known(position) or await tokens.of(position)).encode()

    def _kept_refusal(self, refusal: Refusal) -> bytes:
        self._services.refusal_cap.spend(self.principal.tenant_id)
        problem = problem_of(refusal, self._exchange.correlation_id)
        return _line(_Kept(status=problem.status, code=refusal.code)) + encoded(problem)

    def _rendered(self, reply: Reply, states: States, entity: StreamRef | None) -> bytes:
        """What is stored for whoever repeats the request; its parts are kept at hand for the first answer."""
        unchanged = reply.position == "unchanged" and entity is not None and not states.moved(entity)
        stood = states.stood(entity) if unchanged and entity else 0
        kept = _Kept(status=reply.status, location=reply.location, position=reply.position, stood=stood)
        body = encoded(reply.body)
        rendered = _line(kept) + body
        self._at_hand = (rendered, kept, body)
        return rendered

    async def _answer(
        self, reply: bytes, *, position: int, done: Done | None = None, secret: str | None = None
    ) -> Answer:
        rendered, kept, body = self._at_hand
        if reply is not rendered:
            line, _, body = reply.partition(b"\n")
            kept = _KEPT.decode(line)
        headers: list[Header] = [await self._event_position(position)]
        if kept.location:
            headers.append((b"location", kept.location.encode()))
        headers.extend(self.preferences)
        if done is None:
            self._exchange.code = kept.code
            headers.extend(headers_of(kept.status))
            return Answer(body, status=kept.status, media_type=PROBLEM, headers=tuple(headers))
        match kept.position:
            case "first":
                headers.append((b"etag", etag(done.first_position)))
            case "last":
                headers.append((b"etag", etag(done.last_position)))
            case "unchanged" if kept.stood:
                headers.append((b"etag", etag(kept.stood)))
        if _NOW in body:
            body = body.replace(_NOW, encoded(done.recorded_at))
        if _ONCE in body:
            body = body.replace(_ONCE, encoded(secret))
        return Answer(body, status=kept.status, media_type=JSON, headers=tuple(headers))


def _prefers_async(prefer: str) -> bool:
    names = (preference.partition(";")[0].strip().lower() for preference in prefer.split(","))
    return "respond-async" in names


def _command_id(principal: Principal, request: Request[Any, Any, Any], key: str | None) -> UUID:
    if key is None:
        return random_id()
    if not _KEY.fullmatch(key):
        raise ParameterInvalid(
            "The Idempotency-Key is empty, too long, or has characters outside printable ASCII.",
            errors=(FieldError(field="Idempotency-Key", message="1 to 255 printable ASCII characters"),),
            remedy="Send a new UUID as the key of each new request.",
        )
    route = f"{request.method} {request.scope['path_template']}"
    actor = f"{principal.actor.type}/{principal.actor.id}"
    # What is about oneself may change in which tenant one acts: repeated after that, it is still the same request.
    acting_in = SYSTEM_TENANT if operation_of(request.route_handler).permission == "self" else principal.tenant_id
    return named_uuid(acting_in, f"{actor}\n{route}\n{key}")


def _line(kept: _Kept) -> bytes:
    return encoded(kept) + b"\n"
