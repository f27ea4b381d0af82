"""Choosing how an emulator builds: for real where this machine has the tools, else recorded."""

from __future__ import annotations

from pathlib import Path

from tests.emulators.containers import Containers
from tests.emulators.images import Craft, Workshop
from tests.emulators.recorded import Recorded, stand_in


def workshop(folder: Path, toolchain_dir: Path, *, real: bool) -> Workshop:
    """A workshop in a folder of its own. Raises EngineUnavailable without the stand-in VM, and Unusable for a real one
    where images cannot be built and run."""
    vm = stand_in(toolchain_dir)
    craft: Craft = Containers(folder / "craft", vm) if real else Recorded(folder / "craft", vm)
    return Workshop(folder / "work", craft)
