"""Imports libraries without what they load only to draw on terminals: a tenth and more of what a process takes to start."""

from __future__ import annotations

import sys
from importlib import import_module


def import_without(library: str, *absent: str) -> None:
    """Import a library as if these modules, which it does without, were not installed. Whoever else asks for them finds them.

    It changes nothing once the library has been imported: packages that are processes do it before anything else.
    """
    hidden = [name for name in absent if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is Python's own way to say so.
    try:
        import_module(library)
    finally:
        for name in hidden:
            del sys.modules[name]
