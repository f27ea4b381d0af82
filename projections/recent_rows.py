"""The rows that small batches wrote last: the next batch most often touches the same, and need not ask the tables."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from projections.fold import Fold, Row
from projections.read_model import RowKey

# Of each read model.
ROWS_MAX = 2_000
BYTES_MAX = 4_000_000
# A large batch reads its rows in one question; keeping what it wrote would cost more than that.
BATCH_EVENTS_MAX = 500

_NONE: Mapping[RowKey, Row] = {}


class RecentRows:
    """What is in the tables, as far as one worker has written it: nobody else changes a row without superseding it."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def of(self, kind: str) -> Mapping[RowKey, Row]:
        """The rows known of one read model."""
        found = self._kinds.get(kind)
        return _NONE if found is None else found.rows

    def wrote(self, folds: Iterable[Fold], *, events: int) -> None:
        """These folds of so many events are in the tables now."""
        for fold in folds:
            if fold.model.append_only:
                continue
            if events > BATCH_EVENTS_MAX:
                self._kinds.pop(fold.model.kind, None)
            elif fold.rows:
                self._kinds.setdefault(fold.model.kind, _Kind()).keep(fold.rows)

    def forget(self) -> None:
        """Somebody else may have changed rows."""
        self._kinds.clear()


class _Kind:
    def __init__(self) -> None:
        self.rows: OrderedDict[RowKey, Row] = OrderedDict()
        self._bytes = 0

    def keep(self, rows: Mapping[RowKey, Row]) -> None:
        for key, row in rows.items():
            before = self.rows.pop(key, None)
            self.rows[key] = kept = row.as_written()
            self._bytes += kept.size_bytes - (before.size_bytes if before else 0)
        while len(self.rows) > ROWS_MAX or self._bytes > BYTES_MAX:
            self._bytes -= self.rows.popitem(last=False)[1].size_bytes
