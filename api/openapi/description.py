"""The description as it is served: made when first asked for, and kept."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any, cast

from litestar import Litestar, Request

from api.answer import encoded
from api.compression import gzipped
from api.openapi.document import Document, document
from api.openapi.page import Page, page
from api.operation import operations

_KEY = "description"


class Description:
    """What an application's routes say of themselves."""

    def __init__(self, app: Litestar) -> None:
        self._declared = list(operations(app))
        self.is_made = False

    def make(self) -> None:
        """Make all there is. What two threads make at once is the same, and either may stay."""
        self.is_made = bool(self.as_json_gzipped and self.page_gzipped)

    @cached_property
    def document(self) -> Document:
        """The OpenAPI document."""
        return document(self._declared)

    @cached_property
    def as_json(self) -> bytes:
        """The OpenAPI document as it goes over the wire."""
        return encoded(self.document)

    @cached_property
    def as_json_gzipped(self) -> bytes:
        """The same, compressed."""
        return gzipped(self.as_json)

    @cached_property
    def page(self) -> Page:
        """The same for people."""
        return page(self.document)

    @cached_property
    def page_gzipped(self) -> bytes:
        """The page, compressed."""
        return gzipped(self.page.html)

    def as_state(self) -> dict[str, Any]:
        """The application state in which `description_of` finds it."""
        return {_KEY: self}


async def description_of(request: Request[Any, Any, Any]) -> Description:
    """The description of the application a request came to, made by now: by a thread, while others are answered."""
    description = cast("Description", request.app.state[_KEY])
    if not description.is_made:
        await asyncio.to_thread(description.make)
    return description
