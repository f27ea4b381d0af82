"""The demo is right."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.service import ROOT

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


def test_demo_ends_with_every_answer_right() -> None:
    ended = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Every answer was right" in ended.stdout
