"""The only place where a refusal becomes a status, and an answer a client can act on (RFC 9457)."""

from __future__ import annotations

import errno
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from litestar import Request
from litestar.exceptions import HTTPException

from api import refusals
from api.answer import Answer, Header, encoded, refused
from api.exchange import exchange_of
from api.methods import Methods
from api.rate_limits import TooManyRequests
from commands.claimed import QueueFull
from commands.dockerfile import DockerfileNotUnderstood
from commands.pubspec import PubspecNotUnderstood
from domain.refusal import (
    Busy,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    LimitReached,
    NotFound,
    PreconditionFailed,
    Refusal,
    Unauthenticated,
)
from domain.version import ConstraintNotUnderstood
from eventstore.log import AppendRefused, DiskFull, OutcomeUnknown, StoreUnavailable
from eventstore.session import HINDERED, LOST
from process.key_service import KeyServiceUnusable
from providers.provider import ProviderBusy, ProviderRefused

# The first that fits counts, so the special stands before the general.
STATUSES: tuple[tuple[type[Refusal], int], ...] = (
    (QueueFull, 429),
    (TooManyRequests, 429),
    (refusals.BodyMalformed, 400),
    (refusals.FormMalformed, 400),
    (refusals.BodyTooLarge, 413),
    (refusals.MediaTypeNotTaken, 415),
    (refusals.MethodNotAllowed, 405),
    (refusals.Unexpected, 500),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (LimitReached, 409),
    (PreconditionFailed, 412),
    (Invalid, 422),
    (Busy, 503),
    (Refusal, 400),
)

# The database was not there, or did not let it happen: asked again in a moment it may.
_UNREACHABLE = (*LOST, *HINDERED, asyncpg.TooManyConnectionsError)


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An error answer: `code` is what programs go by, `remedy` says what to do next."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldError, ...]
    remedy: str
    correlation_id: UUID


def status_of(refusal: type[Refusal]) -> int:
    """The HTTP status of a kind of refusal."""
    return next(status for kind, status in STATUSES if issubclass(refusal, kind))


def problem_of(refusal: Refusal, correlation_id: UUID) -> Problem:
    """The refusal as its caller sees it."""
    return Problem(
        type=f"urn:dcf:problem:{refusal.code}",
        title=refusal.title,
        status=status_of(type(refusal)),
        detail=refusal.detail,
        code=refusal.code,
        errors=refusal.errors,
        remedy=refusal.remedy,
        correlation_id=correlation_id,
    )


def answer_to(scope: Any, refusal: Refusal) -> Answer:
    """The refusal as an answer to the request of this scope."""
    exchange = exchange_of(scope)
    if isinstance(refusal, TooManyRequests):
        exchange.limits = refusal.headers
    problem = problem_of(refusal, exchange.correlation_id)
    headers = (*headers_of(problem.status, refusal), *exchange.place)
    return refused(scope, problem.status, encoded(problem), headers, refusal.code)


def headers_of(status: int, refusal: Refusal | None = None) -> tuple[Header, ...]:
    """The headers that belong to a status: how to authenticate, how to send a body, when to come back."""
    match status:
        case 401:
            unknown = isinstance(refusal, refusals.CredentialUnknown)
            return ((b"www-authenticate", b'Bearer realm="dcf"' + (b', error="invalid_token"' if unknown else b"")),)
        case 415:
            return ((b"accept-encoding", b"identity"),)
        case 429 | 503:
            seconds = refusal.retry_after_seconds if isinstance(refusal, Busy) else Busy.retry_after_seconds
            return ((b"retry-after", str(max(1, round(seconds))).encode()),)
        case _:
            return ()


def refusal_of(error: Exception) -> Refusal:
    """What the caller is told about whatever was raised. What nobody foresaw is logged here, once."""
    match error:
        case Refusal():
            return error
        case HTTPException():
            return _of_framework(error)
        case OutcomeUnknown():
            return refusals.OutcomeNotKnown()
        case AppendRefused():
            return refusals.NotRecordable(str(error))
        case ProviderRefused():
            return refusals.ProviderRefusedUs(error.message, remedy=error.remedy)
        case ProviderBusy():
            return refusals.ProviderAway(error.message)
        case KeyServiceUnusable():
            structlog.get_logger().warning("key_service_unusable", problem=error.message, remedy=error.remedy)
            return refusals.MasterKeyAway(error.retry_after_seconds)
        case _ if _is_about_room(error):
            structlog.get_logger().error("disk_full", problem=str(error))
            return DiskFull()
        case _ if isinstance(error, _UNREACHABLE):
            structlog.get_logger().warning("store_unavailable", problem=str(error) or type(error).__name__)
            return StoreUnavailable()
        case _:
            structlog.get_logger().error("request_failed", exc_info=error)
            return refusals.Unexpected()


def _is_about_room(error: Exception) -> bool:
    """Whether a disk is full, the database's or our own."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or isinstance(error, asyncpg.DiskFullError)


async def kept_answer(scope: Any, refusal: Refusal) -> Answer:
    """The refusal as an answer, once it is kept under the request's key; or what the first request of that key got."""
    keep = exchange_of(scope).keep
    if keep is None:
        return answer_to(scope, refusal)
    try:
        answer: Answer = await keep(refusal)
    except Exception as error:  # noqa: BLE001 - the refusal itself, or what kept it from being recorded
        return answer_to(scope, refusal_of(error))
    return answer


class _Kept(Answer):
    """The answer to a refusal that is first kept under the request's key, or that to the first request of that key."""

    __slots__ = ("_refusal",)

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(b"")
        self._refusal = refusal

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (await kept_answer(scope, self._refusal))(scope, receive, send)


# They follow from the request alone or from how it came over the line, or nobody knows why: none says what was decided.
_NOT_KEPT = (
    Busy,
    refusals.BodyInvalid,
    refusals.BodyMalformed,
    refusals.BodyTooLarge,
    refusals.FieldRepeated,
    refusals.FileEmpty,
    refusals.FileNameNotTaken,
    refusals.FileNotText,
    refusals.FormMalformed,
    refusals.MediaTypeNotTaken,
    refusals.NotRecordable,
    refusals.ParameterInvalid,
    refusals.Unexpected,
    ConstraintNotUnderstood,
    DockerfileNotUnderstood,
    PubspecNotUnderstood,
)


def handle(request: Request[Any, Any, Any], error: Exception) -> Answer:
    """What Litestar calls with everything that was raised while a request was answered."""
    refusal = refusal_of(error)
    if exchange_of(request.scope).keep is not None and not isinstance(refusal, _NOT_KEPT):
        return _Kept(refusal)
    answer = answer_to(request.scope, refusal)
    if isinstance(error, HTTPException) and error.status_code == 405:
        methods: Methods = request.app.state["methods"]
        answer.headers.append((b"allow", methods.of(request.scope["path"]).encode()))
    return answer


def _of_framework(error: HTTPException) -> Refusal:
    match error.status_code:
        case 404:
            return refusals.RouteUnknown()
        case 405:
            return refusals.MethodNotAllowed()
        case 413:
            return refusals.BodyTooLarge()
        case 415:
            return refusals.MediaTypeNotTaken()
        case status if status < 500:
            return refusals.ParameterInvalid(error.detail)
        case _:
            structlog.get_logger().error("request_failed", exc_info=error)
            return refusals.Unexpected()
