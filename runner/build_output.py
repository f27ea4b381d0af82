"""Carries a build's log from the cloud to our store while the build runs: whole lines, without secrets, each once."""

from __future__ import annotations

from contextlib import suppress

from eventstore.secret_values import SecretLost, opened
from providers.hiding import ends_within, hide
from providers.provider import Order, ProviderBusy, ProviderRefused
from runner.discretion import Discretion
from runner.perform import foreseen, provider_of
from runner.world import World

# Pieces taken in one turn; what is left comes with the next.
PIECES_MAX = 20
# A line longer than this is written in parts.
LINE_CHARS_MAX = 16 * 1024
# And one of this length wherever it ends: nobody's output grows in our memory without an end.
WAITED_CHARS_MAX = 16 * LINE_CHARS_MAX
WITHHELD = "What the build said from here on is withheld: no secret could be opened to be hidden there.\n"


class BuildOutput:
    """One deployment's log under way. What was read and not yet written is read again after a crash."""

    def __init__(self) -> None:
        self._written_to: int | None = None
        self._read_to = 0
        self._text = ""
        # The values of the release's own secrets, once they are needed.
        self._values: dict[str, str] | None = None

    async def carry(self, order: Order, world: World, *, to_the_end: bool) -> None:
        """Bring over what is new. `to_the_end`: the build is over, so its last line is whole as it is.

        A log that cannot be had delays nothing: no error of the provider is raised. Raises KeyServiceUnusable while nobody
        knows the values to hide: nothing is written then, and the next call goes on from here.
        """
        with suppress(ProviderBusy, ProviderRefused):
            await self._carry(order, world)
        if self._text and (to_the_end or await self._may_be_cut(order, world)):
            await self._write(order, world)

    async def withhold(self, order: Order, world: World) -> None:
        """Say in the log that the rest of it is missing, instead of what nobody knows how to hide values in."""
        await self._append(order, world, WITHHELD)

    async def _may_be_cut(self, order: Order, world: World) -> bool:
        """Whether the line is too long to be waited for, and does not end inside what has to be hidden."""
        if len(self._text) <= LINE_CHARS_MAX:
            return False
        return len(self._text) > WAITED_CHARS_MAX or not ends_within(self._text, await self._secrets(order, world))

    async def _carry(self, order: Order, world: World) -> None:
        if self._written_to is None:
            self._written_to = self._read_to = await world.build_logs.cursor(order.tenant_id, order.deployment_id)
        for _ in range(PIECES_MAX):
            if self._text.endswith("\n"):
                await self._write(order, world)  # Until that can be done, no more is read: memory would fill with it.
            async with foreseen("build_log", Discretion(order, world)):
                piece = await provider_of(order, world).build_log(order, self._read_to)
            if piece.next_cursor <= self._read_to:
                return
            self._text, self._read_to = self._text + piece.text, piece.next_cursor
            if self._text.endswith("\n"):
                await self._write(order, world)

    async def _write(self, order: Order, world: World) -> None:
        await self._append(order, world, hide(world.redact(self._text), await self._secrets(order, world)))

    async def _append(self, order: Order, world: World, text: str) -> None:
        cursor, next_cursor = self._written_to or 0, self._read_to
        ids = (order.tenant_id, order.deployment_id)
        await world.build_logs.append(*ids, text, cursor=cursor, next_cursor=next_cursor)
        self._written_to, self._text = next_cursor, ""

    async def _secrets(self, order: Order, world: World) -> dict[str, str]:
        if self._values is None:
            release, values = order.release, dict[str, str]()
            for name, value_id in release.secret_values.items():
                # What cannot be opened is given to nobody, and stands in no log; others may.
                with suppress(SecretLost):
                    found = await opened(world.secrets, order.tenant_id, release.function_id, {name: value_id})
                    values[name] = found[name].reveal()
            self._values = values
        return self._values
