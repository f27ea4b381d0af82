"""The expressions of ARM templates, `[…]`: calls of functions, texts, numbers, and what is taken out of their results."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[()\[\].,]))")

Functions = Mapping[str, Callable[..., Any]]


class ExpressionInvalid(Exception):
    """It is none, or calls what there is not."""


def evaluated(value: Any, functions: Functions) -> Any:
    """The value with every expression in it worked out. Raises ExpressionInvalid."""
    match value:
        case dict():
            return {evaluated(name, functions): evaluated(one, functions) for name, one in value.items()}
        case list():
            return [evaluated(one, functions) for one in value]
        case str() if value.startswith("[") and value.endswith("]") and not value.startswith("[["):
            return _Parser(value[1:-1], functions).whole()
        case _:
            return value


class _Parser:
    def __init__(self, text: str, functions: Functions) -> None:
        self._text, self._at, self._functions = text, 0, functions

    def whole(self) -> Any:
        found = self._expression()
        if self._text[self._at :].strip():
            raise ExpressionInvalid(f"{self._text}: {self._text[self._at :]} is too much")
        return found

    def _expression(self) -> Any:
        token = self._next()
        if token.lastgroup == "text":
            return token["text"][1:-1].replace("''", "'")
        if token.lastgroup == "number":
            return int(token["number"])
        if token.lastgroup != "name" or token["name"].lower() not in self._functions:
            raise ExpressionInvalid(f"{self._text}: there is no {token[0].strip()}()")
        found = self._functions[token["name"].lower()](*self._arguments())
        while (sign := self._peek()) in (".", "["):
            self._next()
            if sign == ".":
                found = found[self._next()["name"]]
            else:
                found = found[self._expression()]
                self._expect("]")
        return found

    def _arguments(self) -> list[Any]:
        self._expect("(")
        given: list[Any] = []
        while self._peek() != ")":
            given.append(self._expression())
            if self._peek() != ",":
                break
            self._next()
        self._expect(")")
        return given

    def _expect(self, sign: str) -> None:
        if self._next()["sign"] != sign:
            raise ExpressionInvalid(f"{self._text}: {sign} is missing")

    def _peek(self) -> str:
        found = _TOKEN.match(self._text, self._at)
        return str(found["sign"] or "") if found else ""

    def _next(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise ExpressionInvalid(f"{self._text}: ends too early")
        self._at = found.end()
        return found
