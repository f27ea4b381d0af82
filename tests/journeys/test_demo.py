"""The demo is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulators.catalogue import EMULATORS
from tests.emulators.containers import Unusable
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR
from tests.support.service import ROOT

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


@pytest.mark.proof
@pytest.mark.parametrize("provider", ["local", *EMULATORS])
def test_demo_ends_with_every_answer_right(provider: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "examples/demo.py", "--provider", provider],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Every answer was right" in ended.stdout
    if provider != "local":
        assert ("Images are really built and run" in ended.stdout) == _builds_images(tmp_path), ended.stdout[:2000]


def test_a_cloud_there_is_no_emulator_of_is_refused_with_those_there_are() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.emulators", "moon"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert "there is no emulator of moon; there are" in ended.stderr
    assert "gcp" in ended.stderr


def _builds_images(folder: Path) -> bool:
    """Whether images can be built and run for real here."""
    try:
        workshop(folder, TOOLCHAIN_DIR, real=True).close()
    except Unusable:
        return False
    return True
