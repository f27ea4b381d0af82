"""Rows of read models in memory, each with every version it had, and the queries asked of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from projections.query import Found, Query
from projections.read_model import AnyModel, RowKey

A = TypeVar("A")


class MemoryTables:
    """One build of each model, by the model's name. `as_stored`: what is put in was read from its JSON, and need not be
    once more."""

    def __init__(self, models: Sequence[AnyModel], *, as_stored: bool = False) -> None:
        self._as_stored = as_stored
        self._rows: dict[str, dict[RowKey, Found[Any]]] = {model.name: {} for model in models}
        # For each row, from which position on it stood as it did; None: it was gone.
        self._versions: dict[str, dict[RowKey, list[tuple[int, Found[Any] | None]]]] = {m.name: {} for m in models}

    def of(self, model: AnyModel) -> dict[RowKey, Found[Any]]:
        """All present rows of a model."""
        return self._rows[model.name]

    def versions(self, model: AnyModel, key: RowKey) -> Sequence[tuple[int, Found[Any] | None]]:
        """From which position on a row stood as it did; None: it was gone."""
        return self._versions[model.name].get(key, ())

    def keys(self, model: AnyModel) -> Collection[RowKey]:
        """Of all rows of a model that there ever were, where it keeps history."""
        return self._versions[model.name].keys()

    def put(self, model: AnyModel, key: RowKey, found: Found[Any]) -> None:
        """The row from its position on."""
        self._rows[model.name][key] = found
        self.remember(model, key, found.position, found)

    def drop(self, model: AnyModel, key: RowKey, position: int) -> None:
        """From this position on there is no such row."""
        if self._rows[model.name].pop(key, None) is not None:
            self.remember(model, key, position, None)

    def remember(self, model: AnyModel, key: RowKey, position: int, found: Found[Any] | None) -> None:
        """A version, the newest there is, of a row that need not be the present one."""
        if model.keeps_history:
            self._versions[model.name].setdefault(key, []).append((position, found))

    def rows(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> list[Found[A]]:
        """All that is found, in the query's order."""
        rows: Iterable[Found[Any]]
        match query.over:
            case "rows":
                rows = self._rows[query.model.name].values()
            case "as_of":
                rows, args = self._as_of(query.model, args[0]), args[1:]
            case "versions":
                rows = self._all_versions(query.model)
            case "endings":
                rows = self._endings(query.model)
        if query.audience == "tenant":
            rows = [found for found in rows if found.tenant_id == tenant_id]
        selected = query.select(rows, *args)
        if self._as_stored and query.answer is query.model.row:
            return list(selected)
        return [_answer(query, found) for found in selected]

    def _as_of(self, model: AnyModel, position: int) -> list[Found[Any]]:
        found: list[Found[Any]] = []
        for versions in self._versions[model.name].values():
            number = bisect_right(versions, position, key=lambda version: version[0])
            version = versions[number - 1][1] if number else None
            if version is not None:
                found.append(version)
        return found

    def _all_versions(self, model: AnyModel) -> list[Found[Any]]:
        every = (found for versions in self._versions[model.name].values() for _, found in versions)
        return [msgspec.structs.replace(found, first_position=found.position) for found in every if found is not None]

    def _endings(self, model: AnyModel) -> list[Found[Any]]:
        return [
            msgspec.structs.replace(last, first_position=position, position=position)
            for versions in self._versions[model.name].values()
            for (_, last), (position, found) in pairwise(versions)
            if found is None and last is not None
        ]


def _answer(query: Query[A], found: Found[Any]) -> Found[A]:
    return msgspec.structs.replace(found, row=msgspec.json.decode(found.raw, type=query.answer))
