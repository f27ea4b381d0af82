"""A pool whose owner is killed at a given question to the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from eventstore.database import Pool


class Killed(BaseException):
    """The process is no more."""


class MortalPool:
    """The pool; `ask` is called before, or with `after` after, every statement of it and of its sessions, and gets
    the statement and its values."""

    def __init__(self, pool: Any, ask: Callable[..., None], *, after: bool) -> None:
        self._pool, self._ask, self._after = pool, ask, after

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._pool, name)

        async def ask(*args: Any, **more: Any) -> Any:
            if not self._after:
                self._ask(*args)
            answer = await asked(*args, **more)
            if self._after:
                self._ask(*args)
            return answer

        return ask

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            yield MortalPool(connection, self._ask, after=self._after)

    @asynccontextmanager
    async def transaction(self, **more: Any) -> AsyncIterator[Any]:
        async with self._pool.transaction(**more) as connection:
            yield MortalPool(connection, self._ask, after=self._after) if isinstance(self._pool, Pool) else connection
