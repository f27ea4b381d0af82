"""What every request passes before its handler: the credential, then the parameters of an address that takes none."""

from __future__ import annotations

from typing import Any

from litestar import Request

from api.auth import authorize
from api.listing import arguments
from api.operation import operation_of


async def admit(request: Request[Any, Any, Any]) -> None:
    """Raises what `authorize` raises, and ParameterInvalid for a parameter that would be ignored.

    Whoever sends `?validateOnly=true` beside a body means it; doing the thing all the same would be the worst answer.
    Addresses that take parameters read their own; those that anybody may ask are left alone.
    """
    await authorize(request)
    operation = operation_of(request.route_handler)
    if request.scope["query_string"] and not operation.query and operation.permission != "public":
        arguments(request, ())
