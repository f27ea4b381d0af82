"""Carries a build's log from the cloud to our store while the build runs: whole lines, redacted, each once."""

from __future__ import annotations

from contextlib import suppress

from providers.provider import Order, ProviderBusy, ProviderRefused
from runner.perform import foreseen, provider_of
from runner.world import World

# Pieces taken in one turn; what is left comes with the next.
PIECES_MAX = 20
# A line longer than this is written in parts.
LINE_CHARS_MAX = 16 * 1024


class BuildOutput:
    """One deployment's log under way. What was read and not yet written is read again after a crash."""

    def __init__(self) -> None:
        self._written_to: int | None = None
        self._read_to = 0
        self._text = ""

    async def carry(self, order: Order, world: World, *, to_the_end: bool) -> None:
        """Bring over what is new. `to_the_end`: the build is over, so its last line is whole as it is.

        A log that cannot be had delays nothing: no error of the provider is raised.
        """
        with suppress(ProviderBusy, ProviderRefused):
            await self._carry(order, world)
        if self._text and (to_the_end or len(self._text) > LINE_CHARS_MAX):
            await self._write(order, world)

    async def _carry(self, order: Order, world: World) -> None:
        if self._written_to is None:
            self._written_to = self._read_to = await world.build_logs.cursor(order.tenant_id, order.deployment_id)
        for _ in range(PIECES_MAX):
            async with foreseen("build_log"):
                piece = await provider_of(order, world).build_log(order, self._read_to)
            if piece.next_cursor <= self._read_to:
                return
            self._text, self._read_to = self._text + piece.text, piece.next_cursor
            if self._text.endswith("\n"):
                await self._write(order, world)

    async def _write(self, order: Order, world: World) -> None:
        cursor, next_cursor, text = self._written_to or 0, self._read_to, world.redact(self._text)
        ids = (order.tenant_id, order.deployment_id)
        await world.build_logs.append(*ids, text, cursor=cursor, next_cursor=next_cursor)
        self._written_to, self._text = next_cursor, ""
