"""How what older code stored is read: for each event type and version, what the next version would have stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class Upcaster(msgspec.Struct, frozen=True):
    """Turns what was stored as `version` of an event type into what `version + 1` would have stored."""

    type: str
    version: int
    upcast: Callable[[dict[str, Any]], dict[str, Any]]


def _as_it_is(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that came later have defaults."""
    return fields


UPCASTERS: tuple[Upcaster, ...] = (
    Upcaster("plan.defined", 1, _as_it_is),
    Upcaster("plan.defined", 2, _as_it_is),
    Upcaster("plan.defined", 3, _as_it_is),
)
