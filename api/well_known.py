"""What clouds read of us to trust our tokens: the issuer's description and its public keys."""

from __future__ import annotations

from typing import Any

import msgspec
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


class IssuerConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What a relying party needs to know of the issuer (OpenID Connect Discovery)."""

    issuer: str
    jwks_uri: str
    response_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    claims_supported: list[str]


class KeySet(msgspec.Struct, frozen=True, kw_only=True):
    """The public keys (RFC 7517)."""

    keys: list[dict[str, str]]


def _operation(name: str, summary: str, answer: type[msgspec.Struct]) -> Operation:
    return Operation(
        name=name,
        permission="public",
        summary=summary,
        tag="Issuer",
        answers={200: answer},
        refusals=(NoIssuer,),
    )


@get(
    "/.well-known/openid-configuration",
    opt=_operation("getIssuer", "Our identity as an OIDC issuer", IssuerConfiguration).as_opt(),
)
async def get_openid_configuration(request: Request[Any, Any, Any]) -> Answer:
    return Answer(encoded(_issuer(request).configuration()), headers=_HEADERS)


@get("/.well-known/jwks.json", opt=_operation("getIssuerKeys", "The public keys of our tokens", KeySet).as_opt())
async def get_jwks(request: Request[Any, Any, Any]) -> Answer:
    return Answer(encoded(_issuer(request).jwks()), headers=_HEADERS)


def _issuer(request: Request[Any, Any, Any]) -> Issuer:
    source = services_of(request).token_source
    if not isinstance(source, Issuer):
        raise NoIssuer
    return source


WELL_KNOWN_ROUTES = (get_openid_configuration, get_jwks)
