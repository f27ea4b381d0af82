"""Scheduled jobs of Container Apps, in UTC: their program is really run, at the time that it is told to be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from tests.emulators.azure.answers import Problem, not_found
from tests.emulators.azure.customer import LOCATION, Customer
from tests.emulators.azure.operations import Operations
from tests.emulators.azure.routes import Answer, Call, Methods
from tests.emulators.azure.rules import check_resources

RUN_SECONDS_MAX = 60
# How long a job that is being removed is still there.
REMOVAL_SECONDS = 0.1
_NAME = re.compile(r"[a-z]([a-z0-9]|-(?!-)){0,30}[a-z0-9]")
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
# The container's clock shows the minute that is asked for.
_AT = "import time; time.time = lambda: {at}; exec({program!r})"


class Jobs:
    """The jobs of a customer by their paths. `inside` turns an address into what the environment's own network knows."""

    def __init__(self, customer: Customer, operations: Operations, inside: Callable[[str], str]) -> None:
        self._customer, self._operations, self._inside = customer, operations, inside
        self.jobs: dict[str, dict[str, Any]] = {}
        self._going: dict[str, float] = {}

    @property
    def methods(self) -> Methods:
        return {"jobs.get": self._get, "jobs.put": self._put, "jobs.delete": self._delete}

    def names(self) -> list[str]:
        self._settle()
        return [f"job {path.rpartition('/')[2]}" for path in self.jobs]

    def tick(self, at: datetime) -> list[int]:
        """Run whatever is due in the minute: what the programs say they were answered; one that fails counts as 500."""
        answers = []
        self._settle()
        for path, job in list(self.jobs.items()):
            if path not in self._going and _is_due(
                job["properties"]["configuration"]["scheduleTriggerConfig"]["cronExpression"], at
            ):
                answers += self._run(job, at)
        return answers

    def _run(self, job: dict[str, Any], at: datetime) -> list[int]:
        [container] = job["properties"]["template"]["containers"]
        match container["command"]:
            case ["python3", "-c", program]:
                pass
            case other:
                raise AssertionError(f"the emulator runs python3 -c alone, and not {other}")
        given = {one["name"]: self._inside(one["value"]) for one in container["env"]}
        given["CONTAINER_APP_JOB_EXECUTION_NAME"] = f"{job['name']}-{int(at.timestamp()) // 60}"
        ended = subprocess.run(
            [sys.executable, "-c", _AT.format(at=at.timestamp(), program=program)],
            env={"PATH": os.environ["PATH"], **given},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
        return [500] if ended.returncode else [int(line) for line in ended.stdout.split()]

    def _get(self, call: Call) -> Answer:
        return Answer(self._found(call.path))

    def _put(self, call: Call) -> Answer:
        name, wanted = call.named["job_name"], call.body
        if not _NAME.fullmatch(name):
            raise Problem(400, "ContainerAppJobInvalidName", f"Invalid job name '{name}'.")
        self._check(call, wanted.get("properties", {}))
        self._must_stay(call.path)
        before = call.path.lower() in self.jobs
        shown = msgspec.json.decode(msgspec.json.encode(wanted))
        shown |= {"id": call.path, "name": name, "type": "Microsoft.App/jobs"}
        shown["properties"]["provisioningState"] = "Succeeded"
        self.jobs[call.path.lower()] = shown
        headers = self._operations.begin(call, LOCATION, lambda: shown, by_status=True)
        return Answer(shown, 200 if before else 201, headers)

    def _delete(self, call: Call) -> Answer:
        path = call.path.lower()
        self._must_stay(path)
        if path not in self.jobs:
            return Answer(None, 204)
        self._going[path] = time.monotonic() + REMOVAL_SECONDS
        self.jobs[path]["properties"]["provisioningState"] = "Deleting"
        return Answer(None, 202, self._operations.begin(call, LOCATION, lambda: self._removed(path), by_status=False))

    def _removed(self, path: str) -> dict[str, Any] | None:
        """None while it is still there."""
        self._settle()
        return None if path in self._going else {}

    def _settle(self) -> None:
        """Remove what was to go by now."""
        for path in [path for path, ends in self._going.items() if time.monotonic() >= ends]:
            del self._going[path]
            self.jobs.pop(path, None)

    def _must_stay(self, path: str) -> None:
        """Raises Problem for one that is being removed."""
        self._settle()
        if path.lower() in self._going:
            raise Problem(409, "ContainerAppJobOperationInProgress", "The job is being removed.")

    def _check(self, call: Call, properties: dict[str, Any]) -> None:
        """What no schema says. Raises Problem."""
        environment = properties.get("environmentId", "")
        self._customer.require(call.principal, "Microsoft.App/managedEnvironments/join/action", environment)
        self._customer.found(environment)
        configuration = properties.get("configuration", {})
        trigger = configuration.get("scheduleTriggerConfig")
        if configuration.get("triggerType") != "Schedule" or trigger is None:
            raise Problem(
                400, "JobTriggerInvalid", "The emulator has jobs of triggerType Schedule alone, with their trigger."
            )
        _is_due(trigger["cronExpression"], datetime.now(UTC))
        if configuration["replicaTimeout"] < 1 or configuration.get("replicaRetryLimit", 0) < 0:
            raise Problem(400, "JobConfigurationInvalid", "The job ends before it begins.")
        [container] = properties.get("template", {}).get("containers") or [{}]
        if not container.get("image") or not container.get("name"):
            raise Problem(400, "ContainerAppInvalidField", "The job has no container.")
        check_resources(container.get("resources", {}))

    def _found(self, path: str) -> dict[str, Any]:
        self._settle()
        if path.lower() not in self.jobs:
            raise not_found(path)
        return self.jobs[path.lower()]


def _is_due(expression: str, at: datetime) -> bool:
    """Raises Problem for what is no schedule."""
    shown = at.astimezone(UTC)
    clock = (shown.minute, shown.hour, shown.day, shown.month, shown.isoweekday() % 7)
    fields = expression.split(" ")
    if len(fields) != len(_BOUNDS):
        raise Problem(400, "JobCronInvalid", f"Invalid cron expression '{expression}'.")
    named = [_named(field, low, high) for field, (low, high) in zip(fields, _BOUNDS, strict=True)]
    return all(value in one for value, one in zip(clock, named, strict=True))


def _named(field: str, low: int, high: int) -> set[int]:
    if field == "*":
        return set(range(low, high + 1))
    if not re.fullmatch(r"\d+(,\d+)*", field) or not all(low <= int(one) <= high for one in field.split(",")):
        raise Problem(400, "JobCronInvalid", f"Invalid field '{field}' of a cron expression.")
    return {int(one) for one in field.split(",")}
