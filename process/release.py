"""Which release of the service this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """The version of the installed package; 0 when it runs from its sources alone."""
    try:
        return version("dart-cloud-functions")
    except PackageNotFoundError:
        return "0"
