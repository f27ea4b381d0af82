"""The routes of the description itself."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from api.answer import JSON, Answer, Header
from api.compression import takes_gzip
from api.exchange import exchange_of
from api.openapi.description import description_of
from api.operation import Operation

_KEPT: Header = (b"cache-control", b"public, max-age=300")

_DESCRIBE = Operation(
    name="getOpenApi",
    permission="public",
    summary="This description",
    tag="Description",
    answers={200: dict[str, Any]},
)


@get("/openapi.json", opt=_DESCRIBE.as_opt())
async def get_openapi(request: Request[Any, Any, Any]) -> Answer:
    description = await description_of(request)
    return _kept(request, description.as_json, description.as_json_gzipped, JSON)


_SHOW = Operation(
    name="getDocs",
    permission="public",
    summary="This description, as a page",
    tag="Description",
    gives="text/html",
    answers={200: str},
)


@get("/docs", opt=_SHOW.as_opt())
async def get_docs(request: Request[Any, Any, Any]) -> Answer:
    description = await description_of(request)
    page = description.page
    policy = (b"content-security-policy", page.policy)
    return _kept(request, page.html, description.page_gzipped, b"text/html; charset=utf-8", policy)


def _kept(request: Request[Any, Any, Any], body: bytes, smaller: bytes, media_type: bytes, *more: Header) -> Answer:
    """The body in the form the caller takes; it is large, and the same until the service is another one."""
    if takes_gzip(exchange_of(request.scope).headers.get(b"accept-encoding", b"")):
        return Answer(smaller, media_type=media_type, headers=(_KEPT, *more, (b"content-encoding", b"gzip")))
    return Answer(body, media_type=media_type, headers=(_KEPT, *more))


OPENAPI_ROUTES = (get_openapi, get_docs)
