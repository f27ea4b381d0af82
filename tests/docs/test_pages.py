"""The pages of the documentation are true: what they say to type is typed, and answers what they say it does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.recipe import Shell, agrees, steps
from tests.support.service import ROOT, Service

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the page's own: what another page has made would be in the reader's way."""
    running = Service(tmp_path_factory.mktemp("service") / "data")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def reader(service: Service, tmp_path: Path) -> Iterator[Shell]:
    """Somebody at a shell, in a folder like the repository, with the service's data directory in it."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".dcf").symlink_to(service.data_dir)
    python = Path(sys.executable).parent
    environment = {
        "PATH": f"{ROOT}:{python}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "DCF_TOOLCHAIN_DIR": os.environ.get("DCF_TOOLCHAIN_DIR", str(ROOT / ".dcf" / "toolchain")),
    }
    with Shell(tmp_path, environment) as shell:
        yield shell


def _follow(page: str, reader: Shell, service: Service) -> None:
    ports = {"8000": service.ports["api"], "8001": service.ports["functions"]}
    for step in steps(ROOT / "docs" / page):
        commands = step.commands
        for usual, port in ports.items():
            commands = commands.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")

        status, said = reader.type(commands)

        assert status == 0, f"{commands}\n-- ended with {status}:\n{said}"
        assert agrees(step, said), f"{commands}\n-- should have said:\n{step.shown}\n-- and said:\n{said}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_api_by_task(reader: Shell, service: Service) -> None:
    _follow("api.md", reader, service)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_tutorial(reader: Shell, service: Service) -> None:
    _follow("tutorial.md", reader, service)


@pytest.mark.proof
def test_a_backup_is_restored_elsewhere(reader: Shell, service: Service) -> None:
    reader.type("dcf --key-file .dcf/owner.key projects create kept")

    _follow("operations.md", reader, service)
