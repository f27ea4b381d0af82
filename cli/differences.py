"""What differs, field by field, and what it takes to make up for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.client import Json
from cli.session import Session

_COLUMNS = {"field": "field", "before": "before", "after": "after", "needs": "needs"}
_DIGEST_LENGTH = len("sha256:") + 12


def show_differences(session: Session, differences: Json, *, empty: str) -> None:
    """Show an answer of the service's `diff`; `empty` is said when there are none."""
    if session.as_json:
        session.screen.result(differences)
        return
    rows = [{**row, "before": _short(row["before"]), "after": _short(row["after"])} for row in differences["items"]]
    session.screen.rows(rows, _COLUMNS, empty=empty)


def _short(value: Any) -> Any:
    """A source file by its name and digest, which is what tells two apart."""
    if isinstance(value, Mapping) and {"fileName", "digest"} <= value.keys():
        return f"{value['fileName']} {value['digest'][:_DIGEST_LENGTH]}"
    return value
