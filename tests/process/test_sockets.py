"""Sockets are private to one user and one data directory, however long its path."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from process.sockets import DIRECTORY_BYTES_MAX, SocketDirectoryUnsafe, socket_directory


class TestSocketDirectory:
    def test_is_private_and_inside_the_data_directory(self) -> None:
        with tempfile.TemporaryDirectory() as short:
            found = socket_directory(Path(short))

            assert found == Path(short).resolve() / "run"
            assert stat.S_IMODE(found.stat().st_mode) == 0o700

    def test_is_short_when_the_data_directory_is_not(self, tmp_path: Path) -> None:
        deep = tmp_path / ("d" * 120)

        found = socket_directory(deep)

        try:
            assert len(str(found)) <= DIRECTORY_BYTES_MAX
            assert stat.S_IMODE(found.stat().st_mode) == 0o700
            assert found == socket_directory(deep)
            assert found != socket_directory(tmp_path / ("e" * 120))
        finally:
            found.rmdir()
            socket_directory(tmp_path / ("e" * 120)).rmdir()

    def test_is_refused_when_others_can_use_it(self, tmp_path: Path) -> None:
        deep = tmp_path / ("f" * 120)
        found = socket_directory(deep)
        found.chmod(0o777)

        try:
            with pytest.raises(SocketDirectoryUnsafe, match="remove it"):
                socket_directory(deep)
        finally:
            found.rmdir()
