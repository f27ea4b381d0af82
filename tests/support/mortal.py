"""A process that can be killed at any await: none of its tasks takes another step, and nothing of it is cleaned up."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

_PROCESS: ContextVar[Mortal | None] = ContextVar("process", default=None)
# What processes were doing. Not dropped before `bury`: that would run their `finally`.
_BODIES: list[Coroutine[Any, Any, Any]] = []


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
        _BODIES.append(body)
        go_on: Callable[[Any], Any] = body.send
        value: Any = None
        while True:
            if self.steps == self._dies_at_step:
                self.kill()
            if self.dead:
                yield from asyncio.get_running_loop().create_future()
            self.steps += 1
            try:
                awaited = go_on(value)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                value = yield awaited
                go_on = body.send
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to where it belongs
                value, go_on = error, body.throw


def _task(
    loop: asyncio.AbstractEventLoop, body: Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    process = (context or copy_context()).get(_PROCESS)
    if process is None:
        return asyncio.Task(body, loop=loop, context=context)
    task = asyncio.Task(process.live(body), loop=loop, context=context)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # It is meant to stay where it was.
    return task


def bury() -> None:
    """Give up what processes were doing, once nothing can be seen of it any more."""
    for body in _BODIES:
        with suppress(BaseException):
            body.close()
    _BODIES.clear()
