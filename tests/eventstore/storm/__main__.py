"""`python -m tests.eventstore.storm ORDER`: one writer process, which may be killed at any moment and started again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from tests.eventstore.storm.order import Order, entries


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    done = frozenset(key for _, key, _ in entries(Path(order.diary)))
    if order.store == "ours":
        from tests.eventstore.storm import ours

        asyncio.run(ours.write(order, done))
    else:
        from tests.eventstore.storm import library

        library.write(order, done)


if __name__ == "__main__":
    main()
