"""Do at the cloud what a step says, and tell what came of it."""

from __future__ import annotations

import asyncio
from typing import assert_never

import msgspec
import structlog

from commands.basis import fold
from domain.artifact import ARTIFACT, Artifact, Kept
from domain.clouds import provider_of as provider_named
from domain.integration import INTEGRATION, Integration, integration_id
from domain.release import SourceRef
from eventstore.secret_values import SecretLost, opened
from process.key_service import KeyServiceUnusable
from providers import files
from providers.provider import (
    KeepsFiles,
    Order,
    Place,
    Provider,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
    Secrets,
    Source,
)
from runner import plan
from runner.world import World

# No verb waits for long work; one that has not answered after so long has not answered.
CALL_SECONDS_MAX = 60.0

log = structlog.get_logger()


class NoteWithdrawn(msgspec.Struct, frozen=True):
    """What a withdrawal left behind."""

    remaining: tuple[str, ...]


Act = plan.Bundle | plan.StartBuild | plan.Push | plan.Apply | plan.Promote | plan.Withdraw
Note = (
    plan.NoteBundled
    | plan.NoteBuildStarted
    | plan.NoteBuildSucceeded
    | plan.NoteBuildFailed
    | plan.NotePushed
    | plan.NoteReleaseStarted
    | plan.NoteApplied
    | plan.NoteVerified
    | plan.NoteActivated
    | plan.NoteFailure
    | plan.Fail
    | plan.Cancel
    | plan.NoteUndeployed
    | plan.FailUndeploy
    | NoteWithdrawn
)
Pause = plan.AwaitBuild | plan.AwaitHealthy | plan.AwaitSettled | plan.AwaitGone | plan.LookAgain


async def perform(act: Act, order: Order, world: World) -> Note | None:
    """The effect, and what to record of it; None when only a look can tell.

    Doing it twice is doing it once. Raises ProviderBusy, ProviderUnreachable (also for whatever was not foreseen: whether
    it had its effect is not known) or ProviderRefused.
    """
    provider = provider_of(order, world)
    async with foreseen(type(act).__name__):
        return await _performed(act, order, provider, world)


def provider_of(order: Order, world: World) -> Provider:
    """The release's cloud. Raises ProviderRefused when this service has none of that name."""
    provider = world.providers.get(order.release.provider)
    if provider is None:
        message = f"This runner has no provider “{order.release.provider}”."
        raise ProviderRefused("provider_unavailable", message, "Deploy to a provider the service offers.")
    return provider


class foreseen:  # noqa: N801 - read as a phrase: async with foreseen("Push")
    """Bounds a call in time, and turns every error a provider did not declare into ProviderUnreachable."""

    def __init__(self, call: str) -> None:
        self._call = call
        self._timeout = asyncio.timeout(CALL_SECONDS_MAX)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)  # type: ignore[arg-type]
        except TimeoutError:
            raise ProviderUnreachable(f"No answer within {CALL_SECONDS_MAX:g} seconds.") from None
        if isinstance(error, Exception) and not isinstance(error, ProviderBusy | ProviderRefused):
            log.error("provider_failed", call=self._call, exc_info=error)
            raise ProviderUnreachable(f"The provider failed: {type(error).__name__}.") from error


async def _performed(act: Act, order: Order, provider: Provider, world: World) -> Note | None:
    match act:
        case plan.Bundle():
            bundle = await provider.bundle(order, await _sources(order, world))
            return plan.NoteBundled(location=bundle.location, digest=bundle.digest)
        case plan.StartBuild():
            build = await provider.start_build(order)
            return plan.NoteBuildStarted(build_id=build.id)
        case plan.Push():
            image = await provider.push(order)
            return plan.NotePushed(reference=image.reference, digest=image.digest)
        case plan.Apply():
            service = await provider.apply(order, await _secrets(order, world))
            return plan.NoteApplied(url=service.url, revision=service.revision)
        case plan.Promote():
            service = await provider.promote(order)
            return plan.NoteActivated() if service.serving else None
        case plan.Withdraw():
            await provider.stop_build(order)
            return NoteWithdrawn(await provider.withdraw(order))
        case _:
            assert_never(act)


async def _secrets(order: Order, world: World) -> Secrets:
    """The values the release pins. Raises ProviderRefused when one cannot be opened, ProviderBusy while nobody can tell."""
    release = order.release
    try:
        return await opened(world.secrets, order.tenant_id, release.function_id, release.secret_values)
    except SecretLost as problem:
        raise ProviderRefused("secret_lost", str(problem), "Set the secret again and deploy.") from problem
    except KeyServiceUnusable as problem:
        raise no_master_key(problem) from problem


def no_master_key(problem: KeyServiceUnusable) -> ProviderBusy:
    """What is told of a step that waits for the master key. Operators read in the log which key that is, and why."""
    log.warning("key_service_unusable", problem=problem.message, remedy=problem.remedy)
    message = "The service that keeps this installation's master key cannot be asked, so no secret can be opened."
    return ProviderBusy(message, retry_in_seconds=problem.retry_after_seconds)


async def _sources(order: Order, world: World) -> tuple[Source, ...]:
    """The release's files, checked. Raises ProviderRefused when one is not what was released."""
    sources = []
    for wanted in order.release.sources:
        content = await _content(order, wanted, world)
        if content is None or files.digest_of(content) != wanted.digest:
            message = f"The stored file {wanted.file_name} is missing or is not what was uploaded."
            raise ProviderRefused("artifact_lost", message, "Upload it again and deploy.")
        sources.append(Source(kind=wanted.kind, file_name=wanted.file_name, digest=wanted.digest, content=content))
    return tuple(sources)


async def _content(order: Order, wanted: SourceRef, world: World) -> bytes | None:
    """The bytes from wherever they are: our own store, or a storage of the project's, which need not be the target's."""
    artifact: Artifact = await fold(world.log, ARTIFACT, ARTIFACT.stream(order.tenant_id, wanted.artifact_id))
    if artifact.kept is None:
        return await world.contents.get(order.tenant_id, wanted.digest)
    keeper, place = await _keeper(order, artifact.kept, world)
    return await files.fetch(keeper, place, artifact.kept.name, wanted.digest, size_bytes=wanted.size_bytes)


async def _keeper(order: Order, kept: Kept, world: World) -> tuple[KeepsFiles, Place]:
    name = provider_named(kept.storage)
    stream = INTEGRATION.stream(order.tenant_id, integration_id(order.project_id, name))
    integration: Integration = await fold(world.log, INTEGRATION, stream)
    keeper = world.providers.get(name)
    if integration.identity is None or keeper is None or not isinstance(keeper, KeepsFiles):
        raise ProviderRefused(
            "artifact_out_of_reach",
            f"A source lies at {kept.location}, and the project is not connected to {name} any more.",
            "Upload the file again, or connect the provider again, and deploy.",
        )
    place = Place(
        tenant_id=order.tenant_id, project_id=order.project_id, identity=integration.identity, storage=kept.storage
    )
    return keeper, place
