"""Do at the cloud what a step says, and tell what came of it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import IO, assert_never

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
    NO_SECRETS,
    KeepsFiles,
    Observation,
    Order,
    Place,
    Provider,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
    Secrets,
    Source,
)
from providers.spool import digest_in, spool
from runner import plan
from runner.discretion import Discretion, no_master_key
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
    sources: tuple[Source, ...] = ()
    secrets: Secrets = NO_SECRETS
    with ExitStack() as held:
        async with foreseen(type(act).__name__):
            match act:
                case plan.Bundle():
                    sources = await _sources(order, world, held)
                case plan.Apply():
                    secrets = await _secrets(order, world)
                case _:
                    pass
        async with foreseen(type(act).__name__, Discretion(order, world)):
            return await _performed(act, order, provider, sources, secrets)


async def observe(order: Order, world: World, *, needs_words: bool = True) -> Observation:
    """What the cloud shows of the order, in words that may be told.

    Raises ProviderBusy, also while nobody knows what is to be hidden in words that are needed, ProviderUnreachable or
    ProviderRefused.
    """
    discretion = Discretion(order, world)
    async with foreseen("observe", discretion):
        seen = await provider_of(order, world).observe(order)
    try:
        return await discretion.observation(seen, needs_words=needs_words)
    except KeyServiceUnusable as problem:
        raise no_master_key(problem) from problem


def provider_of(order: Order, world: World) -> Provider:
    """The release's cloud. Raises ProviderRefused when this service has none of that name."""
    provider = world.providers.get(order.release.provider)
    if provider is None:
        message = f"This runner has no provider “{order.release.provider}”."
        raise ProviderRefused("provider_unavailable", message, "Deploy to a provider the service offers.")
    return provider


class foreseen:  # noqa: N801 - read as a phrase: async with foreseen("Push")
    """Bounds a call in time, and turns every error a provider did not declare into ProviderUnreachable.

    What the errors of a call for an order say goes through the `discretion` over it.
    """

    def __init__(self, call: str, discretion: Discretion | None = None) -> None:
        self._call, self._discretion = call, discretion
        self._timeout = asyncio.timeout(CALL_SECONDS_MAX)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)  # type: ignore[arg-type]
        except TimeoutError:
            raise ProviderUnreachable(f"No answer within {CALL_SECONDS_MAX:g} seconds.") from None
        discretion = self._discretion
        match error:
            case ProviderRefused() if discretion is not None:
                raise await discretion.refused(error) from error
            case ProviderBusy() if discretion is not None:
                raise await discretion.busy(error) from error
            case ProviderRefused() | ProviderBusy():
                return
            case Exception() if discretion is not None:
                log.error("provider_failed", call=self._call, exception=await discretion.trace(error))
            case Exception():
                log.error("provider_failed", call=self._call, exc_info=error)
            case _:
                return
        raise ProviderUnreachable(f"The provider failed: {type(error).__name__}.") from error


async def _performed(
    act: Act, order: Order, provider: Provider, sources: tuple[Source, ...], secrets: Secrets
) -> Note | None:
    match act:
        case plan.Bundle():
            bundle = await provider.bundle(order, sources)
            return plan.NoteBundled(location=bundle.location, digest=bundle.digest)
        case plan.StartBuild():
            build = await provider.start_build(order)
            return plan.NoteBuildStarted(build_id=build.id)
        case plan.Push():
            image = await provider.push(order)
            return plan.NotePushed(reference=image.reference, digest=image.digest)
        case plan.Apply():
            service = await provider.apply(order, secrets)
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


async def _sources(order: Order, world: World, held: ExitStack) -> tuple[Source, ...]:
    """The release's files, checked, as long as they are held. Raises ProviderRefused when one is not what was released."""
    sources = []
    for wanted in order.release.sources:
        content = held.enter_context(spool())
        if not await _read_into(order, wanted, world, content) or digest_in(content) != wanted.digest:
            message = f"The stored file {wanted.file_name} is missing or is not what was uploaded."
            raise ProviderRefused("artifact_lost", message, "Upload it again and deploy.")
        sources.append(Source(kind=wanted.kind, file_name=wanted.file_name, digest=wanted.digest, content=content))
    return tuple(sources)


async def _read_into(order: Order, wanted: SourceRef, world: World, into: IO[bytes]) -> bool:
    """The bytes from wherever they are: our own store, or a storage of the project's, which need not be the target's."""
    artifact: Artifact = await fold(world.log, ARTIFACT, ARTIFACT.stream(order.tenant_id, wanted.artifact_id))
    if artifact.kept is None:
        return await world.contents.read_into(order.tenant_id, wanted.digest, into)
    keeper, place = await _keeper(order, artifact.kept, world)
    await files.fetch(keeper, place, artifact.kept.name, wanted.digest, into, size_bytes=wanted.size_bytes)
    return True


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
