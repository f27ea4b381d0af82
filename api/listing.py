"""Lists: the query parameters they take, and their pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request

from api.answer import Answer, encoded
from api.event_stream import wants_stream
from api.instant import Instant, instant
from api.misfit import misfit
from api.operation import Parameter, operation_of
from api.refusals import ParameterInvalid
from api.services import Services
from domain.refusal import FieldError
from eventstore.positions import POSITION_PATTERN
from projections.query import Found, Page, Query

A = TypeVar("A")

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200

# Read by api/tokens.py, which tells what is none from one of another epoch.
PositionText = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": POSITION_PATTERN})]
Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX)]
PAGE_PARAMETERS = (
    Parameter(name="limit", type=Limit, description=f"How many items at most; {PAGE_ROWS} when not given.", example=20),
    Parameter(name="cursor", type=PositionText, description="The nextCursor of the page before.", example="1:4711"),
)


class Listed(msgspec.Struct, Generic[A], frozen=True, kw_only=True, rename="camel"):
    """A page of a list. `nextCursor` asks for the next one; null: this is the last."""

    items: list[A]
    next_cursor: str | None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the address asks of a list. `filters` holds the parameters besides `limit` and `cursor`."""

    after: int | None
    limit: int
    filters: dict[str, Any]


async def asked(request: Request[Any, Any, Any], services: Services, parameters: Iterable[Parameter] = ()) -> Asked:
    """The page and filters an address asks for. Raises ParameterInvalid, and what `Tokens.read` raises for the cursor.

    A stream has no pages, so one that is asked for with a limit is refused rather than given more than was wanted.
    """
    given = arguments(request, (*PAGE_PARAMETERS, *parameters))
    if "limit" in given and operation_of(request.route_handler).streams and wants_stream(request):
        raise _invalid("limit", "a stream goes on for as long as it is listened to")
    cursor = given.pop("cursor", None)
    return Asked(
        after=None if cursor is None else await services.tokens.read(cursor, "cursor"),
        limit=given.pop("limit", PAGE_ROWS),
        filters=given,
    )


def arguments(request: Request[Any, Any, Any], parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The query parameters, converted. Raises ParameterInvalid for one that is unknown, repeated or has a wrong value."""
    known = {parameter.name: parameter for parameter in parameters}
    found: dict[str, Any] = {}
    try:
        given = parse_qsl(request.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise ParameterInvalid("The query of the address cannot be read.") from error
    for name, text in given:
        if name not in known:
            names = ", ".join(known) or "none"
            raise _invalid(name, "unknown parameter", remedy=f"This address takes: {names}.")
        if name in found:
            raise _invalid(name, "given twice")
        if "\x00" in text:
            raise _invalid(name, "a NUL character")
        try:
            found[name] = _converted(text, known[name].type)
        except msgspec.ValidationError as error:
            raise _invalid(name, misfit(error, known[name].type).message) from error
        except ValueError as error:
            raise _invalid(name, str(error)) from error
    return found


def _converted(text: str, type: Any) -> Any:
    if type is Instant:
        return instant(text)
    value = msgspec.convert(text, type, strict=False)
    if value.__class__ is int and not text.removeprefix("-").isdecimal():
        raise ValueError("a number is written in digits alone")
    return value


async def page(
    services: Services, query: Query[A], found: Page[A], *, settle: Callable[[A], A] | None = None
) -> Answer:
    """The page as an answer. `settle` makes of a row what is so at this instant: the row itself, where that is the same."""
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed([_settled_bytes(query, item, settle) for item in found.items], cursor)


def listed(items: Sequence[bytes], cursor: str | None) -> Answer:
    """A page of items that are JSON already."""
    return Answer(b'{"items":[' + b",".join(items) + b'],"nextCursor":' + encoded(cursor) + b"}")


def _settled_bytes(query: Query[A], found: Found[A], settle: Callable[[A], A] | None) -> bytes:
    row = found.row if settle is None else settle(found.row)
    return row_bytes(query, found) if row is found.row else encoded(row)


def row_bytes(query: Query[Any], found: Found[Any]) -> bytes:
    """A row as the query answers it: as it is stored, unless the stored one holds more than is shown."""
    return found.raw if query.answer is query.model.row else encoded(found.row)


def _invalid(name: str, message: str, *, remedy: str = "") -> ParameterInvalid:
    return ParameterInvalid(
        f"The parameter {name[:64]!r} cannot be used: {message}.",
        errors=(FieldError(field=name[:64], message=message),),
        remedy=remedy or "Mend the parameter, or leave it out.",
    )
