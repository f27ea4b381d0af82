"""A release as a revision of a container app, beside the one that serves, without traffic until it is promoted."""

from __future__ import annotations

import io
from typing import Any, Literal

from providers.azure import naming
from providers.azure.account import Account, target_of
from providers.azure.apps import App, Apps, Revision, Weight
from providers.azure.errors import Answered, let_pull
from providers.azure.operation import Operations
from providers.azure.schedules import Schedules
from providers.azure.specification import Specification
from providers.azure.storage import Container
from providers.provider import Image, Order, ProviderBusy, ProviderRefused, Secrets, Service
from providers.together import together

# The former revision waits without traffic and replicas, and is seen to be stopped; older ones are deactivated.
FORMER_MAX = 1
# The app's tag that says whether jobs call it: "yes" before there are any, "no" after they are gone.
_SCHEDULED = "dcf-scheduled"


class Releases:
    """The release of one order, as one account sees it."""

    def __init__(self, account: Account, container: Container, operations: Operations, order: Order) -> None:
        self._account, self._container, self._operations, self._order = account, container, operations, order
        self._apps = Apps(account, target_of(order))
        self._specification = Specification(self._apps, order)
        self._schedules = Schedules(account, operations, order)
        self._own = naming.revision_name(order)

    async def require(self) -> None:
        """Raises ProviderRefused for what cannot be deployed so, before anything is built for it, or Answered."""
        await self._schedules.require()

    async def shown(self) -> Service | None:
        """The release as it is now; None when there is none of this deployment."""
        app, revision = await together(self._apps.app(), self._apps.revision(self._own))
        if app is None or not self._is_ours(app):
            return None
        if revision is None and not self._is_newest(app):
            return None
        if revision is not None and not revision.properties.active:
            return None  # Withdrawn: Azure keeps its record.
        return await self._shown(app, revision)

    async def apply(self, image: Image, secrets: Secrets) -> Service:
        """Make the revision, or find it made. It gets no traffic."""
        await self.require()
        app = await self._apps.app()
        if app is not None and not self._is_ours(app):
            raise self._taken()
        if app is not None and not self._is_in_place(app):
            raise self._elsewhere(app)
        revision = await self._apps.revision(self._own) if app else None
        if revision is None and (app is None or not self._is_newest(app)):
            if app is None:
                reply = await self._apps.make(self._specification.whole(image, secrets))
            else:
                if app.is_changing:
                    raise ProviderBusy("The container app is being changed.")
                body = await self._specification.more(image, app, secrets)
                reply = await self._apps.change(body, seen=app)
            await self._note(self._operations.begin(self._order.deployment_id, reply))
            app = await self._apps.app()
            revision = await self._apps.revision(self._own)
        if app is None or not app.ingress.fqdn:
            raise ProviderBusy("Azure has not named the container app yet.")
        return await self._shown(app, revision)

    async def promote(self) -> Service:
        """Lead all traffic here, and open the app as the release says. Raises ProviderRefused (`overtaken`)."""
        app, revision = await self._apps.app(), await self._apps.revision(self._own)
        if app is None or revision is None or not self._is_ours(app):
            raise self._not_healthy("There is no such release.")
        if naming.number_in(app.tags) > self._order.number:
            raise ProviderRefused(
                "overtaken", "A later deployment of the function serves already.", "Deploy again to replace it."
            )
        if not await self._is_in_charge(app):
            if _health(revision) != "healthy":
                raise self._not_healthy("The release is not healthy.")
            if not self._serves(app):
                app = await self._led(app)
            if self._serves(app) and self._schedules.are_wanted:
                await self._schedules.put(await self._url(app))
        if self._serves(app):
            await self._stop_former()
        return await self._shown(app, revision)

    async def withdraw(self) -> tuple[str, ...]:
        """Take the revision away, and with the one that serves the whole app; the names of what is still there.

        Raises ProviderBusy while the app is being changed: whom it will lead to is not known before that is over.
        """
        app = await self._apps.app()
        if app is None or not self._is_ours(app):
            # Where somebody took the app away, its jobs would go on calling.
            return await self._schedules.remove_own() if self._schedules.are_wanted else ()
        if app.is_changing:
            raise ProviderBusy("The container app is being changed.")
        if self._is_alone(app):
            if self._is_scheduled(app) and (left := await self._schedules.remove()):
                return left
            name = f"container app {target_of(self._order).app_name}"
            self._operations.begin(self._order.deployment_id, await self._apps.remove(seen=app))
            await self._operations.settle(self._account, self._order.deployment_id)
            return () if await self._apps.app() is None else (name,)
        revision = await self._apps.revision(self._own)
        if revision is None or not revision.properties.active:
            return ()
        others = [share for share in app.traffic if share.revision_name != self._own]
        if len(others) < len(app.traffic):
            body = {"properties": {"configuration": {"ingress": {"traffic": others}}}}
            self._operations.begin(self._order.deployment_id, await self._apps.change(body, seen=app))
            if await self._operations.settle(self._account, self._order.deployment_id) == "running":
                return (f"revision {self._own}",)
        await self._apps.deactivate(self._own)
        return ()

    async def _led(self, app: App) -> App:
        """The app once all traffic leads here, or as far as it is."""
        if app.is_changing:
            raise ProviderBusy("The container app is being changed.")
        is_in_the_way = self._is_scheduled(app) and not self._schedules.are_wanted
        if is_in_the_way and (left := await self._schedules.remove()):
            raise ProviderBusy(f"Azure is still taking away {', '.join(left)}.")
        self._operations.begin(self._order.deployment_id, await self._apps.change(self._lead(app), seen=app))
        await self._operations.settle(self._account, self._order.deployment_id)
        return await self._apps.app() or app

    def _lead(self, app: App) -> dict[str, Any]:
        # Candidates of other deployments keep their places; whoever served before has none any more.
        candidates = [share for share in app.traffic if not share.weight and share.revision_name != self._own]
        shares = [Weight(revision_name=self._own, weight=100, label=naming.mark(self._order)), *candidates]
        ingress = {"external": self._order.release.access == "public", "traffic": shares}
        return {
            "tags": {
                **(app.tags or {}),
                **naming.tags(self._order),
                _SCHEDULED: "yes" if self._schedules.are_wanted else "no",
            },
            "properties": {"configuration": {"ingress": ingress}},
        }

    async def _stop_former(self) -> None:
        """Those without traffic have no replicas soon; the oldest of them are deactivated."""
        revisions = await self._apps.revisions()
        app = await self._apps.app()  # After the list: whatever is in it and still to serve has a place in the traffic.
        if app is None or not self._serves(app):
            return
        kept = {share.revision_name for share in app.traffic}
        former = [one.name for one in revisions if one.properties.active and one.name not in kept]
        for name in former[:-FORMER_MAX]:
            await self._apps.deactivate(name)

    async def _shown(self, app: App, revision: Revision | None) -> Service:
        status = self._status(app, revision)
        message, remedy = "", ""
        if revision is None and (message := await self._what_azure_said(app)):
            status, remedy = "unhealthy", self._remedy(message)
        if status == "unhealthy" and not message:
            message, remedy = self._why(app, revision)
            words = await self._apps.last_words(self._own) if revision else ""
            message = "\n".join(part for part in (message, words) if part)
        template = revision.properties.template if revision else app.properties.template
        return Service(
            status=status,
            url=await self._url(app),
            revision=template.digest if template else "",
            serving=await self._is_in_charge(app),
            message=message,
            remedy=remedy,
        )

    def _why(self, app: App, revision: Revision | None) -> tuple[str, str]:
        if revision is None:
            message = f"The container app ended as {app.properties.provisioning_state}, and Azure says no more why."
            return message, "Deploy again; the activity log of the container app in the Azure portal says more."
        message = revision.properties.provisioning_error or ""
        return message, self._remedy(message)

    def _remedy(self, message: str) -> str:
        if "UNAUTHORIZED" in message or "ImagePull" in message:
            target = target_of(self._order)
            return let_pull(naming.pull_identity(target), naming.registry_path(target))
        return ""

    def _status(self, app: App, revision: Revision | None) -> Literal["starting", "healthy", "unhealthy", "stopped"]:
        if revision is None:
            return "unhealthy" if app.properties.provisioning_state in ("Failed", "Canceled") else "starting"
        if _failed(revision):
            return "unhealthy"
        if not any(share.revision_name == self._own for share in app.traffic):
            return "starting" if app.is_changing and self._is_newest(app) else "stopped"
        # Of one that nobody calls there is no replica, whose health Azure could tell.
        return "healthy" if self._serves(app) and _is_idle(revision) else _health(revision)

    async def _note(self, url: str) -> None:
        """Keep where Azure tells how it goes on, so that it is asked there after this process has died."""
        if not url:
            return
        try:
            await self._container.put(naming.operation_note(self._order), io.BytesIO(url.encode()), {})
        except Answered as error:
            if error.code not in ("BlobAlreadyExists", "ConditionNotMet"):
                raise

    async def _what_azure_said(self, app: App) -> str:
        """Why there is no revision; empty while it may still come, and where nobody knows any more."""
        deployment_id = self._order.deployment_id
        if app.ended_badly and not self._operations.knows(deployment_id):
            noted = await self._container.read(naming.operation_note(self._order))
            self._operations.resume(deployment_id, noted.decode(errors="replace"))
        try:
            await self._operations.look(self._account, deployment_id)
        except Answered as error:
            if error.http_status != 400:
                raise
            return error.message
        return ""

    async def _url(self, app: App) -> str:
        """Where it answers once it is promoted: until then an app that will be public is not, and is called otherwise."""
        host, public = app.ingress.fqdn or "", self._order.release.access == "public"
        if app.ingress.external != public:
            name = target_of(self._order).app_name
            host = f"{name}{'' if public else '.internal'}.{await self._apps.domain()}"
        return self._account.wire.function(host)

    def _serves(self, app: App) -> bool:
        leads = any(share.revision_name == self._own and share.weight == 100 for share in app.traffic)
        opened = app.ingress.external == (self._order.release.access == "public")
        mine = (app.tags or {}).get("dcf-deployment") == str(self._order.deployment_id)
        return leads and opened and mine and naming.number_in(app.tags) != 0 and not app.is_changing

    async def _is_in_charge(self, app: App) -> bool:
        """It serves, and is called when its schedule says so."""
        return self._serves(app) and (
            not self._schedules.are_wanted or await self._schedules.are_as_said(await self._url(app))
        )

    def _is_scheduled(self, app: App) -> bool:
        return (app.tags or {}).get(_SCHEDULED) == "yes"

    def _is_ours(self, app: App) -> bool:
        tags = app.tags or {}
        mine = tags.get("managed-by") == naming.MANAGED_BY
        return mine and tags.get("dcf-function") == str(self._order.release.function_id)

    def _is_in_place(self, app: App) -> bool:
        """Whether it runs where the target says; of names Azure keeps no case."""
        return app.environment.lower() in ("", naming.environment_path(target_of(self._order)).lower())

    def _is_newest(self, app: App) -> bool:
        template = app.properties.template
        return template is not None and template.revision_suffix == naming.mark(self._order)

    def _is_alone(self, app: App) -> bool:
        """Without this revision nothing would serve."""
        leaders = {share.revision_name for share in app.traffic if share.weight}
        return leaders <= {self._own} and (self._own in leaders or self._is_newest(app))

    def _taken(self) -> ProviderRefused:
        target = target_of(self._order)
        return ProviderRefused(
            "service_taken",
            f"The container app {target.app_name} in {target.resource_group} is not this function's.",
            "Choose another appName, or remove the container app that has it.",
        )

    def _elsewhere(self, app: App) -> ProviderRefused:
        target = target_of(self._order)
        return ProviderRefused(
            "service_elsewhere",
            f"The container app {target.app_name} runs in {app.environment}, which it cannot leave.",
            f"Choose another appName, or {app.environment.rpartition('/')[2]} as environmentName.",
        )

    def _not_healthy(self, message: str) -> ProviderRefused:
        return ProviderRefused("release_not_healthy", message, "Deploy again.")


def _failed(revision: Revision) -> bool:
    seen = revision.properties
    return seen.provisioning_state == "Failed" or seen.running_state in ("Failed", "Degraded", "ActivationFailed")


def _health(revision: Revision) -> Literal["starting", "healthy", "unhealthy"]:
    seen = revision.properties
    if _failed(revision) or seen.health_state == "Unhealthy":
        return "unhealthy"
    return "healthy" if seen.provisioning_state == "Provisioned" and seen.health_state == "Healthy" else "starting"


def _is_idle(revision: Revision) -> bool:
    seen = revision.properties
    well = seen.provisioning_state == "Provisioned" and seen.health_state != "Unhealthy" and not _failed(revision)
    return well and seen.replicas == 0
