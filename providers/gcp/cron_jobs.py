"""The schedule of a private release on GKE: a CronJob beside it, since Cloud Scheduler does not reach what is private there."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.trigger import TICK_TYPE, ScheduleSettings, schedule_of
from providers.gcp import naming, workload
from providers.gcp.account import Account, target_of
from providers.gcp.errors import Answered
from providers.gcp.grants import require_permissions
from providers.gcp.kubernetes import Kubernetes
from providers.gcp.schedules import RETRIES_MAX, expression
from providers.gcp.workload import Metadata
from providers.provider import Order, ProviderRefused

CRON_JOBS = "apis/batch/v1/cronjobs"
PERMISSIONS = tuple(f"container.cronJobs.{verb}" for verb in ("create", "delete", "get", "update"))
# Google's own, which its builds use. Unlike busybox's wget, curl is the same program everywhere, so that the very line that a
# cluster runs is run in a test.
CALLER_IMAGE = "gcr.io/cloud-builders/curl"
# What a run may take beside the call: a node, an image.
PLACING_SECONDS = 300
# A run that no node took for so long is left out.
LATE_SECONDS_MAX = 300
KEPT_SECONDS = 3600
_NOBODY = 65534
# The run's own name: that of its Job, which its repetitions share.
_RUN = "metadata.labels['batch.kubernetes.io/job-name']"


class _Spec(msgspec.Struct, rename="camel"):
    schedule: str = ""
    time_zone: str = ""
    suspend: bool = False
    job_template: dict[str, Any] = {}


class CronJob(msgspec.Struct):
    metadata: Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)


class CronJobs:
    """The CronJob of one order's function at its target; the same verbs as those of `Schedules`."""

    kind = "cronjob"

    def __init__(self, account: Account, kubernetes: Kubernetes, order: Order) -> None:
        self._account, self._kubernetes, self._order = account, kubernetes, order
        self._target, self._name = target_of(order), naming.job_name(order)
        self._settings = schedule_of(order.release.trigger)

    @property
    def are_wanted(self) -> bool:
        """Whether the release has a schedule."""
        return self._settings is not None

    async def require(self) -> None:
        """Look whether one could be made, before anything else is. Raises ProviderRefused, or Answered."""
        if self._settings is not None:
            expression(self._settings.cron)
            await require_permissions(self._account, PERMISSIONS, project=self._target.project_id)

    async def put(self, url: str) -> None:
        """Have what answers at the URL called as the release says, whatever the CronJob was before. Raises ProviderRefused."""
        assert self._settings is not None, "only a release with a schedule has a CronJob"
        found = await self._found()
        if found is not None and not self._is_ours(found):
            raise ProviderRefused(
                "service_taken",
                f"The CronJob {self._name} in the namespace {self._target.namespace} is not this function's.",
                "Remove the CronJob that has this name, if nobody needs it: "
                + await self._kubernetes.in_namespace("delete", "cronjob", self._name),
            )
        await self._kubernetes.apply(CRON_JOBS, cron_job(self._order, self._settings, url))

    async def remove(self) -> None:
        """Take it away; it may be gone already."""
        found = await self._found()
        if found is not None and self._is_ours(found):
            await self._kubernetes.remove(CRON_JOBS, self._name, found.metadata.uid)

    async def remove_own(self) -> None:
        """Take it away if this very release made it as it is. Who may not look at any never made one."""
        try:
            found = await self._found()
        except Answered as error:
            if error.http_status != 403:
                raise
            return
        mine = found is not None and found.metadata.labels.get("dcf-deployment") == str(self._order.deployment_id)
        if mine:
            await self.remove()

    async def are_as_said(self, url: str) -> bool:
        """Whether a release with a schedule has its CronJob, and this calls the URL."""
        if self._settings is None:
            return True
        found = await self._found()
        if found is None or found.spec.suspend or not self._is_ours(found):
            return False
        wanted = cron_job(self._order, self._settings, url)
        labels, spec = wanted["metadata"]["labels"], wanted["spec"]
        return (
            labels.items() <= found.metadata.labels.items()
            and (found.spec.schedule, found.spec.time_zone) == (spec["schedule"], spec["timeZone"])
            and _command(found.spec.job_template) == _command(spec["jobTemplate"])
        )

    async def _found(self) -> CronJob | None:
        return await self._kubernetes.get(CRON_JOBS, self._name, CronJob)

    def _is_ours(self, found: CronJob) -> bool:
        wanted = {"managed-by": naming.MANAGED_BY, **workload.of_target(self._order)}
        return wanted.items() <= found.metadata.labels.items()


def cron_job(order: Order, settings: ScheduleSettings, url: str) -> dict[str, Any]:
    """What calls the URL as the settings say, at the order's target."""
    labels = workload.object_labels(order)
    seconds = order.release.request_seconds_max
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": naming.job_name(order), "namespace": target_of(order).namespace, "labels": labels},
        "spec": {
            "schedule": expression(settings.cron),
            "timeZone": "Etc/UTC" if settings.time_zone == "UTC" else settings.time_zone,
            "concurrencyPolicy": "Allow",
            "startingDeadlineSeconds": LATE_SECONDS_MAX,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "suspend": False,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": RETRIES_MAX,
                    "activeDeadlineSeconds": (1 + RETRIES_MAX) * seconds + PLACING_SECONDS,
                    "ttlSecondsAfterFinished": KEPT_SECONDS,
                    "template": {
                        "metadata": {"labels": {**labels, "dcf-role": "calling"}},
                        "spec": {
                            "restartPolicy": "Never",
                            "automountServiceAccountToken": False,
                            "enableServiceLinks": False,
                            "containers": [_caller(order, settings, url, seconds)],
                        },
                    },
                }
            },
        },
    }


def _caller(order: Order, settings: ScheduleSettings, url: str, seconds: int) -> dict[str, Any]:
    """A CloudEvent in HTTP's binary mode. Kubernetes itself puts the run's name where its variable stands: no shell."""
    body = msgspec.json.encode({"cron": settings.cron, "timeZone": settings.time_zone}).decode()
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "$(RUN)",
        "ce-source": f"/projects/{order.project_id}/functions/{order.release.function_id}",
        "ce-type": TICK_TYPE,
        "Content-Type": "application/json",
    }
    named = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    quiet = ("--fail", "--silent", "--show-error", "--output", "/dev/null")
    size = {"cpu": "50m", "memory": "64Mi"}
    return {
        "name": "call",
        "image": CALLER_IMAGE,
        "command": ["curl", *quiet, "--max-time", str(seconds), *named, "--data-raw", body, f"{url}/"],
        "env": [{"name": "RUN", "valueFrom": {"fieldRef": {"fieldPath": _RUN}}}],
        "resources": {"requests": size, "limits": size},
        "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": _NOBODY},
    }


def _command(job_template: dict[str, Any]) -> Any:
    """What the one container of a Job runs."""
    containers = job_template.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    return containers[0].get("command") if containers else None
