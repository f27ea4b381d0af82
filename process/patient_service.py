"""Asks a key service as the network needs it: briefly, a few times, not by too many at once, and not at all while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import TypeVar

from process.key_service import KeyContext, KeyService, KeyServiceAway, WrappedKey

ATTEMPTS_MAX = 3
ATTEMPT_SECONDS_MAX = 5.0
# Of all attempts together: who waits for a key waits no longer.
SECONDS_MAX = 8.0
AT_ONCE_MAX = 16
# Between attempts, doubled each time; of which a part is left to chance.
_BETWEEN_SECONDS = 0.2
# How long it is left alone after it was away, doubled each time.
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 1.0, 30.0

T = TypeVar("T")
_RANDOM = SystemRandom()


class PatientService:
    """A key service of which no caller waits long, however it fails."""

    def __init__(self, service: KeyService, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._service, self._clock = service, clock
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._pause_seconds, self._asked_again_at = 0.0, 0.0
        self._problem = ""

    @property
    def name(self) -> str:
        return self._service.name

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """Raises as the service itself does; KeyServiceAway at once while it is left alone."""
        return await self._asked(lambda: self._service.wrap(key, context))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """Raises as the service itself does; KeyServiceAway at once while it is left alone."""
        return await self._asked(lambda: self._service.unwrap(wrapped, context))

    async def close(self) -> None:
        await self._service.close()

    async def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        self._check_pause()
        try:
            async with asyncio.timeout(SECONDS_MAX), self._turns:
                self._check_pause()  # It may have gone away while others had their turn.
                answer = await self._attempted(call)
        except TimeoutError:
            raise self._away(KeyServiceAway(f"{self.name} takes too long to answer.", _REMEDY)) from None
        except KeyServiceAway as problem:
            raise self._away(problem) from problem
        self._pause_seconds = self._asked_again_at = 0.0
        return answer

    async def _attempted(self, call: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(ATTEMPTS_MAX):
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                    return await call()
            except (KeyServiceAway, TimeoutError):
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                await asyncio.sleep(_BETWEEN_SECONDS * 2**attempt * (0.5 + _RANDOM.random()))
        raise AssertionError("the last attempt returns or raises")

    def _check_pause(self) -> None:
        if (left := self._asked_again_at - self._clock()) > 0:
            raise KeyServiceAway(self._problem, _REMEDY, retry_after_seconds=max(1.0, left))

    def _away(self, problem: KeyServiceAway) -> KeyServiceAway:
        now = self._clock()
        if now >= self._asked_again_at:  # One of several that failed together makes the pause.
            self._pause_seconds = min(PAUSE_SECONDS_MAX, max(PAUSE_SECONDS_MIN, 2 * self._pause_seconds))
            self._asked_again_at, self._problem = now + self._pause_seconds, problem.message
        seconds = max(problem.retry_after_seconds if problem.retry_after_seconds < PAUSE_SECONDS_MAX else 0, 1.0)
        return KeyServiceAway(problem.message, problem.remedy, retry_after_seconds=seconds)


_REMEDY = "See that the service's addresses are reached from here, and whether its cloud tells of an outage."
