"""Which methods an address takes: for OPTIONS, and for whoever used another one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from litestar import Litestar

from api.answer import Header
from api.operation import operations

_PATTERNS = {"uuid": "[0-9a-fA-F-]{32,36}", "str": "[^/]+", "int": "[^/]+", "path": ".+"}


class Methods:
    """Knows the methods of every address of an application."""

    def __init__(self, app: Litestar, announced: Mapping[str, Header]) -> None:
        """`announced` gives, by path of a route, what is said of it besides its methods."""
        found: dict[str, set[str]] = {}
        for route, handler, _ in operations(app):
            found.setdefault(route.path, set()).update(handler.http_methods)
        self._taken = [(_pattern(path), _listed(methods)) for path, methods in found.items()]
        self._announced = [(_pattern(path), header) for path, header in announced.items()]

    def headers(self, path: str) -> tuple[Header, ...]:
        """What OPTIONS answers; empty when there is nothing at the address."""
        allowed = self.of(path)
        more = (header for pattern, header in self._announced if pattern.fullmatch(path.rstrip("/")))
        return ((b"allow", allowed.encode()), *more) if allowed else ()

    def of(self, path: str) -> str:
        """The value of the Allow header; empty when there is nothing at the address."""
        # A literal segment comes before a parameter in the same place.
        fitting = [(pattern, methods) for pattern, methods in self._taken if pattern.fullmatch(path.rstrip("/"))]
        return max(fitting, key=lambda pair: len(pair[0].pattern), default=(None, ""))[1]


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """What fits the path of a route, whose parameters are `{name:type}`."""
    return re.compile("/".join(_segment(segment) for segment in path.split("/")))


def _segment(segment: str) -> str:
    parameter = re.fullmatch(r"\{\w+:(\w+)\}", segment)
    return re.escape(segment) if parameter is None else _PATTERNS[parameter[1]]


def _listed(methods: Iterable[str]) -> str:
    all_methods = {*methods, "OPTIONS", *({"HEAD"} if "GET" in methods else ())}
    return ", ".join(sorted(all_methods))
