"""What a refusal is taken for that may only be a grant which has not spread yet: a rule in time, the same for every cloud.

No cloud tells a grant that spreads from one that was never given. So the first refusal is awaited for as long as the
cloud may need; whatever passes meanwhile has passed at once, and what does not has failed with the same code and remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from domain.integration import Check, CheckStatus, CheckStep

# After a refusal has failed, for so long the same one is no news. Then whoever looks again has done something about it.
FAILED_SECONDS_MIN = 60.0
_AWAITED = " (If what mends it was done just now, it only has to spread"


def judged(
    status: CheckStatus, steps: tuple[CheckStep, ...], *, spreads_seconds: float, before: Check, at: datetime
) -> Check:
    """The check as it is recorded. `before` is the last one of the same thing; in a look that is `pending` the steps that
    failed are those that may be spreading, for up to `spreads_seconds`."""
    refused = _refused(steps)
    if status != "pending" or not refused:
        return Check(status=status, steps=steps)
    until = _awaited_until(refused, before, at) or at + timedelta(seconds=spreads_seconds)
    if at >= until:
        return Check(status="failed", steps=_plain(steps), awaited_until=until)
    return Check(status="pending", steps=_awaiting(steps, until), awaited_until=until)


def glanced(status: CheckStatus, steps: tuple[CheckStep, ...], known: Iterable[Check], at: datetime) -> Check:
    """The same of a look that is not recorded, after which nobody looks again: what is not awaited already has failed."""
    refused = _refused(steps)
    if status != "pending" or not refused:
        return Check(status=status, steps=steps)
    for check in known:
        until = check.awaited_until
        if check.status == "pending" and until is not None and at < until and refused <= _refused(check.steps):
            return Check(status="pending", steps=_awaiting(steps, until))
    return Check(status="failed", steps=_plain(steps))


def _awaited_until(refused: frozenset[tuple[str, str]], before: Check, at: datetime) -> datetime | None:
    """Until when this very refusal is awaited, or was; None when it is a new one."""
    if before.status == "verified":
        return at  # What worked was not given just now: it was taken away.
    if before.awaited_until is None or _refused(before.steps) != refused:
        return None
    if before.status == "failed" and at >= before.awaited_until + timedelta(seconds=FAILED_SECONDS_MIN):
        return None
    return before.awaited_until


def _refused(steps: tuple[CheckStep, ...]) -> frozenset[tuple[str, str]]:
    return frozenset((step.name, step.code) for step in steps if step.status == "failed")


def _awaiting(steps: tuple[CheckStep, ...], until: datetime) -> tuple[CheckStep, ...]:
    """The steps, those that are awaited saying so."""
    more = f"{_AWAITED}: this is looked at again by itself until {until:%H:%M:%S} UTC.)"
    return tuple(
        msgspec.structs.replace(step, message=step.message + more) if step.status == "failed" else step
        for step in _plain(steps)
    )


def _plain(steps: tuple[CheckStep, ...]) -> tuple[CheckStep, ...]:
    """The steps as a cloud has them; what was recorded before may say that it is awaited."""
    return tuple(msgspec.structs.replace(step, message=step.message.partition(_AWAITED)[0]) for step in steps)
