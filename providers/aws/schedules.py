"""The schedule of a release in EventBridge Scheduler, which calls the live alias when it is due."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from domain.cron import Cron, parse
from domain.trigger import TICK_TYPE, ScheduleSettings, schedule_of
from providers.aws import naming
from providers.aws.account import Account, storage_of, target_of
from providers.aws.errors import THROTTLED_SECONDS, Answered
from providers.aws.events import request_event
from providers.aws.policies import SCHEDULER
from providers.aws.storage import Bucket
from providers.aws.trust import Trust
from providers.provider import Order, ProviderBusy, ProviderRefused

RETRIES_MAX = 2
EVENT_SECONDS_MAX = 3600
PATH = "/"
# What EventBridge Scheduler puts in its place.
_DUE_AT = "<aws.scheduler.scheduled-time>"


class Schedules:
    """The schedule of one order's function at its target, as one account sees it."""

    def __init__(self, account: Account, order: Order) -> None:
        self._account, self._order, self._target = account, order, target_of(order)
        self._bucket = Bucket(account, storage_of(order))
        self._settings = schedule_of(order.release.trigger)

    @property
    def are_needed(self) -> bool:
        return self._settings is not None

    def check(self) -> None:
        """Raises ProviderRefused for a schedule that EventBridge cannot express."""
        if self._settings is not None:
            expression(self._settings.cron)

    async def put(self) -> None:
        """Have the function called as its release says: by a schedule, or by none. The one before is noted first."""
        await self._note_former()
        if self._settings is None:
            await self.remove()
        else:
            await self._set(self._wanted(self._settings))

    async def give_back(self, former: str) -> None:
        """Let the release whose mark this is have its schedule again, where this one took it or took it away."""
        there = await self._there()
        if there is not None and not self._is_own(there):
            return
        noted = await self._bucket.text(naming.former_schedule(self._order))
        before: dict[str, Any] = msgspec.json.decode(noted) if noted else {}
        if before.get("Description") == former:
            await self._set(before)
        elif there is not None:
            await self.remove()

    async def remove(self) -> None:
        """Take it away; it may be gone already. Who may not remove any never made one."""
        try:
            await self._found("delete_schedule")
        except Answered as error:
            if not error.is_denied or self._settings is not None:
                raise

    async def are_as_said(self) -> bool:
        """Whether a release with a schedule has it."""
        if self._settings is None:
            return True
        found, wanted = await self._found("get_schedule"), self._wanted(self._settings)
        return found is not None and all(found.get(name) == wanted[name] for name in _SHOWN)

    async def _note_former(self) -> None:
        """In the bucket, since what is taken over is nowhere else afterwards. A note that is there already stays."""
        there = await self._there()
        if there is not None and not self._is_own(there):
            noted = {name: there[name] for name in _KEPT if name in there}
            await self._bucket.keep(naming.former_schedule(self._order), msgspec.json.encode(noted).decode())

    async def _there(self) -> dict[str, Any] | None:
        """What calls the function now. Who may not look, and needs none, never made one."""
        try:
            found: dict[str, Any] | None = await self._found("get_schedule")
            return found
        except Answered as error:
            if not error.is_denied or self._settings is not None:
                raise
            return None

    async def _set(self, wanted: dict[str, Any]) -> None:
        try:
            try:
                await self._call("create_schedule", **wanted)
            except Answered as error:
                if error.code != "ConflictException":
                    raise
                await self._call("update_schedule", **wanted)
        except Answered as error:
            if not error.is_distrusted:
                raise
            await self._look_at_role(error)

    async def _look_at_role(self, error: Answered) -> None:
        """The role may not be the Scheduler's, or may be since a moment ago. Raises ProviderRefused with what mends it,
        or ProviderBusy."""
        try:
            await Trust(self._account, self._target.execution_role_arn, "EXECUTION").require(SCHEDULER)
        except Answered as unseen:
            if not unseen.is_denied:
                raise
            raise error from unseen
        raise ProviderBusy(f"AWS is busy: {error.message}", retry_in_seconds=THROTTLED_SECONDS) from error

    def _is_own(self, found: dict[str, Any]) -> bool:
        return bool(found.get("Description") == naming.mark(self._order))

    def _wanted(self, settings: ScheduleSettings) -> dict[str, Any]:
        return {
            "Description": naming.mark(self._order),
            "ScheduleExpression": expression(settings.cron),
            "ScheduleExpressionTimezone": settings.time_zone,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "State": "ENABLED",
            "Target": {
                "Arn": f"{naming.function_arn(self._target)}:{naming.LIVE}",
                "RoleArn": self._target.execution_role_arn,
                "Input": self._event(settings),
                "RetryPolicy": {"MaximumRetryAttempts": RETRIES_MAX, "MaximumEventAgeInSeconds": EVENT_SECONDS_MAX},
            },
        }

    def _event(self, settings: ScheduleSettings) -> str:
        """A CloudEvent in HTTP's binary mode, as on every other cloud."""
        source = f"/projects/{self._order.project_id}/functions/{self._order.release.function_id}"
        headers = {
            "ce-specversion": "1.0",
            "ce-id": _DUE_AT,
            "ce-source": source,
            "ce-type": TICK_TYPE,
            "ce-time": _DUE_AT,
            "content-type": "application/json",
            "user-agent": "dcf-schedules",
        }
        body = msgspec.json.encode({"dueAt": _DUE_AT, "cron": settings.cron, "timeZone": settings.time_zone})
        return request_event("POST", PATH, headers, body.decode()).decode()

    async def _found(self, call: str, **parameters: Any) -> Any:
        return await self._account.found(
            "scheduler", call, region=self._target.region, Name=naming.schedule_name(self._order), **parameters
        )

    async def _call(self, call: str, **parameters: Any) -> Any:
        return await self._account.call(
            "scheduler", call, region=self._target.region, Name=naming.schedule_name(self._order), **parameters
        )


_KEPT = (
    "Description",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "FlexibleTimeWindow",
    "State",
    "Target",
)
_SHOWN = ("Description", "ScheduleExpression", "ScheduleExpressionTimezone", "State")


def expression(cron: str) -> str:
    """The five fields as EventBridge has them, which counts weekdays from 1 and takes days of the month or of the week, never
    both. Raises ProviderRefused for what it cannot express."""
    parsed = parse(cron)
    days, weekdays = _days(cron, parsed)
    return f"cron({_listed(parsed.minutes, 60)} {_listed(parsed.hours, 24)} {days} {_listed(parsed.months, 12)} {weekdays} *)"


def _days(cron: str, parsed: Cron) -> tuple[str, str]:
    days, weekdays = _listed(parsed.days, 31), _listed((day + 1 for day in parsed.weekdays), 7)
    if weekdays == "*":
        return days, "?"
    if days == "*":
        return "?", weekdays
    raise ProviderRefused(
        "schedule_not_expressible",
        f"EventBridge Scheduler cannot take days of the month together with days of the week: {cron}",
        "Name one of the two, or save two functions.",
    )


def _listed(values: Iterable[int], count: int) -> str:
    named = sorted(values)
    return "*" if len(named) == count else ",".join(map(str, named))
