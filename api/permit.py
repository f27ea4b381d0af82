"""Whether who was let in may stay: for what goes on after a request was allowed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
from litestar import Request

from api.auth import is_still_allowed
from eventstore.session import LOST

# Nothing is told later than this, and what the authenticator remembers, after a credential came to nothing.
FRESH_SECONDS = 0.4
# How often one that is told nothing is looked at; then its connection ends too.
LOOK_SECONDS = 2.0


class Permit:
    """Of one request, looked at anew from time to time: its credential, its member's role, its tenant."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        self._request = request
        self._held_at = time.monotonic()

    async def holds(self) -> bool:
        """Whether it holds. While the database is away it does: then there is nothing to be told either."""
        if time.monotonic() - self._held_at < FRESH_SECONDS:
            return True
        try:
            if not await is_still_allowed(self._request):
                return False
        except (asyncpg.PostgresError, *LOST):
            return True
        self._held_at = time.monotonic()
        return True

    async def lost(self) -> None:
        """Return once it does not hold any more."""
        while True:
            if not await self.holds():
                return
            await asyncio.sleep(LOOK_SECONDS)
