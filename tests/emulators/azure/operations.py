"""Operations that Azure goes on with after it has answered: an address to look at, of one of its two kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec

from tests.emulators.azure.answers import Problem
from tests.emulators.azure.routes import Answer, Call, Methods

VERSION = "2026-07-01"


class Operation(msgspec.Struct):
    """`look` tells what it has come to: None while it goes on, else the error, or what there is now."""

    look: Callable[[], dict[str, Any] | Problem | None]


class Operations:
    """Those of Container Apps. `root` is where Resource Manager answers, told when asked."""

    def __init__(self, root: Callable[[], str]) -> None:
        self._root = root
        self._begun: dict[str, Operation] = {}

    @property
    def methods(self) -> Methods:
        return {"operations.status": self._status, "operations.result": self._result}

    def begin(
        self, call: Call, location: str, look: Callable[[], dict[str, Any] | Problem | None], *, by_status: bool
    ) -> dict[str, str]:
        """The headers that say where to look on: for a status, or for the result when there is one."""
        name = str(uuid4())
        self._begun[name] = Operation(look)
        subscription = call.path.split("/")[2]
        place = f"/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}"
        kind, header = (
            ("containerappOperationStatuses", "Azure-AsyncOperation")
            if by_status
            else ("containerappOperationResults", "Location")
        )
        return {header: f"{self._root()}{place}/{kind}/{name}?api-version={VERSION}", "Retry-After": "0"}

    def _status(self, call: Call) -> Answer:
        found = self._found(call).look()
        shown: dict[str, Any] = {"id": call.path, "name": call.named["name"], "status": "Succeeded"}
        if found is None:
            shown["status"] = "InProgress"
            return Answer(shown, headers={"Retry-After": "0"})
        if isinstance(found, Problem):
            shown |= {"status": "Failed", "error": found.error}
        return Answer(shown)

    def _result(self, call: Call) -> Answer:
        found = self._found(call).look()
        match found:
            case None:
                place = f"{self._root()}{call.path}?api-version={VERSION}"
                return Answer(None, 202, {"Location": place, "Retry-After": "0"})
            case Problem():
                raise found
            case _:
                return Answer(found or None, 200 if found else 204)

    def _found(self, call: Call) -> Operation:
        if call.named["name"] not in self._begun:
            raise Problem(404, "OperationNotFound", "The operation is not known.")
        return self._begun[call.named["name"]]
