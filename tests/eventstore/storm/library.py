"""A writer on the eventsourcing library's own recorder, in the mode in which inserting takes no lock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from threading import Thread
from typing import Any

import psycopg
from eventsourcing.persistence import IntegrityError, PersistenceError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from tests.eventstore.storm.order import Diary, Order, id_of, place_of

SLOW_SECONDS_MAX = 0.02
AGAIN_SECONDS = 0.1
NO_POSITION = 0


@contextmanager
def recorder(url: str) -> Iterator[PostgresApplicationRecorder]:
    """As POSTGRES_ENABLE_DB_FUNCTIONS=y makes it."""
    parts: dict[str, Any] = conninfo_to_dict(url)
    with PostgresDatastore(
        dbname=parts["dbname"],
        host=parts["host"],
        port=parts["port"],
        user=parts["user"],
        password="",
        pool_size=12,
        enable_db_functions=True,
    ) as datastore:
        yield PostgresApplicationRecorder(datastore)


def write(order: Order, done: frozenset[str]) -> None:
    """Everything that is not done yet."""
    diary = Diary(order.diary)
    with recorder(order.url) as made:
        lanes = [order.lane_keys(lane) for lane in range(order.lanes)]
        threads = [Thread(target=_lane, args=(made, [key for key in keys if key not in done], diary)) for keys in lanes]
        threads.append(Thread(target=_slow, args=(made, [k for k in order.slow_keys() if k not in done], diary)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _lane(recorder: PostgresApplicationRecorder, keys: Sequence[str], diary: Diary) -> None:
    for key in keys:
        stream, version = place_of(key)
        event = StoredEvent(stream, version, "storm", key.encode())
        while True:
            try:
                [position] = recorder.insert_events([event]) or [NO_POSITION]
            except IntegrityError:
                position = NO_POSITION  # It was recorded before, and nobody says where.
            except PersistenceError:
                time.sleep(AGAIN_SECONDS)
                continue
            break
        diary.recorded(key, position)


def _slow(recorder: PostgresApplicationRecorder, keys: Sequence[str], diary: Diary) -> None:
    for key in keys:
        random = Random(key)
        keeps = random.random() < 0.5
        event = recorder.construct_pg_stored_event(
            originator_id=id_of(key), originator_version=1, topic="storm", state=key.encode()
        )
        try:
            with recorder.datastore.get_connection() as session, session.transaction(force_rollback=not keeps):
                session.execute(recorder.sql_invoke_pg_function_insert_events, ([event],))
                time.sleep(random.random() * SLOW_SECONDS_MAX)
        except (PersistenceError, psycopg.Error):
            continue
        if keeps:
            diary.recorded(key, NO_POSITION)
        else:
            diary.rolled_back(key)
