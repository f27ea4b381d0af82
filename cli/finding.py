"""What one check of the doctor saw."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """`remedy` is what to do about it, empty when there is nothing to do."""

    check: str
    status: Status
    message: str
    remedy: str = ""
