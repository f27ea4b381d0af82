"""The port of the log: what can be asked of it, whichever store is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from domain.event import Claim, Counter, StreamRef
from domain.refusal import Busy
from eventstore.turns import Turns

if TYPE_CHECKING:
    from eventstore.folds import Folds

NO_STREAM = 0  # The version of a stream nothing was ever written to. Our streams begin at version 1.


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An encoded event on its way into the log. `version` is the one it will have in its stream."""

    stream: StreamRef
    version: int
    type: str
    schema_version: int
    meta: bytes
    data: bytes


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as the log holds it. Positions are dense, from 1, in commit order; `recorded_at` never runs back."""

    position: int
    tenant_id: UUID
    stream_id: UUID
    version: int
    type: str
    schema_version: int
    recorded_at: datetime
    meta: bytes
    data: bytes


class Since(msgspec.Struct, frozen=True, gc=False):
    """A stream asked for what is above a version, which stands at `position`.

    `code` names the code whose snapshots the asker can use; none when it is empty.
    """

    stream: StreamRef
    version: int = NO_STREAM
    position: int = 0
    code: str = ""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A stream's state as of `version`, which stands at `position`, folded and encoded by the code of that name."""

    stream: StreamRef
    code: str
    version: int
    position: int
    state: bytes


class News(msgspec.Struct, frozen=True, gc=False):
    """What came since: the events above the version that was known, or above that of the snapshot."""

    events: list[StoredEvent]
    snapshot: Snapshot | None = None


class Expected(msgspec.Struct, frozen=True, gc=False):
    """The version a stream, written or only read, must still have."""

    stream: StreamRef
    version: int


class Append(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One command's effect, recorded whole or not at all.

    `reply` is kept with the command's id and handed to whoever sends the same command again. A refused
    command is recorded by an append without claims and counters whose reply is the refusal.
    """

    tenant_id: UUID
    command_id: UUID
    request_hash: bytes = b""
    outcome: str = "ok"
    reply: bytes = b""
    expected: tuple[Expected, ...] = ()
    claims: tuple[Claim, ...] = ()
    counters: tuple[Counter, ...] = ()
    events: tuple[NewEvent, ...] = ()


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Recorded. Without events both positions are that of the log's end at the time."""

    first_position: int
    last_position: int
    recorded_at: datetime


class Duplicate(msgspec.Struct, frozen=True, gc=False):
    """The command id was recorded before; nothing was written. `request_hash` tells whether it was the same request."""

    request_hash: bytes
    outcome: str
    reply: bytes
    first_position: int
    last_position: int
    recorded_at: datetime


class Overtaken(msgspec.Struct, frozen=True):
    """A stream the decision relied on has moved; nothing was written."""

    stream: StreamRef
    expected: int
    actual: int


class ClaimTaken(msgspec.Struct, frozen=True):
    """Another holder has the claim; nothing was written."""

    claim: Claim
    holder: UUID


class CounterFull(msgspec.Struct, frozen=True):
    """The counter would pass its limit; nothing was written. `value` is what it stands at."""

    counter: Counter
    value: int


Outcome = Appended | Duplicate | Overtaken | ClaimTaken | CounterFull


class OutcomeUnknown(Exception):
    """The connection was lost while the append was committing: it is recorded or not; the same command id may be sent again safely."""


class AppendRefused(Exception):
    """PostgreSQL or a limit of the log refused this append by itself (too large, undecodable); nothing of it was written."""


class EpochChanged(Exception):
    """The log was restored since: what is known of it may be of events that are no more."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the log's epoch is {epoch} now")
        self.epoch = epoch


class LogBusy(Busy):
    """The log has more waiting to be written than it can take; try again shortly."""

    code = "log_busy"
    remedy = "Ask again in a moment, with the same Idempotency-Key."


class StoreUnavailable(Busy):
    """The service cannot reach its database."""

    code = "store_unavailable"
    remedy = "Repeat the request in a moment; with the same Idempotency-Key it is done once."


class DiskFull(Busy):
    """The service has no room left on its disk; nothing was recorded."""

    code = "disk_full"
    remedy = "Ask the operators to make room; then repeat the request, with the same Idempotency-Key."
    retry_after_seconds = 30


class Log(Protocol):
    """An append-only log of all tenants, with one order."""

    @property
    def turns(self) -> Turns:
        """Where those who write through this object to the same streams take turns."""
        ...

    @property
    def folds(self) -> Folds:
        """The streams as they stand, remembered by this object."""
        ...

    async def append(self, append: Append) -> Outcome:
        """Record it, durably, before returning. Raises OutcomeUnknown, AppendRefused, LogBusy, DiskFull or StoreUnavailable."""
        ...

    async def find(self, tenant_id: UUID, command_id: UUID) -> Duplicate | None:
        """What was recorded under a command id, if anything."""
        ...

    async def load(self, streams: Sequence[StreamRef], *, after: int = 0) -> list[list[StoredEvent]]:
        """Each stream's events with a version above `after`, in version order, one list a stream; all from one snapshot.

        Raises EventsArchived for a stream that was taken out of the database.
        """
        ...

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        """What came of each stream, all from one snapshot; by a state kept, where that saves reading `worth` events.

        `epoch` is the one in which it became known. Raises EpochChanged when it is over; EventsArchived.
        """
        ...

    async def keep_snapshot(self, snapshot: Snapshot, *, epoch: int) -> None:
        """Keep it for `load_since`, unless the epoch is over or a later one is there."""
        ...

    async def read(self, after: int, *, limit: int) -> list[StoredEvent]:
        """Events with a position above `after`, in order, at most `limit`; never skips one. Raises EventsArchived."""
        ...

    async def skim(self, after: int, *, limit: int, without: Sequence[str]) -> list[StoredEvent]:
        """What `read` gives, less the events of some types; the last one is there all the same, to tell how far it is."""
        ...

    async def counted(self, tenant_id: UUID) -> dict[tuple[str, str], int]:
        """What each of the tenant's counters stands at, by scope and name."""
        ...

    async def recount_in_accounts(self, tenant_id: UUID) -> int:
        """Count anew, from what holds a place and the claims that began it, what is under way in each of the tenant's
        accounts: how many of the counts said something else. Code that knew of no such counts may have ended what they hold."""
        ...

    async def head(self) -> int:
        """The last position, 0 when the log is empty."""
        ...

    async def epoch(self) -> int:
        """The log's epoch: raised when it is restored from a backup, so that positions held outside are told apart."""
        ...

    def subscribe(self, after: int) -> AsyncIterator[list[StoredEvent]]:
        """Batches of events above `after`, for ever; waits when there are none. Close the iterator to stop."""
        ...

    async def wait_beyond(self, position: int, *, seconds_max: float) -> bool:
        """Return True as soon as the log's end is above `position`; False when the wait ran out first."""
        ...
