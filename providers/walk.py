"""Looking at one thing after another: after the first that fails the rest are skipped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from providers.provider import Finding, ProviderBusy, ProviderRefused, Step

_SKIPPED = "Not looked at, since an earlier step failed."


class Spreading(Exception):
    """What was refused may only need a moment to spread."""

    def __init__(self, refused: ProviderRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class NotSeen(Exception):
    """It cannot be looked at from here, which is no fault. The message says why."""


class Walk:
    """Steps in order. One that the cloud put off, or that may still be spreading, leaves the finding `pending`."""

    def __init__(self, busy_code: str) -> None:
        self._busy_code = busy_code
        self._steps: list[Step] = []
        self._status: Literal["pending", "verified", "failed"] = "verified"

    async def step(self, name: str, look: Callable[[], Awaitable[str]]) -> None:
        """Look; `look` returns what it saw, in a sentence. It may raise ProviderRefused, ProviderBusy, Spreading or NotSeen."""
        if self._status != "verified":
            self._add(name, "skipped", message=_SKIPPED)
            return
        try:
            seen = await look()
        except ProviderRefused as refused:
            self._status = "failed"
            self._add(name, "failed", refused.code, refused.message, refused.remedy)
        except Spreading as spreading:
            self._status, cause = "pending", spreading.refused
            self._add(name, "skipped", cause.code, cause.message, f"Look again in a moment; else: {cause.remedy}")
        except ProviderBusy as busy:
            self._status = "pending"
            self._add(name, "skipped", self._busy_code, busy.message, "Look again in a moment.")
        except NotSeen as unseen:
            self._add(name, "skipped", message=str(unseen))
        else:
            self._add(name, "passed", message=seen)

    def _add(
        self,
        name: str,
        status: Literal["passed", "failed", "skipped"],
        code: str = "",
        message: str = "",
        remedy: str = "",
    ) -> None:
        self._steps.append(Step(name=name, status=status, code=code, message=message, remedy=remedy))

    @property
    def finding(self) -> Finding:
        return Finding(status=self._status, steps=tuple(self._steps))
