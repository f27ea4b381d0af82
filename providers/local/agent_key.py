"""The agent's own key where a key service holds the master key: wrapped on disk, and unwrapped as soon as the service answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import structlog

from process.key_ring import KeptKey, KeyRing, Place, ServiceUnknown, WrappedBy
from process.key_service import KeyServiceUnusable, WrappedKey, WrappingForged
from process.private_file import write_private
from providers.local.secrets import AgentSecrets

PURPOSE = "agent-secrets"
# The agent's functions are of many tenants; its key is of none.
NOBODY = UUID(int=0)
RETRY_SECONDS = 10.0
# Whether the key is to be wrapped anew is looked at so often, and so soon again when that failed.
REWRAP_SECONDS = 3_600.0
REWRAP_RETRY_SECONDS = 60.0
# What a later try may do.
_NOT_NOW = (KeyServiceUnusable, WrappingForged, ServiceUnknown)

log = structlog.get_logger()


class _Record(msgspec.Struct, frozen=True):
    kept: KeptKey
    wrapped_at: datetime


class FileWrappedKey:
    """One key, in a file that only the agent's user reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def find(self, tenant_id: UUID, purpose: str) -> KeptKey | None:
        record = self._read()
        return None if record is None else record.kept

    async def add(self, tenant_id: UUID, purpose: str, kept: KeptKey) -> KeptKey:
        if (record := self._read()) is not None:
            return record.kept
        self._write(kept)
        return kept

    async def to_rewrap(
        self, service: str, *, before: datetime, after: Place, limit: int
    ) -> list[tuple[UUID, str, KeptKey]]:
        record = self._read()
        if record is None or after >= (NOBODY, PURPOSE):
            return []
        is_due = record.kept.wrapped.service != service or record.wrapped_at < before
        return [(NOBODY, PURPOSE, record.kept)] if is_due else []

    async def rewrap(self, tenant_id: UUID, purpose: str, wrapped: WrappedKey, *, former: WrappedKey) -> None:
        record = self._read()
        if record is not None and record.kept.wrapped == former:
            self._write(KeptKey(record.kept.key_id, wrapped))

    async def counts(self) -> list[WrappedBy]:
        record = self._read()
        return [] if record is None else [WrappedBy(record.kept.wrapped.service, record.kept.wrapped.version, 1)]

    def _read(self) -> _Record | None:
        return msgspec.json.decode(self._path.read_bytes(), type=_Record) if self._path.exists() else None

    def _write(self, kept: KeptKey) -> None:
        write_private(self._path, msgspec.json.encode(_Record(kept, datetime.now(UTC))).decode() + "\n")


async def unlock(ring: KeyRing, secrets: AgentSecrets, then: Callable[[], None]) -> None:
    """Give the secrets their key, however long the service is away; `then` whatever waits for it.

    From then on the agent has it for as long as it runs: functions are started again whatever becomes of the service.
    """
    while True:
        try:
            key = (await ring.key(NOBODY, PURPOSE)).key
        except KeyError:
            return  # There is none, and none is to be made: the service is one of before.
        except (*_NOT_NOW, OSError, msgspec.DecodeError) as problem:
            log.warning("agent_key_not_there", problem=str(problem), retry_in_seconds=RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            secrets.add(key, closes=ring.closes)
            then()
            log.info("agent_key_there")
            return


async def keep_wrapped(ring: KeyRing) -> None:
    """Wrap the key by the current service, should another have, and anew before its wrapping grows old. Nobody waits for it."""
    while ring.closes:
        seconds = REWRAP_SECONDS
        try:
            await ring.rewrap(now=datetime.now(UTC))
        except (*_NOT_NOW, OSError, msgspec.DecodeError) as problem:
            log.warning("agent_key_not_rewrapped", problem=str(problem), retry_in_seconds=REWRAP_RETRY_SECONDS)
            seconds = REWRAP_RETRY_SECONDS
        await asyncio.sleep(seconds)
