"""The schedule of a release: jobs of Container Apps in the same environment, which call what serves there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.trigger import TICK_TYPE, ScheduleSettings, schedule_of
from providers.azure import naming
from providers.azure.account import Account, target_of
from providers.azure.apps import VERSION
from providers.azure.caller import IMAGE, PROGRAM
from providers.azure.errors import Answered
from providers.azure.local_times import OFFSETS_MAX, InUtc, in_utc, rule
from providers.azure.look import Look
from providers.azure.operation import Operations
from providers.provider import Order, ProviderBusy

RETRIES_MAX = 2
# Beside the call itself, for an image that has to be fetched first.
START_SECONDS_MAX = 300
REQUEST_SECONDS_MAX = 240
_GONE = ("Failed", "Canceled", "Deleting")


class _Variable(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Container(msgspec.Struct):
    env: list[_Variable] = []


class _Template(msgspec.Struct):
    containers: list[_Container] = []


class _Trigger(msgspec.Struct, rename="camel"):
    cron_expression: str = ""


class _Configuration(msgspec.Struct, rename="camel"):
    schedule_trigger_config: _Trigger | None = None


class _Properties(msgspec.Struct, rename="camel"):
    provisioning_state: str = ""
    configuration: _Configuration = msgspec.field(default_factory=_Configuration)
    template: _Template = msgspec.field(default_factory=_Template)


class _Job(msgspec.Struct):
    """A job as Azure shows it. Its tags say which deployment made it so."""

    tags: dict[str, str] | None = None
    properties: _Properties = msgspec.field(default_factory=_Properties)

    @property
    def cron(self) -> str:
        found = self.properties.configuration.schedule_trigger_config
        return found.cron_expression if found else ""

    @property
    def variables(self) -> dict[str, str]:
        return {one.name: one.value for container in self.properties.template.containers for one in container.env}


class Schedules:
    """The jobs of one order's function at its target, as one account sees them."""

    def __init__(self, account: Account, operations: Operations, order: Order) -> None:
        self._account, self._operations = account, operations
        self._order, self._target = order, target_of(order)
        self._settings = schedule_of(order.release.trigger)

    @property
    def are_wanted(self) -> bool:
        """Whether the release has a schedule."""
        return self._settings is not None

    async def require(self) -> None:
        """Look whether the jobs could be made, before anything else is. Raises ProviderRefused, or Answered."""
        if self._settings is not None:
            self._in_utc(self._settings)
            await self._job(0)

    async def put(self, url: str) -> None:
        """Have what answers at the URL called as the release says, whatever the jobs were before. Raises ProviderBusy
        while one that is too many is still being taken away, or is a later release's."""
        assert self._settings is not None, "only a release with a schedule has jobs"
        wanted = self._in_utc(self._settings)
        # First: once those that are wanted are there, nobody looks for more.
        if left := await self._removed(range(len(wanted), OFFSETS_MAX)):
            raise ProviderBusy(f"Azure is still taking away {', '.join(left)}.")
        for number, one in enumerate(wanted):
            look = Look()
            self._must_be_ours(await self._job(number))
            look.require_fresh()
            body = self._wanted(self._settings, one, url)
            reply = await self._account.ask("PUT", naming.job_path(self._order, number), VERSION, body=body)
            self._operations.begin(self._order.deployment_id, reply)
            await self._operations.settle(self._account, self._order.deployment_id)

    async def remove(self) -> tuple[str, ...]:
        """Take the jobs away; they may be gone already. The names of those that Azure is still taking away."""
        return await self._removed(range(OFFSETS_MAX))

    async def remove_own(self) -> tuple[str, ...]:
        """The same of the jobs that this very release made. Who may not look at any never made one."""
        own = []
        for number in range(OFFSETS_MAX):
            try:
                found = await self._job(number)
            except Answered as error:
                if error.http_status != 403:
                    raise
                return ()
            if found is not None and self._made(found):
                own.append(number)
        return await self._removed(own)

    async def are_as_said(self, url: str) -> bool:
        """Whether a release with a schedule has its jobs, and these call the URL."""
        if self._settings is None:
            return True
        for number, one in enumerate(self._in_utc(self._settings)):
            found = await self._job(number)
            if found is None or not self._made(found) or found.properties.provisioning_state in _GONE:
                return False
            if found.cron != one.expression or found.variables != self._variables(self._settings, one, url):
                return False
        return True

    def _made(self, job: _Job) -> bool:
        return (job.tags or {}).get("dcf-deployment") == str(self._order.deployment_id)

    async def _job(self, number: int) -> _Job | None:
        return await self._account.found("GET", naming.job_path(self._order, number), VERSION, _Job)

    async def _removed(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple([f"job {naming.job_name(self._order, one)}" for one in numbers if not await self._is_gone(one)])

    async def _is_gone(self, number: int) -> bool:
        """Remove one, unless that is under way, and look whether it is there still."""
        look = Look()
        found = await self._job(number)
        if found is None or found.properties.provisioning_state == "Deleting":
            return found is None
        self._must_be_ours(found)
        look.require_fresh()
        reply = await self._account.gone(naming.job_path(self._order, number), VERSION)
        if reply is not None:
            self._operations.begin(self._order.deployment_id, reply)
            await self._operations.settle(self._account, self._order.deployment_id)
        return await self._job(number) is None

    def _must_be_ours(self, job: _Job | None) -> None:
        """A runner that stood still would take it from who came after."""
        if job is not None and naming.number_in(job.tags) > self._order.number:
            raise ProviderBusy("A later release has the job that calls the function.")

    def _in_utc(self, settings: ScheduleSettings) -> tuple[InUtc, ...]:
        return in_utc(settings.cron, settings.time_zone, datetime.now(UTC))

    def _wanted(self, settings: ScheduleSettings, one: InUtc, url: str) -> dict[str, Any]:
        variables = self._variables(settings, one, url)
        return {
            "location": self._target.region,
            "tags": naming.tags(self._order),
            "properties": {
                "environmentId": naming.environment_path(self._target),
                "configuration": {
                    "triggerType": "Schedule",
                    "replicaTimeout": self._seconds + START_SECONDS_MAX,
                    "replicaRetryLimit": RETRIES_MAX,
                    "scheduleTriggerConfig": {
                        "cronExpression": one.expression,
                        "parallelism": 1,
                        "replicaCompletionCount": 1,
                    },
                },
                "template": {
                    "containers": [
                        {
                            "name": "caller",
                            "image": IMAGE,
                            "command": ["python3", "-c", PROGRAM],
                            "env": [{"name": name, "value": value} for name, value in variables.items()],
                            "resources": {"cpu": 0.25, "memory": "0.5Gi"},
                        }
                    ]
                },
            },
        }

    @property
    def _seconds(self) -> int:
        return min(self._order.release.request_seconds_max, REQUEST_SECONDS_MAX)

    def _variables(self, settings: ScheduleSettings, one: InUtc, url: str) -> dict[str, str]:
        """What the caller is told; the event's id and time are those of the run."""
        body = msgspec.json.encode({"cron": settings.cron, "timeZone": settings.time_zone})
        return {
            "DCF_URL": f"{url}/",
            "DCF_ZONE": rule(settings.time_zone),
            "DCF_OFFSET_SECONDS": str(one.offset_seconds),
            "DCF_SOURCE": f"/projects/{self._order.project_id}/functions/{self._order.release.function_id}",
            "DCF_TYPE": TICK_TYPE,
            "DCF_BODY": body.decode(),
            "DCF_SECONDS": str(self._seconds),
        }
