"""What is asked for is no longer in the database: told by name, and never by leaving it out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from domain.refusal import Conflict

# What the log's functions raise (migration 0018).
SQLSTATE = "DCF01"


class EventsArchived(Conflict):
    """These events were archived: they are in files, and no longer in the database."""

    code = "events_archived"
    remedy = "Ask an operator to put them back, with: dcf log unarchive."


@contextmanager
def told_if_archived() -> Iterator[None]:
    """Raises EventsArchived where the database says so."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate == SQLSTATE:
            raise EventsArchived(f"{EventsArchived.__doc__} ({error})") from error
        raise
