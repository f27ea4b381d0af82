"""The commands of a page and what they are said to answer, run one after the other in one shell."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

# What is typed, and what stands below it as its output. Blocks in no language are shown and not run.
_BLOCK = re.compile(r"^```(sh|json|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# In an output it stands for whatever is there.
ANYTHING = "…"
BLOCK_SECONDS_MAX = 120.0


class Step(msgspec.Struct, frozen=True):
    """Commands, and their output as the page shows it; None: it shows none."""

    commands: str
    shown: str | None = None
    language: str = ""


def steps(page: Path) -> Iterator[Step]:
    """The steps of a page in their order."""
    found = _BLOCK.findall(page.read_text())
    for at, (language, content) in enumerate(found):
        if language != "sh":
            continue
        below = found[at + 1] if at + 1 < len(found) else ("sh", "")
        yield Step(content) if below[0] == "sh" else Step(content, below[1], below[0])


class Shell:
    """A bash that keeps what it is told: variables, functions, the folder it is in."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.kill()
        self._bash.communicate()

    def type(self, commands: str) -> tuple[int, str]:
        """The exit status of the last command, and all that was said."""
        assert self._bash.stdin is not None
        self._count += 1
        end = f"-- end of step {self._count}: "
        self._bash.stdin.write(f'{commands}\necho; echo "{end}$?"\n'.encode())
        self._bash.stdin.flush()
        said = self._until(end)
        text, _, status = said.rpartition(end)
        return int(status), text.strip("\n")

    def _until(self, end: str) -> str:
        assert self._bash.stdout is not None
        said, limit = b"", time.monotonic() + BLOCK_SECONDS_MAX
        with selectors.DefaultSelector() as ready:
            ready.register(self._bash.stdout, selectors.EVENT_READ)
            while not re.search(re.escape(end).encode() + rb"\d+\n$", said):
                assert time.monotonic() < limit, f"it takes too long: {said.decode()}"
                if ready.select(timeout=1):
                    piece = os.read(self._bash.stdout.fileno(), 65536)
                    assert piece, f"the shell ended: {said.decode()}"
                    said += piece
        return said.decode()


def agrees(step: Step, said: str) -> bool:
    """Whether the output is what the page shows: fields and lines it leaves out may be there all the same."""
    if step.shown is None:
        return True
    if step.language == "json":
        return _same(json.loads(step.shown), json.loads(said))
    return _lines_agree(step.shown.splitlines(), said.splitlines())


def _same(shown: Any, real: Any) -> bool:
    match shown:
        case str() if ANYTHING in shown:
            return shown == ANYTHING or (isinstance(real, str) and _fits(shown, real))
        case dict():
            named = {name: value for name, value in shown.items() if name != ANYTHING}
            return isinstance(real, dict) and all(n in real and _same(v, real[n]) for n, v in named.items())
        case [*first, last] if last == ANYTHING:
            return isinstance(real, list) and len(real) >= len(first) and all(map(_same, first, real))
        case list():
            return isinstance(real, list) and len(real) == len(shown) and all(map(_same, shown, real))
        case _:
            return bool(shown == real)


def _lines_agree(shown: list[str], real: list[str]) -> bool:
    match shown:
        case []:
            return not any(line.strip() for line in real)
        case [line, *rest] if line.strip() == ANYTHING:
            return any(_lines_agree(rest, real[at:]) for at in range(len(real) + 1))
        case _:
            return bool(real) and _fits(shown[0], real[0]) and _lines_agree(shown[1:], real[1:])


def _fits(shown: str, real: str) -> bool:
    """Spaces may be more or fewer: columns are as wide as what stands in them."""
    parts = [r"\s+".join(map(re.escape, part.split(" "))) for part in re.sub(" +", " ", shown.strip()).split(ANYTHING)]
    return re.fullmatch(".*".join(parts), real.strip(), re.DOTALL) is not None
