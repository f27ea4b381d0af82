"""The bytes of artifacts: put into the project's connected storage, or our own store, and read from where they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO
from uuid import UUID

import structlog

from api.services import Services
from commands.basis import fold
from domain.artifact import ARTIFACT, Artifact, ArtifactOutOfReach, Kept
from domain.clouds import LocalStorage, ProviderName, provider_of
from domain.integration import INTEGRATION, Integration, integration_id
from domain.refusal import Busy, Conflict, FieldError
from providers import files
from providers.provider import KeepsFiles, Place, ProviderBusy, ProviderRefused
from providers.spool import digest_in

# A request waits no longer for a storage; what was on its way is cut off.
STORAGE_SECONDS_MAX = 20.0


class StorageRefused(Conflict):
    """The project's storage refused the file; nothing was recorded."""

    code = "storage_refused"
    remedy = "Look at each step with POST …/integrations/{provider}/bucket/check, and mend the one that fails."


class StorageAway(Busy):
    """The project's storage does not answer, or asks to be left alone for a while; nothing was recorded."""

    code = "storage_away"
    remedy = "Repeat the request in a moment, with the same Idempotency-Key."


READING = (ArtifactOutOfReach, StorageRefused, StorageAway)
KEEPING = (StorageRefused, StorageAway)


async def keep(
    services: Services,
    tenant_id: UUID,
    integration: Integration | None,
    artifact_id: UUID,
    digest: str,
    content: IO[bytes],
) -> Kept | None:
    """Where the bytes are, once they are durable there; None: in our own store. Doing it twice is doing it once.

    Raises StorageRefused or StorageAway.
    """
    keeper = None if integration is None else services.providers.get(integration.provider)
    if (
        integration is None
        or isinstance(integration.storage, LocalStorage)
        or keeper is None
        or not isinstance(keeper, KeepsFiles)
    ):
        await services.contents.put(tenant_id, digest, content)
        return None
    storage = integration.storage
    assert storage is not None, "it is configured"
    artifact: Artifact = await fold(services.log, ARTIFACT, ARTIFACT.stream(tenant_id, artifact_id))
    is_there = artifact.kept is not None and artifact.kept.storage == storage and not artifact.discarded
    known_as = artifact.kept.name if artifact.kept is not None and is_there else ""
    async with _asked(integration.provider):
        place = _place(tenant_id, integration, Kept(storage=storage, name=known_as))
        name = await files.keep(keeper, place, digest, content, known_as=known_as, now=services.clock())
    return Kept(storage=storage, name=name)


async def read_into(services: Services, tenant_id: UUID, artifact_id: UUID, into: IO[bytes]) -> bool:
    """Write the artifact's bytes down, all of them and checked. False: they are gone, or are not what was uploaded any
    more, and nothing is to be done with what there is.

    Raises ArtifactOutOfReach, StorageRefused or StorageAway.
    """
    artifact: Artifact = await fold(services.log, ARTIFACT, ARTIFACT.stream(tenant_id, artifact_id))
    if artifact.kept is None:
        is_there = await services.contents.read_into(tenant_id, artifact.digest, into)
        return is_there and digest_in(into) == artifact.digest
    provider = provider_of(artifact.kept.storage)
    stream = INTEGRATION.stream(tenant_id, integration_id(artifact.project_id, provider))
    integration: Integration = await fold(services.log, INTEGRATION, stream)
    keeper = services.providers.get(provider)
    if not integration.connected or keeper is None or not isinstance(keeper, KeepsFiles):
        raise ArtifactOutOfReach(
            f"The file lies at {artifact.kept.location}; the project is not connected to {provider}."
        )
    async with _asked(provider):
        try:
            place, name = _place(tenant_id, integration, artifact.kept), artifact.kept.name
            await files.fetch(keeper, place, name, artifact.digest, into, size_bytes=artifact.size_bytes)
        except files.FileLost as lost:
            structlog.get_logger().warning("artifact_lost", artifact_id=str(artifact_id), problem=str(lost))
            return False
    return True


def _place(tenant_id: UUID, integration: Integration, kept: Kept) -> Place:
    assert integration.identity is not None, "what is connected has an identity"
    return Place(
        tenant_id=tenant_id, project_id=integration.project_id, identity=integration.identity, storage=kept.storage
    )


@asynccontextmanager
async def _asked(provider: ProviderName) -> AsyncIterator[None]:
    """Bounds what is asked of a storage in time, and tells its errors as ours."""
    about = (FieldError(field="provider", message=provider),)
    try:
        async with asyncio.timeout(STORAGE_SECONDS_MAX):
            yield
    except TimeoutError as error:
        message = f"The storage of {provider} did not answer within {STORAGE_SECONDS_MAX:g} seconds."
        raise StorageAway(message, errors=about) from error
    except ProviderBusy as busy:
        raise StorageAway(busy.message, errors=about) from busy
    except ProviderRefused as refused:
        look = f"POST …/integrations/{provider}/bucket/check looks at each step."
        remedy = " ".join(part for part in (refused.remedy, look) if part)
        named = (FieldError(field="provider", message=f"{provider}: {refused.code}"),)
        raise StorageRefused(refused.message, errors=named, remedy=remedy) from refused
    except Exception as error:
        structlog.get_logger().error("storage_failed", provider=provider, exc_info=error)
        raise StorageAway(f"The storage of {provider} failed: {type(error).__name__}.", errors=about) from error
