"""A name for code, which changes by itself whenever the code does."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path


def fingerprint(modules: Iterable[str]) -> str:
    """Of the source of these modules, and of all that lie in the same folders, since they may be made of it.

    Take it when the modules are loaded: later their files may be those of another release. Empty when there are no
    files to read.
    """
    folders = {Path(file).parent for name in modules if (file := getattr(sys.modules.get(name), "__file__", None))}
    sources = sorted((path.name, path.read_bytes()) for folder in folders for path in folder.glob("*.py"))
    if not sources:
        return ""
    digest = hashlib.sha256()
    for name, source in sources:
        digest.update(f"{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:16]
