"""What one runner at a time does for all of them: each duty under a lease, round after round."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Protocol
from uuid import UUID

import structlog

from eventstore.leases import Lease, Leases, Wanted
from runner.patience import retry_seconds

# A runner that dies is missed after so long, and another goes on with its duties.
LEASE_SECONDS = 6.0
HEARTBEAT_SECONDS = 1.5
STAND_BY_SECONDS = 2.0

log = structlog.get_logger()


class Duty(Protocol):
    """Breaking a round off anywhere loses nothing: the next one, here or in another runner, does what is left."""

    name: str

    @property
    def pause_seconds(self) -> float:
        """Before the next round, as of the end of the last one."""
        ...

    def begin(self) -> None:
        """This runner has the duty now. What is remembered of an earlier time may be out of date."""
        ...

    async def round(self) -> None: ...

    async def hand_over(self, seconds_max: float) -> None:
        """The runner stops: end what the rounds have set going, or leave it to others."""
        ...


class Duties:
    """Those of one runner."""

    def __init__(self, duties: Sequence[Duty], leases: Leases, *, runner_id: UUID, random: Random) -> None:
        self._duties = duties
        self._leases = leases
        self._runner_id = runner_id
        self._random = random

    async def run(self, stop: asyncio.Event, *, stop_seconds_max: float) -> None:
        """Attend to each until asked to stop, then hand it over."""
        async with asyncio.TaskGroup() as tasks:
            for duty in self._duties:
                tasks.create_task(self._attend(duty, stop, stop_seconds_max), name=f"duty {duty.name}")

    async def _attend(self, duty: Duty, stop: asyncio.Event, stop_seconds_max: float) -> None:
        failures = 0
        while not stop.is_set():
            try:
                lease = next(iter(await self._acquired(duty)), None)
            except Exception as error:  # noqa: BLE001 - whatever the store raises passes; the duty stays
                failures += 1
                log.warning("runner_hindered", doing=duty.name, problem=repr(error))
                await _rest(retry_seconds(failures, 0.0, self._random), stop)
                continue
            failures = 0
            if lease is None:
                await _rest(STAND_BY_SECONDS, stop)
            else:
                await self._lead(duty, lease, stop)
        await duty.hand_over(stop_seconds_max)

    async def _acquired(self, duty: Duty) -> list[Lease]:
        return await self._leases.acquire([Wanted(f"duty/{duty.name}")], holder=self._runner_id, seconds=LEASE_SECONDS)

    async def _lead(self, duty: Duty, lease: Lease, stop: asyncio.Event) -> None:
        """Round after round, while the lease can be kept."""
        duty.begin()
        log.info("duty_begun", duty=duty.name, epoch=lease.epoch)
        try:
            await _first_of(self._rounds(duty, stop), self._beat(lease), _waited(stop))
        finally:
            with suppress(Exception):  # It runs out by itself.
                await self._leases.release([lease])

    async def _rounds(self, duty: Duty, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                await duty.round()
                failures, pause = 0, duty.pause_seconds
            except Exception as error:  # noqa: BLE001 - as above
                failures += 1
                pause = retry_seconds(failures, 0.0, self._random)
                log.warning("runner_hindered", doing=duty.name, problem=repr(error))
            await _rest(pause, stop)

    async def _beat(self, lease: Lease) -> None:
        """Keep the lease; returns when it is lost, or could not be kept for so long that it may be."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        until = asked_at + LEASE_SECONDS
        while loop.time() < until - HEARTBEAT_SECONDS:
            await asyncio.sleep(max(asked_at + HEARTBEAT_SECONDS - loop.time(), 0.0))
            asked_at = loop.time()
            with suppress(Exception):
                async with asyncio.timeout(max(until - HEARTBEAT_SECONDS - asked_at, 0.1)):
                    if not await self._leases.renew([lease], seconds=LEASE_SECONDS):
                        break
                    until = asked_at + LEASE_SECONDS
        log.warning("duty_lost", lease=lease.name, epoch=lease.epoch)


async def _first_of(*bodies: Coroutine[Any, Any, object]) -> None:
    """Until one of them ends; the others are broken off."""
    tasks = [asyncio.create_task(body) for body in bodies]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _waited(stop: asyncio.Event) -> None:
    await stop.wait()


async def _rest(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
