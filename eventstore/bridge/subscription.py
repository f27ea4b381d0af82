"""The library's subscription, woken by our log's notifications."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import TYPE_CHECKING, Any

from eventsourcing.persistence import ListenNotifySubscription, ShutDown

from eventstore.bridge.errors import as_the_librarys
from eventstore.notifier import POLL_SECONDS

if TYPE_CHECKING:
    from eventstore.bridge.recorders import LogApplicationRecorder


class LogSubscription(ListenNotifySubscription["LogApplicationRecorder"]):
    """Never skips and never reads twice: what was looked through in vain is left behind too.

    A notification missed costs at most POLL_SECONDS. At most ten batches are read ahead of whoever iterates.
    """

    def __init__(self, recorder: LogApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        self._waiting: Future[bool] | None = None
        self._wait_lock = Lock()
        super().__init__(recorder=recorder, gt=gt, topics=topics)

    def stop(self) -> None:
        super().stop()
        with self._wait_lock:
            if self._waiting is not None:
                self._waiting.cancel()

    def _loop_on_pull(self) -> None:
        try:
            self._pull()
            while not self._has_been_stopped:
                self._wait()
                self._pull()
        except BaseException as error:  # noqa: BLE001 -- handed to whoever iterates, as the library does
            self._thread_error = self._thread_error or error
            self.stop()

    def _pull(self) -> None:
        while not self._has_been_stopped:
            notifications, reached = self._recorder.read(
                self._last_notification_id or 0, topics=self._topics, limit=self._select_limit
            )
            if notifications:
                try:
                    self._notifications_queue.put(notifications)
                except ShutDown:
                    return
            self._last_notification_id = reached
            if len(notifications) < self._select_limit:
                return

    def _wait(self) -> None:
        with self._wait_lock:
            if self._has_been_stopped:
                return
            self._waiting = self._wait_beyond()
        try:
            with as_the_librarys():
                self._waiting.result()
        except CancelledError:
            return

    def _wait_beyond(self) -> Future[Any]:
        with as_the_librarys():
            return self._recorder.datastore.wait_beyond(self._last_notification_id or 0, seconds_max=POLL_SECONDS)
