"""`dcf projections` against the real API, with the read models in PostgreSQL and an engine beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from cli import exits
from cli.projections import _progress
from tests.api.world import World, world_on_postgres
from tests.cli.conftest import Running, Terminal
from tests.cli.served import served


@pytest.fixture
def on_postgres(database_url: str, tmp_path: Path) -> Iterator[Running]:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[Any, World]]:
        async with world_on_postgres(database_url, tmp_path / "service") as world:
            yield world.app, world

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with served(make) as (url, world, act):
        try:
            yield Running(url, world, act)
        finally:
            world.app.streams.close()
    structlog.reset_defaults()


@pytest.fixture
def operator(terminal: Terminal, on_postgres: Running) -> Terminal:
    terminal.environment |= {"DCF_URL": on_postgres.url, "DCF_KEY": on_postgres.world.operator_key}
    return terminal


def test_rebuild_verify_switch_back_and_drop(operator: Terminal) -> None:
    rebuilt = operator.must("projections", "rebuild", "plans", "runtimes")
    after = operator.must("projections", "status", "plans", "--json").json
    verified = operator.must("projections", "verify", "plans", "--json")
    back = operator.must("projections", "switch-back", "plans", "--json").json
    dropped = operator.must("projections", "drop-old", "plans").out

    assert "plans: rebuild: done; 4 rows, 0 differ" in rebuilt.out
    assert (after["served"]["build"], after["previous"]["build"], after["lagEvents"]) == (1, 0, 0)
    assert (verified.json["findings"]["compared"], verified.json["findings"]["differing"]) == (True, [])
    assert (back["purpose"], back["step"], back["build"]) == ("switch_back", "done", 0)
    assert "_b1" in dropped


async def test_verify_of_rows_that_are_wrong_exits_with_1(operator: Terminal, database_url: str) -> None:
    operator.must("projections", "status")
    connection = await asyncpg.connect(database_url)
    kind = operator.must("projections", "status", "plans", "--json").json["served"]["version"]
    await connection.execute(f"UPDATE views.plans_v{kind} SET position = 1 WHERE position > 1")
    await connection.close()

    ended = operator.type("projections", "verify", "plans", "--json")

    assert ended.code == exits.FAILED
    assert ended.json["findings"]["differing"]


async def test_what_is_parked_shows_with_its_error(operator: Terminal, database_url: str) -> None:
    version = operator.must("projections", "status", "plans", "--json").json["served"]["version"]
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO views.parked (kind, tenant_id, position, stream_id, ids, error)"
        " VALUES ($1, $2, 1, $2, '{}', 'ArithmeticError: wrong sum')",
        f"plans_v{version}",
        "00000000-0000-0000-0000-000000000000",
    )
    await connection.close()

    shown = operator.must("projections", "status", "plans").out
    listed = {
        item["name"]: item["parkedEvents"] for item in operator.must("projections", "status", "--json").json["items"]
    }
    replayed = operator.must("projections", "replay-parked", "plans").out

    assert "ArithmeticError: wrong sum" in shown
    assert "dcf projections replay-parked plans" in shown
    assert listed["plans"] == 1
    assert "1 applied, 0 left" in replayed


def test_asks_for_names_and_refuses_by_name(operator: Terminal) -> None:
    assert operator.type("projections", "rebuild").code == exits.USAGE
    assert operator.type("projections", "rebuild", "plans", "--all").code == exits.USAGE
    unknown = operator.type("projections", "rebuild", "nothing")
    assert unknown.code == exits.FAILED
    assert "read_model_not_found" in unknown.err
    for name in ("", "..", "../queue", "plans?x=1"):  # They would lead elsewhere.
        assert "There is no read model" in operator.type("projections", "status", name).err
    assert operator.type("projections", "rebuild", "plans", "--timeout", "nan").code == exits.USAGE
    assert "no_projection_job" in operator.type("projections", "cancel", "plans").err


def test_no_wait_only_asks(operator: Terminal) -> None:
    asked = operator.must("projections", "rebuild", "plans", "--no-wait", "--json").json
    assert (asked["purpose"], asked["name"]) == ("rebuild", "plans")


def test_a_tenants_key_is_not_enough(operator: Terminal, on_postgres: Running) -> None:
    assert operator.type("projections", "status", DCF_KEY=on_postgres.world.owner_key).code == exits.NOT_ALLOWED


def test_the_bar_tells_rate_and_time_left() -> None:
    job = {"step": "scanning", "share": 0.5, "eventsPerSecond": 61234.5, "secondsLeft": 8.2, "purpose": "rebuild"}

    assert _progress(job) == f"[{'█' * 12}{'░' * 12}]  50%  61,234 events/s  8 s left"
    assert _progress({**job, "step": "catching_up"}) == "rebuild: catching up"
