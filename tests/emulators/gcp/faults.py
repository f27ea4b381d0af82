"""What goes wrong on demand: a number of calls throttled, delayed, denied, refused, damaged, or whose answer is lost after its
effect."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from tests.emulators.gcp.answers import Refused, denied
from tests.emulators.lost_answers import LostAnswers

_LOOKS = ("get", "list", "wait", "token", "generateAccessToken", "testIamPermissions")
Kind = Literal["throttle", "delay", "deny", "refuse", "lose", "damage"]


class Fault(msgspec.Struct):
    """`method` is a method's id, or how it begins."""

    kind: Kind
    method: str
    times: int = 1
    seconds: float = 0.1


class Faults:
    """Those still to happen."""

    def __init__(self) -> None:
        self.answers = LostAnswers()
        self._to_come: list[Fault] = []
        self._damaged = 0

    def add(self, fault: Fault) -> None:
        self._to_come.append(fault)

    def forget(self) -> None:
        """None of them happens any more."""
        self._to_come.clear()

    @property
    def are_over(self) -> bool:
        return not self._to_come

    async def before(self, method: str) -> bool:
        """Whether the answer is to be lost. Raises Refused."""
        fault = next((fault for fault in self._to_come if method.startswith(fault.method)), None)
        if fault is None:
            return self.answers.takes(method if _has_an_effect(method) else "")
        fault.times -= 1
        if fault.times <= 0:
            self._to_come.remove(fault)
        match fault.kind:
            case "throttle":
                raise Refused(429, "Quota exceeded for quota metric 'Requests'.", retry_seconds=fault.seconds)
            case "deny":
                raise denied(method, "the resource")
            case "refuse":
                raise Refused(400, "Request contains an invalid argument.")
            case "delay":
                await asyncio.sleep(fault.seconds)
                return False
            case "damage":
                self._damaged += 1
                return False
            case "lose":
                return True

    def damages(self) -> bool:
        """Whether what is uploaded now is to arrive with a bit that is another."""
        self._damaged -= (damaged := self._damaged > 0)
        return damaged


def _has_an_effect(method: str) -> bool:
    return method.rpartition(".")[2] not in _LOOKS
