"""The same database, log and workers that the projections are tried on."""

from __future__ import annotations

from tests.projections.conftest import app, database, history, log, reader, workshop

__all__ = ["app", "database", "history", "log", "reader", "workshop"]
