"""A key service is asked briefly, a few times, and left alone while it is away."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from process.key_service import KeyContext, KeyServiceAway, KeyServiceRefused, WrappedKey
from process.patient_service import ATTEMPTS_MAX, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN, PatientService
from tests.support import virtual_time
from tests.support.key_service import MemoryKeyService

CONTEXT = KeyContext(UUID(int=1), "function-secrets", UUID(int=2))
KEY = b"k" * 32


class _Flaky(MemoryKeyService):
    """Does not answer the first few times it is asked."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        self.away = self.calls < self._failures
        return await super().wrap(key, context)


def test_a_call_that_fails_is_made_again() -> None:
    async def play() -> None:
        service = _Flaky(ATTEMPTS_MAX - 1)
        wrapped = await PatientService(service).wrap(KEY, CONTEXT)

        assert service.calls == ATTEMPTS_MAX
        assert await PatientService(service).unwrap(wrapped, CONTEXT) == KEY

    virtual_time.run(play())


def test_one_that_refuses_is_not_asked_again() -> None:
    async def play() -> None:
        service = MemoryKeyService()
        service.refuses = True

        with pytest.raises(KeyServiceRefused):
            await PatientService(service).wrap(KEY, CONTEXT)
        assert service.calls == 1

    virtual_time.run(play())


def test_one_that_is_away_is_left_alone_longer_and_longer() -> None:
    """
    Goal: an outage costs callers nothing but the first, and the service little once it is back.
    Method: somebody asks every tenth of a second for two minutes.
    """

    async def play() -> None:
        service = MemoryKeyService()
        service.away = True
        patient = PatientService(service, clock=virtual_time.seconds)
        for _ in range(1200):
            with pytest.raises(KeyServiceAway) as told:
                await patient.wrap(KEY, CONTEXT)
            assert PAUSE_SECONDS_MIN <= told.value.retry_after_seconds <= PAUSE_SECONDS_MAX
            await asyncio.sleep(0.1)
        assert service.calls <= 10 * ATTEMPTS_MAX

        service.away = False
        await asyncio.sleep(PAUSE_SECONDS_MAX)
        await patient.wrap(KEY, CONTEXT)

    virtual_time.run(play())


def test_one_that_never_answers_keeps_nobody_waiting() -> None:
    async def play() -> None:
        service = MemoryKeyService()
        service.held.clear()
        began = virtual_time.seconds()

        with pytest.raises(KeyServiceAway):
            await PatientService(service, clock=virtual_time.seconds).wrap(KEY, CONTEXT)

        assert virtual_time.seconds() - began <= 10

    virtual_time.run(play())
