"""Looking at one thing after another: after the first that fails the rest are skipped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Literal

from providers.provider import Finding, ProviderBusy, ProviderRefused, Step

_SKIPPED = "Not looked at, since an earlier step failed."


class Spreading(Exception):
    """What was refused was given, as the cloud itself shows elsewhere, and only has to spread."""

    def __init__(self, refused: ProviderRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class MaySpread(Exception):
    """What was refused was never given, or was and has not spread: the cloud does not tell which."""

    def __init__(self, refused: ProviderRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class NotSeen(Exception):
    """It cannot be looked at from here, or need not be there, which is no fault. The message says why."""

    def __init__(self, message: str, remedy: str = "", code: str = "") -> None:
        super().__init__(message)
        self.remedy, self.code = remedy, code


class Walk:
    """Steps in order. One that the cloud put off, or that may still be spreading, leaves the finding `pending`: it is
    `failed` with its code and remedy there if it may never have been given, and `skipped` if only time is needed.

    `spreads_seconds` is how long a grant of this cloud may take to show. After one that did not pass the rest are skipped, unless they say which steps they need.
    """

    def __init__(self, busy_code: str, *, spreads_seconds: float) -> None:
        self._busy_code, self._spreads_seconds = busy_code, spreads_seconds
        self._steps: list[Step] = []
        self._stopped: set[str] = set()
        self._status: Literal["pending", "verified", "failed"] = "verified"

    async def step(
        self, name: str, look: Callable[[], Awaitable[str]], *, needs: Collection[str] | None = None
    ) -> None:
        """Look; `look` returns what it saw, in a sentence. It may raise ProviderRefused, ProviderBusy, Spreading,
        MaySpread or NotSeen.

        `needs` are the steps without which there is nothing to look at; by default all that were before.
        """
        if self._stopped if needs is None else self._stopped.intersection(needs):
            self._stopped.add(name)
            self._add(name, "skipped", message=_SKIPPED)
            return
        try:
            seen = await look()
        except ProviderRefused as refused:
            self._status = "failed"
            self._stopped.add(name)
            self._add(name, "failed", refused.code, refused.message, refused.remedy)
        except Spreading as spreading:
            cause = spreading.refused
            self._put_off(name)
            self._add(name, "skipped", cause.code, cause.message, f"Look again in a moment; else: {cause.remedy}")
        except MaySpread as unknown:
            cause = unknown.refused
            self._put_off(name)
            self._add(name, "failed", cause.code, cause.message, cause.remedy)
        except ProviderBusy as busy:
            self._put_off(name)
            self._add(name, "skipped", self._busy_code, busy.message, "Look again in a moment.")
        except NotSeen as unseen:
            self._add(name, "skipped", unseen.code, str(unseen), unseen.remedy)
        else:
            self._add(name, "passed", message=seen)

    def _put_off(self, name: str) -> None:
        """What failed elsewhere has failed, whatever this will be."""
        self._stopped.add(name)
        if self._status == "verified":
            self._status = "pending"

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
        return Finding(status=self._status, steps=tuple(self._steps), spreads_seconds=self._spreads_seconds)
