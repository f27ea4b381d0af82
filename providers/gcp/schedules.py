"""The schedule of a release in Cloud Scheduler: one job for each function and target, which calls what serves there."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from domain.cron import Cron, parse
from domain.trigger import TICK_TYPE, ScheduleSettings, schedule_of
from providers.gcp import naming
from providers.gcp.account import Account, identity_of, target_of
from providers.gcp.errors import Answered
from providers.gcp.grants import require_act_as, require_permissions
from providers.provider import Order, ProviderBusy, ProviderRefused

RETRIES_MAX = 2
# What Cloud Scheduler gives a call, at least and at most.
ATTEMPT_SECONDS_MIN, ATTEMPT_SECONDS_MAX = 15, 1800
PERMISSIONS = tuple(f"cloudscheduler.jobs.{verb}" for verb in ("create", "delete", "enable", "get", "update"))
_CALLING = "run.routes.invoke"
_ENABLED, _PAUSED, _DISABLED = "ENABLED", "PAUSED", "DISABLED"


class _Token(msgspec.Struct, rename="camel"):
    service_account_email: str = ""
    audience: str = ""


class _HttpTarget(msgspec.Struct, rename="camel"):
    uri: str = ""
    body: str = ""
    oidc_token: _Token | None = None


class Job(msgspec.Struct, rename="camel"):
    """A job as Cloud Scheduler shows it. `description` says which deployment made it so."""

    description: str = ""
    schedule: str = ""
    time_zone: str = ""
    state: str = ""
    http_target: _HttpTarget | None = None


class Schedules:
    """The job of one order's function at its target, as one account sees it."""

    kind = "job"

    def __init__(self, account: Account, order: Order) -> None:
        self._account, self._order, self._target = account, order, target_of(order)
        self._settings = schedule_of(order.release.trigger)
        self._is_private = order.release.access != "public"

    @property
    def are_wanted(self) -> bool:
        """Whether the release has a schedule."""
        return self._settings is not None

    async def require(self) -> None:
        """Look whether a job could be made, before anything else is. Raises ProviderRefused with what lets it be, or
        Answered."""
        if self._settings is None:
            return
        expression(self._settings.cron)
        calling = (_CALLING,) if self._is_private else ()
        await require_permissions(self._account, (*PERMISSIONS, *calling), project=self._target.project_id)
        if self._is_private:
            await require_act_as(self._account)
        await self._job()  # Whether the API is enabled is not among the permissions.

    async def put(self, url: str) -> None:
        """Have what answers at the URL called as the release says, whatever the job was before."""
        assert self._settings is not None, "only a release with a schedule has a job"
        wanted = self._wanted(self._settings, url)
        path = naming.jobs_path(self._target)
        try:
            await self._account.call("POST", "cloudscheduler", path, Job, body=wanted)
        except Answered as error:
            if error.http_status != 409:
                raise
            await self._change(wanted)

    async def _change(self, wanted: dict[str, Any]) -> None:
        query = {"updateMask": ",".join(sorted(wanted.keys() - {"name"}))}
        found = await self._account.found("PATCH", "cloudscheduler", self._path, Job, query=query, body=wanted)
        if found is None:
            raise ProviderBusy("The job of Cloud Scheduler was taken away meanwhile.")
        if found.state == _PAUSED:
            await self._resume()
        elif found.state == _DISABLED:  # Which Google did, and nobody can undo.
            await self.remove()
            raise ProviderBusy("The job of Cloud Scheduler was disabled by Google, and is made anew.")

    async def _resume(self) -> None:
        try:
            await self._account.found("POST", "cloudscheduler", f"{self._path}:resume", Job, body={})
        except Answered as error:
            if error.status != "FAILED_PRECONDITION":  # Somebody did meanwhile.
                raise

    async def remove(self) -> None:
        """Take the job away; it may be gone already."""
        await self._account.found("DELETE", "cloudscheduler", self._path, dict[str, Any])

    async def remove_own(self) -> None:
        """Take the job away if this very release made it as it is. Who may not look at any never made one."""
        try:
            found = await self._job()
        except Answered as error:
            if error.http_status != 403:
                raise
            return
        if found is not None and found.description == naming.description(self._order):
            await self.remove()

    async def are_as_said(self, url: str) -> bool:
        """Whether a release with a schedule has its job, and this calls the URL."""
        if self._settings is None:
            return True
        found = await self._job()
        if found is None or found.state != _ENABLED or found.http_target is None:
            return False
        shown = msgspec.to_builtins(found)
        wanted = self._wanted(self._settings, url)
        return (
            all(shown[name] == wanted[name] for name in ("description", "schedule", "timeZone"))
            and all(shown["httpTarget"][name] == wanted["httpTarget"][name] for name in ("uri", "body"))
            and shown["httpTarget"]["oidcToken"] == wanted["httpTarget"].get("oidcToken")
        )

    async def _job(self) -> Job | None:
        return await self._account.found("GET", "cloudscheduler", self._path, Job)

    @property
    def _path(self) -> str:
        return f"{naming.jobs_path(self._target)}/{naming.job_name(self._order)}"

    def _wanted(self, settings: ScheduleSettings, url: str) -> dict[str, Any]:
        seconds = min(max(self._order.release.request_seconds_max, ATTEMPT_SECONDS_MIN), ATTEMPT_SECONDS_MAX)
        return {
            "name": self._path.removeprefix("/v1/"),
            "description": naming.description(self._order),
            "schedule": expression(settings.cron),
            "timeZone": "Etc/UTC" if settings.time_zone == "UTC" else settings.time_zone,
            "attemptDeadline": f"{seconds}s",
            "retryConfig": {"retryCount": RETRIES_MAX},
            "httpTarget": self._call(settings, url),
        }

    def _call(self, settings: ScheduleSettings, url: str) -> dict[str, Any]:
        """A CloudEvent in HTTP's binary mode, less its id and time: a job's headers are the same at each call, and an id
        that never changes would tell whoever looks for repetitions that every call is one. Cloud Scheduler itself sends
        X-CloudScheduler-ScheduleTime, which is the call's own and stays when it is repeated."""
        body = msgspec.json.encode({"cron": settings.cron, "timeZone": settings.time_zone})
        called = {
            "uri": f"{url}/",
            "httpMethod": "POST",
            "headers": {
                "ce-specversion": "1.0",
                "ce-source": f"/projects/{self._order.project_id}/functions/{self._order.release.function_id}",
                "ce-type": TICK_TYPE,
                "Content-Type": "application/json",
            },
            "body": base64.b64encode(body).decode(),
        }
        if self._is_private:
            email = identity_of(self._order).service_account_email
            called["oidcToken"] = {"serviceAccountEmail": email, "audience": url}
        return called


def expression(cron: str) -> str:
    """The five fields as Cloud Scheduler has them, in numbers only. Raises ProviderRefused for days of the month together
    with days of the week: what comes of these Google does not say."""
    parsed = parse(cron)
    days, weekdays = _listed(parsed.days, 31), _listed(parsed.weekdays, 7)
    if "*" not in (days, weekdays):
        raise ProviderRefused(
            "schedule_not_expressible",
            f"Cloud Scheduler does not say what days of the month together with days of the week mean: {cron}",
            "Name one of the two, or save two functions.",
        )
    return f"{_minutes_and_hours(parsed)} {days} {_listed(parsed.months, 12)} {weekdays}"


def _minutes_and_hours(parsed: Cron) -> str:
    return f"{_listed(parsed.minutes, 60)} {_listed(parsed.hours, 24)}"


def _listed(values: Iterable[int], count: int) -> str:
    named = sorted(values)
    return "*" if len(named) == count else ",".join(map(str, named))
