"""EventBridge Scheduler: schedules that call functions, when a test says that they are due."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.emulators.aws.account import Account, Session
from tests.emulators.aws.answers import Refused
from tests.emulators.aws.functions import Functions

_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
Given = dict[str, Any]


class Schedules:
    """Of one account; all in the group `default`."""

    def __init__(self, account: Account, functions: Functions) -> None:
        self._account, self._functions = account, functions
        self.there: dict[str, Given] = {}
        self.methods = {
            "CreateSchedule": self._create,
            "DeleteSchedule": self._delete,
            "GetSchedule": self._get,
            "UpdateSchedule": self._update,
        }

    def fire(self, name: str) -> Given:
        """Call what it is due to call: what Invoke answers. Raises Refused when it may not."""
        target = self.there[name]["Target"]
        self._functions.require_caller(target["RoleArn"], target["Arn"])
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:00Z")
        event = json.loads(target["Input"].replace("<aws.scheduler.scheduled-time>", at))
        return self._functions.invoke(self._functions.by_arn(target["Arn"]), event)

    def tick(self, at: datetime) -> list[int]:
        """Call what is due in this minute: the answers' statuses."""
        due = [name for name, one in self.there.items() if one.get("State") != "DISABLED" and _is_due(one, at)]
        return [int(json.loads(self.fire(name)["Payload"])["statusCode"]) for name in due]

    def _create(self, given: Given, session: Session | None) -> Given:
        if given["Name"] in self.there:
            raise Refused("ConflictException", f"Schedule {given['Name']} already exists.", 409)
        return self._keep(given, session)

    def _update(self, given: Given, session: Session | None) -> Given:
        self._named(given)
        return self._keep(given, session)

    def _keep(self, given: Given, session: Session | None) -> Given:
        role = given["Target"]["RoleArn"]
        self._account.require(session, "iam:PassRole", role, **{"iam:PassedToService": "scheduler.amazonaws.com"})
        if not self._account.trusts_service(role, "scheduler.amazonaws.com"):
            raise Refused(
                "ValidationException",
                "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
            )
        fields = _CRON.fullmatch(given["ScheduleExpression"])
        if fields is None or (fields[3] == "?") == (fields[5] == "?"):
            raise Refused("ValidationException", "Invalid Schedule Expression " + given["ScheduleExpression"])
        self.there[given["Name"]] = {name: value for name, value in given.items() if name != "ClientToken"}
        return {"ScheduleArn": self._account.arn("scheduler", f"schedule/default/{given['Name']}")}

    def _get(self, given: Given, _: Session | None) -> Given:
        found = self._named(given)
        arn = self._account.arn("scheduler", f"schedule/default/{given['Name']}")
        return {
            "Arn": arn,
            "GroupName": "default",
            **{name: value for name, value in found.items() if value is not None},
        }

    def _delete(self, given: Given, _: Session | None) -> Given:
        self._named(given)
        del self.there[given["Name"]]
        return {}

    def _named(self, given: Given) -> Given:
        if given["Name"] not in self.there:
            raise Refused("ResourceNotFoundException", f"Schedule {given['Name']} does not exist.", 404)
        return self.there[given["Name"]]


def _is_due(schedule: Given, at: datetime) -> bool:
    """Whether the clock of its time zone shows a time that its six fields name; weekdays count from Sunday, which is 1."""
    there = at.astimezone(ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC"))
    fields = _CRON.fullmatch(schedule["ScheduleExpression"])
    assert fields is not None, "what it cannot read it refused"
    shown = (there.minute, there.hour, there.day, there.month, there.isoweekday() % 7 + 1, there.year)
    return all(
        field in ("*", "?") or str(value) in field.split(",")
        for field, value in zip(fields.groups(), shown, strict=True)
    )
