"""The runtimes: Dart SDK versions and the dates that decide what may still be done with each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, assert_never
from uuid import UUID, uuid5

import msgspec

from domain.event import SYSTEM_TENANT, Aggregate, Event
from domain.refusal import Conflict, FieldError, Invalid, NotFound
from domain.version import Version, VersionConstraint

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
SupportPhase = Literal["supported", "deprecating", "disabled"]


class Dates(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When each phase begins; the instant itself belongs to the later phase. None: not announced."""

    released_at: Instant
    deprecation_announced_at: Instant | None = None
    block_new_deploys_after: Instant | None = None
    disable_execution_after: Instant | None = None


class RuntimeAdded(Event, frozen=True, kw_only=True, tag="runtime.added"):
    version: str
    dates: Dates


class RuntimeDatesSet(Event, frozen=True, kw_only=True, tag="runtime.dates_set"):
    version: str
    dates: Dates


class RuntimeDefaultSet(Event, frozen=True, kw_only=True, tag="runtime.default_set"):
    version: str


RuntimeEvent = RuntimeAdded | RuntimeDatesSet | RuntimeDefaultSet


class Runtimes(msgspec.Struct, frozen=True, kw_only=True):
    """All runtimes by version, and the one new drafts are offered first."""

    dates: dict[str, Dates] = msgspec.field(default_factory=dict)
    default: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a runtime stands at one instant."""

    phase: SupportPhase
    deployable: bool
    executable: bool


class RuntimeUnknown(Invalid):
    """There is no such runtime."""

    code = "runtime_unknown"
    remedy = "Choose a version that GET /api/v1/runtimes lists under `supported`."


class RuntimeVersionInvalid(Invalid):
    """The version of a runtime is not written as Dart writes it."""

    code = "runtime_version_invalid"
    remedy = "Write it as `dart --version` does, for example 3.12.0."


class RuntimeNotFound(NotFound):
    """There is no such runtime."""

    code = "runtime_not_found"
    remedy = "GET /api/v1/runtimes lists those there are."


class RuntimeNotSelectable(Invalid):
    """New drafts can only choose a supported runtime."""

    code = "runtime_not_selectable"
    remedy = "Choose a version that GET /api/v1/runtimes lists under `supported`."


class RuntimeNotDeployable(Conflict):
    """The runtime can no longer be deployed."""

    code = "runtime_not_deployable"
    remedy = "Move the function to a supported runtime, then deploy again."


class SdkConstraintNotMet(Invalid):
    """The pubspec's `environment.sdk` does not allow the chosen runtime."""

    code = "sdk_constraint_not_met"
    remedy = "Choose a runtime that environment.sdk in pubspec.yaml allows, or widen that."


class RuntimeExists(Conflict):
    """The runtime was added before."""

    code = "runtime_exists"
    remedy = "Set its dates instead."


class DatesOutOfOrder(Invalid):
    """Deprecation is announced first, then new deployments end, then execution."""

    code = "dates_out_of_order"
    remedy = "Order the dates: releasedAt, deprecationAnnouncedAt, blockNewDeploysAfter, disableExecutionAfter."


def evolve(runtimes: Runtimes, event: RuntimeEvent) -> Runtimes:
    match event:
        case RuntimeAdded() | RuntimeDatesSet():
            return Runtimes(dates={**runtimes.dates, event.version: event.dates}, default=runtimes.default)
        case RuntimeDefaultSet():
            return msgspec.structs.replace(runtimes, default=event.version)
        case _:
            assert_never(event)


RUNTIMES = Aggregate(
    name="runtime", events=(RuntimeAdded, RuntimeDatesSet, RuntimeDefaultSet), initial=Runtimes(), evolve=evolve
)
RUNTIMES_STREAM = RUNTIMES.stream(SYSTEM_TENANT, uuid5(UUID(int=0), "runtimes"))


def default_of(chosen: str, dates: Mapping[str, Dates], at: datetime) -> str:
    """The one that was chosen; once new drafts cannot choose that any more, the newest release they can; "" when there is none."""
    supported = [version for version, its in dates.items() if standing(its, at).phase == "supported"]
    if chosen in supported:
        return chosen
    newest = sorted(supported, key=Version.parse, reverse=True)
    released = [version for version in newest if not Version.parse(version).pre]
    return next(iter([*released, *newest]), "")


def _reached(instant: datetime | None, at: datetime) -> bool:
    return instant is not None and at >= instant


def standing(dates: Dates, at: datetime) -> Standing:
    """The phase at an instant, computed from the dates alone."""
    blocked, stopped = _reached(dates.block_new_deploys_after, at), _reached(dates.disable_execution_after, at)
    if blocked or stopped:
        return Standing(phase="disabled", deployable=False, executable=not stopped)
    if _reached(dates.deprecation_announced_at, at):
        return Standing(phase="deprecating", deployable=True, executable=True)
    return Standing(phase="supported", deployable=True, executable=True)


def require_in_order(dates: Dates) -> None:
    """Raise DatesOutOfOrder unless each phase begins no earlier than the one before it."""
    given = [
        (field, instant)
        for field, instant in (
            ("releasedAt", dates.released_at),
            ("deprecationAnnouncedAt", dates.deprecation_announced_at),
            ("blockNewDeploysAfter", dates.block_new_deploys_after),
            ("disableExecutionAfter", dates.disable_execution_after),
        )
        if instant is not None
    ]
    errors = tuple(
        FieldError(field=field, message=f"before {former}")
        for (former, earlier), (field, later) in pairwise(given)
        if later < earlier
    )
    if errors:
        raise DatesOutOfOrder(errors=errors)


def days_until(instant: datetime, at: datetime) -> int:
    """Whole days left, at least 0."""
    return max(0, (instant - at).days)


def require_selectable(runtimes: Runtimes, version: str, at: datetime, *, field: str = "runtime") -> None:
    """Raise unless a new draft may choose the version at this instant; `field` is what the request calls it."""
    dates = runtimes.dates.get(version)
    if dates is None:
        raise RuntimeUnknown(
            f"There is no runtime {version!r}.", errors=(FieldError(field=field, message="unknown runtime"),)
        )
    phase = standing(dates, at).phase
    if phase != "supported":
        raise RuntimeNotSelectable(
            f"Runtime {version} is {phase}; new drafts can only choose a supported one.",
            errors=(FieldError(field=field, message=f"{version} is {phase}"),),
        )


def require_deployable(runtimes: Runtimes, version: str, at: datetime) -> Dates:
    """The runtime's dates, if it can be deployed at this instant."""
    dates = runtimes.dates.get(version)
    if dates is None:
        raise RuntimeUnknown(f"There is no runtime {version!r}.")
    if not standing(dates, at).deployable:
        raise RuntimeNotDeployable(f"Runtime {version} can no longer be deployed.")
    return dates


def deployable_versions(runtimes: Runtimes, at: datetime) -> list[str]:
    """Newest first."""
    open_now = [version for version, dates in runtimes.dates.items() if standing(dates, at).deployable]
    return sorted(open_now, key=Version.parse, reverse=True)


def require_allowed(runtimes: Runtimes, version: str, constraint_text: str, at: datetime) -> None:
    """Raise SdkConstraintNotMet, saying which deployable runtimes would do, unless the constraint allows the version."""
    constraint = VersionConstraint.parse_sdk(constraint_text)
    if constraint.allows(Version.parse(version)):
        return
    open_now = deployable_versions(runtimes, at)
    fitting = [candidate for candidate in open_now if constraint.allows(Version.parse(candidate))]
    if fitting:
        remedy = f"Choose runtime {', '.join(fitting)}, or widen environment.sdk in pubspec.yaml."
    else:
        listed = ", ".join(open_now) or "none at the moment"
        remedy = f"No deployable runtime fits; widen environment.sdk in pubspec.yaml. Deployable are: {listed}."
    raise SdkConstraintNotMet(
        f"pubspec.yaml asks for sdk {constraint_text!r}, which does not allow runtime {version}.",
        errors=(FieldError(field="artifactFiles.yaml_file", message=f"environment.sdk does not allow {version}"),),
        remedy=remedy,
    )
