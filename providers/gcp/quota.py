"""What Kubernetes says of a quota that is spent, and the change of the quota that leaves room for a release beside another."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import msgspec

# A release comes up by itself before it takes over, pod by pod.
PODS_MORE = 2
_SAID = re.compile(r"exceeded quota: ([a-z0-9.-]+), requested: (\S+), used: (\S+), limited: (\S+)")
_QUANTITY = re.compile(r"([0-9.]+)(m|k|[KMGTPE]i?)?")
_UNITS = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000)}
_UNITS |= {letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", 2)}
_UNITS |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}


def raised(message: str) -> tuple[str, str] | None:
    """The quota that the message names, and a merge patch, as JSON, that raises it; None where it names none."""
    if (said := _SAID.search(message)) is None:
        return None
    requested, used = _amounts(said[2]), _amounts(said[3])
    if requested.keys() != used.keys() or not requested:
        return None
    hard = {name: _told(used[name] + PODS_MORE * requested[name]) for name in sorted(requested)}
    return said[1], msgspec.json.encode({"spec": {"hard": hard}}).decode()


def _amounts(text: str) -> dict[str, Decimal]:
    """`pods=1,requests.cpu=250m`, as numbers; nothing where one of them is none."""
    found: dict[str, Decimal] = {}
    for part in text.rstrip(".").split(","):
        name, _, quantity = part.partition("=")
        if (read := _QUANTITY.fullmatch(quantity)) is None:
            return {}
        found[name] = Decimal(read[1]) * _UNITS[read[2] or ""]
    return found


def _told(amount: Decimal) -> str:
    if amount % 1:
        return f"{math.ceil(amount * 1000)}m"
    mebibytes = amount / _UNITS["Mi"]
    return f"{int(mebibytes)}Mi" if amount and not mebibytes % 1 else str(int(amount))
