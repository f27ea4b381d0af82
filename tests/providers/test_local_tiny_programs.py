"""Programs of a few bytes do what they say."""

from __future__ import annotations

import platform
import socket
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from providers.local.tiny_program import connecting, exiting

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="of this machine's code only exiting is known")
HERE = IPv4Address("127.0.0.1")


def _run(folder: Path, program: bytes | None) -> int:
    assert program is not None
    file = folder / "program"
    file.write_bytes(program)
    file.chmod(0o755)
    return subprocess.run([file], env={}, timeout=20, check=False).returncode


def test_one_exits(tmp_path: Path) -> None:
    assert _run(tmp_path, exiting()) == 0


def test_one_connects_where_somebody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert _run(tmp_path, connecting(HERE, port)) == 0
        listener.settimeout(5)
        connection, _ = listener.accept()
        connection.close()


def test_one_says_that_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    assert _run(tmp_path, connecting(HERE, port)) == 1
    # An address that is of no network here, or that answers nothing (RFC 5737).
    assert _run(tmp_path, connecting(IPv4Address("192.0.2.1"), 80)) == 1
