"""What a cloud says of a deployment, without the values of its secrets: the one way by which foreign words reach the log.

A program that dies may say its secrets as it does, and a cloud that refuses a configuration may repeat it. Only the runner
knows which texts those are: whoever reads them later, in an event, an answer, a webhook or our own log, does not.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import structlog

from eventstore.secret_values import SecretLost, opened
from process.key_service import KeyServiceUnusable
from providers.hiding import hide_in_excerpt
from providers.provider import Build, Observation, Order, ProviderBusy, ProviderRefused, Service
from runner.world import World

WITHHELD_AS_LOST = "What was said is withheld: a secret's value is not kept any more, so it could not be hidden there."
_UNOPENED = "What it said is withheld while no secret can be opened to be hidden there."
WITHHELD_FOR_NOW = f"The cloud asks us to wait. {_UNOPENED}"

T = TypeVar("T", Build, Service)

log = structlog.get_logger()


class Discretion:
    """Over all that is said of one order. The values are opened only when something was said."""

    def __init__(self, order: Order, world: World) -> None:
        self._order, self._world = order, world
        self._values: Mapping[str, str] | None = None

    async def text(self, said: str) -> str:
        """The text without the values, nor a part of one where it was cut off. Raises KeyServiceUnusable while nobody knows
        them."""
        if not said:
            return said
        try:
            return hide_in_excerpt(self._world.redact(said), await self._known())
        except SecretLost:
            return WITHHELD_AS_LOST

    async def observation(self, seen: Observation, *, needs_words: bool) -> Observation:
        """What failed, in words that may be told if any are needed; of what is as it should be, none.

        Raises KeyServiceUnusable.
        """
        build, service = seen.build, seen.service
        if build is not None:
            build = await self._told(build, needs_words=needs_words and build.status == "failed")
        if service is not None:
            failed = service.status in ("unhealthy", "stopped")
            service = await self._told(service, needs_words=needs_words and failed)
        return msgspec.structs.replace(seen, build=build, service=service)

    async def refused(self, refusal: ProviderRefused) -> ProviderRefused | ProviderBusy:
        """The refusal in words that may be told; to be asked for again while nobody knows what to hide in it."""
        try:
            return ProviderRefused(refusal.code, await self.text(refusal.message), await self.text(refusal.remedy))
        except KeyServiceUnusable as problem:
            return no_master_key(problem)

    async def busy(self, busy: ProviderBusy) -> ProviderBusy:
        """The same of one that passes."""
        try:
            message = await self.text(busy.message)
        except KeyServiceUnusable:
            message = WITHHELD_FOR_NOW
        again = type(busy)(message)
        again.retry_in_seconds = busy.retry_in_seconds
        return again

    async def trace(self, error: Exception) -> str:
        """Where an error came from, for our own log, and what it said as far as that may be told."""
        where = "".join(traceback.format_tb(error.__traceback__))
        try:
            said = await self.text("".join(traceback.format_exception_only(error)))
        except KeyServiceUnusable:
            said = f"{type(error).__name__}: {_UNOPENED}"
        return f"{where}{said}".rstrip()

    async def _told(self, thing: T, *, needs_words: bool) -> T:
        if not needs_words:
            return msgspec.structs.replace(thing, message="", remedy="")
        message, remedy = await self.text(thing.message), await self.text(thing.remedy)
        return msgspec.structs.replace(thing, message=message, remedy=remedy)

    async def _known(self) -> Mapping[str, str]:
        if self._values is None:
            release = self._order.release
            found = await opened(self._world.secrets, self._order.tenant_id, release.function_id, release.secret_values)
            self._values = {name: value.reveal() for name, value in found.items()}
        return self._values


def no_master_key(problem: KeyServiceUnusable) -> ProviderBusy:
    """What is told of a step that waits for the master key. Operators read in the log which key that is, and why."""
    log.warning("key_service_unusable", problem=problem.message, remedy=problem.remedy)
    message = "The service that keeps this installation's master key cannot be asked, so no secret can be opened."
    return ProviderBusy(message, retry_in_seconds=problem.retry_after_seconds)
