"""The trigger catalog: execution styles, their settings, and where each is supported."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from domain.clouds import ProviderName
from domain.cron import TEXT_LENGTH_MAX, CronInvalid, ZoneUnknown, parse, zone
from domain.refusal import FieldError, Invalid
from domain.release import Trigger

Support = Literal["supported", "experimental", "unavailable"]
EventSourceKind = Literal["queue", "topic"]


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An HTTP function needs no settings."""


class ScheduleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """When to call the function: five cron fields, and the time zone they are read in."""

    cron: Annotated[
        str, msgspec.Meta(pattern=r"^\s*(\S+\s+){4}\S+\s*$", max_length=TEXT_LENGTH_MAX, examples=["0 3 * * *"])
    ]
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64, examples=["Europe/Madrid"])] = "UTC"


class EventSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The queue or topic whose messages the function receives."""

    source: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    kind: EventSourceKind = "topic"


Settings = HttpSettings | ScheduleSettings | EventSettings

# The type of the CloudEvent that a schedule sends.
TICK_TYPE = "dcf.schedule.due"

# Where our own runners call functions when their schedule is due; elsewhere the cloud's scheduler does.
OWN_SCHEDULER: tuple[ProviderName, ...] = ("local",)


class TriggerType(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the catalog."""

    name: str
    title: str
    settings: type[Settings]
    providers: dict[ProviderName, Support]


TRIGGER_TYPES: tuple[TriggerType, ...] = (
    TriggerType(
        name="http",
        title="HTTP request",
        settings=HttpSettings,
        providers={"local": "supported", "aws": "supported", "azure": "supported", "gcp": "supported"},
    ),
    TriggerType(
        name="schedule",
        title="Schedule (cron)",
        settings=ScheduleSettings,
        providers={"local": "supported", "aws": "supported", "azure": "experimental", "gcp": "supported"},
    ),
    TriggerType(
        name="event",
        title="Queue or topic message",
        settings=EventSettings,
        providers={"local": "unavailable", "aws": "unavailable", "azure": "unavailable", "gcp": "unavailable"},
    ),
)


_NAMED = re.compile(r"field `([^`]+)`")
_DAYS_OF_A_MONTH, _DAYS_OF_A_WEEK = 31, 7


class TriggerUnknown(Invalid):
    """There is no such trigger type."""

    code = "trigger_unknown"
    remedy = "Choose a type that GET /api/v1/functions/trigger-types lists."


class TriggerSettingsInvalid(Invalid):
    """The trigger's settings do not fit its type."""

    code = "trigger_settings_invalid"
    remedy = "Give the settings that the type's settingsSchema asks for."


class TriggerUnavailable(Invalid):
    """The provider does not support this trigger type."""

    code = "trigger_unavailable"
    remedy = (
        "Choose another trigger type or another provider; GET /api/v1/functions/trigger-types says which go together."
    )


def trigger_type(name: str) -> TriggerType:
    """The catalog's entry. Raises TriggerUnknown."""
    for entry in TRIGGER_TYPES:
        if entry.name == name:
            return entry
    raise TriggerUnknown(
        f"There is no trigger type {name!r}.", errors=(FieldError(field="trigger.type", message="unknown type"),)
    )


def check_trigger(trigger: Trigger, provider: ProviderName | None) -> Settings:
    """The typed settings, if they fit and the provider (when one is named) supports the type."""
    entry = trigger_type(trigger.type)
    try:
        settings: Settings = msgspec.convert(trigger.settings, entry.settings)
    except msgspec.ValidationError as error:
        raise TriggerSettingsInvalid(errors=(_misfit(error),)) from error
    if isinstance(settings, ScheduleSettings):
        _check_schedule(settings)
        if provider not in (None, "local"):
            _check_days(settings.cron, provider)
    if provider is not None and entry.providers[provider] == "unavailable":
        raise TriggerUnavailable(
            f"Trigger {trigger.type!r} is not available on {provider}.",
            errors=(FieldError(field="trigger.type", message=f"not available on {provider}"),),
        )
    return settings


def schedule_of(trigger: Trigger) -> ScheduleSettings | None:
    """When a schedule's function is called; None for any other trigger. Raises as `check_trigger` does."""
    settings = check_trigger(trigger, None)
    return settings if isinstance(settings, ScheduleSettings) else None


def _misfit(error: msgspec.ValidationError) -> FieldError:
    """The setting that does not fit: msgspec ends with its place, or names what is missing or unknown."""
    message, _, place = str(error).partition(" - at `$")
    named = place.removesuffix("`") or "".join(f".{name}" for name in _NAMED.findall(message))
    if named == ".cron" and "regex" in message:
        message = "a schedule has five fields: minute, hour, day of the month, month, day of the week"
    return FieldError(field=f"trigger.settings{named}", message=message)


def _check_days(text: str, provider: ProviderName | None) -> None:
    """The clouds' schedulers take days of the month or days of the week. Raises TriggerSettingsInvalid."""
    cron = parse(text)
    if len(cron.days) < _DAYS_OF_A_MONTH and len(cron.weekdays) < _DAYS_OF_A_WEEK:
        message = f"on {provider} a schedule names days of the month or days of the week, not both"
        raise TriggerSettingsInvalid(
            f"The schedule {text!r} cannot be had on {provider}.",
            errors=(FieldError(field="trigger.settings.cron", message=message),),
            remedy="Put * for one of the two, or save two functions.",
        )


def _check_schedule(settings: ScheduleSettings) -> None:
    """Raise TriggerSettingsInvalid, naming every field that says nothing."""
    errors: list[FieldError] = []
    try:
        parse(settings.cron)
    except CronInvalid as problem:
        errors.append(FieldError(field="trigger.settings.cron", message=str(problem)))
    try:
        zone(settings.time_zone)
    except ZoneUnknown as problem:
        errors.append(FieldError(field="trigger.settings.timeZone", message=str(problem)))
    if errors:
        raise TriggerSettingsInvalid(
            errors=tuple(errors),
            remedy="Give five cron fields, such as `0 3 * * *`, and a time zone of the IANA database, such as Europe/Madrid.",
        )
