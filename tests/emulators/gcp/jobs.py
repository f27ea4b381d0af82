"""Cloud Scheduler: jobs that call what they are for when the minute comes that their schedule names, or when they are run."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aiohttp
import msgspec

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import now

_J = "cloudscheduler.projects.locations.jobs"
_NAME = re.compile(r"projects/[\w:.-]+/locations/[a-z0-9-]+/jobs/[A-Za-z0-9_-]{1,500}")
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_ITEM = re.compile(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?")
# Attempts follow each other at once here, and none takes as long as a real one may.
_ATTEMPT_SECONDS_MAX = 20.0
_FIRINGS_KEPT = 100


class Firing(msgspec.Struct, frozen=True):
    """One call a job made, and how it was answered; 0 stands for no answer."""

    job: str
    due_at: str
    http_status: int


class Scheduler:
    """Jobs by their full names."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.jobs: dict[str, dict[str, Any]] = {}
        self.firings: deque[Firing] = deque(maxlen=_FIRINGS_KEPT)

    @property
    def methods(self) -> Methods:
        return {
            f"{_J}.create": self._create,
            f"{_J}.get": self._get,
            f"{_J}.list": self._list,
            f"{_J}.patch": self._patch,
            f"{_J}.delete": self._delete,
            f"{_J}.run": self._run,
            f"{_J}.pause": lambda call: self._set_state(call, "pause", "PAUSED"),
            f"{_J}.resume": lambda call: self._set_state(call, "enable", "ENABLED"),
            "cloudscheduler.projects.locations.list": self._locations,
        }

    async def keep_time(self) -> None:
        """Call whatever is due, each minute, until it is cancelled."""
        while True:
            at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
            await asyncio.sleep((at - datetime.now(UTC)).total_seconds())
            await self.tick(at)

    async def tick(self, at: datetime) -> None:
        """Call whatever is due in the minute."""
        due = [job for job in self.jobs.values() if job["state"] == "ENABLED" and is_due(job, at)]
        await asyncio.gather(*(self._fire(job, at) for job in due))

    def _create(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.create", call.path["parent"])
        name = call.body.get("name", "")
        if not name.startswith(f"{call.path['parent']}/jobs/") or not _NAME.fullmatch(name):
            raise Refused(400, "Job name must be formatted: projects/P/locations/L/jobs/J.", field="job.name")
        if name in self.jobs:
            raise Refused(409, f"Job {name} already exists.")
        self._check(call, call.body)
        self.jobs[name] = {**call.body, "state": "ENABLED", "userUpdateTime": now()}
        return self.jobs[name]

    def _get(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.get", call.path["name"])
        return self._found(call.path["name"])

    def _list(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.list", call.path["parent"])
        return {"jobs": list(self.jobs.values())}

    def _patch(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.update", call.path["name"])
        found, fields = self._found(call.path["name"]), call.query.get("updateMask", "").split(",")
        if not any(fields):
            raise Refused(400, "An update mask is required.", field="update_mask")
        kept = {name: value for name, value in found.items() if name not in fields}
        wanted = {**kept, **{name: value for name, value in call.body.items() if name in fields}}
        self._check(call, wanted)
        self.jobs[call.path["name"]] = {**wanted, "userUpdateTime": now()}
        return self.jobs[call.path["name"]]

    def _delete(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.delete", call.path["name"])
        self._found(call.path["name"])
        del self.jobs[call.path["name"]]
        return {}

    async def _run(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.run", call.path["name"])
        job = self._found(call.path["name"])
        await self._fire(job, datetime.now(UTC))
        return job

    def _set_state(self, call: Call, verb: str, state: str) -> dict[str, Any]:
        self._account.require(call.member, f"cloudscheduler.jobs.{verb}", call.path["name"])
        job = self._found(call.path["name"])
        if job["state"] == state:
            raise Refused(400, f"The job is {state} already.", status="FAILED_PRECONDITION")
        job["state"] = state
        return job

    def _locations(self, call: Call) -> dict[str, Any]:
        return {"locations": [{"name": f"{call.path['name']}/locations/europe-west1", "locationId": "europe-west1"}]}

    async def _fire(self, job: dict[str, Any], at: datetime) -> None:
        """Call, and call again while it fails, as often as the job says and no longer."""
        job["lastAttemptTime"] = now()
        for _ in range(1 + job.get("retryConfig", {}).get("retryCount", 0)):
            status = await self._attempt(job, at)
            job["status"] = {} if 200 <= status < 300 else {"code": 13, "message": f"HTTP {status}"}
            if not job["status"]:
                return

    async def _attempt(self, job: dict[str, Any], at: datetime) -> int:
        target = job["httpTarget"]
        due_at = at.astimezone(ZoneInfo(job.get("timeZone", "Etc/UTC"))).isoformat()
        headers = {
            **target.get("headers", {}),
            "User-Agent": "Google-Cloud-Scheduler",
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": job["name"].rpartition("/")[2],
            "X-CloudScheduler-ScheduleTime": due_at,
        }
        if token := target.get("oidcToken"):
            member = f"serviceAccount:{token['serviceAccountEmail']}"
            audience = token.get("audience") or target["uri"]
            headers["Authorization"] = f"Bearer {self._account.new_token(member, audience=audience)}"
        status, body = 0, base64.b64decode(target.get("body", ""))
        timeout = aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS_MAX)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(target.get("httpMethod", "POST"), target["uri"], headers=headers, data=body) as answer,
            ):
                status = answer.status
        self.firings.append(Firing(job["name"], due_at, status))
        return status

    def _check(self, call: Call, wanted: dict[str, Any]) -> None:
        """What no schema says. Raises Refused."""
        try:
            for field, bounds in zip(wanted.get("schedule", "").split(" "), _BOUNDS, strict=True):
                _named(field, *bounds)
        except ValueError:
            raise Refused(400, "Schedule or time zone is invalid.", field="job.schedule") from None
        try:
            ZoneInfo(wanted.get("timeZone", "Etc/UTC"))
        except (ZoneInfoNotFoundError, ValueError):
            raise Refused(400, "Schedule or time zone is invalid.", field="job.time_zone") from None
        if not 0 <= wanted.get("retryConfig", {}).get("retryCount", 0) <= 5:
            raise Refused(400, "The retry count must be from 0 to 5.", field="job.retry_config.retry_count")
        if not 15 <= float(wanted.get("attemptDeadline", "180s").removesuffix("s")) <= 1800:
            raise Refused(400, "The deadline must be from 15 s to 30 min.", field="job.attempt_deadline")
        if len(wanted.get("description", "")) > 500:
            raise Refused(400, "The description is too long.", field="job.description")
        self._check_target(call, wanted.get("httpTarget"))

    def _check_target(self, call: Call, target: dict[str, Any] | None) -> None:
        if target is None or not target.get("uri", "").startswith(("http://", "https://")):
            raise Refused(400, "The job has no target, or none with a URI.", field="job.http_target.uri")
        if target.get("body") and target.get("httpMethod", "POST") not in ("POST", "PUT", "PATCH"):
            raise Refused(400, "The method takes no body.", field="job.http_target.body")
        if token := target.get("oidcToken"):
            self._account.require_act_as(call.member, token["serviceAccountEmail"])

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise Refused(404, "Job not found.")
        return self.jobs[name]


def is_due(job: dict[str, Any], at: datetime) -> bool:
    shown = at.astimezone(ZoneInfo(job.get("timeZone", "Etc/UTC")))
    clock = (shown.minute, shown.hour, shown.day, shown.month, shown.isoweekday() % 7)
    fields = zip(job["schedule"].split(" "), _BOUNDS, clock, strict=True)
    return all(value in _named(field, *bounds) for field, bounds, value in fields)


def _named(field: str, low: int, high: int) -> set[int]:
    """The numbers a field of a schedule names. Raises ValueError for none."""
    named: set[int] = set()
    for item in field.split(","):
        if (found := _ITEM.fullmatch(item)) is None:
            raise ValueError(item)
        first = low if found[1] == "*" else int(found[1])
        last = int(found[2]) if found[2] else high if found[1] == "*" else first
        if not low <= first <= last <= high:
            raise ValueError(item)
        named |= set(range(first, last + 1, int(found[3] or 1)))
    return {number % 7 for number in named} if high == _BOUNDS[-1][1] else named
