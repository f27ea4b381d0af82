"""A benchmark that is asked for as little as possible still prints all its figures.

Of those that stand on the same ground one is run by every check, the others with the long runs.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.past import past
from benchmarks.rebuild import LANES
from tests.support.service import ROOT

# On a machine that is busy with other tests.
BENCHMARK_SECONDS_MAX = 400
pytestmark = pytest.mark.timeout(450)

_APPEND_FIGURES = {
    "ours_per_second",
    "library_per_second",
    "asyncpg_per_second",
    "ratio_library",
    "ratio_asyncpg",
    "p50_ms",
    "p99_ms",
}


def test_a_past_that_is_filled_in_two_parts_has_no_event_twice() -> None:
    """What cannot be in a log would be set aside, one event after another: that is not what is to be measured."""
    rows = [*past(5_000), *past(5_000, first=5_001)]

    assert [row[0] for row in rows] == list(range(1, 10_001))
    assert len({(tenant_id, stream_id, version) for _, tenant_id, stream_id, version, *_ in rows}) == len(rows)


def test_deployments_of_a_past_are_spread_over_the_lanes_of_a_rebuild() -> None:
    queued = [stream_id for _, _, stream_id, _, type, *_ in past(10_000) if type == "deployment.queued"]

    of_first_lane = sum(id.bytes[15] % LANES == 0 for id in queued)

    assert 0.4 < of_first_lane / len(queued) < 0.6


def _asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BENCHMARK_SECONDS_MAX,
        check=False,
    )


def test_append_prints_one_json_object_last() -> None:
    ended = _asked("append", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert set(figures["callers"]["1"]) >= _APPEND_FIGURES
    assert all(value > 0 for value in figures["callers"]["1"].values())
    assert figures["copy_per_second"] > 0


@pytest.mark.parametrize(
    ("name", "more"),
    [
        pytest.param("http_status", {"ratio_waits", "ratio_served"}, marks=pytest.mark.proof),
        pytest.param("http_command", {"ratio_async"}, marks=pytest.mark.proof),
    ],
)
def test_http_prints_one_json_object_last(name: str, more: set[str]) -> None:
    ended = _asked(name, "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert set(figures) >= {"ours_per_second", "peer_per_second", "ratio"} | more
    assert all(value > 0 for value in figures.values())


@pytest.mark.proof
def test_load_prints_one_json_object_last() -> None:
    ended = _asked("load", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert set(figures) == {"ours_per_second", "peer_per_second", "ratio", "events"}
    for of_length in figures["events"].values():
        assert set(of_length) >= {"ours_per_second", "peer_per_second", "ratio", "ratio_with_snapshot"}
        assert all(value > 0 for value in of_length.values())


@pytest.mark.proof
def test_catchup_prints_how_it_compares_with_both_peers() -> None:
    ended = _asked("catchup", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    for told in (figures, figures["history_off"], figures["history_on"]):
        assert min(told["events_per_second"], told["ratio"], told["share_of_read"]) > 0
    assert figures["peer_per_second"] > 0


@pytest.mark.proof
def test_read_your_writes_prints_both_latencies() -> None:
    ended = _asked("read_your_writes", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert min(figures[name] for name in ("p50_ms", "p99_ms", "peer_p50_ms", "peer_p99_ms", "ratio")) > 0


@pytest.mark.proof
def test_rebuild_live_loses_no_read() -> None:
    ended = _asked("rebuild_live", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert (figures["failed"], figures["empty"]) == (0, 0), figures["failures"]
    assert min(figures["p99_ms"], figures["p99_ms_without"], figures["ratio"]) > 0


@pytest.mark.proof
def test_rebuild_prints_rate_and_memory() -> None:
    ended = _asked("rebuild", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert min(figures["events_per_second"], figures["share_of_read"], figures["peak_memory_mb"]) > 0
    assert figures["doubled"]["peak_memory_mb"] > 0


@pytest.mark.proof
def test_runner_prints_memory_effort_and_how_soon_it_begins() -> None:
    ended = _asked("runner", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    told = ("peak_memory_mb", "claim_p99_ms", "cpu_ms_per_deployment", "cpu_growth", "memory_growth")
    assert min(figures[name] for name in told) > 0


@pytest.mark.proof
def test_growth_prints_one_json_object_last() -> None:
    ended = _asked("growth", "--json", "--quick")

    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert min(figures["ours_per_second"], figures["peer_per_second"], figures["ratio"]) > 0
    assert len(figures["sizes"]) == 3
    for growth in (figures["growth"], figures["growth_with_snapshot"]):
        assert set(growth) >= {"append", "load", "read"}
        assert all(value > 0 for value in growth.values())


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    ended = _asked("speed")

    assert ended.returncode == 2
    assert "append" in ended.stderr
