"""What every request passes before its handler: single headers, the credential, the parameters of an address that takes none."""

from __future__ import annotations

from typing import Any

from litestar import Request

from api.auth import authorize
from api.exchange import exchange_of
from api.listing import arguments
from api.operation import operation_of
from api.refusals import HeaderRepeated, HostMissing
from domain.refusal import FieldError


async def admit(request: Request[Any, Any, Any]) -> None:
    """Raises HeaderRepeated, HostMissing, what `authorize` raises, and ParameterInvalid for a parameter that would be ignored.

    Whoever sends `?validateOnly=true` beside a body means it; doing the thing all the same would be the worst answer.
    Addresses that take parameters read their own; those that anybody may ask are left alone.
    """
    exchange = exchange_of(request.scope)
    if exchange.repeated:
        raise header_repeated(*exchange.repeated)
    if b"host" not in exchange.headers and request.scope["http_version"] != "1.0":
        raise HostMissing
    await authorize(request)
    operation = operation_of(request.route_handler)
    if request.scope["query_string"] and not operation.query and operation.permission != "public":
        arguments(request, ())


def header_repeated(*names: bytes) -> HeaderRepeated:
    """The refusal of headers that came more than once, naming them as they are known."""
    named = [name.decode("latin-1").title() for name in names]
    return HeaderRepeated(
        f"More than one header {' and '.join(named)} came with the request, and only one is taken.",
        errors=tuple(FieldError(field=name, message="given more than once") for name in named),
    )
