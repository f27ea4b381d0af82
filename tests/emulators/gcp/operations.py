"""Long-running operations: begun by a call, over when what they are about is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

from tests.emulators.gcp.answers import Refused

POLL_SECONDS = 0.05


class Operation(msgspec.Struct):
    """`look` tells whether it is over: None while it is not, else what it answered, or the error."""

    name: str
    metadata: dict[str, Any]
    look: Callable[[], dict[str, Any] | Refused | None]

    def shown(self) -> dict[str, Any]:
        found = self.look()
        begun = {"name": self.name, "metadata": self.metadata, "done": found is not None}
        match found:
            case None:
                return begun
            case Refused():
                return {**begun, "error": found.as_status()}
            case _:
                return {**begun, "response": found}


class Operations:
    """Those of one service."""

    def __init__(self) -> None:
        self._begun: dict[str, Operation] = {}

    def begin(
        self, parent: str, metadata: dict[str, Any], look: Callable[[], dict[str, Any] | Refused | None]
    ) -> dict[str, Any]:
        """A new one, as the call that began it is answered."""
        operation = Operation(f"{parent}/operations/{uuid4()}", metadata, look)
        self._begun[operation.name] = operation
        return operation.shown()

    def get(self, name: str) -> dict[str, Any]:
        if name not in self._begun:
            raise Refused(404, f"Operation {name} not found.")
        return self._begun[name].shown()

    async def wait(self, name: str, seconds: float) -> dict[str, Any]:
        """What it shows when it is over, or when time is up."""
        ends = asyncio.get_running_loop().time() + seconds
        while not (shown := self.get(name))["done"] and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(POLL_SECONDS)
        return shown


def now() -> str:
    """The time as Google writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
