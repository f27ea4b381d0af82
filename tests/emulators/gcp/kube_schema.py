"""What Kubernetes takes, as far as deployments use it: the fields of each kind with their types, and what no type says.

Written by hand after the API reference of Kubernetes 1.34, since no schema of it comes with a package: a field that is not
here is refused, though Kubernetes may know it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from zoneinfo import available_timezones

from tests.emulators.gcp.kube_answers import KubeRefused, invalid

_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_CRON_NAME_MAX = 52
_CRON = re.compile(r"(\*|[0-9,]+)( (\*|[0-9,]+)){4}")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|Ki|M|Mi|G|Gi)?")
_SIZES = {None: 1, "": 1, "m": 0.001, "k": 1e3, "Ki": 2**10, "M": 1e6, "Mi": 2**20, "G": 1e9, "Gi": 2**30}

_MAP = {"*": str}
_PROBE = {
    "tcpSocket": {"port": (int, str), "host": str},
    "httpGet": {"path": str, "port": (int, str), "scheme": str},
    "initialDelaySeconds": int,
    "periodSeconds": int,
    "timeoutSeconds": int,
    "failureThreshold": int,
    "successThreshold": int,
    "terminationGracePeriodSeconds": int,
}
_CONTAINER = {
    "name": str,
    "image": str,
    "imagePullPolicy": str,
    "command": [str],
    "args": [str],
    "workingDir": str,
    "ports": [{"name": str, "containerPort": int, "protocol": str}],
    "env": [
        {
            "name": str,
            "value": str,
            "valueFrom": {
                "secretKeyRef": {"name": str, "key": str, "optional": bool},
                "fieldRef": {"apiVersion": str, "fieldPath": str},
            },
        }
    ],
    "resources": {"requests": {"*": (str, int)}, "limits": {"*": (str, int)}},
    "startupProbe": _PROBE,
    "readinessProbe": _PROBE,
    "livenessProbe": _PROBE,
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "runAsNonRoot": bool,
        "runAsUser": int,
        "readOnlyRootFilesystem": bool,
    },
    "terminationMessagePath": str,
    "terminationMessagePolicy": str,
}
_METADATA = {
    "name": str,
    "namespace": str,
    "labels": _MAP,
    "annotations": _MAP,
    "uid": str,
    "resourceVersion": str,
    "generation": int,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "generateName": str,
    "finalizers": [str],
}
_TEMPLATE = {
    "metadata": _METADATA,
    "spec": {
        "containers": [_CONTAINER],
        "terminationGracePeriodSeconds": int,
        "automountServiceAccountToken": bool,
        "enableServiceLinks": bool,
        "serviceAccountName": str,
        "restartPolicy": str,
        "dnsPolicy": str,
        "schedulerName": str,
        "securityContext": {"runAsNonRoot": bool, "runAsUser": int, "fsGroup": int},
        "nodeSelector": _MAP,
    },
}
_CONDITION = {
    "type": str,
    "status": str,
    "reason": str,
    "message": str,
    "lastUpdateTime": str,
    "lastTransitionTime": str,
}
_STATE = {
    "waiting": {"reason": str, "message": str},
    "running": {"startedAt": str},
    "terminated": {"exitCode": int, "reason": str, "message": str},
}
_HEAD = {"apiVersion": str, "kind": str, "metadata": _METADATA}
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "Deployment": {
        **_HEAD,
        "spec": {
            "replicas": int,
            "selector": {"matchLabels": _MAP},
            "template": _TEMPLATE,
            "strategy": {
                "type": str,
                "rollingUpdate": {"maxUnavailable": (int, str), "maxSurge": (int, str)},
            },
            "minReadySeconds": int,
            "revisionHistoryLimit": int,
            "progressDeadlineSeconds": int,
            "paused": bool,
        },
        "status": {
            "observedGeneration": int,
            "replicas": int,
            "updatedReplicas": int,
            "readyReplicas": int,
            "availableReplicas": int,
            "unavailableReplicas": int,
            "conditions": [_CONDITION],
        },
    },
    "Service": {
        **_HEAD,
        "spec": {
            "type": str,
            "selector": _MAP,
            "ports": [{"name": str, "protocol": str, "port": int, "targetPort": (int, str), "nodePort": int}],
            "clusterIP": str,
            "clusterIPs": [str],
            "sessionAffinity": str,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": str, "hostname": str, "ipMode": str}]}},
    },
    "CronJob": {
        **_HEAD,
        "spec": {
            "schedule": str,
            "timeZone": str,
            "concurrencyPolicy": str,
            "startingDeadlineSeconds": int,
            "successfulJobsHistoryLimit": int,
            "failedJobsHistoryLimit": int,
            "suspend": bool,
            "jobTemplate": {
                "metadata": _METADATA,
                "spec": {
                    "backoffLimit": int,
                    "activeDeadlineSeconds": int,
                    "ttlSecondsAfterFinished": int,
                    "parallelism": int,
                    "completions": int,
                    "template": _TEMPLATE,
                },
            },
        },
        "status": {"lastScheduleTime": str, "lastSuccessfulTime": str},
    },
    "Secret": {**_HEAD, "type": str, "immutable": bool, "data": _MAP, "stringData": _MAP},
    "Pod": {
        **_HEAD,
        "spec": _TEMPLATE["spec"],
        "status": {
            "phase": str,
            "conditions": [{name: kind for name, kind in _CONDITION.items() if name != "lastUpdateTime"}],
            "containerStatuses": [
                {
                    "name": str,
                    "image": str,
                    "imageID": str,
                    "ready": bool,
                    "restartCount": int,
                    "state": _STATE,
                    "lastState": _STATE,
                }
            ],
        },
    },
    "Namespace": {**_HEAD, "spec": {"finalizers": [str]}, "status": {"phase": str}},
    "DeleteOptions": {
        "apiVersion": str,
        "kind": str,
        "propagationPolicy": str,
        "gracePeriodSeconds": int,
        "preconditions": {"uid": str, "resourceVersion": str},
    },
}


def check_fields(kind: str, value: Any) -> None:
    """Raises KubeRefused for a field that the kind has not, or of another type."""
    _check(value, SCHEMAS[kind], "")


def check(kind: str, wanted: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Raises KubeRefused for what Kubernetes finds invalid, whatever its types."""
    metadata = wanted["metadata"]
    name = metadata.get("name", "")
    _expect(kind, name, "metadata.name", _NAME.fullmatch(name))
    _check_labels(kind, name, metadata.get("labels", {}))
    match kind:
        case "Deployment":
            _check_deployment(name, wanted["spec"], before)
        case "Service":
            _check_service(name, wanted["spec"])
        case "CronJob":
            _check_cron_job(name, wanted["spec"])
        case "Secret":
            _check_secret(name, wanted, before)
        case _:
            pass


def _check_deployment(name: str, spec: dict[str, Any], before: dict[str, Any] | None) -> None:
    kind, template = "Deployment", spec.get("template", {})
    labels, chosen = template.get("metadata", {}).get("labels", {}), spec.get("selector", {}).get("matchLabels", {})
    _expect(kind, name, "spec.selector", chosen and chosen.items() <= labels.items())
    if before is not None:
        _expect(kind, name, "spec.selector: field is immutable", before["spec"]["selector"] == spec["selector"])
    _check_labels(kind, name, labels)
    _expect(kind, name, "spec.replicas", spec.get("replicas", 1) >= 0)
    _expect(kind, name, "spec.progressDeadlineSeconds", spec.get("progressDeadlineSeconds", 600) > 0)
    rolling = spec.get("strategy", {}).get("rollingUpdate", {"maxSurge": 1})
    _expect(kind, name, "spec.strategy.rollingUpdate.maxUnavailable", any(rolling.values()))
    containers = template.get("spec", {}).get("containers", [])
    _expect(kind, name, "spec.template.spec.containers", containers)
    for container in containers:
        _check_container(name, container)


def _check_container(name: str, container: dict[str, Any]) -> None:
    kind, at = "Deployment", "spec.template.spec.containers[0]"
    _expect(kind, name, f"{at}.name", _DNS_LABEL.fullmatch(container.get("name", "")))
    _expect(kind, name, f"{at}.image", container.get("image"))
    for variable in container.get("env", []):
        _expect(kind, name, f"{at}.env.name", variable.get("name") and "=" not in variable["name"])
        _expect(kind, name, f"{at}.env.valueFrom", not ("value" in variable and "valueFrom" in variable))
    resources = container.get("resources", {})
    for what, size in resources.get("requests", {}).items():
        limit = resources.get("limits", {}).get(what)
        _expect(kind, name, f"{at}.resources.requests", limit is None or _size(name, size) <= _size(name, limit))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        given = container.get(probe)
        if given is not None:
            _expect(kind, name, f"{at}.{probe}", len(given.keys() & {"tcpSocket", "httpGet"}) == 1)
            counted = ("periodSeconds", "timeoutSeconds", "failureThreshold")
            _expect(kind, name, f"{at}.{probe}", all(given.get(field, 1) >= 1 for field in counted))


def _check_cron_job(name: str, spec: dict[str, Any]) -> None:
    kind, job = "CronJob", spec.get("jobTemplate", {}).get("spec", {})
    _expect(kind, name, "metadata.name: must be no more than 52 characters", len(name) <= _CRON_NAME_MAX)
    _expect(kind, name, "spec.schedule", _CRON.fullmatch(spec.get("schedule", "")))
    _expect(kind, name, "spec.timeZone", spec.get("timeZone", "Etc/UTC") in available_timezones())
    _expect(
        kind, name, "spec.concurrencyPolicy", spec.get("concurrencyPolicy", "Allow") in ("Allow", "Forbid", "Replace")
    )
    pod = job.get("template", {}).get("spec", {})
    at = "spec.jobTemplate.spec.template.spec"
    _expect(kind, name, f"{at}.restartPolicy", pod.get("restartPolicy") in ("Never", "OnFailure"))
    _expect(kind, name, f"{at}.containers", pod.get("containers"))
    _check_labels(kind, name, job["template"].get("metadata", {}).get("labels", {}))
    for container in pod["containers"]:
        _check_container(name, container)


def _check_service(name: str, spec: dict[str, Any]) -> None:
    _expect("Service", name, "metadata.name", _DNS_LABEL.fullmatch(name))
    _expect("Service", name, "spec.type", spec.get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer"))
    _expect("Service", name, "spec.ports", spec.get("ports"))
    _check_labels("Service", name, spec.get("selector", {}))


def _check_secret(name: str, wanted: dict[str, Any], before: dict[str, Any] | None) -> None:
    for key, value in wanted.get("data", {}).items():
        _expect("Secret", name, f"data[{key}]", re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key))
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            raise invalid("Secret", name, f"data[{key}]: illegal base64 data") from None
    if before is not None and before.get("immutable"):
        same = before.get("data") == wanted.get("data") and wanted.get("immutable")
        _expect("Secret", name, "data: field is immutable when `immutable` is set", same)


def _check_labels(kind: str, name: str, labels: dict[str, str]) -> None:
    for key, value in labels.items():
        _expect(kind, name, f"metadata.labels: {key}={value}", _KEY.fullmatch(key) and _LABEL.fullmatch(value))


def _size(name: str, text: str | int) -> float:
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise invalid("Deployment", name, f"resources: quantities must match the regular expression: {text}")
    return float(found[1]) * _SIZES[found[2]]


def _expect(kind: str, name: str, field: str, fits: object) -> None:
    if not fits:
        raise invalid(kind, name, field)


def _check(value: Any, schema: Any, path: str) -> None:
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise _mistyped(path, value)
        for name, item in value.items():
            below = f"{path}.{name}" if path else name
            if name not in schema and "*" not in schema:
                raise KubeRefused(400, "BadRequest", f'strict decoding error: unknown field "{below}"')
            _check(item, schema.get(name, schema.get("*")), below)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise _mistyped(path, value)
        for number, item in enumerate(value):
            _check(item, schema[0], f"{path}[{number}]")
    elif not isinstance(value, schema) or (isinstance(value, bool) and schema is not bool):
        raise _mistyped(path, value)


def _mistyped(path: str, value: Any) -> KubeRefused:
    return KubeRefused(400, "BadRequest", f"json: cannot unmarshal {type(value).__name__} into field {path}")
