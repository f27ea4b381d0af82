"""Whose log is asked about: the caller's own tenant's, or, for operators, any."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request

from api.example_ids import TENANT_ID
from api.exchange import exchange_of
from api.operation import Parameter
from api.reading import tenant_of
from api.refusals import ParameterInvalid
from domain.refusal import FieldError

AUDITED_TENANT = Parameter(
    name="tenantId",
    type=UUID,
    description="For operators: the tenant that is asked about; left out, what belongs to the service itself.",
    example=str(TENANT_ID),
)


def audited_projects(request: Request[Any, Any, Any]) -> tuple[UUID, ...] | None:
    """Those whose events a key for some projects sees, in a settled order; None: nothing keeps the caller from any."""
    principal = exchange_of(request.scope).principal
    return tuple(sorted(principal.projects)) if principal is not None and principal.projects else None


def audited_tenant(request: Request[Any, Any, Any], given: UUID | None) -> UUID:
    """The tenant a request is about. Raises ParameterInvalid when its caller may not see that one."""
    own = tenant_of(request)
    principal = exchange_of(request.scope).principal
    if given in (None, own):
        return own
    if principal is not None and principal.is_operator:
        assert given is not None, "checked above"
        return given
    message = "only an operator sees another tenant's log"
    raise ParameterInvalid(
        f"The parameter 'tenantId' cannot be used: {message}.",
        errors=(FieldError(field="tenantId", message=message),),
        remedy="Leave it out: the log is that of your tenant.",
    )
