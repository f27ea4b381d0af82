"""One call of an emulated method, and the methods a service has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that its document accepted. `member` is who calls; empty where no token is asked for."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    member: str


Methods = Mapping[str, Callable[[Call], dict[str, Any] | Awaitable[dict[str, Any]]]]
