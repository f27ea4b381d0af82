"""Operators' commands about runtimes."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import msgspec
from msgspec import UNSET, UnsetType

from commands.command import Command, Decider, Reads, States, facts
from domain.event import Decision
from domain.refusal import FieldError
from domain.runtime import (
    RUNTIMES,
    RUNTIMES_STREAM,
    Dates,
    RuntimeAdded,
    RuntimeDatesSet,
    RuntimeDefaultSet,
    RuntimeEvent,
    RuntimeExists,
    RuntimeNotFound,
    RuntimeVersionInvalid,
    require_in_order,
    require_selectable,
)
from domain.version import ConstraintNotUnderstood, Version


class AddRuntime(Command, frozen=True, kw_only=True, tag="AddRuntime"):
    version: str
    dates: Dates


class DateChanges(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The dates to move; what is unset stays as it is, and None takes an announcement back."""

    released_at: datetime | UnsetType = UNSET
    deprecation_announced_at: datetime | UnsetType | None = UNSET
    block_new_deploys_after: datetime | UnsetType | None = UNSET
    disable_execution_after: datetime | UnsetType | None = UNSET


class SetRuntimeDates(Command, frozen=True, kw_only=True, tag="SetRuntimeDates"):
    version: str
    date_changes: DateChanges


class SetDefaultRuntime(Command, frozen=True, kw_only=True, tag="SetDefaultRuntime"):
    version: str


RuntimeCommand = AddRuntime | SetRuntimeDates | SetDefaultRuntime


def reads(command: RuntimeCommand) -> Reads:
    yield RUNTIMES, RUNTIMES_STREAM


def decide(command: RuntimeCommand, states: States) -> Decision:
    runtimes = states.at(RUNTIMES, RUNTIMES_STREAM)
    match command:
        case AddRuntime():
            _check_version(command.version)
            if command.version in runtimes.dates:
                raise RuntimeExists
            require_in_order(command.dates)
            return _record(RuntimeAdded(version=command.version, dates=command.dates))
        case SetRuntimeDates():
            if command.version not in runtimes.dates:
                raise RuntimeNotFound(f"There is no runtime {command.version!r}.")
            before = runtimes.dates[command.version]
            dates = _moved(before, command.date_changes)
            require_in_order(dates)
            return Decision() if dates == before else _record(RuntimeDatesSet(version=command.version, dates=dates))
        case SetDefaultRuntime():
            require_selectable(runtimes, command.version, command.at, field="version")
            changed = runtimes.default != command.version
            return _record(RuntimeDefaultSet(version=command.version)) if changed else Decision()
        case _:
            assert_never(command)


def _moved(before: Dates, changes: DateChanges) -> Dates:
    named = {name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not UNSET}
    return msgspec.structs.replace(before, **named)


def _check_version(text: str) -> None:
    """One spelling for each version: `03.12.0` is 3.12.0 to pub, and would be another runtime to us."""
    try:
        version = Version.parse(text)
    except ConstraintNotUnderstood as refusal:
        raise RuntimeVersionInvalid(errors=(FieldError(field="version", message=refusal.detail),)) from refusal
    if str(version) != text:
        raise RuntimeVersionInvalid(errors=(FieldError(field="version", message=f"write {version}"),))


def _record(event: RuntimeEvent) -> Decision:
    return Decision(facts=facts(RUNTIMES_STREAM, event))


RUNTIME_COMMANDS = Decider(commands=(AddRuntime, SetRuntimeDates, SetDefaultRuntime), reads=reads, decide=decide)
