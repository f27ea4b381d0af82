"""How many requests a tenant may make a minute: what its plan says, and of these what a key of its own may, counted in each
API process by itself.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` says what is allowed, `RateLimit` what
is left and in how many seconds more is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache
from uuid import UUID

import msgspec

from api.answer import Header
from api.principal import Principal
from domain.event import SYSTEM_TENANT
from domain.plan import plan_stream
from domain.refusal import Busy, Forbidden
from projections.plans import PLAN
from projections.reader import Reader
from projections.tenants import TENANT

WINDOW_SECONDS = 60
# How soon a changed plan counts.
QUOTA_SECONDS = 5.0
# Who signed in and belongs to no tenant has no plan.
ALONE_PER_MINUTE = 600
BUCKETS_MAX = 20_000


class TooManyRequests(Busy):
    """The tenant has made as many requests as its plan allows for the moment, or the key as many as it was given."""

    code = "too_many_requests"
    remedy = "Wait as long as Retry-After says, and follow streams instead of polling."

    def __init__(self, headers: tuple[Header, ...], retry_after_seconds: int) -> None:
        super().__init__()
        self.headers = headers
        self.retry_after_seconds = retry_after_seconds


class TenantIsSuspended(Forbidden):
    """The tenant is suspended: nothing of it may be changed."""

    code = "tenant_suspended"
    remedy = "Ask the operators of the service what it takes to resume it."


class _Bucket(msgspec.Struct):
    """`left` requests at the moment `at`; `quota` come back in a window, and no more than that are ever left."""

    quota: int
    quota_until: float
    left: float
    at: float
    suspended: str | None = None

    def fill(self, now: float) -> None:
        """Give back what the time since has earned."""
        self.left = min(self.quota, self.left + (now - self.at) * self.quota / WINDOW_SECONDS)
        self.at = now

    @property
    def wait_seconds(self) -> int:
        """How long until there is one more; 0 when there is one."""
        return 0 if self.left >= 1 else max(1, math.ceil((1 - self.left) * WINDOW_SECONDS / self.quota))


class RateLimits:
    """A bucket of requests for each tenant, filled again at an even rate. Operators have no limit."""

    def __init__(self, reader: Reader, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._monotonic = reader, monotonic
        self._buckets: dict[UUID, _Bucket] = {}
        self._of_keys: dict[str, _Bucket] = {}

    def require_open(self, principal: Principal) -> None:
        """Raise TenantIsSuspended for a caller whose tenant is, as of the request that was counted last."""
        bucket = self._buckets.get(principal.tenant_id)
        if bucket is not None and bucket.suspended is not None:
            raise TenantIsSuspended(f"The tenant is suspended: {bucket.suspended or 'no reason was given'}.")

    def look_again(self, tenant_id: UUID) -> None:
        """Ask with the tenant's next request what it may: its plan was changed just now, or it was suspended or resumed."""
        bucket = self._buckets.get(tenant_id)
        if bucket is not None:
            bucket.quota_until = 0

    async def spend(self, principal: Principal) -> tuple[Header, ...]:
        """Count one request; the headers of its answer. Raises TooManyRequests."""
        if principal.is_operator:
            return ()
        alone = principal.tenant_id == SYSTEM_TENANT
        key = UUID(principal.actor.id) if alone else principal.tenant_id
        bucket = self._buckets.get(key)
        if bucket is None or bucket.quota_until <= self._monotonic():
            bucket = await self._opened(key, ALONE_PER_MINUTE if alone else None)
        now = self._monotonic()
        if principal.requests_per_minute is None and bucket.quota > 0:
            # So it is with nearly every request.
            bucket.fill(now)
            if bucket.left >= 1:
                bucket.left -= 1
                return _policy(("tenant", bucket.quota)), (b"ratelimit", _left("tenant", bucket).encode())
        spent = [("tenant", bucket)] if bucket.quota > 0 else []
        if principal.requests_per_minute is not None:
            spent.append(("key", self._of_key(principal.actor.id, principal.requests_per_minute)))
        wait = 0
        for _, one in spent:
            one.fill(now)
            wait = max(wait, one.wait_seconds)
        if wait:
            raise TooManyRequests(_headers(spent), wait)
        for _, one in spent:
            one.left -= 1
        return _headers(spent)

    def _of_key(self, key_id: str, quota: int) -> _Bucket:
        bucket = self._of_keys.get(key_id)
        if bucket is None:
            if len(self._of_keys) >= BUCKETS_MAX:
                self._of_keys.clear()
            made = _Bucket(quota=quota, quota_until=math.inf, left=quota, at=self._monotonic())
            bucket = self._of_keys[key_id] = made
        return bucket

    async def _opened(self, key: UUID, quota: int | None) -> _Bucket:
        quota, suspended = await self._allowed(key) if quota is None else (quota, None)
        now = self._monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._buckets.clear()
            bucket = self._buckets[key] = _Bucket(quota=quota, quota_until=0, left=quota, at=now)
        bucket.quota, bucket.quota_until, bucket.suspended = quota, now + QUOTA_SECONDS, suspended
        return bucket

    async def _allowed(self, tenant_id: UUID) -> tuple[int, str | None]:
        """What the plan allows, 0 (no limit) while nobody can say; and why the tenant is suspended, if it is."""
        try:
            tenant = await self._reader.one(TENANT, tenant_id)
            if tenant is None:
                return 0, None
            plan = await self._reader.one(PLAN, SYSTEM_TENANT, plan_stream(tenant.row.plan).id)
        except Busy:
            return 0, None
        return 0 if plan is None else plan.row.limits.requests_per_minute, tenant.row.suspended


def _headers(spent: list[tuple[str, _Bucket]]) -> tuple[Header, ...]:
    """By name: `tenant`, and `key` where the key has a limit of its own."""
    if not spent:
        return ()
    left = [_left(name, bucket) for name, bucket in spent]
    return _policy(*((name, bucket.quota) for name, bucket in spent)), (b"ratelimit", ", ".join(left).encode())


def _left(name: str, bucket: _Bucket) -> str:
    return f'"{name}";r={max(0, int(bucket.left))};t={bucket.wait_seconds}'


@lru_cache
def _policy(*quotas: tuple[str, int]) -> Header:
    return b"ratelimit-policy", ", ".join(f'"{name}";q={quota};w={WINDOW_SECONDS}' for name, quota in quotas).encode()
