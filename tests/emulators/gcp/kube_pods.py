"""The pods of a Deployment: one beside the other until the new ones are ready, and what keeps them from it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec

from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.kube_answers import KubeRefused
from tests.emulators.images import Container

# How long a controller takes to see that a Deployment was changed.
_SEEING_SECONDS = 0.05


class Pod(msgspec.Struct):
    """`waiting` says why its container does not run: a reason and a message."""

    name: str
    template: str
    labels: dict[str, str]
    container_name: str
    container: Container | None
    starts_until: float
    waiting: tuple[str, str] | None = None
    has_been_ready: bool = False

    @property
    def is_ready(self) -> bool:
        return self.waiting is None and self.has_been_ready and self.container is not None and self.container.is_running

    def look(self) -> None:
        if self.container is None or self.waiting is not None:
            return
        if self.container.answers:
            self.has_been_ready = True
        elif not self.container.is_running or (not self.has_been_ready and time.monotonic() > self.starts_until):
            self.container.stop()
            message = f"back-off 10s restarting failed container={self.container_name} pod={self.name}"
            self.waiting = ("CrashLoopBackOff", message)


class Workload:
    """`start` runs an image with an environment. Raises Refused when it is not there, KubeRefused beyond the quota."""

    def __init__(self, name: str, start: Callable[[str, dict[str, str]], Container]) -> None:
        self._name, self._start = name, start
        self.pods: list[Pod] = []
        self._template, self._changed_at, self._quota = "", 0.0, ""
        self._deadline = 0.0

    def roll(self, body: dict[str, Any], secrets: dict[str, dict[str, Any]]) -> None:
        """Start what is wanted and not there, stop what is too many."""
        spec = body["spec"]
        template = json.dumps(spec["template"], sort_keys=True)
        self._changed_at = time.monotonic()
        if template != self._template:
            self._template = template
            self._deadline = time.monotonic() + spec.get("progressDeadlineSeconds", 600)
        new = [pod for pod in self.pods if pod.template == template]
        wanted: int = spec["replicas"]
        for pod in new[wanted:] if wanted else list(self.pods):
            self._end(pod)
        self._quota = ""
        for _ in range(wanted - len(new)):
            self._begin(spec["template"], template, secrets)

    def status(self, body: dict[str, Any]) -> dict[str, Any]:
        """As the Deployment shows it now."""
        for pod in self.pods:
            pod.look()
        wanted = body["spec"]["replicas"]
        new = [pod for pod in self.pods if pod.template == self._template]
        ready = [pod for pod in new if pod.is_ready]
        if len(ready) >= wanted:
            for pod in [pod for pod in self.pods if pod.template != self._template]:
                self._end(pod)
        generation = body["metadata"]["generation"]
        seen = time.monotonic() - self._changed_at > _SEEING_SECONDS
        conditions = []
        if self._quota:
            conditions.append(_condition("ReplicaFailure", "True", "FailedCreate", self._quota))
        if len(ready) < wanted and time.monotonic() > self._deadline:
            message = f'ReplicaSet "{self._name}" has timed out progressing.'
            conditions.append(_condition("Progressing", "False", "ProgressDeadlineExceeded", message))
        available = len([pod for pod in self.pods if pod.is_ready])
        return {
            "observedGeneration": generation if seen else generation - 1,
            "replicas": len(self.pods),
            "updatedReplicas": len(new),
            "readyReplicas": available,
            "availableReplicas": available,
            "conditions": conditions,
        }

    def stop(self) -> None:
        for pod in list(self.pods):
            self._end(pod)

    def _begin(self, template: dict[str, Any], text: str, secrets: dict[str, dict[str, Any]]) -> None:
        [container] = template["spec"]["containers"]
        probe = container.get("startupProbe", {})
        seconds = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        pod = Pod(
            name=f"{self._name}-{uuid4().hex[:10]}",
            template=text,
            labels=template["metadata"]["labels"],
            container_name=container["name"],
            container=None,
            starts_until=time.monotonic() + seconds,
        )
        try:
            pod.container = self._start(container["image"], _environment(container, secrets))
        except KubeRefused as refused:
            self._quota = refused.message
            return
        except Refused as refused:
            pod.waiting = ("ImagePullBackOff", f'Back-off pulling image "{container["image"]}": {refused.message}')
        except KeyError as error:
            pod.waiting = ("CreateContainerConfigError", f"secret {error} not found")
        self.pods.append(pod)

    def _end(self, pod: Pod) -> None:
        self.pods.remove(pod)
        if pod.container is not None:
            pod.container.stop()


def shown_pod(pod: Pod, namespace: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "restartCount": 0}
    if pod.waiting is not None:
        shown["state"] = {"waiting": {"reason": pod.waiting[0], "message": pod.waiting[1]}}
    if pod.container is not None and not pod.container.is_running:
        shown |= {"lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}, "restartCount": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": namespace, "labels": pod.labels},
        "spec": {"containers": [{"name": pod.container_name}]},
        "status": {
            "phase": "Running" if pod.is_ready else "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": pod.container_name, "ready": pod.is_ready, **shown}],
        },
    }


def _environment(container: dict[str, Any], secrets: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Raises KeyError for a Secret, or a key of one, that is not there."""
    made = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom")
        if source is None:
            made[variable["name"]] = variable.get("value", "")
        else:
            reference = source["secretKeyRef"]
            made[variable["name"]] = base64.b64decode(secrets[reference["name"]]["data"][reference["key"]]).decode()
    return made


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}
