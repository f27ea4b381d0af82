"""What clouds read of us to trust our tokens: the issuer's description and its public keys."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from api.answer import Answer, encoded
from api.operation import Operation
from api.services import services_of
from domain.refusal import NotFound
from providers.issuer import Issuer

# Shorter than a new key is shown before it signs, by far.
_HEADERS = ((b"cache-control", b"public, max-age=300"),)


class NoIssuer(NotFound):
    """This service issues no tokens of its own."""

    code = "no_issuer"
    remedy = "It uses the token of its Kubernetes pod; ask the cluster's issuer, or unset DCF_IDENTITY_TOKEN_FILE."


def _operation(name: str, summary: str) -> Operation:
    return Operation(
        name=name, permission="public", summary=summary, tag="Issuer", answers={200: dict[str, Any]}, refusals=(404,)
    )


@get("/.well-known/openid-configuration", opt=_operation("getIssuer", "Our identity as an OIDC issuer").as_opt())
async def get_openid_configuration(request: Request[Any, Any, Any]) -> Answer:
    return Answer(encoded(_issuer(request).configuration()), headers=_HEADERS)


@get("/.well-known/jwks.json", opt=_operation("getIssuerKeys", "The public keys of our tokens").as_opt())
async def get_jwks(request: Request[Any, Any, Any]) -> Answer:
    return Answer(encoded(_issuer(request).jwks()), headers=_HEADERS)


def _issuer(request: Request[Any, Any, Any]) -> Issuer:
    source = services_of(request).token_source
    if not isinstance(source, Issuer):
        raise NoIssuer
    return source


WELL_KNOWN_ROUTES = (get_openid_configuration, get_jwks)
