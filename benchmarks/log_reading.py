"""The peer of whoever goes through the whole log: one asyncpg connection that reads it and does nothing else.

`python -m benchmarks.log_reading`, the database's address on standard input: in a process of its own, as anybody would
write it, so that nothing we have tuned in ours is of use to it or in its way.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import asyncpg

BATCH_EVENTS = 5_000
SECONDS_MAX = 120

_READ = """
    SELECT position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data
      FROM log.events
     WHERE position > $1
     ORDER BY position
     LIMIT $2
"""


def read_rate(url: str) -> float:
    """Events a second. Blocks."""
    ended = subprocess.run(
        [sys.executable, "-m", __name__], input=url, capture_output=True, text=True, timeout=SECONDS_MAX, check=True
    )
    return float(ended.stdout)


async def _read(url: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        count = position = 0
        began = time.perf_counter()
        while rows := await connection.fetch(_READ, position, BATCH_EVENTS):
            count += len(rows)
            position = rows[-1]["position"]
        return count / (time.perf_counter() - began)
    finally:
        await connection.close()


if __name__ == "__main__":
    print(asyncio.run(_read(sys.stdin.read())))
