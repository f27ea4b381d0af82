"""How every process logs: one line a fact, with a name and keys, and no secret in it."""

from __future__ import annotations

import logging
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from process.secret import Secret

HIDDEN = "********"

# A key that ends like this names a secret, whatever it holds; `secret_names` and `key_id` do not.
_SECRET_KEY = re.compile(r"(^|_)(password|passphrase|secret|token|authorization|cookie|credential|api_key|master_key)$")
# The password in an address, and what follows the word Bearer.
_SECRET_TEXT = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)|(?i:(?<=bearer ))\S+")

# Chatty at info about each of their own steps.
_QUIET = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "httpx",
    "httpcore",
    "botocore",
    "aiobotocore",
    "alembic",
    "asyncio",
)


def set_up(process: str, *, style: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's log lines to `stream` (standard error), each naming `process`.

    `style`: `text` (key=value), `json`, or `auto`: text on a terminal, JSON otherwise.
    """
    out = stream or sys.stderr
    text = style == "text" or (style == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _text if text else _json()],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide what a key calls a secret, and what looks like one inside a text."""
    return {key: HIDDEN if _SECRET_KEY.search(key.lower()) else _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return _SECRET_TEXT.sub(lambda found: f"{found[1]}:{HIDDEN}" if found[1] is not None else HIDDEN, value)
        case Secret():
            return HIDDEN
        case dict():
            return redact(None, "", value)
        case list() | tuple():
            return [_redacted(item) for item in value]
        case _:
            return value


def _named(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, "process": process}

    return add


def _json() -> Callable[[WrappedLogger, str, EventDict], str | bytes]:
    return structlog.processors.JSONRenderer()


def _text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    time, level, name = event.pop("timestamp"), event.pop("level"), event.pop("event")
    event.pop("process", None)  # On a terminal the supervisor's prefix says it.
    trace = event.pop("exception", None)
    keys = "".join(f" {key}={_quoted(value)}" for key, value in event.items())
    line = f"{time[11:23]} {level:<7} {printable(str(name))}{keys}"
    return line if trace is None else f"{line}\n{textwrap.indent(trace, '    ')}"


def _quoted(value: object) -> str:
    shown = str(value)
    return shown if re.fullmatch(r"[\w.:/+@*-]+", shown) else repr(shown)


def printable(text: str) -> str:
    """One line of it: whoever chose the text cannot make up a log line of his own, nor command the terminal that shows it."""
    return text if text.isprintable() else repr(text)[1:-1]
