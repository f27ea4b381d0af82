"""What a release asks of a container app: the bodies of the calls that make it, and that add a revision to it."""

from __future__ import annotations

import hashlib
from typing import Any

from providers.azure import naming
from providers.azure.account import target_of
from providers.azure.apps import App, Apps, Weight
from providers.provider import Image, Order, Secrets

PORT = 8080
CONCURRENCY = 80
REPLICAS_MAX = 10
# A probe asks ten times at most, at intervals of whole seconds.
PROBES_MAX, START_SECONDS_MAX = 10, 240
# Container Apps have half a processor for each gibibyte, in quarters.
MEMORY_MB_STEP, MEMORY_MB_MAX = 512, 8192
# What is deactivated stays as a record, so many of them.
INACTIVE_MAX = 20
RESERVED = ("PORT", "CONTAINER_APP_NAME", "CONTAINER_APP_REVISION", "CONTAINER_APP_REPLICA_NAME")


class Specification:
    """That of one order."""

    def __init__(self, apps: Apps, order: Order) -> None:
        self._apps, self._order = apps, order
        self._own = naming.revision_name(order)

    def whole(self, image: Image, secrets: Secrets) -> dict[str, Any]:
        """A new app. Its first revision takes all its traffic, so nobody from outside is let in before it is promoted."""
        target, pull = target_of(self._order), naming.pull_identity(target_of(self._order))
        share = Weight(revision_name=self._own, weight=100, label=naming.mark(self._order))
        return {
            "location": target.region,
            "tags": {**naming.tags(self._order), "dcf-number": "0"},
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {pull: {}}},
            "properties": {
                "environmentId": naming.environment_path(target),
                "configuration": {
                    "activeRevisionsMode": "Multiple",
                    "maxInactiveRevisions": INACTIVE_MAX,
                    "ingress": {
                        "external": False,
                        "targetPort": PORT,
                        "transport": "auto",
                        "allowInsecure": False,
                        "traffic": [share],
                    },
                    "registries": [{"server": naming.login_server(target), "identity": pull}],
                    "secrets": self._closed(secrets),
                },
                "template": self._template(image, secrets),
            },
        }

    async def more(self, image: Image, app: App, secrets: Secrets) -> dict[str, Any]:
        """One more revision, without traffic."""
        before = [share for share in app.traffic if share.revision_name != self._own]
        share = Weight(revision_name=self._own, label=naming.mark(self._order))
        configuration: dict[str, Any] = {"ingress": {"traffic": [*before, share]}}
        own = self._closed(secrets)
        used = await self._marks_in_use() if app.secret_names else set()
        kept = {name for name in app.secret_names if name.partition("-")[0] in used}
        if own or len(kept) < len(app.secret_names):
            # A change names all that is to stay, with its value; those of revisions that are stopped go.
            others = [one for one in await self._apps.secrets() if one.name in kept] if kept else []
            configuration["secrets"] = [*({"name": one.name, "value": one.value} for one in others), *own]
        return {
            **self._pulling(app, configuration),
            "properties": {"configuration": configuration, "template": self._template(image, secrets)},
        }

    def _pulling(self, app: App, configuration: dict[str, Any]) -> dict[str, Any]:
        """What the app lacks to pull from the target's registry as the target's identity: a target may name others than
        the app was made with. Former revisions keep what they are pulled with."""
        target, pull = target_of(self._order), naming.pull_identity(target_of(self._order))
        server = naming.login_server(target)
        wanted = {"server": server, "identity": pull}
        others = [one for one in app.registries if one.server != server]
        if not any(one.server == server and (one.identity or "").lower() == pull.lower() for one in app.registries):
            configuration["registries"] = [*others, wanted]
        held = (app.identity and app.identity.user_assigned_identities) or {}
        if pull.lower() in {one.lower() for one in held}:
            return {}
        kind = app.identity.type if app.identity and "UserAssigned" in app.identity.type else "UserAssigned"
        return {"identity": {"type": kind, "userAssignedIdentities": {pull: {}}}}

    async def _marks_in_use(self) -> set[str]:
        """Of the revisions that are not stopped: Azure lets nobody take their secrets away."""
        others = (one for one in await self._apps.revisions() if one.properties.active and one.name != self._own)
        return {naming.mark_of(one.name) for one in others}

    def _closed(self, secrets: Secrets) -> list[dict[str, str]]:
        return [{"name": self._secret(name), "value": secret.reveal()} for name, secret in sorted(secrets.items())]

    def _secret(self, name: str) -> str:
        """An app's secrets are those of all its revisions: each deployment has names of its own."""
        return f"{naming.mark(self._order)}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"

    def _template(self, image: Image, secrets: Secrets) -> dict[str, Any]:
        release = self._order.release
        steps = -(-min(release.memory_mb_max, MEMORY_MB_MAX) // MEMORY_MB_STEP)
        start_seconds = min(release.start_seconds_max, START_SECONDS_MAX)
        period = -(-start_seconds // PROBES_MAX)
        open_ones = [{"name": n, "value": v} for n, v in sorted(release.environment.items()) if n not in RESERVED]
        closed = [{"name": name, "secretRef": self._secret(name)} for name in sorted(secrets)]
        return {
            "revisionSuffix": naming.mark(self._order),
            "containers": [
                {
                    "name": "app",
                    "image": image.reference,
                    "env": [{"name": "PORT", "value": str(PORT)}, *open_ones, *closed],
                    "resources": {"cpu": steps * 0.25, "memory": f"{steps * 0.5:g}Gi"},
                    "probes": [
                        {
                            "type": "Startup",
                            "tcpSocket": {"port": PORT},
                            "periodSeconds": period,
                            "timeoutSeconds": 1,
                            "failureThreshold": -(-start_seconds // period),
                        }
                    ],
                }
            ],
            "scale": {
                "minReplicas": 0,
                "maxReplicas": REPLICAS_MAX,
                "rules": [{"name": "http", "http": {"metadata": {"concurrentRequests": str(CONCURRENCY)}}}],
            },
        }
