"""What waits to be written: bounded, and handed out in turns, so that no tenant's flood holds up another's single command."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence

from eventstore.log import Append, LogBusy, Outcome

BATCH_APPENDS_MAX = 1_000
BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 1_000_000
WAITING_APPENDS_MAX = 20_000
WAITING_BYTES_MAX = 64_000_000
# What one tenant may have waiting, so that there is always room for the others.
TENANT_WAITING_MAX = 5_000


class Waiter:
    """One append and whoever waits for its outcome."""

    __slots__ = ("append", "outcome", "size_bytes")

    def __init__(self, append: Append, size_bytes: int, outcome: asyncio.Future[Outcome]) -> None:
        self.append = append
        self.size_bytes = size_bytes
        self.outcome = outcome

    def streams(self) -> Iterator[tuple[int, int]]:
        """The streams it writes or relies on."""
        for event in self.append.events:
            yield event.stream.tenant_id.int, event.stream.id.int
        for expected in self.append.expected:
            yield expected.stream.tenant_id.int, expected.stream.id.int


class Waiting:
    """A queue a tenant; a batch takes one from each in turn. The order within a tenant is the order of arrival."""

    def __init__(self) -> None:
        # By the integers of the tenants' ids, which are hashed and compared much faster.
        self._tenants: OrderedDict[int, deque[Waiter]] = OrderedDict()
        self._count = 0
        self._events = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def put(self, waiter: Waiter) -> None:
        """Raises LogBusy when there is no room for it."""
        tenant_id = waiter.append.tenant_id.int
        queue = self._tenants.get(tenant_id)
        if self._count >= WAITING_APPENDS_MAX or self._bytes >= WAITING_BYTES_MAX:
            raise LogBusy
        if queue is None:
            queue = self._tenants[tenant_id] = deque()
        elif len(queue) >= TENANT_WAITING_MAX:
            raise LogBusy
        queue.append(waiter)
        self._count += 1
        self._events += len(waiter.append.events)
        self._bytes += waiter.size_bytes

    def take(self, appends_max: int = BATCH_APPENDS_MAX, *, behind: Sequence[Waiter] = ()) -> list[Waiter]:
        """The next batch; what was given up meanwhile is left out for good.

        Nothing in it touches a stream that one of `behind` touches: that is under way and must be settled first.
        """
        if not behind and self._count <= appends_max and self._is_one_batch():
            return self._take_all()
        batch: list[Waiter] = []
        held: OrderedDict[int, deque[Waiter]] = OrderedDict()
        busy = {stream for waiter in behind for stream in waiter.streams()}
        events = size = 0
        while self._tenants and len(batch) < min(appends_max, BATCH_APPENDS_MAX):
            tenant_id, queue = next(iter(self._tenants.items()))
            waiter = queue[0]
            if waiter.outcome.done():
                self._drop(tenant_id, queue)
                continue
            if busy and not busy.isdisjoint(waiter.streams()):
                held[tenant_id] = self._tenants.pop(tenant_id)
                continue
            events += len(waiter.append.events)
            size += waiter.size_bytes
            if batch and (events > BATCH_EVENTS_MAX or size > BATCH_BYTES_MAX):
                break
            self._drop(tenant_id, queue)
            batch.append(waiter)
        if held:
            self._tenants = held | self._tenants  # First in turn next time.
        return batch

    def _is_one_batch(self) -> bool:
        return self._count <= BATCH_APPENDS_MAX and self._events <= BATCH_EVENTS_MAX and self._bytes <= BATCH_BYTES_MAX

    def _take_all(self) -> list[Waiter]:
        batch = [waiter for queue in self._tenants.values() for waiter in queue if not waiter.outcome.done()]
        self._tenants.clear()
        self._count = self._events = self._bytes = 0
        return batch

    def _drop(self, tenant_id: int, queue: deque[Waiter]) -> None:
        """Take out the tenant's first; the next turn is another tenant's."""
        waiter = queue.popleft()
        self._count -= 1
        self._events -= len(waiter.append.events)
        self._bytes -= waiter.size_bytes
        if queue:
            self._tenants.move_to_end(tenant_id)
        else:
            del self._tenants[tenant_id]
