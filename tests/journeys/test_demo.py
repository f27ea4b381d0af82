"""The demo is right."""

from __future__ import annotations

import subprocess
import sys

from tests.support.service import ROOT


def test_demo_ends_with_every_answer_right() -> None:
    ended = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Every answer was right" in ended.stdout
