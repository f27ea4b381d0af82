"""Whoever brings the read model that is served to the end of the log: in a process of its own, as it is in the service.

`python -m benchmarks.following`, the database's address on standard input.
"""

from __future__ import annotations

import subprocess
import sys

import uvloop
from prometheus_client import CollectorRegistry

from domain.catalogue import AGGREGATES
from eventstore.codec import Codec
from eventstore.database import connect
from eventstore.postgres import PostgresLog
from projections.catalogue import QUERIES
from projections.deployments import DEPLOYMENTS
from projections.feeding import prepare
from projections.monitor import Monitor
from projections.views import PostgresViews
from projections.worker import Worker

SECONDS_MAX = 600


def follow(url: str) -> None:
    """Bring deployments to the end of the log. Blocks."""
    subprocess.run([sys.executable, "-m", __name__], input=url, text=True, timeout=SECONDS_MAX, check=True)


async def _follow(url: str) -> None:
    async with (
        connect(url, role="dcf_engine", size_max=4) as database,
        PostgresLog(database, url, role="dcf_engine") as log,
    ):
        (model,) = await prepare(database, [DEPLOYMENTS], QUERIES)
        monitor = Monitor(CollectorRegistry())
        worker = Worker(PostgresViews(database), log, Codec(AGGREGATES), [model], epoch=1, monitor=monitor)
        await worker.start()
        while await worker.turn():
            pass
        await worker.close()


if __name__ == "__main__":
    uvloop.run(_follow(sys.stdin.read()))
