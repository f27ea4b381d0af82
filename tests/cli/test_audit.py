"""`dcf audit` over HTTP: what was, what became of it, because of what; the log, and how it is followed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from cli import exits
from cli.moments import MOMENT
from tests.api.world import World
from tests.cli.conftest import Terminal

ROOT = Path(__file__).parents[2]
LINE_SECONDS_MAX = 30


@pytest.fixture
def function_id(owner: Terminal, folder: Path) -> str:
    """A function named hello, in a project, changed once."""
    owner.must("projects", "create", "shop")
    files = [str(folder / name) for name in ("main.dart", "Dockerfile", "pubspec.yaml")]
    owner.must("artifacts", "upload", *files)
    made: str = owner.must("functions", "create", "hello", "--json").json["functionId"]
    owner.must("functions", "update", "hello", "--description", "Says hello.")
    return made


@pytest.mark.usefixtures("function_id")
class TestReads:
    def test_as_of_shows_a_thing_as_it_was(self, owner: Terminal, function_id: str) -> None:
        entries = owner.must("audit", "history", "hello", "--json").json["items"]
        first = entries[0]["position"]

        then = owner.must("audit", "as-of", "hello", "--at", first, "--json").json
        now = owner.must("audit", "as-of", function_id, "--at", entries[-1]["position"], "--json").json
        shown = owner.must("audit", "as-of", "hello", "--at", first).out

        assert then["value"]["description"] == ""
        assert now["value"]["description"] == "Says hello."
        assert re.search(r"^kind +function$", shown, re.MULTILINE)

    def test_as_of_shows_lists(self, owner: Terminal) -> None:
        before = owner.must("audit", "log", "--type", "function.created", "--json").json["items"][0]["position"]
        epoch, number = before.split(":")
        earlier = f"{epoch}:{int(number) - 1}"

        now = owner.must("audit", "as-of", "functions", "--at", before, "--json").json["items"]
        then = owner.must("audit", "as-of", "functions", "--at", earlier)

        assert [item["name"] for item in now] == ["hello"]
        assert "There were no functions then." in then.out
        for what in ("projects", "artifacts", "members", "keys", "deployments", "integrations"):
            owner.must("audit", "as-of", what, "--at", before)

    def test_what_was_put_away_is_still_found_by_its_name(self, owner: Terminal, function_id: str) -> None:
        owner.must("functions", "archive", "hello")
        owner.must("projects", "archive", "shop")

        for project in ("shop", owner.must("projects", "list", "--all", "--json").json["items"][0]["projectId"]):
            items = owner.must("audit", "history", "hello", "--project", project, "--json").json["items"]
            assert {item["entityId"] for item in items} == {function_id}
            told = owner.must("audit", "log", "--project", project, "--json").json["items"]
            assert "project.archived" in {item["type"] for item in told}
            owner.must("audit", "as-of", "functions", "--project", project, "--at", items[0]["position"])

    def test_history_tells_every_change(self, owner: Terminal) -> None:
        told = owner.must("audit", "history", "hello").out

        assert "function.updated" in told
        assert "by UpdateFunction of request" in told
        assert '/description: "" -> "Says hello."' in told

    def test_diff_names_each_field(self, owner: Terminal) -> None:
        start = owner.must("audit", "history", "hello", "--json").json["items"][0]["position"]

        assert '/description: "" -> "Says hello."' in owner.must("audit", "diff", "hello", "--from", start).out
        assert "nothing differs" in owner.must("audit", "diff", "hello", "--from", start, "--to", start).out

    def test_causes_are_those_of_a_request_or_of_what_it_made(self, owner: Terminal) -> None:
        request = owner.must("audit", "history", "hello", "--json").json["items"][0]["correlationId"]

        by_request, by_name = owner.must("audit", "causes", request), owner.must("audit", "causes", "hello")

        assert by_request.out == by_name.out
        assert "CreateFunction by key" in by_request.out
        ended = owner.type("audit", "causes", "00000000-0000-4000-8000-000000000000")
        assert ended.code == exits.FAILED
        assert "Next:  dcf audit log" in ended.err

    def test_an_operator_names_the_tenant(self, owner: Terminal, service: tuple[str, World], function_id: str) -> None:
        operator = {"DCF_KEY": service[1].operator_key}
        tenant = owner.must("whoami", "--json").json["tenant"]["tenantId"]

        own = owner.must("audit", "history", function_id, "--json").json
        named = owner.type("audit", "history", function_id, "--tenant", tenant, "--json", **operator)

        assert json.loads(named.out) == own
        assert owner.type("audit", "history", function_id, "--tenant", tenant).code == exits.OK
        everything = owner.type("audit", "log", "--all-tenants", "--limit", "500", "--json", **operator).json["items"]
        assert len({event["tenantId"] for event in everything}) == 2


@pytest.mark.usefixtures("function_id")
class TestLog:
    def test_shows_the_newest_oldest_first(self, owner: Terminal) -> None:
        whole = owner.must("audit", "log", "--limit", "1000", "--json").json["items"]

        newest = owner.must("audit", "log", "--limit", "2", "--json").json["items"]

        assert newest == whole[-2:]
        assert [event["type"] for event in newest] == ["function.created", "function.updated"]

    def test_a_refused_command_shows_with_its_code(self, owner: Terminal) -> None:
        assert owner.type("projects", "create", "shop").code == exits.FAILED

        told = owner.must("audit", "log", "--type", "command.refused").out

        assert "CreateProject: project_name_taken" in told

    def test_filters_leave_what_fits(self, owner: Terminal, function_id: str) -> None:
        project = owner.must("projects", "list", "--json").json["items"][0]["projectId"]
        filters = (["--entity", "hello"], ["--project", "shop"], ["--since", "1h"], ["--type", "function.created"])
        for given in filters:
            items = owner.must("audit", "log", *given, "--json").json["items"]
            assert items, given
        assert {e["entityId"] for e in owner.must("audit", "log", "--entity", "hello", "--json").json["items"]} == {
            function_id
        }
        of_project = owner.must("audit", "log", "--project", "shop", "--json").json["items"]
        assert {event["projectId"] for event in of_project} == {project}
        assert "Nothing was recorded" in owner.must("audit", "log", "--actor", "nobody").out


class Follower:
    """`dcf audit log --follow` in a process of its own."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DCF_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", "audit", "log", "--follow", *arguments],
            cwd=ROOT,
            env={**inherited, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def line(self) -> str:
        return self._lines.get(timeout=LINE_SECONDS_MAX)

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=LINE_SECONDS_MAX)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def followers() -> Iterator[list[Follower]]:
    started: list[Follower] = []
    yield started
    for one in started:
        one.kill()


class TestFollow:
    def test_tells_the_newest_then_what_is_recorded_until_it_is_interrupted(
        self, owner: Terminal, followers: list[Follower]
    ) -> None:
        for name in ("one", "two"):
            owner.must("projects", "create", name)
        follower = Follower(owner.environment, "--json", "--type", "project.created", "--limit", "1")
        followers.append(follower)
        told: list[Any] = [json.loads(follower.line())]
        owner.must("projects", "create", "three")
        told.append(json.loads(follower.line()))

        assert [event["data"]["name"] for event in told] == ["two", "three"]
        assert follower.interrupt() == exits.INTERRUPTED

    def test_of_the_past_there_is_nothing_to_follow(self, owner: Terminal) -> None:
        assert owner.type("audit", "log", "--follow", "--until", "1h").code == exits.USAGE


class TestMoments:
    def test_are_times_days_positions_and_how_long_ago(self) -> None:
        assert MOMENT.convert("1:2045", None, None) == "1:2045"
        assert MOMENT.convert("2026-05-13", None, None) == "2026-05-13T00:00:00Z"
        assert MOMENT.convert("2026-05-13T08:00:00+02:00", None, None) == "2026-05-13T08:00:00+02:00"
        moment = datetime.fromisoformat(MOMENT.convert("90m", None, None))
        assert timedelta(minutes=90) <= datetime.now(UTC) - moment < timedelta(minutes=91)

    @pytest.mark.parametrize("text", ["yesterday", "2026-05-13T08:00:00", "12", "5y", "", "2026-13-01"])
    def test_nothing_else_is(self, terminal: Terminal, text: str) -> None:
        ended = terminal.type("audit", "as-of", "functions", "--at", text)

        assert ended.code == exits.USAGE
        assert "2026-05-13T08:00:00Z" in ended.err
