"""The stand-in VM, and an example running on it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import httpx
import pytest

from providers.local.engine import Surroundings
from providers.local.stand_in_fetch import fetch
from tests.providers.grounds import TOOLCHAIN_DIR
from tests.support.service import until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMPILE_SECONDS_MAX, START_SECONDS_MAX, STOP_SECONDS_MAX = 100, 60, 10
SHELF = Path(__file__).parent / "shelf"

Compile = Callable[[str], Path]


class Function:
    """An example that answers on a port of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def connect(self) -> socket.socket:
        """A connection on which a test may leave a request half sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def terminate(self) -> None:
        """SIGTERM, and nobody is let in any more."""
        self.process.send_signal(signal.SIGTERM)
        until(lambda: not _answers(self.port), seconds=STOP_SECONDS_MAX, what="no new connections")

    def ended(self) -> tuple[int, str]:
        """How it ended, and what it said."""
        said, _ = self.process.communicate(timeout=STOP_SECONDS_MAX)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def vm() -> tuple[str, ...]:
    surroundings = Surroundings(
        search_path=os.environ["PATH"], environment=dict(os.environ), toolchain_dir=TOOLCHAIN_DIR
    )
    return asyncio.run(fetch(surroundings)).command


@pytest.fixture(scope="module")
def compiled(vm: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compiles an example, with its packages as far as there are any here, and says where the program is."""
    folder = tmp_path_factory.mktemp("examples")
    packages = folder / "package_config.json"
    shelf = {"name": "shelf", "rootUri": SHELF.as_uri(), "packageUri": "lib/", "languageVersion": "3.7"}
    packages.write_text(json.dumps({"configVersion": 2, "packages": [shelf]}))

    def compile_it(name: str) -> Path:
        program = folder / f"{name}.dill"
        if not program.exists():
            source = EXAMPLES / name / "main.dart"
            options = (f"--packages={packages}", f"--snapshot={program}", "--snapshot-kind=kernel")
            made = subprocess.run(
                [*vm, *options, source], capture_output=True, text=True, timeout=COMPILE_SECONDS_MAX, check=False
            )
            assert made.returncode == 0, made.stdout + made.stderr
        return program

    return compile_it


@pytest.fixture(scope="module")
def start(vm: tuple[str, ...], compiled: Compile) -> Iterator[Callable[..., Function]]:
    """Starts an example; what still runs at the end of the module is ended then."""
    begun: list[Function] = []

    def start_it(name: str, **variables: str) -> Function:
        port = _free_port()
        process = subprocess.Popen(
            [*vm, compiled(name)],
            env={"PORT": str(port), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        function = Function(process, port)
        begun.append(function)
        until(lambda: _answers(port), seconds=START_SECONDS_MAX, what=f"{name} listening")
        return function

    yield start_it
    for function in begun:
        function.api.close()
        function.process.kill()
        function.process.communicate()


@pytest.fixture(scope="module")
def running(start: Callable[..., Function]) -> Callable[[str], Function]:
    """The example that all tests of the module share, started when first asked for."""
    return cache(lambda name: start(name, GREETING="Ahoy"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
