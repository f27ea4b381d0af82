"""Ours and the peer over real HTTP: the same clients, in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from benchmarks.callers import Run
from benchmarks.effort import Effort
from benchmarks.figures import Figures, median, percentile_ms, ratio
from benchmarks.http_load import Load, Order
from benchmarks.rounds import take_turns

CLIENTS = 32
CLIENTS_QUICK = 2
# Of one process, as many as the API has for itself; more were slower or no faster.
PEER_POOL_SIZE = 10


class Contestant(msgspec.Struct, frozen=True):
    """Where it answers, and what each client sends."""

    port: int
    requests: Sequence[bytes]


def request(method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "accept: */*"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def contest(
    what: str, clients: Load, contestants: Mapping[str, Contestant], effort: Effort
) -> dict[str, list[Run]]:
    """What each came to in each round."""

    async def run(contestant: Contestant, seconds: float) -> Run:
        return await clients.run(
            Order(port=contestant.port, requests=list(contestant.requests), status=200, seconds=seconds)
        )

    for contestant in contestants.values():
        await run(contestant, effort.seconds / 2)  # Whoever comes first would pay for the first of everything.
    turns = {
        name: lambda contestant=contestant: run(contestant, effort.seconds) for name, contestant in contestants.items()
    }
    return await take_turns(what, turns, effort)


def figures_of(results: Mapping[str, list[Run]]) -> Figures:
    """Medians of `ours` and `peer`, and of whoever else there was `NAME_per_second` and `ratio_NAME`."""
    rates = {name: median(run.per_second for run in runs) for name, runs in results.items()}
    latencies = {name: [seconds for run in runs for seconds in run.latencies] for name, runs in results.items()}
    others = [name for name in results if name not in ("ours", "peer")]
    return {
        "ours_per_second": rates["ours"],
        "peer_per_second": rates["peer"],
        "ratio": ratio(rates["ours"], rates["peer"]),
        **{f"{name}_per_second": rates[name] for name in others},
        **{f"ratio_{name}": ratio(rates[name], rates["peer"]) for name in others},
        "p50_ms": percentile_ms(latencies["ours"], 50),
        "p99_ms": percentile_ms(latencies["ours"], 99),
        "peer_p50_ms": percentile_ms(latencies["peer"], 50),
        "peer_p99_ms": percentile_ms(latencies["peer"], 99),
    }
