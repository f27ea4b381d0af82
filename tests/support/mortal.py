"""A process that can be killed at any await: none of its tasks takes another step, and nothing of it is cleaned up."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

_PROCESS: ContextVar[Mortal | None] = ContextVar("process", default=None)
# What the dead were doing. Never closed: closing would run their `finally`.
_GRAVEYARD: list[Coroutine[Any, Any, Any]] = []


class Mortal:
    """Everything started within it dies with it. `steps` counts how often its tasks went on from an await."""

    def __init__(self, *, dies_at_step: int | None = None) -> None:
        self.steps = 0
        self.dead = False
        self.died = asyncio.Event()
        self._dies_at_step = dies_at_step

    def start(self, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it in a task of the process; every task it makes belongs to the process too. It never ends if it dies."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(_task)  # type: ignore[arg-type]
        context = copy_context()
        context.run(_PROCESS.set, self)
        return loop.create_task(main, context=context)

    def kill(self) -> None:
        self.dead = True
        self.died.set()

    async def live(self, body: Coroutine[Any, Any, T]) -> T:
        """The body, for as long as the process lives."""
        return await self._driven(body)

    @types.coroutine
    def _driven(self, body: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        go_on, value = body.send, None
        while True:
            if self.steps == self._dies_at_step:
                self.kill()
            if self.dead:
                _GRAVEYARD.append(body)
                yield from asyncio.get_running_loop().create_future()
            self.steps += 1
            try:
                awaited = go_on(value)
            except StopIteration as end:
                return end.value
            try:
                value = yield awaited
                go_on = body.send
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to where it belongs
                value, go_on = error, body.throw  # type: ignore[assignment]


def _task(
    loop: asyncio.AbstractEventLoop, body: Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    process = (context or copy_context()).get(_PROCESS)
    return asyncio.Task(process.live(body) if process else body, loop=loop, context=context)
