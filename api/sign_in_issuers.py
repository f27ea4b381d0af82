"""With whom people may sign in, for clients that lead them there."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get

from api.answer import Answer, encoded
from api.operation import Operation
from api.services import services_of


class SignInIssuer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An OpenID Connect issuer whose ID tokens are taken, and the client id to ask it for one with."""

    issuer: str
    client_id: str


class SignInIssuers(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """None where only API keys are taken."""

    items: list[SignInIssuer]


_LIST = Operation(
    name="listSignInIssuers",
    permission="public",
    summary="With whom people may sign in",
    tag="Tenant",
    answers={200: SignInIssuers},
)


@get("/sign-in/issuers", opt=_LIST.as_opt())
async def list_sign_in_issuers(request: Request[Any, Any, Any]) -> Answer:
    trusted = services_of(request).authenticator.issuers
    items = [SignInIssuer(issuer=one.issuer, client_id=one.client_id) for one in trusted]
    return Answer(encoded(SignInIssuers(items=items)))


SIGN_IN_ROUTES = (list_sign_in_issuers,)
