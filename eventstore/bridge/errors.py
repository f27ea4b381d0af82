"""What goes wrong in our words, and in the library's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from eventsourcing.persistence import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PersistenceError,
    ProgrammingError,
)

from domain.refusal import Busy
from eventstore.archive.manifest import ArchiveDamaged
from eventstore.archived import EventsArchived
from eventstore.bridge.background import Closed
from eventstore.bridge.schema import SchemaMissing
from eventstore.bridge.streams import AmbiguousStream, ServiceStream
from eventstore.embedded import PostgresUnavailable
from eventstore.log import AppendRefused, OutcomeUnknown
from eventstore.session import HINDERED, LOST

_OURS = (
    AmbiguousStream,
    AppendRefused,
    ArchiveDamaged,
    Closed,
    EventsArchived,
    Busy,
    OutcomeUnknown,
    PostgresUnavailable,
    SchemaMissing,
    ServiceStream,
)


@contextmanager
def as_the_librarys() -> Iterator[None]:
    """Raises what the library's callers catch, from what was raised."""
    try:
        yield
    except (*_OURS, *LOST, *HINDERED, asyncpg.PostgresError) as error:
        raise _translated(error) from error


def _translated(error: Exception) -> PersistenceError:
    message = str(error) or type(error).__doc__ or type(error).__name__
    match error:
        case asyncpg.IntegrityConstraintViolationError():
            return IntegrityError(message)
        case AppendRefused() | asyncpg.DataError():
            return DataError(message)
        case AmbiguousStream() | ServiceStream() | asyncpg.SyntaxOrAccessError():
            return ProgrammingError(message)
        case Closed():
            return InterfaceError(message)
        case EventsArchived(remedy=remedy):
            return OperationalError(f"{message} {remedy}")
        case ArchiveDamaged() | Busy() | OutcomeUnknown() | SchemaMissing() | PostgresUnavailable():
            return OperationalError(message)
        case _:
            lost = isinstance(error, (*LOST, *HINDERED))
            return OperationalError(message) if lost else DatabaseError(message)
