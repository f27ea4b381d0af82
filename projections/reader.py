"""The port through which read models are asked, whichever store is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar
from uuid import UUID

from domain.refusal import Busy
from projections.query import AnyQuery, Found, Page, Query

A = TypeVar("A")

PAGE_ROWS_MAX = 500


class ReadModelNotReady(Busy):
    """The read model is still being prepared; try again shortly."""

    code = "read_model_not_ready"
    remedy = "Ask again in a moment."


class Reader(Protocol):
    """Answers queries. `tenant_id` is the tenant asked for, and None for queries that are not about one tenant."""

    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        """All that is found, in the query's order. Raises ReadModelNotReady."""
        ...

    async def one(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> Found[A] | None:
        """The first that is found. Raises ReadModelNotReady."""
        ...

    async def page(self, query: Query[A], tenant_id: UUID | None, *args: Any, after: int | None, limit: int) -> Page[A]:
        """A piece of a list: at most `limit` rows (1 to PAGE_ROWS_MAX), following `after`, None being the beginning.

        `args` are the query's own without its last two. Rows stay where they are in the list while they change.
        """
        ...

    async def wait_for(self, position: int, queries: Iterable[AnyQuery] = (), *, seconds_max: float) -> bool:
        """Wait until all that these queries read (none named: everything) has seen `position`; False: it took too long."""
        ...


class AnsweringByRows(ABC):
    """A Reader that has its answers from its `rows`."""

    @abstractmethod
    async def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        """As a Reader's."""

    async def one(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> Found[A] | None:
        """As a Reader's."""
        found = await self.rows(query, tenant_id, *args)
        return found[0] if found else None

    async def page(self, query: Query[A], tenant_id: UUID | None, *args: Any, after: int | None, limit: int) -> Page[A]:
        """As a Reader's."""
        begin = query.beginning if after is None else after
        return cut(await self.rows(query, tenant_id, *args, begin, _checked_limit(limit) + 1), limit)


def cut(found: list[Found[A]], limit: int) -> Page[A]:
    """A page from one row more than it holds, if there are as many."""
    items = found[:limit]
    return Page(items=items, next_after=items[-1].first_position if len(found) > limit else None)


def _checked_limit(limit: int) -> int:
    """The limit itself. Raises ValueError outside 1 to PAGE_ROWS_MAX."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise ValueError(f"a page has 1 to {PAGE_ROWS_MAX} rows")
    return limit
