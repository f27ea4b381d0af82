"""What it means when a claim is taken or a counter is full: the refusal the caller gets."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from domain.deployment import IN_ACCOUNT, SlotTaken, TooManyInAccount, TooManyRunning
from domain.event import Claim, Counter
from domain.function import FunctionNameTaken
from domain.person import IdentityTaken
from domain.project import ProjectNameTaken
from domain.refusal import Busy, Conflict, LimitReached, Refusal


class TenantNameTaken(Conflict):
    """Another tenant has this name."""

    code = "tenant_name_taken"
    remedy = "Choose another name."
    field = "name"


class QueueFull(Busy):
    """The tenant has as many deployments waiting as its plan allows."""

    code = "deployment_queue_full"
    remedy = "Wait until a waiting deployment has begun, or cancel one."
    retry_after_seconds = 5


class FunctionsChanged(Conflict):
    """A function of the project was created meanwhile."""

    code = "functions_changed"
    remedy = "Look at the project's functions again, then archive it."


_TAKEN: dict[str, type[Refusal]] = {
    "identity": IdentityTaken,
    "tenant": TenantNameTaken,
    "project": ProjectNameTaken,
    "function": FunctionNameTaken,
    "slot": SlotTaken,
}
_FULL: dict[tuple[str, str], Callable[[str], Refusal]] = {
    ("deployments", "queued"): QueueFull,
    ("deployments", "running"): TooManyRunning,
}


class Taken(Exception):
    """Who holds what was claimed; the cause of the refusal the caller sees."""

    def __init__(self, claim: Claim, holder: UUID) -> None:
        super().__init__(f"{claim.scope} {claim.key} is held by {holder}")
        self.claim, self.holder = claim, holder


def taken(claim: Claim, holder: UUID) -> Refusal:
    """The refusal for a claim another holder has."""
    refusal = _TAKEN.get(claim.scope, Conflict)()
    refusal.__cause__ = Taken(claim, holder)
    return refusal


def holder_of(refusal: Refusal) -> UUID:
    """Who has what was claimed, of a refusal that `taken` made."""
    cause = refusal.__cause__
    if not isinstance(cause, Taken):
        raise TypeError(f"{refusal.code} is not about a claim")
    return cause.holder


def full(counter: Counter, value: int) -> Refusal:
    """The refusal for a counter that would pass its limit."""
    if counter.scope == IN_ACCOUNT:
        return TooManyInAccount(f"{value} of at most {counter.limit} are under way in {counter.name}.")
    detail = f"{counter.scope.capitalize()}: {value} of at most {counter.limit} are in use."
    if counter.scope == "functions" and counter.delta > 1:
        return FunctionsChanged()
    make = _FULL.get((counter.scope, counter.name))
    if make is not None:
        return make(detail)
    return LimitReached(detail)
