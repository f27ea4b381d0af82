"""Whether the key services that hold the master key answer, and let this process wrap and unwrap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from uuid import UUID

from cli.finding import Finding
from process.key_service import KeyContext, KeyService, KeyServiceUnusable, WrappingForged
from process.settings import SettingInvalid, Settings
from providers.key_services.catalogue import key_services

LOOK_SECONDS_MAX = 10.0
_KEY_BYTES = 32
# Of no tenant: nothing that is kept was ever wrapped for it.
_CONTEXT = KeyContext(UUID(int=0), "doctor", UUID(int=0))


def key_service_findings(settings: Settings) -> Iterator[Finding]:
    """One for each service; none where there is none."""
    try:
        current, former = key_services(settings)
    except SettingInvalid as problem:
        yield Finding("key service", "fail", str(problem), "name it as docs/operations.md does")
        return
    if current is not None:
        yield asyncio.run(_tried(current))
    for service in former:
        yield asyncio.run(_tried(service))


async def _tried(service: KeyService) -> Finding:
    """Wraps a key of the moment for nobody, and unwraps it."""
    key = os.urandom(_KEY_BYTES)
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            wrapped = await service.wrap(key, _CONTEXT)
            same = await service.unwrap(wrapped, _CONTEXT) == key
    except KeyServiceUnusable as problem:
        return Finding("key service", "fail", problem.message, problem.remedy)
    except WrappingForged as problem:
        return Finding("key service", "fail", str(problem), "see what stands between this machine and the service")
    except TimeoutError:
        message = f"{service.name} has not answered within {LOOK_SECONDS_MAX:g} seconds"
        return Finding("key service", "fail", message, "see that its address is reached from here")
    finally:
        await service.close()
    if not same:
        return Finding("key service", "fail", f"{service.name} does not give back what it wrapped", "use another key")
    return Finding("key service", "ok", f"{service.name} wraps and unwraps for this process")
