"""Cloud Scheduler: jobs, which do not fire by themselves here, and call what they are for when they are run."""

from __future__ import annotations

import base64
import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aiohttp

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.operations import now

_J = "cloudscheduler.projects.locations.jobs"
_FIELD = r"[\d*,/A-Za-z-]+"
_CRON = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")


class Scheduler:
    """Jobs by their full names."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.jobs: dict[str, dict[str, Any]] = {}

    @property
    def methods(self) -> Methods:
        return {
            f"{_J}.create": self._create,
            f"{_J}.get": self._get,
            f"{_J}.list": self._list,
            f"{_J}.patch": self._patch,
            f"{_J}.delete": self._delete,
            f"{_J}.run": self._run,
        }

    def _create(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.create", call.path["parent"])
        name = call.body.get("name", "")
        if not name.startswith(f"{call.path['parent']}/jobs/"):
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
        wanted = {**self._found(call.path["name"]), **call.body, "name": call.path["name"]}
        self._check(call, wanted)
        self.jobs[call.path["name"]] = wanted
        return wanted

    def _delete(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.delete", call.path["name"])
        self._found(call.path["name"])
        del self.jobs[call.path["name"]]
        return {}

    async def _run(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "cloudscheduler.jobs.run", call.path["name"])
        job = self._found(call.path["name"])
        target = job["httpTarget"]
        headers, token = dict(target.get("headers", {})), target.get("oidcToken")
        if token:
            member = f"serviceAccount:{token['serviceAccountEmail']}"
            audience = token.get("audience") or target["uri"]
            headers["Authorization"] = f"Bearer {self._account.new_token(member, audience=audience)}"
        body = base64.b64decode(target.get("body", ""))
        async with (
            aiohttp.ClientSession() as session,
            session.request(target.get("httpMethod", "POST"), target["uri"], headers=headers, data=body) as answer,
        ):
            job["status"] = {} if answer.status < 400 else {"code": 13, "message": f"HTTP {answer.status}"}
        job["lastAttemptTime"] = now()
        return job

    def _check(self, call: Call, wanted: dict[str, Any]) -> None:
        """What no schema says. Raises Refused."""
        if not _CRON.fullmatch(wanted.get("schedule", "")):
            raise Refused(400, "Schedule or time zone is invalid.", field="job.schedule")
        try:
            ZoneInfo(wanted.get("timeZone", "UTC"))
        except (ZoneInfoNotFoundError, ValueError):
            raise Refused(400, "Schedule or time zone is invalid.", field="job.time_zone") from None
        if token := wanted.get("httpTarget", {}).get("oidcToken"):
            self._account.require_act_as(call.member, token["serviceAccountEmail"])

    def _found(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise Refused(404, "Job not found.")
        return self.jobs[name]
