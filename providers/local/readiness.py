"""Whether this machine can build, run and keep functions, step by step."""

from __future__ import annotations

import asyncio
from typing import Literal

from domain.release import Toolchain
from providers.local.store import Store
from providers.local.toolchain import METADATA_REMEDY, NoEngine, Toolchains
from providers.provider import Finding, Step

# Long enough to try every engine that is there, and mostly to fetch one; less than who asks the agent waits.
PENDING_SECONDS = 25.0


async def verify_engine(toolchains: Toolchains, seconds_max: float = PENDING_SECONDS) -> Finding:
    """Pending while the engine is still being made ready after `seconds_max`."""
    choosing = toolchains.start()
    await asyncio.wait([choosing], timeout=seconds_max)
    if not choosing.done():
        remedy = "Nothing is wrong; ask again in a few seconds."
        return _finding("pending", _step("skipped", "engine_pending", f"{toolchains.progress}.", remedy))
    try:
        words = _words(choosing.result().toolchain)
        if toolchains.exposed:
            words = f"{words.rstrip('.')}, and what it builds and runs reaches a cloud's metadata."
            return _finding("verified", _step("passed", "metadata_in_reach", words, METADATA_REMEDY))
        return _finding("verified", _step("passed", "", words, ""))
    except NoEngine as error:
        return _finding("failed", _step("failed", "no_engine", error.message, error.remedy))


def check_store(store: Store) -> Finding:
    """Write something and see whether it stays."""
    name = "store_writable"
    try:
        store.try_writing()
    except OSError as error:
        remedy = f"Give the service's user room and the right to write in {store.folder}."
        step = Step(name=name, status="failed", code="store_not_writable", message=str(error), remedy=remedy)
        return Finding(status="failed", steps=(step,))
    return Finding(status="verified", steps=(Step(name=name, status="passed", message="The store can be written."),))


def _finding(status: Literal["pending", "verified", "failed"], engine: Step) -> Finding:
    reachable = Step(name="agent_reachable", status="passed", message="The agent answers.")
    return Finding(status=status, steps=(reachable, engine))


def _step(status: Literal["passed", "failed", "skipped"], code: str, message: str, remedy: str) -> Step:
    return Step(name="engine_ready", status=status, code=code, message=message, remedy=remedy)


def _words(toolchain: Toolchain) -> str:
    if toolchain.stand_in:
        return (
            f"The stand-in Dart VM {toolchain.version} builds and runs code here; "
            "it is older than the runtimes offered and resolves no packages."
        )
    return f"{toolchain.engine} {toolchain.version} builds and runs code here."
