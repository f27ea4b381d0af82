"""GKE: the clusters of a project, each with a Kubernetes API of its own."""

from __future__ import annotations

from typing import Any

from tests.emulators.gcp.account import Account
from tests.emulators.gcp.answers import Refused
from tests.emulators.gcp.calls import Call, Methods
from tests.emulators.gcp.kubernetes import KubernetesApi

_C = "container.projects.locations.clusters"


class Clusters:
    """Those that there are, by location and name."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.there: list[KubernetesApi] = []
        self.current: KubernetesApi | None = None

    @property
    def methods(self) -> Methods:
        return {f"{_C}.list": self._list, f"{_C}.get": self._get}

    def named(self, name: str, location: str) -> KubernetesApi:
        """Raises Refused."""
        for cluster in self.there:
            if (cluster.name, cluster.location) == (name, location):
                return cluster
        raise Refused(404, f"Not found: clusters/{name}.")

    def meant_by_kubectl(self) -> KubernetesApi:
        """The one whose credentials were asked for last. Raises Refused."""
        if self.current is None or self.current not in self.there:
            raise Refused(404, "The connection to the server was refused: no cluster is the current one.")
        return self.current

    def _list(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "container.clusters.list", call.path["parent"])
        location = call.path["parent"].rpartition("/")[2]
        return {"clusters": [one.shown() for one in self.there if location in ("-", one.location)]}

    def _get(self, call: Call) -> dict[str, Any]:
        self._account.require(call.member, "container.clusters.get", call.path["name"])
        for cluster in self.there:
            if call.path["name"].endswith(f"/locations/{cluster.location}/clusters/{cluster.name}"):
                return cluster.shown()
        raise Refused(404, f"Not found: {call.path['name']}.")
