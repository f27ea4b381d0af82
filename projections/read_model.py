"""What a read model is: one kind of row, the events that change it, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from domain.event import Event
from projections.recorded import Recorded

R = TypeVar("R")

# Rows are known by their tenant and an id.
RowKey = tuple[UUID, UUID]


class RowMissing(Exception):
    """The event changes a row that no earlier event made."""


class Column(msgspec.Struct, Generic[R], frozen=True):
    """A value of the row that queries filter by, kept beside it: its name, SQL type, and how to get it."""

    name: str
    sql_type: str
    of: Callable[[R], object]


class Index(msgspec.Struct, frozen=True):
    """`columns` is SQL and usually begins with `tenant_id`; `where` makes the index partial."""

    name: str
    columns: str
    where: str = ""
    unique: bool = False


class ReadModel(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One row type and its fold. `keys` and `project` are pure.

    `keys` names the ids of the rows an event changes, all of them in the event's tenant; `project` is called for
    each with the present row (None: there is none) and answers with the new one (None: the row goes; the same
    object: nothing changes). Whatever either raises parks the event's stream.
    `version` is raised with every change of what the rows hold: the engine then makes a new table from the whole log.
    `build` tells the tables of one version apart: each rebuild makes the next.
    An `append_only` model makes a new row of each event and never looks at one again.
    `elsewhere` are those of the `interests` that may change other rows than the one under their own stream's id; only
    these have to be seen by every part of a rebuild. They never make such a row. Left out, it may be any, and they may.
    `sources` names the streams that tell of a row, by its tenant and id and, once it is known, itself. Left out, they may
    be any of the tenant's.
    """

    name: str
    version: int
    row: type[R]
    interests: tuple[type[Event], ...]
    keys: Callable[[Recorded], Sequence[UUID]]
    project: Callable[[R | None, Recorded], R | None]
    columns: tuple[Column[R], ...] = ()
    indexes: tuple[Index, ...] = ()
    keeps_history: bool = True
    append_only: bool = False
    build: int = 0
    elsewhere: tuple[type[Event], ...] | None = None
    sources: Callable[[UUID, UUID, R | None], Sequence[UUID]] | None = None

    @property
    def kind(self) -> str:
        """The name of this build of this version of the model, and of its table in the schema `views`."""
        return kind_of(self.name, self.version, self.build)

    @property
    def strays(self) -> tuple[type[Event], ...]:
        """The interests that may change other rows than the one under their own stream's id."""
        if self.elsewhere is not None:
            return self.elsewhere
        return () if self.keys is own_stream else self.interests

    @property
    def makes_own_rows_only(self) -> bool:
        """Whether a row is always made by the stream of its own id."""
        return self.elsewhere is not None or self.keys is own_stream


AnyModel = ReadModel[Any]


@lru_cache(maxsize=512)
def kind_of(name: str, version: int, build: int = 0) -> str:
    """The name of one build of one version of a read model."""
    return f"{name}_v{version}_b{build}" if build else f"{name}_v{version}"


def present(row: R | None) -> R:
    """The row, where the event makes sense only if there is one. Raises RowMissing."""
    if row is None:
        raise RowMissing("no earlier event made the row this event changes")
    return row


def own_stream(recorded: Recorded) -> tuple[UUID]:
    """The keys of a model that has one row a stream, under the stream's id."""
    return (recorded.stream_id,)
