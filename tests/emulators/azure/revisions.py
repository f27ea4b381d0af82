"""Revisions of a container app: each a process that really answers, or words that say why it never will."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from tests.emulators.images import Container


class Revision(msgspec.Struct):
    """`environment` has the values of secrets. `failed` says why it will never be ready; `digest` what it runs."""

    name: str
    template: dict[str, Any]
    environment: dict[str, str]
    created: str = msgspec.field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0).isoformat())
    container: Container | None = None
    deadline: float = 0.0
    active: bool = True
    ready: bool = False
    failed: str = ""
    idle: bool = False

    def rest(self) -> None:
        """What becomes of it when nobody calls it for a while: no replica is left."""
        assert self.container is not None, "only what runs can rest"
        self.container.stop()
        self.idle = True

    def begin(self, container: Container) -> None:
        self.container, self.deadline = container, time.monotonic() + _start_seconds(self.template) + 1

    def look(self) -> None:
        """See whether it has come up."""
        if self.ready or self.failed or self.container is None:
            return
        if self.container.answers:
            self.ready = True
        elif not self.container.is_running:
            self.failed = "Container 'app' was terminated with exit code '1' and reason 'ProcessExited'."
        elif time.monotonic() > self.deadline:
            self.container.stop()
            self.failed = "Probe of StartUp failed: the container does not listen on its port."

    @property
    def is_over(self) -> bool:
        self.look()
        return self.ready or bool(self.failed)

    def stop(self) -> None:
        self.active = False
        if self.container is not None:
            self.container.stop()

    def shown(self, app: str, traffic: int) -> dict[str, Any]:
        self.look()
        provisioning, health, running = "Provisioning", "None", "Processing"
        if self.failed:
            provisioning, health, running = "Failed", "Unhealthy", "Failed"
        elif self.ready:
            provisioning, health, running = "Provisioned", "None" if self.idle else "Healthy", "Running"
        if not self.active:
            provisioning, health, running = "Deprovisioned", "None", "Stopped"
        return {
            "id": f"{app}/revisions/{self.name}",
            "name": self.name,
            "type": "Microsoft.App/containerapps/revisions",
            "properties": {
                "createdTime": self.created,
                "active": self.active,
                "replicas": int(self.active and self.ready and not self.idle),
                "trafficWeight": traffic,
                "template": self.template,
                "provisioningState": provisioning,
                "healthState": health,
                "runningState": running,
                **(
                    {"provisioningError": "Deployment Progress Deadline Exceeded. 0/1 replicas ready."}
                    if self.failed
                    else {}
                ),
            },
        }


def _start_seconds(template: dict[str, Any]) -> float:
    """How long the startup probe waits."""
    for probe in template["containers"][0].get("probes", []):
        if probe.get("type") == "Startup":
            return float(
                probe.get("initialDelaySeconds", 0) + probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
            )
    return 240
