"""Whoever leaves a part out takes it from nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from process.lean import import_without
import_without("structlog", "rich")
import structlog.dev, rich.console
print(structlog.dev.rich, rich.console.Console.__name__)
"""


def test_a_library_is_imported_without_what_others_still_find() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["None", "Console"]
