"""Which release of the service this is."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SOURCES = Path(__file__).parent.parent / "pyproject.toml"


@cache
def release() -> str:
    """The version of the installed package, or of the sources where it runs from these alone."""
    try:
        return version("dart-cloud-functions")
    except PackageNotFoundError:
        project: dict[str, str] = tomllib.loads(_SOURCES.read_text())["project"]
        return project["version"]
