"""The real API on a real port, and `dcf` as its owner types it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from cli.__main__ import run
from tests.api.world import DOCKERFILE, MAIN_DART, PUBSPEC, World, world_in_memory
from tests.cli.served import Act, served


class Ended(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Types commands in one environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str], environment: Mapping[str, str]) -> None:
        self._capsys = capsys
        self.environment = dict(environment)

    def type(self, *arguments: str, **variables: str) -> Ended:
        """Run `dcf` with the arguments."""
        code = run(arguments, {**self.environment, **variables})
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    def must(self, *arguments: str) -> Ended:
        """The same, and it must end well."""
        ended = self.type(*arguments)
        assert ended.code == 0, ended.err
        return ended


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Somebody who is not signed in, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Terminal(
        capsys,
        {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "DCF_DATA_DIR": str(tmp_path / "data")},
    )


class Running(msgspec.Struct, frozen=True):
    """The API on a port of its own. `act` does something where it runs, beside its requests."""

    url: str
    world: World
    act: Act


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """The API, on a store in memory."""
    with running_with(lambda: world_in_memory(tmp_path / "service")) as made:
        yield made


@contextmanager
def running_with(world_of: Callable[[], AbstractAsyncContextManager[World]]) -> Iterator[Running]:
    """The API of a world that is made where it runs."""

    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[Any, World]]:
        async with world_of() as world:
            yield world.app, world

    # It runs in this very process, whose standard output is what the tests look at.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with served(make) as (url, world, act):
        try:
            yield Running(url, world, act)
        finally:
            world.app.streams.close()
    structlog.reset_defaults()


@pytest.fixture
def service(running: Running) -> tuple[str, World]:
    """The address of the API, and what it stands on."""
    return running.url, running.world


@pytest.fixture
def owner(terminal: Terminal, service: tuple[str, World]) -> Terminal:
    """The tenant's owner, by key."""
    url, world = service
    terminal.environment |= {"DCF_URL": url, "DCF_KEY": world.owner_key}
    return terminal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a function."""
    made = tmp_path / "function"
    made.mkdir()
    for name, content in {"main.dart": MAIN_DART, "Dockerfile": DOCKERFILE, "pubspec.yaml": PUBSPEC}.items():
        (made / name).write_bytes(content)
    return made
