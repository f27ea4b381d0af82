"""`python -m benchmarks NAME`: measure one claim about speed, and print what was found as the last line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import msgspec
import uvloop

from benchmarks.catalogue import BENCHMARKS
from benchmarks.effort import ROUNDS, SECONDS, Effort
from benchmarks.figures import Figures
from eventstore.embedded import PostgresUnavailable
from process import logs


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when the server does not start."""
    given = _parser().parse_args(arguments)
    logs.set_up("benchmarks", style="text", level="error")
    benchmark = next(b for b in BENCHMARKS if b.name == given.name)
    smallest = Effort.smallest()
    effort = Effort(
        rounds=given.rounds or (smallest.rounds if given.quick else ROUNDS),
        seconds=given.seconds or (smallest.seconds if given.quick else SECONDS),
        quick=given.quick,
    )
    try:
        figures = uvloop.run(benchmark.run(effort))
    except PostgresUnavailable as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    print(_text(figures, as_json=given.json))
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(len(benchmark.name) for benchmark in BENCHMARKS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure one claim about speed on a PostgreSQL of its own. Progress goes to standard error.",
        epilog="benchmarks:\n" + "\n".join(f"  {b.name:{width}}  {b.summary}" for b in BENCHMARKS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[b.name for b in BENCHMARKS], metavar="NAME", help="which one; see below")
    parser.add_argument("--json", action="store_true", help="the figures as one line of JSON")
    parser.add_argument("--rounds", type=_count, help=f"rounds that medians are taken of (default {ROUNDS})")
    parser.add_argument("--seconds", type=_seconds, help=f"length of one measurement (default {SECONDS:g})")
    parser.add_argument("--quick", action="store_true", help="only show that it runs: the figures mean nothing")
    return parser


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _seconds(text: str) -> float:
    if not (value := float(text)) > 0:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def _text(figures: Figures, *, as_json: bool) -> str:
    encoded = msgspec.json.encode(figures)
    return (encoded if as_json else msgspec.json.format(encoded)).decode()


if __name__ == "__main__":
    sys.exit(main())
