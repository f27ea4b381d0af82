"""A deployment is followed through outages and impatience, and its outcome is the exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli import exits
from cli.account import Account
from cli.client import Api, Unreachable
from cli.following import DEAF_MAX, OUTAGE_SECONDS_MAX, OUTCOMES, Following
from cli.live import Message, messages
from cli.screen import Screen
from cli.trouble import Trouble
from process.secret import Secret
from tests.cli.conftest import Terminal
from tests.cli.served import Answered, Asked, scripted

ROOT = Path(__file__).parents[2]
PROJECT = "0192d3a4-0000-7000-8000-000000000001"
DEPLOYMENT = "0192d3a4-0000-7000-8000-000000000002"
# So long that the client does not wait for it.
NO_STREAM = Answered(200, {"items": [], "nextCursor": None})
AWAY = Answered(503, {"code": "store_unavailable", "title": "Away"}, (("retry-after", "60"),))


def _deployment(status: str, **more: object) -> dict[str, object]:
    return {"deploymentId": DEPLOYMENT, "projectId": PROJECT, "status": status, "warnings": [], **more}


def _state(status: str, **more: object) -> Answered:
    return Answered(200, _deployment(status, **more))


def _told(*types: str, first: int = 0) -> list[dict[str, object]]:
    return [
        {"position": f"1:{n}", "type": type, "message": "It happened.", "at": f"2026-01-02T03:04:{5 + n:02}Z"}
        for n, type in enumerate(types, first)
    ]


def _events(*types: str, first: int = 0) -> Answered:
    return Answered(200, {"items": _told(*types, first=first), "nextCursor": None})


def _stream(*types: str, first: int = 0) -> Answered:
    """A stream that is cut after these events."""
    told = [
        f"id: {event['position']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
        for event in _told(*types, first=first)
    ]
    return Answered(200, "".join(["retry: 2000\n\n", *told]).encode(), media_type="text/event-stream; charset=utf-8")


def _routes(
    states: Sequence[Answered], events: Sequence[Answered], streams: Sequence[Answered]
) -> dict[str, Sequence[Answered]]:
    projects = Answered(200, {"items": [{"projectId": PROJECT, "name": "shop"}], "nextCursor": None})
    return {"live /events": streams, "/events": events, f"/{DEPLOYMENT}": states, "/projects": [projects]}


class Watch:
    """A watch whose time passes only when it waits."""

    def __init__(self) -> None:
        self.now, self.waits, self.out = 0.0, [0.0], io.StringIO()

    def until(
        self,
        states: Sequence[Answered],
        events: Sequence[Answered],
        *,
        streams: Sequence[Answered] = (NO_STREAM,),
        seconds_max: float = 60,
    ) -> dict[str, object]:
        with scripted(AWAY, at=_routes(states, events, streams)) as (url, self.script):
            api = Api(Account(url, Secret("dcf_key")))
            screen = Screen({}, as_json=False, out=self.out, err=io.StringIO())
            following = Following(api, screen, _deployment("queued"), clock=lambda: self.now, pause=self._pause)
            try:
                return following.until(OUTCOMES, seconds_max=seconds_max)
            finally:
                api.close()

    def asked(self, end: str) -> list[Asked]:
        return [request for request in self.script.asked if request.path.endswith(end)]

    def lines(self) -> list[list[str]]:
        return [line.split()[:3] for line in self.out.getvalue().splitlines()]

    def _pause(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


class TestUntil:
    def test_each_event_is_told_once_with_the_times_of_the_log(self) -> None:
        watch = Watch()
        told = [_events("deployment.queued", "deployment.claimed"), _events("deployment.succeeded", first=3)]

        ended = watch.until([_state("running"), _state("succeeded")], told)

        assert ended["status"] == "succeeded"
        assert watch.lines() == [
            ["0.0", "s", "deployment.queued"],
            ["1.0", "s", "deployment.claimed"],
            ["3.0", "s", "deployment.succeeded"],
        ]
        cursors = [request.query for request in watch.asked("/events") if not request.is_live]
        assert ["cursor" in query for query in cursors] == [False, True]

    def test_the_service_may_be_away_for_a_while(self) -> None:
        ended = Watch().until([AWAY, AWAY, _state("succeeded")], [_events("deployment.succeeded")])

        assert ended["status"] == "succeeded"

    def test_but_not_for_ever(self) -> None:
        watch = Watch()

        with pytest.raises(Unreachable):
            watch.until([AWAY], [_events()], seconds_max=10 * OUTAGE_SECONDS_MAX)

        assert OUTAGE_SECONDS_MAX < watch.now < OUTAGE_SECONDS_MAX + 5

    def test_looks_less_often_after_a_minute(self) -> None:
        watch = Watch()

        with pytest.raises(Trouble) as late:
            watch.until([_state("running")], [_events()], seconds_max=70)

        assert late.value.exit_code == exits.TIMED_OUT
        assert "is running and not over after 70 s" in late.value.message
        assert late.value.then == f"dcf deployments watch {DEPLOYMENT} --project {PROJECT}"
        assert watch.waits[1] < watch.waits[-1]


class TestTheLiveStream:
    def test_is_read_as_it_comes_and_not_asked_beside(self) -> None:
        watch = Watch()
        stream = _stream("deployment.claimed", "deployment.succeeded", first=1)

        ended = watch.until(
            [_state("queued"), _state("succeeded")], [_events("deployment.queued"), _events()], streams=[stream]
        )

        assert ended["status"] == "succeeded"
        assert [line[2] for line in watch.lines()] == [
            "deployment.queued",
            "deployment.claimed",
            "deployment.succeeded",
        ]
        assert [request.headers.get("last-event-id") for request in watch.asked("/events") if request.is_live] == [
            "1:0"
        ]
        # What is asked after the last event must be as new as that event.
        assert [request.headers.get("if-position") for request in watch.asked(DEPLOYMENT)] == [None, "1:2"]

    def test_cut_again_and_again_each_event_is_told_once(self) -> None:
        watch = Watch()
        streams = [_stream(f"deployment.step_{n}", first=n) for n in range(50)]
        streams[-1] = _stream("deployment.succeeded", first=49)

        watch.until([*[_state("running")] * 50, _state("succeeded")], [_events()], streams=streams)

        assert [float(line[0]) for line in watch.lines()] == list(range(50))
        resumed = [request.headers.get("last-event-id") for request in watch.asked("/events") if request.is_live]
        assert resumed == [None, *(f"1:{n}" for n in range(49))]

    def test_that_is_none_is_not_asked_for_for_ever(self) -> None:
        watch = Watch()

        watch.until([*[_state("running")] * 8, _state("succeeded")], [_events()], streams=[NO_STREAM])

        assert len([request for request in watch.asked("/events") if request.is_live]) == DEAF_MAX

    def test_of_a_service_that_went_away_is_taken_up_again(self) -> None:
        watch = Watch()
        states = [_state("running"), AWAY, AWAY, _state("running"), _state("succeeded")]

        ended = watch.until(
            states, [_events()], streams=[_stream("deployment.claimed"), _stream("deployment.succeeded", first=1)]
        )

        assert ended["status"] == "succeeded"
        assert len(watch.lines()) == 2


class TestMessages:
    def test_are_found_however_the_bytes_are_cut(self) -> None:
        told = ': hello\n\nid: 1:7\nevent: log\ndata: {"text":"a\u2028b\\n"}\n\nid: 1:9\n\n'.encode()

        for size in (1, 2, 3, 7, len(told)):
            found = list(messages(iter([told[at : at + size] for at in range(0, len(told), size)])))

            assert found == [Message(), Message("1:7", "log", {"text": "a\u2028b\n"}), Message("1:9")]

    def test_that_never_end_are_given_up(self) -> None:
        with pytest.raises(ValueError, match="too long"):
            list(messages(iter([b"data: "] + [b"x" * 1_000_000] * 9)))


class TestExitCodes:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            ("succeeded", exits.OK),
            ("undeployed", exits.OK),
            ("failed", exits.FAILED),
            ("undeploy_failed", exits.FAILED),
            ("canceled", exits.CANCELED),
        ],
    )
    def test_tell_the_outcome(self, terminal: Terminal, status: str, code: int) -> None:
        failure = {"code": "build_failed", "step": "build", "message": "main.dart:1: no\n  ^", "remedy": "Mend it."}
        resting = _state(status, failure=failure if code == exits.FAILED else None, url="http://f.example/")

        with scripted(AWAY, at=_routes([resting], [_events("deployment.queued")], [NO_STREAM])) as (url, _):
            watched = terminal.type("deployments", "watch", DEPLOYMENT, DCF_URL=url, DCF_KEY="dcf_key")

        assert watched.code == code
        if code == exits.FAILED:
            assert "at build: main.dart:1: no\n    ^\n" in watched.err
            assert f"Mend it. (dcf deployments logs {DEPLOYMENT}" in watched.err

    def test_interrupting_says_how_to_go_on(self, tmp_path: Path) -> None:
        with scripted(
            AWAY, at=_routes([_state("running")], [_events("deployment.queued"), _events()], [NO_STREAM])
        ) as (url, _):
            environment = {**os.environ, "DCF_URL": url, "DCF_KEY": "dcf_key", "HOME": str(tmp_path)}
            command = [sys.executable, "-m", "cli", "deployments", "watch", DEPLOYMENT]
            with subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as watching:
                assert watching.stdout is not None
                assert "deployment.queued" in watching.stdout.readline()
                watching.send_signal(signal.SIGINT)
                _, err = watching.communicate(timeout=30)

        assert watching.returncode == exits.INTERRUPTED
        assert f"dcf deployments watch {DEPLOYMENT} --project {PROJECT}" in err
