"""A question that can be asked of a read model: its SQL, and the same question in Python."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

from projections.read_model import AnyModel, kind_of

A = TypeVar("A")

Order = Literal["newest_first", "oldest_first"]

# What every query's SQL begins with.
ROWS = "SELECT t.tenant_id, t.id, t.first_position, t.position, t.row FROM {table} t"

# Positions before the first page of a list.
_BEGINNINGS: dict[Order, int] = {"newest_first": 2**63 - 1, "oldest_first": 0}


class Found(msgspec.Struct, Generic[A], frozen=True):
    """A row as it was found. `position` is that of the last event that changed it, `first_position` of the one that
    made it, `raw` its JSON as stored (which may hold fields that `row` leaves out)."""

    tenant_id: UUID
    id: UUID
    first_position: int
    position: int
    raw: bytes
    row: A


class Page(msgspec.Struct, Generic[A], frozen=True):
    """A piece of a list. `next_after` asks for the following piece; None: there is none."""

    items: list[Found[A]]
    next_after: int | None


class Query(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """`sql` selects rows of `{table}` and sees its values as `$n`.

    `parameters` are the SQL types of what the caller gives. For the audience `tenant`, `$1` is the tenant and the
    caller's values begin with `$2`; row-level security holds the query to the tenant whatever the SQL says. The other
    audiences see all tenants: `anyone` is for the API before it knows who asks, `engine` for the service's own parts.
    A list has an `order` of its rows' first positions; its last two parameters are the first position to go on from and
    how many rows, so that pages stay in place while rows change.
    `replans` has the plan made anew for the values of each call, for SQL whose best plan depends on them.
    `over` says what is asked: the present rows; the rows as of a position, which is the first of the parameters; every
    version a row ever had, both positions of which are then that of the event that made it; or the last versions of rows
    that went, both positions that of the event by which they did. `{chains}` has these, each with the positions it is
    valid from and to (null: it still stands), and as a chain that leads to it (projections/row_changes.py).
    `select` is the same question asked of all rows in memory; for the audience `tenant`, of the tenant's.
    """

    name: str
    model: AnyModel
    answer: type[A]
    sql: str
    select: Callable[..., Iterable[Found[Any]]]
    parameters: tuple[str, ...] = ()
    audience: Literal["tenant", "anyone", "engine"] = "tenant"
    order: Order | None = None
    replans: bool = False
    over: Literal["rows", "as_of", "versions", "endings"] = "rows"

    @property
    def beginning(self) -> int:
        """Where the first page of a list goes on from."""
        if self.order is None:
            raise TypeError(f"{self.name} is no list")
        return _BEGINNINGS[self.order]

    def function(self, version: int, build: int = 0) -> str:
        """The name of the installed function that asks this of a version of the model."""
        text = "\n".join((self.audience, str(self.replans), *self.parameters, self.sql))
        return f"{kind_of(self.name, version, build)}_{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def body(self, version: int, build: int = 0) -> str:
        """The SQL for a version of the model."""
        kind = kind_of(self.model.name, version, build)
        return self.sql.format(table=f"views.{kind}", chains=f"views.{kind}_versions")


AnyQuery = Query[Any]


def page_of(rows: Iterable[Found[A]], order: Order, after: int, limit: int) -> list[Found[A]]:
    """The rows of a list that follow `after`, in memory."""
    if order == "newest_first":
        following = sorted((r for r in rows if r.first_position < after), key=lambda r: -r.first_position)
    else:
        following = sorted((r for r in rows if r.first_position > after), key=lambda r: r.first_position)
    return following[:limit]
