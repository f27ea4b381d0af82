"""What a release is in Kubernetes: the bodies of its Deployments, its Service and its Secret, and how far they are."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from providers.gcp import naming
from providers.gcp.account import target_of
from providers.provider import Order, Secrets

PORT, SERVICE_PORT = 8080, 80
CPU, CPU_MAX = "250m", "1"
MEMORY_MB_MIN = 256
STOP_SECONDS = 10
# So long Kubernetes waits until it says that a release does not come up, be it for a node that is added or for its image:
# less than a runner waits, which would not know why, and never less than the release itself may take.
PLACING_SECONDS_MAX, MARGIN_SECONDS = 240, 20
DEPLOYMENTS = "apis/apps/v1/deployments"
SERVICES, SECRETS, PODS = "api/v1/services", "api/v1/secrets", "api/v1/pods"
SERVED = "dcf-served"
# Says what may call what serves: a job of Cloud Scheduler, a CronJob, or, while one takes over from the other, both.
SCHEDULED = "dcf-scheduled"
_ROLE = "dcf-role"
_ROLLING: dict[str, Any] = {
    "revisionHistoryLimit": 1,
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
}
NOT_PULLED = "ImagePullBackOff"
# Waiting for these ends only when somebody changes something.
STUCK = {
    NOT_PULLED: "",
    "InvalidImageName": "Deploy again.",
    "CreateContainerConfigError": "See that nobody removes the Secrets that carry the label dcf-function.",
    "CreateContainerError": "",
    "RunContainerError": "",
    "CrashLoopBackOff": "",
}


# Waiting for these ends by itself.
_COMING = ("ContainerCreating", "PodInitializing", "ErrImagePull")


class Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    generation: int = 0
    deletion_timestamp: str | None = None


class _Spec(msgspec.Struct, rename="camel"):
    replicas: int = 1
    progress_deadline_seconds: int = 600
    template: dict[str, Any] = {}


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    conditions: list[_Condition] = []


class Deployment(msgspec.Struct):
    """A Deployment: of one release, the candidate, or the one of the target's name, which serves."""

    metadata: Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def deployment_id(self) -> str:
        return self.metadata.labels.get("dcf-deployment", "")

    @property
    def number(self) -> int:
        told = self.metadata.labels.get("dcf-number", "")
        return int(told) if told.isdecimal() else 0

    @property
    def has_served(self) -> bool:
        return SERVED in self.metadata.annotations

    @property
    def scheduled_by(self) -> frozenset[str]:
        """The kinds of what may call it: `job`, `cronjob`."""
        words = self.metadata.annotations.get(SCHEDULED, "").split()
        # What was written first was the name of the job.
        return frozenset("cronjob" if word == "cronjob" else "job" for word in words)

    @property
    def digest(self) -> str:
        """The digest in the reference of the image that is run."""
        containers = self.spec.template.get("spec", {}).get("containers", [])
        return str(containers[0].get("image", "")).partition("@")[2] if containers else ""

    @property
    def is_complete(self) -> bool:
        """As many pods as wanted are of the newest template and available, and no others are left."""
        status, wanted = self.status, self.spec.replicas
        seen = status.observed_generation >= self.metadata.generation
        return seen and status.replicas == status.updated_replicas == status.available_replicas == wanted

    @property
    def trouble(self) -> str:
        """Why it will not come up, if Kubernetes says so of the whole; empty otherwise."""
        for condition in self.status.conditions:
            late = condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded"
            if late or (condition.type == "ReplicaFailure" and condition.status == "True"):
                return condition.message or condition.reason
        return ""


class Deployments(msgspec.Struct):
    items: list[Deployment] = []


class _Ingress(msgspec.Struct):
    ip: str = ""
    hostname: str = ""


class _Balancer(msgspec.Struct):
    ingress: list[_Ingress] = []


class _ServiceStatus(msgspec.Struct, rename="camel"):
    load_balancer: _Balancer = msgspec.field(default_factory=_Balancer)


class _ServiceSpec(msgspec.Struct):
    type: str = ""
    selector: dict[str, str] = {}


class KubeService(msgspec.Struct):
    """A Service: the address of a function."""

    metadata: Metadata
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)
    status: _ServiceStatus = msgspec.field(default_factory=_ServiceStatus)

    @property
    def address(self) -> str:
        """Of the load balancer; empty until it has one."""
        return next((one.hostname or one.ip for one in self.status.load_balancer.ingress), "")


class KubeSecret(msgspec.Struct):
    metadata: Metadata


class KubeSecrets(msgspec.Struct):
    items: list[KubeSecret] = []


class _Waiting(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Terminated(msgspec.Struct, rename="camel"):
    exit_code: int = 0
    reason: str = ""


class _State(msgspec.Struct):
    waiting: _Waiting | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(msgspec.Struct, rename="camel"):
    state: _State = msgspec.field(default_factory=_State)
    last_state: _State = msgspec.field(default_factory=_State)


class _PodStatus(msgspec.Struct, rename="camel"):
    conditions: list[_Condition] = []
    container_statuses: list[_ContainerStatus] = []


class Pod(msgspec.Struct):
    metadata: Metadata
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    @property
    def waiting(self) -> _Waiting:
        """What its container waits for; nothing when it runs."""
        return next((one.state.waiting for one in self.status.container_statuses if one.state.waiting), _Waiting())

    @property
    def ended(self) -> _Terminated | None:
        """How its container ended, if it did, though it may have been started again."""
        ends = [state.terminated for one in self.status.container_statuses for state in (one.state, one.last_state)]
        return next((end for end in ends if end is not None), None)

    @property
    def is_started(self) -> bool:
        """It has a node and an image, or will not get any."""
        return bool(self.status.container_statuses) and self.waiting.reason not in _COMING

    @property
    def unplaced(self) -> str:
        """Why no node takes it; empty when one does."""
        placed = (one for one in self.status.conditions if one.type == "PodScheduled" and one.status == "False")
        return next((one.message or one.reason for one in placed), "")


class Pods(msgspec.Struct):
    items: list[Pod] = []


def candidate(order: Order, image: str) -> dict[str, Any]:
    """The release's own Deployment, which is called by nobody: it shows whether the release comes up, and stays as what
    is to be served of it."""
    labels, target = object_labels(order), target_of(order)
    of_pods = {**labels, _ROLE: "candidate", "dcf-access": order.release.access}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": naming.candidate_name(order),
            "namespace": target.namespace,
            "labels": {**labels, _ROLE: "candidate"},
        },
        "spec": {
            **_ROLLING,
            "progressDeadlineSeconds": max(order.release.start_seconds_max, PLACING_SECONDS_MAX) + MARGIN_SECONDS,
            "selector": {"matchLabels": {name: of_pods[name] for name in (_ROLE, "dcf-target", "dcf-deployment")}},
            "template": {
                "metadata": {"labels": of_pods},
                "spec": {
                    "terminationGracePeriodSeconds": STOP_SECONDS,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [_container(order, image)],
                },
            },
        },
    }


def as_serving(record: Deployment, order: Order, *, scheduled_by: Iterable[str]) -> dict[str, Any]:
    """The target's Deployment, to run what a release's own one ran. How many pods there are is left to others.
    `scheduled_by`: the kinds of what may call it."""
    target, template = target_of(order), _without_nulls(record.spec.template)
    labels, callers = {**record.metadata.labels, _ROLE: "serving"}, " ".join(sorted(scheduled_by))
    of_pods = {**template["metadata"]["labels"], _ROLE: "serving"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": target.deployment_name,
            "namespace": target.namespace,
            "labels": labels,
            **({"annotations": {SCHEDULED: callers}} if callers else {}),
        },
        "spec": {
            **_ROLLING,
            "progressDeadlineSeconds": record.spec.progress_deadline_seconds,
            "selector": {"matchLabels": selector(order)},
            "template": {**template, "metadata": {**template["metadata"], "labels": of_pods}},
        },
    }


def service(order: Order) -> dict[str, Any]:
    """The function's address: that of a load balancer when everybody may call it, else one inside the cluster. Either leads
    only to pods of its own kind, so that neither opens what was private before the release does."""
    target, access = target_of(order), order.release.access
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": naming.kube_service_name(order, access),
            "namespace": target.namespace,
            "labels": owner_labels(order),
        },
        "spec": {
            "type": service_type(order),
            "selector": {**selector(order), "dcf-access": access},
            "ports": [{"name": "http", "protocol": "TCP", "port": SERVICE_PORT, "targetPort": PORT}],
        },
    }


def service_type(order: Order) -> str:
    return "LoadBalancer" if order.release.access == "public" else "ClusterIP"


def secret(order: Order, secrets: Secrets) -> dict[str, Any]:
    """The values of the release's secrets. Nothing may change them any more."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": naming.candidate_name(order),
            "namespace": target_of(order).namespace,
            "labels": object_labels(order),
        },
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(value.reveal().encode()).decode() for name, value in sorted(secrets.items())},
    }


def selector(order: Order) -> dict[str, str]:
    """The labels of the pods that serve."""
    return {**of_target(order), _ROLE: "serving"}


def of_target(order: Order) -> dict[str, str]:
    """The labels that everything of the function at this target carries."""
    return {"dcf-function": str(order.release.function_id), "dcf-target": naming.place(order)}


def owner_labels(order: Order) -> dict[str, str]:
    """What says that an object is ours, and which function's, whichever deployment made it."""
    named = naming.labels(order)
    kept = ("managed-by", "dcf-tenant", "dcf-project", "dcf-function")
    return {**{name: named[name] for name in kept}, "dcf-target": naming.place(order)}


def object_labels(order: Order) -> dict[str, str]:
    return {**naming.labels(order), "dcf-target": naming.place(order)}


def _container(order: Order, image: str) -> dict[str, Any]:
    release = order.release
    memory = f"{max(release.memory_mb_max, MEMORY_MB_MIN)}Mi"
    plain = [{"name": name, "value": value} for name, value in sorted(release.environment.items()) if name != "PORT"]
    opened = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": naming.candidate_name(order), "key": name}}}
        for name in sorted(release.secret_values)
        if name != "PORT"
    ]
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "timeoutSeconds": 1}
    return {
        "name": target_of(order).container_name,
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": [{"name": "PORT", "value": str(PORT)}, *plain, *opened],
        "resources": {"requests": {"cpu": CPU, "memory": memory}, "limits": {"cpu": CPU_MAX, "memory": memory}},
        "startupProbe": {**probe, "failureThreshold": release.start_seconds_max},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "securityContext": {"allowPrivilegeEscalation": False},
    }


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value
