"""What the customer types about clusters of GKE, and inside of the one that `kubectl` means."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

from tests.emulators.gcp.clusters import Clusters
from tests.emulators.gcp.command_line import NotACommand, Parser, parsed
from tests.emulators.gcp.kubernetes import KubernetesApi
from tests.emulators.gcp.names import PROJECT


class ClusterCommands:
    """`make` makes a cluster of a name in a location."""

    def __init__(self, clusters: Clusters, make: Callable[[str, str], KubernetesApi]) -> None:
        self._clusters, self._make = clusters, make

    def do(self, given: Parser, words: list[str]) -> None:
        """Raises NotACommand, or Refused."""
        match words:
            case ["gcloud", "container", "clusters", verb, *rest]:
                given.add_argument("name")
                self._about(verb, given, rest)
            case ["kubectl", "create", "namespace", name]:
                self._clusters.meant_by_kubectl().namespaces.add(name)
            case ["kubectl", "patch", "resourcequota", "pods", *rest]:
                given.add_argument("--type", choices=["merge"], required=True)
                asked = parsed(given, rest, "namespace", "patch")
                cluster = self._clusters.meant_by_kubectl()
                assert cluster.pods_max is not None, "there is no quota"
                cluster.pods_max = int(json.loads(asked.patch)["spec"]["hard"]["pods"])
            case ["kubectl", "delete", kind, name, *rest]:
                namespace = parsed(given, rest, "namespace").namespace
                kinds = {"deployment": "Deployment", "service": "Service", "cronjob": "CronJob"}
                self._clusters.meant_by_kubectl().discard(kinds[kind], namespace, name)
            case _:
                raise NotACommand(shlex.join(words))

    def _about(self, verb: str, given: Parser, rest: list[str]) -> None:
        if verb == "update":
            given.add_argument("--update-labels", default="")
            given.add_argument("--remove-labels", default="")
            given.add_argument("--enable-dns-access", action="store_true")
        elif verb == "get-credentials":
            given.add_argument("--dns-endpoint", action="store_true")
        asked = parsed(given, rest, "project", "location")
        if asked.project != PROJECT:
            raise NotACommand(f"there is no project {asked.project} with clusters")
        match verb:
            case "create-auto":
                self._make(asked.name, asked.location)
            case "get-credentials":
                self._clusters.current = self._clusters.named(asked.name, asked.location)
            case "update":
                cluster = self._clusters.named(asked.name, asked.location)
                cluster.labels.update(one.split("=") for one in asked.update_labels.split(",") if one)
                for label in asked.remove_labels.split(","):
                    cluster.labels.pop(label, None)
                cluster.has_name = cluster.has_name or asked.enable_dns_access
            case _:
                raise NotACommand(f"gcloud container clusters {verb}")
