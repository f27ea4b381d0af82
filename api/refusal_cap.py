"""How many refused commands a tenant may have recorded: enough for an audit, too few to fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

REFUSALS_PER_SECOND = 10.0
REFUSALS_AT_ONCE_MAX = 200.0
TENANTS_MAX = 10_000


class RefusalCap:
    """A bucket of allowances a tenant, refilled over time."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._left: dict[UUID, tuple[float, float]] = {}

    def has_room(self, tenant_id: UUID) -> bool:
        """Whether one more refusal of the tenant may be recorded now."""
        return self._now(tenant_id)[0] >= 1

    def spend(self, tenant_id: UUID) -> None:
        """One was recorded."""
        left, now = self._now(tenant_id)
        if len(self._left) >= TENANTS_MAX and tenant_id not in self._left:
            self._left.clear()
        self._left[tenant_id] = (max(0.0, left - 1), now)

    def _now(self, tenant_id: UUID) -> tuple[float, float]:
        now = self._monotonic()
        left, since = self._left.get(tenant_id, (REFUSALS_AT_ONCE_MAX, now))
        return min(REFUSALS_AT_ONCE_MAX, left + (now - since) * REFUSALS_PER_SECOND), now
