"""All emulators at once, as `make emulators` starts them."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import islice

import msgspec
import pytest

from tests.emulators.catalogue import EMULATORS
from tests.support.service import ROOT

STOP_SECONDS_MAX = 60
pytestmark = pytest.mark.timeout(300)


@pytest.mark.proof
def test_every_cloud_is_there_until_interrupted_and_says_how_to_get_to_it() -> None:
    typed = [sys.executable, "-m", "tests.emulators", "--json", "--recorded"]
    with subprocess.Popen(typed, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        told = [msgspec.json.decode(line) for line in islice(running.stdout, len(EMULATORS))]
        running.send_signal(signal.SIGINT)
        code = running.wait(STOP_SECONDS_MAX)

    assert code == 0
    assert sorted(one["provider"] for one in told) == sorted(EMULATORS)
    for one in told:
        assert any(name.startswith(f"DCF_{one['provider'].upper()}_") for name in one["settings"]), one
        assert "stands in" in one["standsInFor"] or "recorded" in one["standsInFor"], one
