"""A log line is one fact, on one line, with no secret in it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from process import logs
from process.secret import Secret


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged; the set-up before is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class TestSetUp:
    def test_writes_json_where_nobody_looks(self, lines: io.StringIO) -> None:
        logs.set_up("runner", stream=lines)

        structlog.get_logger().info("build_started", build_id="b1")

        line = msgspec.json.decode(lines.getvalue())
        assert (line["event"], line["build_id"], line["process"], line["level"]) == (
            "build_started",
            "b1",
            "runner",
            "info",
        )

    def test_writes_keys_and_values_for_people(self, lines: io.StringIO) -> None:
        logs.set_up("runner", style="text", stream=lines)

        structlog.get_logger().info("build_started", build_id="b1", reason="two words")

        assert lines.getvalue().endswith("info    build_started build_id=b1 reason='two words'\n")

    def test_takes_the_lines_of_libraries_too(self, lines: io.StringIO) -> None:
        logs.set_up("runner", stream=lines)

        logging.getLogger("some.package").warning("%s is odd", "it")

        assert msgspec.json.decode(lines.getvalue())["event"] == "it is odd"

    @pytest.mark.parametrize("style", ["text", "json"])
    @pytest.mark.parametrize("evil", ["\n", "\r", "\x1b[2J", "\x9b31m", "\x00", "\u2028", "\u202e", "\x85"], ids=ascii)
    def test_lets_nobody_make_up_a_line(self, lines: io.StringIO, style: str, evil: str) -> None:
        logs.set_up("runner", style=style, stream=lines)

        structlog.get_logger().info(f"named{evil}12:00:00 info all_is_well", name=f"x{evil}12:00:00", all=[{"k": evil}])

        assert lines.getvalue().endswith("\n")
        assert lines.getvalue()[:-1].isprintable()


class TestRedact:
    @pytest.mark.parametrize(
        "secret",
        [
            {"api_key": "hunter2"},
            {"Authorization": "hunter2"},
            {"headers": {"cookie": "hunter2"}},
            {"all": ["Bearer hunter2"]},
            {"url": "postgresql://dcf:hunter2@host/dcf"},
            {"given": Secret("hunter2")},
            {"error": "GET https://me:hunter2@host/ failed"},
        ],
    )
    def test_hides_what_is_or_looks_like_a_secret(self, lines: io.StringIO, secret: dict[str, object]) -> None:
        logs.set_up("api", stream=lines)

        structlog.get_logger().info("seen", **secret)

        assert "hunter2" not in lines.getvalue()
        assert logs.HIDDEN in lines.getvalue()

    def test_leaves_the_rest(self, lines: io.StringIO) -> None:
        logs.set_up("api", stream=lines)

        structlog.get_logger().info("seen", secret_names=["A"], key_id="k", url="postgresql://host/dcf")

        assert logs.HIDDEN not in lines.getvalue()
