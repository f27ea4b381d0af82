"""A release on Cloud Run: a revision beside the one that serves, without traffic until it is promoted."""

from __future__ import annotations

from typing import Any, Literal

from providers.gcp import naming
from providers.gcp.account import Account, identity_of, target_of
from providers.gcp.errors import Answered, command, grant
from providers.gcp.grants import repository_grant, run_agent
from providers.gcp.registry import Images
from providers.gcp.run import CloudRun, RunRevision, RunService, Share, image_digest
from providers.gcp.schedules import Schedules
from providers.gcp.secrets import VERSION, KeptSecrets
from providers.provider import NO_SECRETS, Image, Order, ProviderBusy, ProviderRefused, Secrets, Service

PORT = 8080
# Cloud Run gives no container less than the first, and for more memory than each it asks for so many processors.
MEMORY_MB_MIN, MEMORY_MB_MAX = 512, 32_768
_CPU_ABOVE_MB = ((24_576, "8"), (16_384, "6"), (8192, "4"), (4096, "2"))
REQUEST_SECONDS_MAX = 3600
INSTANCES_MAX = 20
CONCURRENCY = 80
START_SECONDS_MAX = 240
# Cloud Run sets these itself and refuses them.
RESERVED = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION")
RETIRED_MAX = 20

_NOBODY = "INGRESS_TRAFFIC_INTERNAL_ONLY"
_ALL = "INGRESS_TRAFFIC_ALL"
# Revisions that were withdrawn while Cloud Run would not let them go yet.
_RETIRED = "dcf.retired"
# Says that a job of Cloud Scheduler may call the service: there before the job is, gone after it.
_SCHEDULED = "dcf.scheduled"


class Releases:
    """The release of one order, as one account sees it."""

    def __init__(self, account: Account, order: Order) -> None:
        self._order = order
        self._run = CloudRun(account, target_of(order))
        self._images = Images(account)
        self._schedules = Schedules(account, order)
        self._secrets = KeptSecrets(account, order)

    async def require(self) -> None:
        """Raises ProviderRefused for what cannot be deployed so, before anything is built for it, or Answered."""
        await self._schedules.require()
        await self._secrets.require()

    async def shown(self) -> Service | None:
        """The release as it is now; None when there is none of this deployment."""
        service = await self._run.service()
        if service is None or not self._is_ours(service) or self._is_retired(service):
            return None
        revision = await self._own_revision()
        if revision is None and service.template.revision != naming.revision_name(self._order):
            return None
        return await self._shown(service, revision)

    async def apply(self, image: Image, secrets: Secrets = NO_SECRETS) -> Service:
        """Keep the secrets, and make the revision, or find it made. It gets no traffic."""
        await self.require()
        await self._secrets.keep(secrets)
        service = await self._run.service()
        if service is not None and not self._is_ours(service):
            raise self._taken()
        revision = await self._own_revision()
        if revision is None and (service is None or service.template.revision != naming.revision_name(self._order)):
            body = self._body(image, service)
            await (self._run.make(body) if service is None else self._run.replace(body))
            service, revision = await self._run.service(), await self._own_revision()
        if service is None or not service.uri:
            raise ProviderBusy("Cloud Run has not named the service yet.")
        return await self._shown(service, revision)

    async def promote(self) -> Service:
        """Lead all traffic here, and open the service as the release says. Raises ProviderRefused (`overtaken`)."""
        service, revision = await self._run.service(), await self._own_revision()
        if service is None or revision is None or not self._is_ours(service):
            raise self._not_healthy("There is no such release.")
        if service.number > self._order.number:
            raise ProviderRefused(
                "overtaken", "A later deployment of the function serves already.", "Deploy again to replace it."
            )
        if not await self._is_in_charge(service):
            if _health(revision) != "healthy":
                raise self._not_healthy("The release is not healthy.")
            if not self._serves(service):
                await self._lead(service)
                service = await self._run.service() or service
            if self._schedules.are_wanted:
                await self._schedules.put(service.uri)
        return await self._shown(service, revision)

    async def withdraw(self) -> tuple[str, ...]:
        """Take the revision away, and with the one that serves the whole service; the names of what is still there."""
        service = await self._run.service()
        if service is None or not self._is_ours(service):
            if self._schedules.are_wanted:  # Somebody took the service away, and the job would go on calling.
                await self._schedules.remove_own()
            return ()
        name = naming.revision_name(self._order)
        if self._is_alone(service):
            if _SCHEDULED in service.annotations:
                await self._schedules.remove()
            await self._run.remove_service(service.etag)
            return () if await self._run.service() is None else (f"service {target_of(self._order).service_name}",)
        if await self._own_revision() is None or self._is_retired(service):
            return ()
        others = [share for share in service.traffic if share.revision != name]
        if len(others) < len(service.traffic):
            body = {"traffic": _encoded(others), "etag": service.etag}
            await self._run.change(body, "traffic", done=lambda shown: not _leads_to(shown, name))
        if await self._run.remove_revision(name) == "refused":
            await self._retire(name)
            return ()
        return () if await self._own_revision() is None else (f"revision {name}",)

    async def sweep(self, *, was_applied: bool) -> None:
        """Take away the secrets that only this release opened. Where it could not be applied for want of the right to keep
        secrets, there are none."""
        if not self._order.release.secret_values:
            return
        try:
            await self._secrets.sweep(await self._secrets_used())
        except Answered as error:
            if was_applied or error.http_status != 403:
                raise

    async def _secrets_used(self) -> set[str]:
        """The names of the secrets that any revision of the service opens, and the one it would make next."""
        service, revisions = await self._run.service(), await self._run.revisions()
        containers = [container for revision in revisions for container in revision.containers]
        return set().union(*(one.secrets for one in [*containers, *(service.template.containers if service else [])]))

    async def _lead(self, service: RunService) -> None:
        own = naming.revision_name(self._order)
        annotations = {name: value for name, value in service.annotations.items() if name != _SCHEDULED}
        if self._schedules.are_wanted:
            annotations[_SCHEDULED] = naming.job_name(self._order)
        elif _SCHEDULED in service.annotations:
            await self._schedules.remove()
        # Candidates of other deployments keep their places; whoever served before has none any more.
        candidates = [share for share in service.traffic if not share.percent and share.revision != own]
        shares = [Share(revision=own, percent=100, tag=naming.mark(self._order)), *candidates]
        body = {
            "labels": {**service.labels, **naming.labels(self._order)},
            "annotations": {**annotations, _RETIRED: await self._still_retired(service)},
            "traffic": _encoded(shares),
            "ingress": _ALL,
            "invokerIamDisabled": self._order.release.access == "public",
            "etag": service.etag,
        }
        fields = ("labels", "annotations", "traffic", "ingress", "invokerIamDisabled")
        await self._run.change(body, *fields, done=self._serves)

    async def _still_retired(self, service: RunService) -> str:
        """Take away what could not go before, now that there is a newer revision; the names of what stays."""
        stays = [name for name in _retired(service) if await self._run.remove_revision(name) == "refused"]
        return ",".join(stays)

    async def _retire(self, name: str) -> None:
        service = await self._run.service()
        if service is None:
            return
        names = [*_retired(service), name][-RETIRED_MAX:]
        body = {"annotations": {**service.annotations, _RETIRED: ",".join(names)}, "etag": service.etag}
        await self._run.change(body, "annotations", done=lambda shown: name in _retired(shown))

    async def _own_revision(self) -> RunRevision | None:
        revision = await self._run.revision(naming.revision_name(self._order))
        if revision is None or revision.labels.get("dcf-deployment") != str(self._order.deployment_id):
            return None
        return revision

    async def _shown(self, service: RunService, revision: RunRevision | None) -> Service:
        status = self._status(service, revision)
        serving = await self._is_in_charge(service)
        message, remedy = "", ""
        if status == "unhealthy":
            message, remedy = await self._why(service, revision)
        digest = image_digest(revision.containers if revision else service.template.containers)
        return Service(status=status, url=service.uri, revision=digest, serving=serving, message=message, remedy=remedy)

    def _status(
        self, service: RunService, revision: RunRevision | None
    ) -> Literal["starting", "healthy", "unhealthy", "stopped"]:
        if revision is None:
            failed = service.terminal_condition is not None and service.terminal_condition.state == "CONDITION_FAILED"
            return "unhealthy" if failed and not service.reconciling else "starting"
        own = naming.revision_name(self._order)
        if not _leads_to(service, own):
            return "stopped"
        return _health(revision)

    async def _why(self, service: RunService, revision: RunRevision | None) -> tuple[str, str]:
        condition = revision.ready if revision else service.terminal_condition
        words = await self._run.last_words(naming.revision_name(self._order))
        said = [condition.message if condition else "", words]
        remedy, target = "", target_of(self._order)
        reason = "" if condition is None else condition.reason
        if reason == "CONTAINER_PERMISSION_DENIED":
            remedy = repository_grant(target, run_agent(target), "roles/artifactregistry.reader")
        elif reason == "CONTAINER_MISSING":
            remedy = "The image is no longer in the registry: deploy from the sources."
        elif reason == "SECRETS_ACCESS_CHECK_FAILED":
            remedy = grant("roles/secretmanager.secretAccessor", identity_of(self._order), project=target.project_id)
        return "\n".join(part for part in said if part), remedy

    def _serves(self, service: RunService) -> bool:
        own, wanted = naming.revision_name(self._order), self._order.release.access == "public"
        leads = any(share.revision == own and share.percent == 100 for share in service.traffic)
        opened = service.ingress == _ALL and service.invoker_iam_disabled == wanted
        return leads and opened and service.labels.get("dcf-deployment") == str(self._order.deployment_id)

    async def _is_in_charge(self, service: RunService) -> bool:
        """It serves, and is called when its schedule says so."""
        return self._serves(service) and await self._schedules.are_as_said(service.uri)

    def _is_ours(self, service: RunService) -> bool:
        mine = service.labels.get("managed-by") == naming.MANAGED_BY
        return mine and service.labels.get("dcf-function") == str(self._order.release.function_id)

    def _is_alone(self, service: RunService) -> bool:
        """Without this revision nothing would serve."""
        own = naming.revision_name(self._order)
        leaders = {share.revision for share in service.traffic if share.percent}
        return leaders <= {own} and (own in leaders or service.template.revision == own)

    def _is_retired(self, service: RunService) -> bool:
        return naming.revision_name(self._order) in _retired(service)

    def _taken(self) -> ProviderRefused:
        target = target_of(self._order)
        words = ("gcloud", "run", "services", "delete", target.service_name)
        return ProviderRefused(
            "service_taken",
            f"The Cloud Run service {target.service_name} in {target.region} is not this function's.",
            "Name another serviceName, or remove the service that has it: "
            + command(*words, f"--project={target.project_id}", f"--region={target.region}"),
        )

    def _not_healthy(self, message: str) -> ProviderRefused:
        return ProviderRefused("release_not_healthy", message, "Deploy again.")

    def _body(self, image: Image, service: RunService | None) -> dict[str, Any]:
        """The whole service with the new revision. The first one of a service takes all its traffic, so nobody is let
        in before it is promoted; every later one takes none."""
        own, mark = naming.revision_name(self._order), naming.mark(self._order)
        before = service.traffic if service is not None else []
        share = Share(revision=own, percent=0 if before else 100, tag=mark)
        body: dict[str, Any] = {
            "labels": service.labels if service else {**naming.labels(self._order), "dcf-number": "0"},
            "annotations": service.annotations if service else {},
            "ingress": service.ingress if service else _NOBODY,
            "invokerIamDisabled": service.invoker_iam_disabled if service else False,
            "template": self._template(image),
            "traffic": _encoded([*before, share]),
        }
        return {**body, "etag": service.etag} if service else body

    def _plain(self) -> list[dict[str, Any]]:
        variables = sorted(self._order.release.environment.items())
        return [{"name": name, "value": value} for name, value in variables if name not in RESERVED]

    def _secret(self) -> list[dict[str, Any]]:
        values = sorted(self._order.release.secret_values.items())
        return [
            {
                "name": name,
                "valueSource": {
                    "secretKeyRef": {"secret": naming.secret_name(self._order, value_id), "version": VERSION}
                },
            }
            for name, value_id in values
            if name not in RESERVED
        ]

    def _template(self, image: Image) -> dict[str, Any]:
        release = self._order.release
        seconds = min(release.start_seconds_max, START_SECONDS_MAX)
        memory_mb = min(max(release.memory_mb_max, MEMORY_MB_MIN), MEMORY_MB_MAX)
        return {
            "revision": naming.revision_name(self._order),
            "labels": naming.labels(self._order),
            # Otherwise it would run as the project's default account, which may often do far more.
            "serviceAccount": identity_of(self._order).service_account_email,
            "timeout": f"{min(release.request_seconds_max, REQUEST_SECONDS_MAX)}s",
            "maxInstanceRequestConcurrency": CONCURRENCY,
            "scaling": {"minInstanceCount": 0, "maxInstanceCount": INSTANCES_MAX},
            "containers": [
                {
                    "image": image.reference,
                    "ports": [{"containerPort": PORT}],
                    "env": [*self._plain(), *self._secret()],
                    "resources": {
                        "limits": {"cpu": _cpu(memory_mb), "memory": f"{memory_mb}Mi"},
                        "cpuIdle": True,
                        "startupCpuBoost": True,
                    },
                    "startupProbe": {
                        "tcpSocket": {"port": PORT},
                        "periodSeconds": 1,
                        "timeoutSeconds": 1,
                        "failureThreshold": seconds,
                    },
                }
            ],
        }


def _cpu(memory_mb: int) -> str:
    return next((cpu for above, cpu in _CPU_ABOVE_MB if memory_mb > above), "1")


def _leads_to(service: RunService, revision: str) -> bool:
    """Whether an address of the service leads there, if only one of the revision's own."""
    return any(share.revision == revision for share in service.traffic)


def _health(revision: RunRevision) -> Literal["starting", "healthy", "unhealthy"]:
    ready = revision.ready
    if ready is not None and ready.state == "CONDITION_SUCCEEDED":
        return "healthy"
    return "unhealthy" if ready is not None and ready.state == "CONDITION_FAILED" else "starting"


def _retired(service: RunService) -> list[str]:
    return [name for name in service.annotations.get(_RETIRED, "").split(",") if name]


def _encoded(shares: list[Share]) -> list[dict[str, Any]]:
    return [
        {"type": share.type, "revision": share.revision, "percent": share.percent}
        | ({"tag": share.tag} if share.tag else {})
        for share in shares
    ]
