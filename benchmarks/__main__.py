"""`python -m benchmarks NAME`: measure ours and the peer in turn; the last line printed is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from benchmarks.catalogue import BENCHMARKS
from benchmarks.effort import ROUNDS, SECONDS, Effort


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures ours and the peer in turn on one durable PostgreSQL of its own.",
        epilog="Quote ratios: the rates depend on the machine and on what else runs there.",
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(BENCHMARKS)}; none: all")
    parser.add_argument("--json", action="store_true", help="print the figures on one line, the last one")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements that a median is taken of")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; the figures mean nothing")
    options = parser.parse_args()
    unknown = [name for name in options.name if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    effort = Effort(rounds=options.rounds, seconds=options.seconds)
    for name in options.name or BENCHMARKS:
        figures = asyncio.run(BENCHMARKS[name](Effort.smallest() if options.quick else effort))
        shown = figures if options.name else {name: figures}
        print(json.dumps(shown, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
