"""The program `dcf` starts from anywhere, whatever lies there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


class TestProgram:
    def test_is_not_led_astray_by_the_folder_it_is_called_from(self, tmp_path: Path) -> None:
        for name in ("cli", "api", "process"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stranger')\n")
        link = tmp_path / "bin" / "dcf"
        link.parent.mkdir()
        link.symlink_to(ROOT / "dcf")

        ended = subprocess.run([link, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)

        assert ended.returncode == 0, ended.stderr
        assert re.fullmatch(r"dcf, version \d+\.\d+.*\n", ended.stdout)

    def test_says_how_to_make_what_it_needs(self, tmp_path: Path) -> None:
        alone = tmp_path / "dcf"
        alone.write_bytes((ROOT / "dcf").read_bytes())
        alone.chmod(0o755)

        ended = subprocess.run([alone], env=dict(os.environ), capture_output=True, text=True, check=False)

        assert ended.returncode == 1
        assert "make -C" in ended.stderr
