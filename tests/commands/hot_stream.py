"""A process whose callers all change one function, again and again for a while; it prints what came of that."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from contextlib import AsyncExitStack

from commands.execute import TooMuchContention, execute
from eventstore.database import connect
from eventstore.postgres import PostgresLog
from tests.commands.test_execute import context
from tests.support import a

CALLERS = 32
SECONDS = 5.0


async def main(url: str, process: int) -> None:
    """Ids of commands begin at a million for each process."""
    numbers, latencies, refused = itertools.count(process * 1_000_000), [], 0
    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(connect(url, role="dcf_engine", size_max=8))
        log = await exits.enter_async_context(PostgresLog(database, url, role="dcf_engine"))
        end = time.monotonic() + SECONDS

        async def ask_on() -> None:
            nonlocal refused
            while (began := time.monotonic()) < end:
                number = next(numbers)
                try:
                    await execute(log, a.update_function(description=f"number {number}"), context(number))
                except TooMuchContention:
                    refused += 1
                else:
                    latencies.append(time.monotonic() - began)

        await asyncio.gather(*(ask_on() for _ in range(CALLERS)))
    sys.stdout.write(json.dumps({"done": len(latencies), "refused": refused, "longest": max(latencies)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
