"""A release on GKE: a Deployment of its own until it is promoted, then the one that the target names takes it over, pod by pod."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from domain.release import Access
from providers.gcp import naming, workload
from providers.gcp.account import Account, target_of
from providers.gcp.cluster import CLUSTER_MISSING, KnownClusters
from providers.gcp.cron_jobs import CronJobs
from providers.gcp.errors import Answered
from providers.gcp.grants import repository_grant, require_permissions
from providers.gcp.kubernetes import Kubernetes
from providers.gcp.registry import Images
from providers.gcp.schedules import Schedules
from providers.gcp.workload import (
    DEPLOYMENTS,
    NOT_PULLED,
    PODS,
    SECRETS,
    SERVED,
    SERVICES,
    STUCK,
    Deployment,
    Deployments,
    KubeSecret,
    KubeSecrets,
    KubeService,
    Metadata,
    Pod,
    Pods,
)
from providers.provider import NO_SECRETS, Image, Order, ProviderBusy, ProviderRefused, Secrets, Service
from providers.together import together

# How long a verb waits for what it began; the runner looks again after that.
WAIT_SECONDS = 10.0
POLL_SECONDS = 0.2
LAST_WORDS_LINES = 30
HEALTH_STATUS_MAX = 500
PERMISSIONS = (
    "container.clusters.list",
    *(f"container.deployments.{verb}" for verb in ("create", "delete", "get", "list", "update")),
    *(f"container.services.{verb}" for verb in ("create", "delete", "get", "update")),
    *(f"container.secrets.{verb}" for verb in ("create", "delete", "list", "update")),
    "container.pods.getLogs",
    "container.pods.list",
    "container.pods.proxy",
)
_WRONG = "It must listen on 0.0.0.0:$PORT within its start limit. See its log, mend it, and deploy again."

_MORE_MEMORY = "It needs more memory than it has: let it use less, and deploy again."


class _Seen(msgspec.Struct, frozen=True):
    """The release's own Deployment, the one that serves the target, the address, and that of a release with the other access."""

    record: Deployment | None
    main: Deployment | None
    service: KubeService | None
    other: KubeService | None


class GkeReleases:
    """The release of one order, as one account sees it."""

    def __init__(
        self, account: Account, order: Order, known: KnownClusters, *, elsewhere: Kubernetes | None = None
    ) -> None:
        """`elsewhere` is a cluster that the target does not mean any more, from which the release is to be taken away."""
        self._account, self._order, self._target, self._known = account, order, target_of(order), known
        self._kubernetes = elsewhere or Kubernetes(account, self._target, known)
        self._is_elsewhere = elsewhere is not None
        self._by_kind: dict[str, Schedules | CronJobs] = {
            Schedules.kind: Schedules(account, order),
            CronJobs.kind: CronJobs(account, self._kubernetes, order),
        }
        # Cloud Scheduler does not reach what is private.
        self._schedules = self._by_kind[Schedules.kind if order.release.access == "public" else CronJobs.kind]
        self._scheduled_by = frozenset((self._schedules.kind,) if self._schedules.are_wanted else ())
        self._name = naming.candidate_name(order)
        self._service_name = naming.kube_service_name(order, order.release.access)

    async def require(self) -> None:
        """Raises ProviderRefused for what cannot be deployed so, before anything is built for it, or Answered."""
        await require_permissions(self._account, PERMISSIONS, project=self._target.project_id)
        await self._schedules.require()
        await self._kubernetes.require()

    async def shown(self) -> Service | None:
        """The release as it is now; None when there is none of this deployment, or it has no address or no node yet."""
        seen = await self._look_anywhere()
        if seen is None or seen.record is None or await self._is_missing(seen, seen.record):
            return None
        return await self._shown(seen)

    async def apply(self, image: Image, secrets: Secrets = NO_SECRETS) -> Service:
        """Make the release's own Deployment, or find it made, and the address, which leads to what serves."""
        await self._kubernetes.renewed()
        seen = await self._look()
        if seen.main is not None and not self._is_ours(seen.main.metadata):
            raise await self._taken("Deployment", seen.main.metadata)
        if seen.service is not None and not self._is_ours(seen.service.metadata):
            raise await self._taken("Service", seen.service.metadata)
        if seen.service is not None and seen.service.metadata.deletion_timestamp:
            raise ProviderBusy("The load balancer of a former release is being taken away.", retry_in_seconds=2)
        if seen.service is None:
            await self._kubernetes.apply(SERVICES, workload.service(self._order))
        if seen.record is None:
            if secrets:
                await self._kubernetes.apply(SECRETS, workload.secret(self._order, secrets))
            await self._kubernetes.apply(DEPLOYMENTS, workload.candidate(self._order, image.reference))
        return await self._shown(await self._addressed())

    async def promote(self) -> Service:
        """Let the target's Deployment run the release, and close what it was called by before. Raises ProviderRefused
        (`overtaken`)."""
        seen = await self._look()
        if seen.record is None:
            raise self._not_healthy("There is no such release.")
        if seen.main is not None and not self._is_ours(seen.main.metadata):
            raise await self._taken("Deployment", seen.main.metadata)
        if seen.main is not None and seen.main.number > self._order.number:
            raise ProviderRefused(
                "overtaken", "A later deployment of the function serves already.", "Deploy again to replace it."
            )
        if not await self._is_in_charge(seen):
            await self._lead(seen, seen.record)
            seen = await self._look()
        return await self._shown(seen)

    async def withdraw(self) -> tuple[str, ...]:
        """Take the release away: with the one that serves everything of the function here, and with one that was only
        about to serve, what served before comes back. The names of what is still there.

        It is looked for in the region's other clusters too, as far as these can be looked into: another may be meant now
        than when it was made.
        """
        try:
            await self._kubernetes.renewed()
        except ProviderRefused as refused:
            if refused.code != CLUSTER_MISSING:
                raise
            await self._by_kind[Schedules.kind].remove_own()  # Which is in no cluster, and calls what is gone.
            return ()
        remaining = await self._withdraw_here(await self._look())
        for kubernetes in self._kubernetes.others():
            remaining += await GkeReleases(
                self._account, self._order, self._known, elsewhere=kubernetes
            )._withdraw_if_there()
        return remaining

    async def _withdraw_if_there(self) -> tuple[str, ...]:
        try:
            seen = await self._look()
        except (Answered, ProviderBusy, ProviderRefused):
            return ()  # It is not known to be ours to use.
        is_there = seen.record is not None or self._leads(seen.main) is not None
        return await self._withdraw_here(seen) if is_there else ()

    async def _withdraw_here(self, seen: _Seen) -> tuple[str, ...]:
        main = seen.main if seen.main is not None and self._is_ours(seen.main.metadata) else None
        serving = main
        if main is not None and main.deployment_id == str(self._order.deployment_id):
            serving = None if seen.record is None or seen.record.has_served else await self._before()
            if serving is None:
                return await self._remove_all(main)
            body = workload.as_serving(serving, self._order, scheduled_by=main.scheduled_by)
            await self._kubernetes.apply(DEPLOYMENTS, body)
        elif main is None and not [one for one in await self._records() if one.metadata.name != self._name]:
            return await self._remove_all(None)
        if serving is not None and self._was_made_for_it_alone(seen.record, serving):
            await self._close(self._order.release.access)
        return await self._remove(self._name)

    async def sweep(self, *, was_applied: bool) -> None:
        """Nothing of a release is kept beside it."""

    async def _lead(self, seen: _Seen, record: Deployment) -> None:
        if self._leads(seen.main) is None:
            if (await self._shown(seen)).status != "healthy":
                raise self._not_healthy("The release is not healthy.")
            # Until the release has taken over, the job is that of the one before, which may have to come back.
            before = seen.main.scheduled_by if seen.main is not None else frozenset()
            body = workload.as_serving(record, self._order, scheduled_by=self._scheduled_by | before)
            await self._kubernetes.apply(DEPLOYMENTS, body)
        if seen.service is None or not self._is_as_said(seen.service):
            await self._kubernetes.apply(SERVICES, workload.service(self._order))
        main = await self._rolled_out()
        if main is None or not main.is_complete:
            return
        if self._schedules.are_wanted:
            await self._schedules.put(self._url(await self._look()))
        # What the one before it was called by goes once this one cannot be withdrawn in its favour any more.
        if not record.has_served or record.spec.replicas:
            served = {"metadata": {"annotations": {SERVED: "yes"}}, "spec": {"replicas": 0}}
            await self._kubernetes.merge(DEPLOYMENTS, self._name, served)
        await self._close_other()
        if others := main.scheduled_by - self._scheduled_by:
            for kind in others:
                await self._by_kind[kind].remove()
            body = workload.as_serving(record, self._order, scheduled_by=self._scheduled_by)
            await self._kubernetes.apply(DEPLOYMENTS, body)

    async def _addressed(self) -> _Seen:
        """What is there once the release has an address and a node. Raises ProviderBusy when time is up."""
        ends = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            seen = await self._look()
            missing = (
                "The Deployment does not show yet."
                if seen.record is None
                else await self._is_missing(seen, seen.record)
            )
            if not missing:
                return seen
            if asyncio.get_running_loop().time() > ends:
                raise ProviderBusy(missing, retry_in_seconds=2)
            await asyncio.sleep(POLL_SECONDS)

    async def _rolled_out(self) -> Deployment | None:
        """The target's Deployment when it has taken the release over, or when time is up."""
        ends = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            main = self._leads(await self._kubernetes.get(DEPLOYMENTS, self._target.deployment_name, Deployment))
            if main is None or main.is_complete or main.trouble or asyncio.get_running_loop().time() > ends:
                return main
            await asyncio.sleep(POLL_SECONDS)

    async def _close_other(self) -> None:
        """A function that was public is closed when it is private, and the other way round."""
        await self._close(self._other_access)

    async def _close(self, access: Access) -> tuple[str, ...]:
        """Take an address away; there may be none. The name of one that is not gone yet."""
        name = naming.kube_service_name(self._order, access)
        other = await self._kubernetes.get(SERVICES, name, KubeService)
        if other is None or not self._is_ours(other.metadata):
            return ()
        if not other.metadata.deletion_timestamp:
            await self._kubernetes.remove(SERVICES, name, other.metadata.uid)
        return () if await self._kubernetes.get(SERVICES, name, KubeService) is None else (f"service {name}",)

    async def _before(self) -> Deployment | None:
        """The release that served before this one."""
        served = [one for one in await self._records() if one.has_served and one.number < self._order.number]
        return max(served, key=lambda one: one.number, default=None)

    async def _records(self) -> list[Deployment]:
        labels = {**workload.of_target(self._order), "dcf-role": "candidate"}
        return (await self._kubernetes.listed(DEPLOYMENTS, labels, Deployments)).items

    async def _remove_all(self, main: Deployment | None) -> tuple[str, ...]:
        """Everything of the function at this target. What is called goes before what calls it."""
        if main is not None and main.scheduled_by:
            for kind in main.scheduled_by:
                # The job is one of the target, whichever cluster it means: it may call another release by now.
                is_anothers = self._is_elsewhere and kind == Schedules.kind
                await (self._by_kind[kind].remove_own() if is_anothers else self._by_kind[kind].remove())
        elif self._schedules.are_wanted:
            await self._schedules.remove_own()
        remaining = [*await self._close("public"), *await self._close("private")]
        for record in await self._records():
            remaining += await self._remove(record.metadata.name)
        if main is not None:  # Last: as long as it is there, the next attempt knows that all is to go.
            await self._kubernetes.remove(DEPLOYMENTS, main.metadata.name, main.metadata.uid)
        for secret in await self._secrets():
            await self._kubernetes.remove(SECRETS, secret.metadata.name, secret.metadata.uid)
        still = await self._kubernetes.get(DEPLOYMENTS, self._target.deployment_name, Deployment)
        if still is not None and self._is_ours(still.metadata):
            remaining.append(f"deployment {self._target.deployment_name}")
        return tuple(remaining)

    async def _remove(self, name: str) -> tuple[str, ...]:
        """One release's own Deployment, then its secrets."""
        record = await self._kubernetes.get(DEPLOYMENTS, name, Deployment)
        if record is not None and self._is_ours(record.metadata):
            await self._kubernetes.remove(DEPLOYMENTS, name, record.metadata.uid)
        for secret in await self._secrets():
            if secret.metadata.name == name:
                await self._kubernetes.remove(SECRETS, name, secret.metadata.uid)
        still = await self._kubernetes.get(DEPLOYMENTS, name, Deployment)
        return () if still is None or not self._is_ours(still.metadata) else (f"deployment {name}",)

    async def _secrets(self) -> list[KubeSecret]:
        return (await self._kubernetes.listed(SECRETS, workload.of_target(self._order), KubeSecrets)).items

    async def _look_anywhere(self) -> _Seen | None:
        """What is there; None where there is no cluster, so that there is nothing in it."""
        try:
            return await self._look()
        except ProviderRefused as refused:
            if refused.code != CLUSTER_MISSING:
                raise
            return None

    async def _look(self) -> _Seen:
        await self._kubernetes.cluster()
        record, main, service, other = await together(
            self._kubernetes.get(DEPLOYMENTS, self._name, Deployment),
            self._kubernetes.get(DEPLOYMENTS, self._target.deployment_name, Deployment),
            self._kubernetes.get(SERVICES, self._service_name, KubeService),
            self._kubernetes.get(SERVICES, naming.kube_service_name(self._order, self._other_access), KubeService),
        )
        mine = record if record is not None and record.deployment_id == str(self._order.deployment_id) else None
        return _Seen(record=mine, main=main, service=service, other=other)

    async def _shown(self, seen: _Seen) -> Service:
        assert seen.record is not None, "only a release that was made is shown"
        main, serving = self._leads(seen.main), await self._is_in_charge(seen)
        running = main or seen.record
        status, message, remedy = await self._status(seen, main)
        return Service(
            status=status,
            url=self._url(seen),
            revision=running.digest,
            serving=serving,
            message=message,
            remedy=remedy,
        )

    async def _status(
        self, seen: _Seen, main: Deployment | None
    ) -> tuple[Literal["starting", "healthy", "unhealthy", "stopped"], str, str]:
        assert seen.record is not None, "only a release that was made is shown"
        if main is None and seen.record.has_served:
            return "stopped", "", ""
        running = main or seen.record
        if not running.spec.replicas:
            return "stopped", "It was scaled to no pods.", await self._scale(running)
        if running.is_complete:
            return await self._health() if main is None else ("healthy", "", "")
        return await self._why_not(running, "serving" if main else "candidate")

    async def _scale(self, running: Deployment) -> str:
        return await self._kubernetes.in_namespace("scale", "deployment", running.metadata.name, "--replicas=1")

    async def _not_pulled(self, running: Deployment) -> str:
        """What lets the nodes have the image; there may be none any more."""
        if not await Images(self._account).keeps(self._order, running.digest):
            return "The image is no longer in the registry: deploy from the sources."
        project = f"gcloud projects describe {self._target.project_id} --format='value(projectNumber)'"
        default = f"$({project})-compute@developer.gserviceaccount.com"
        nodes = (await self._kubernetes.cluster()).nodes_accounts
        return " && ".join(
            repository_grant(self._target, f"serviceAccount:{account or default}", "roles/artifactregistry.reader")
            for account in nodes
        )

    async def _health(self) -> tuple[Literal["starting", "healthy"], str, str]:
        """What listens must answer its health path too, where the cluster may be asked to ask it."""
        path = self._order.release.health_path
        for pod in await self._pods("candidate"):
            status = await self._kubernetes.answers(pod.metadata.name, workload.PORT, path)
            if status is not None and status >= HEALTH_STATUS_MAX:
                return "starting", f"{path} answers {status}.", ""
        return "healthy", "", ""

    async def _why_not(self, running: Deployment, role: str) -> tuple[Literal["starting", "unhealthy"], str, str]:
        """What keeps it from coming up, when only somebody's act would change it."""
        pods = await self._pods(role)
        for pod in pods:
            if pod.ended is None and pod.waiting.reason not in STUCK:
                continue
            said = f"{pod.waiting.reason}: {pod.waiting.message}" if pod.waiting.reason in STUCK else ""
            ended = f"It ended with exit code {pod.ended.exit_code}, {pod.ended.reason}." if pod.ended else ""
            remedy = _MORE_MEMORY if pod.ended and pod.ended.reason == "OOMKilled" else STUCK.get(pod.waiting.reason)
            if pod.waiting.reason == NOT_PULLED:
                remedy = await self._not_pulled(running)
            words = await self._last_words(pod.metadata.name) if pod.ended else ""
            return "unhealthy", "\n".join(part for part in (said, ended, words) if part), remedy or _WRONG
        if not running.trouble:
            return "starting", "", ""
        unplaced = next((pod.unplaced for pod in pods if pod.unplaced), "")
        if unplaced:
            return "unhealthy", f"No node takes it: {unplaced}", "Add nodes, or let the cluster's autoscaler add them."
        if "quota" in running.trouble:
            return "unhealthy", running.trouble, await self._kubernetes.raise_quota(running.trouble)
        words = await self._last_words(pods[0].metadata.name) if pods else ""
        return "unhealthy", "\n".join(part for part in (running.trouble, words) if part), _WRONG

    async def _pods(self, role: str) -> list[Pod]:
        labels = {"dcf-deployment": str(self._order.deployment_id), "dcf-target": naming.place(self._order)}
        return (await self._kubernetes.listed(PODS, {**labels, "dcf-role": role}, Pods)).items

    async def _last_words(self, pod: str) -> str:
        for previous in (True, False):
            try:
                words = await self._kubernetes.log(
                    pod, self._target.container_name, lines=LAST_WORDS_LINES, previous=previous
                )
            except Answered:
                continue
            if words:
                return words
        return ""

    def _url(self, seen: _Seen) -> str:
        if self._order.release.access == "public":
            return f"http://{seen.service.address}" if seen.service is not None else ""
        return f"http://{self._service_name}.{self._target.namespace}.svc.cluster.local"

    async def _is_missing(self, seen: _Seen, record: Deployment) -> str:
        """What the release still lacks before it can be said how it does; nothing once it was about to serve."""
        if record.has_served or self._leads(seen.main) is not None:
            return ""
        if seen.service is None or (self._order.release.access == "public" and not seen.service.address):
            return "The load balancer has no address yet."
        if record.is_complete or record.trouble:
            return ""
        pods = await self._pods("candidate")
        if any(pod.is_started for pod in pods):
            return ""
        unplaced = next((pod.unplaced for pod in pods if pod.unplaced), "")
        return f"No node takes it yet: {unplaced}" if unplaced else "Its pod is being made, and its image pulled."

    def _leads(self, main: Deployment | None) -> Deployment | None:
        """The target's Deployment, if it is to run this release."""
        ours = main is not None and self._is_ours(main.metadata)
        return main if ours and main is not None and main.deployment_id == str(self._order.deployment_id) else None

    def _serves(self, seen: _Seen) -> bool:
        main = self._leads(seen.main)
        if main is None or seen.record is None or seen.service is None:
            return False
        finished = seen.record.has_served and not seen.record.spec.replicas
        finished = finished and main.scheduled_by == self._scheduled_by and not self._is_open(seen.other)
        return main.is_complete and main.spec.replicas > 0 and finished and self._is_as_said(seen.service)

    async def _is_in_charge(self, seen: _Seen) -> bool:
        """It serves, and is called when its schedule says so."""
        return self._serves(seen) and await self._schedules.are_as_said(self._url(seen))

    @property
    def _other_access(self) -> Access:
        return "private" if self._order.release.access == "public" else "public"

    def _is_open(self, other: KubeService | None) -> bool:
        return other is not None and self._is_ours(other.metadata) and not other.metadata.deletion_timestamp

    def _was_made_for_it_alone(self, record: Deployment | None, serving: Deployment) -> bool:
        """The address of a release that never served, where what serves has the other one."""
        labels = serving.spec.template.get("metadata", {}).get("labels", {})
        never_served = record is not None and not record.has_served
        return never_served and labels.get("dcf-access") != self._order.release.access

    def _is_as_said(self, service: KubeService) -> bool:
        wanted = workload.service(self._order)["spec"]
        return (service.spec.type, service.spec.selector) == (wanted["type"], wanted["selector"])

    def _is_ours(self, metadata: Metadata) -> bool:
        wanted = {"managed-by": naming.MANAGED_BY, **workload.of_target(self._order)}
        return wanted.items() <= metadata.labels.items()

    async def _taken(self, kind: str, metadata: Metadata) -> ProviderRefused:
        """What has the name is nobody's to remove but the customer's, so that it is asked for first."""
        function, name = metadata.labels.get("dcf-function", ""), metadata.name
        if metadata.labels.get("managed-by") == naming.MANAGED_BY and function:
            said, remedy = f"that of the function {function}", "Name another deploymentName, or undeploy that function."
        else:
            removing = await self._kubernetes.in_namespace("delete", kind.lower(), name)
            said, remedy = "not this function's", f"Name another deploymentName, or remove what has it: {removing}"
        message = f"The {kind} {name} in the namespace {self._target.namespace} is {said}."
        return ProviderRefused("service_taken", message, remedy)

    def _not_healthy(self, message: str) -> ProviderRefused:
        return ProviderRefused("release_not_healthy", message, "Deploy again.")
