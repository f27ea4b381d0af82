"""`serve` runs the whole service, or says at once what is in its way."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from process import ports

ROOT = Path(__file__).parents[2]
FREE = {f"DCF_{name}PORT": "0" for name in ("", "FUNCTIONS_", "PROJECTIONS_", "RUNNER_", "AGENT_")}


def _serve(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DCF_")}
    return subprocess.run(
        [sys.executable, "-m", "cli", "serve", *options],
        cwd=ROOT,
        env={**ours, **FREE, **variables},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


class TestServe:
    def test_says_which_port_is_taken_and_by_what(self, tmp_path: Path) -> None:
        with ports.listen("127.0.0.1", 0, variable="DCF_PORT") as listener:
            port = listener.getsockname()[1]

            refused = _serve("--data-dir", str(tmp_path), "--port", str(port))

        assert refused.returncode == 1
        assert f"port {port} is taken by process {os.getpid()} (" in refused.stderr
        assert "DCF_PORT" in refused.stderr

    def test_says_who_serves_the_data_directory_already(self, tmp_path: Path) -> None:
        with (tmp_path / "serve.lock").open("w") as lock:
            lock.write("4711\n")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)

            refused = _serve(DCF_DATA_DIR=str(tmp_path))

        assert refused.returncode == 1
        assert "is served by process 4711" in refused.stderr
        assert "DCF_DATA_DIR" in refused.stderr

    def test_names_a_variable_it_cannot_use(self, tmp_path: Path) -> None:
        refused = _serve(DCF_DATA_DIR=str(tmp_path), DCF_RUNNER_PORT="many")

        assert refused.returncode == 1
        assert refused.stderr.startswith("Cannot serve: DCF_RUNNER_PORT:")

    def test_says_when_the_database_is_not_there(self, tmp_path: Path) -> None:
        refused = _serve(DCF_DATA_DIR=str(tmp_path), DCF_DATABASE_URL="postgresql://dcf:hunter2@127.0.0.1:1/dcf")

        assert refused.returncode == 1
        assert "Cannot serve:" in refused.stderr
        assert "hunter2" not in refused.stderr

    def test_does_not_go_beyond_this_machine_with_the_first_keys(self, tmp_path: Path) -> None:
        refused = _serve("--host", "0.0.0.0", DCF_DATA_DIR=str(tmp_path), DCF_DATABASE_DURABLE="false")

        assert refused.returncode == 1
        assert "DCF_FIRST_KEYS_EXPOSED" in refused.stderr
        assert list(tmp_path.glob("*.key")) == []
