"""The cluster of GKE that a target means, and what says which one that is where it is not known."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec

from domain.clouds import GcpTarget
from providers.gcp.errors import command
from providers.provider import ProviderBusy, ProviderRefused

# Says which of several clusters is meant.
LABEL, LABELED = "dcf", "true"
CLUSTER_MISSING = "gke_cluster_missing"
# A runner looks at what it deploys every few seconds. What begins a deployment always asks anew.
KNOWN_SECONDS, KNOWN_MAX = 300.0, 1000
_USABLE = ("RUNNING", "RECONCILING", "DEGRADED")
_GOING = "STOPPING"
# What a cluster is called that a remedy makes; the first name that is free.
_MADE = "functions"
# Who the nodes are where nothing else is said.
_DEFAULT = "default"


class _MasterAuth(msgspec.Struct, rename="camel"):
    cluster_ca_certificate: str = ""


class _Dns(msgspec.Struct, rename="camel"):
    endpoint: str = ""
    allow_external_traffic: bool = False


class _Ip(msgspec.Struct, rename="camel"):
    """Google leaves out what is false."""

    enabled: bool = False
    enable_public_endpoint: bool = False


class _Endpoints(msgspec.Struct, rename="camel"):
    dns_endpoint_config: _Dns = msgspec.field(default_factory=_Dns)
    ip_endpoints_config: _Ip | None = None


class _Node(msgspec.Struct, rename="camel"):
    service_account: str = ""


class _NodePool(msgspec.Struct):
    config: _Node = msgspec.field(default_factory=_Node)


class _Autoscaling(msgspec.Struct, rename="camel"):
    autoprovisioning_node_pool_defaults: _Node = msgspec.field(default_factory=_Node)


class Cluster(msgspec.Struct, rename="camel"):
    """A cluster as GKE shows it. `location` is a region, or a zone of one."""

    name: str
    location: str
    status: str = ""
    endpoint: str = ""
    resource_labels: dict[str, str] = {}
    master_auth: _MasterAuth = msgspec.field(default_factory=_MasterAuth)
    control_plane_endpoints_config: _Endpoints = msgspec.field(default_factory=_Endpoints)
    node_pools: list[_NodePool] = []
    autoscaling: _Autoscaling = msgspec.field(default_factory=_Autoscaling)

    @property
    def by_name(self) -> str:
        """The DNS endpoint, which has a certificate that everybody trusts, where it may be used from outside."""
        dns = self.control_plane_endpoints_config.dns_endpoint_config
        return dns.endpoint if dns.allow_external_traffic else ""

    @property
    def is_usable(self) -> bool:
        return self.status in _USABLE and bool(self.endpoint or self.by_name)

    @property
    def nodes_accounts(self) -> list[str]:
        """The service accounts as which its nodes pull images; empty stands for the project's default one."""
        made = self.autoscaling.autoprovisioning_node_pool_defaults.service_account
        named = {pool.config.service_account for pool in self.node_pools} or {made}
        return sorted({"" if one == _DEFAULT else one for one in (*named, *([made] if made else []))})

    @property
    def is_inside(self) -> bool:
        """Whether only its own network leads to its address."""
        ip = self.control_plane_endpoints_config.ip_endpoints_config
        return ip is not None and not (ip.enabled and ip.enable_public_endpoint)

    def lies_in(self, region: str) -> bool:
        return self.location == region or self.location.startswith(f"{region}-")


class Clusters(msgspec.Struct, rename="camel"):
    """Those of a project, as GKE lists them."""

    clusters: list[Cluster] = []
    missing_zones: list[str] = []


class KnownClusters:
    """Which cluster each project's targets meant when it was asked last, for KNOWN_SECONDS. At most KNOWN_MAX."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Hashable, tuple[Cluster, float]] = OrderedDict()

    def get(self, what: Hashable) -> Cluster | None:
        cluster, until = self._known.get(what, (None, 0.0))
        return cluster if self._clock() < until else None

    def put(self, what: Hashable, cluster: Cluster) -> None:
        self._known[what] = (cluster, self._clock() + KNOWN_SECONDS)
        self._known.move_to_end(what)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def forget(self, what: Hashable) -> None:
        self._known.pop(what, None)


def usable(found: Clusters, target: GcpTarget) -> list[Cluster]:
    """Those of the target's region that can be looked into."""
    return [one for one in found.clusters if one.lies_in(target.region) and one.is_usable]


def chosen(found: Clusters, target: GcpTarget) -> Cluster:
    """The one that the target means. Raises ProviderRefused or ProviderBusy."""
    here = [cluster for cluster in found.clusters if cluster.lies_in(target.region)]
    there = [cluster for cluster in here if cluster.status != _GOING]
    if any(zone.startswith(target.region) for zone in found.missing_zones):
        raise ProviderBusy(f"GKE does not show all clusters of {target.region} at this moment.")
    if not there:
        raise ProviderRefused(
            CLUSTER_MISSING,
            f"There is no GKE cluster in {target.region} of the project {target.project_id}. The remedy makes one that Google "
            "runs (Autopilot).",
            _make(here, target),
        )
    labeled = [cluster for cluster in there if cluster.resource_labels.get(LABEL) == LABELED]
    if len(there) > 1 and len(labeled) != 1:
        raise _ambiguous(there, labeled, target)
    meant = labeled[0] if labeled else there[0]
    if meant.status == "PROVISIONING":
        raise ProviderBusy(f"The cluster {meant.name} is being made.", retry_in_seconds=10)
    if not meant.is_usable:
        raise _unusable(meant, here, target)
    return meant


def _ambiguous(there: list[Cluster], labeled: list[Cluster], target: GcpTarget) -> ProviderRefused:
    names = ", ".join(sorted(f"{cluster.name} ({cluster.location})" for cluster in there))
    said = "several are labelled" if labeled else "none is labelled"
    meant = min(labeled or there, key=lambda cluster: (not cluster.is_usable, cluster.name))
    return ProviderRefused(
        "gke_cluster_ambiguous",
        f"There are several GKE clusters in {target.region}, and {said} dcf=true: {names}. The remedy says that {meant.name} "
        "is meant; name another one in it if it is not.",
        _mean(meant, labeled, target),
    )


def _unusable(chosen: Cluster, here: list[Cluster], target: GcpTarget) -> ProviderRefused:
    others = sorted((one for one in here if one.is_usable), key=lambda one: one.name)
    labeled = [chosen] if chosen.resource_labels.get(LABEL) == LABELED else []
    said = f"The cluster {chosen.name} in {chosen.location} is {chosen.status or 'of no known status'}."
    if others:
        said, remedy = f"{said} The remedy has {others[0].name} meant instead.", _mean(others[0], labeled, target)
    else:
        made = Cluster(name=_free_name(here), location=target.region)
        said = f"{said} Mend it in the console of GKE; or the remedy makes another one, which is then meant."
        remedy = f"{_make(here, target)} && {_mean(made, labeled, target)}"
    return ProviderRefused("gke_cluster_unusable", said, remedy)


def _make(here: list[Cluster], target: GcpTarget) -> str:
    words = ("gcloud", "container", "clusters", "create-auto", _free_name(here))
    return command(*words, f"--project={target.project_id}", f"--location={target.region}")


def _free_name(here: list[Cluster]) -> str:
    taken = {cluster.name for cluster in here}
    return next(name for name in (_MADE, *(f"{_MADE}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def _mean(meant: Cluster, labeled: list[Cluster], target: GcpTarget) -> str:
    """What labels the one cluster, and no other of those that are."""
    others = [_relabel(one, target, f"--remove-labels={LABEL}") for one in labeled if one != meant]
    own = [] if meant in labeled else [_relabel(meant, target, f"--update-labels={LABEL}={LABELED}")]
    return " && ".join((*own, *others))


def _relabel(cluster: Cluster, target: GcpTarget, change: str) -> str:
    words = ("gcloud", "container", "clusters", "update", cluster.name, f"--project={target.project_id}")
    return command(*words, f"--location={cluster.location}", change)
