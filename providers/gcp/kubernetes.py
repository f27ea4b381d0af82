"""Calls of the Kubernetes API of a cluster of GKE, with the account's own token."""

from __future__ import annotations

import asyncio
import base64
import ssl
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from domain.clouds import GcpTarget
from providers.gcp import quota
from providers.gcp.account import Account
from providers.gcp.cluster import Cluster, Clusters, KnownClusters, chosen, usable
from providers.gcp.errors import KUBERNETES, Answered, command
from providers.provider import ProviderBusy, ProviderRefused, ProviderUnreachable

LOG_BYTES_MAX = 16 * 1024
MANAGER = "dart-cloud-functions"
_CONTEXTS_MAX = 64
# What does not answer once may only have been slow, or have lost the way for a moment.
_TRIES, _TRY_AGAIN_SECONDS, _ANSWER_SECONDS_MAX = 3, 1.0, 10.0
# Kubernetes' own words where the pod itself was not asked.
_NOT_ASKED = ("ServiceUnavailable", "TooManyRequests", "NotFound", "Unauthorized")
_APPLIED = "application/apply-patch+yaml"
_MERGED = "application/merge-patch+json"
_JSON = "application/json"

T = TypeVar("T")


class Kubernetes:
    """The objects of one namespace, as one account sees them.

    The cluster is looked for at the first call, unless it is known of late; one that is known and does not answer is
    looked for anew, and asked once more.
    """

    def __init__(
        self, account: Account, target: GcpTarget, known: KnownClusters, *, cluster: Cluster | None = None
    ) -> None:
        """`cluster` is one that the target does not mean now, to look into it all the same."""
        self._account, self._target, self._known = account, target, known
        self._what = (account.whose, target.project_id, target.region)
        self._cluster = cluster
        self._is_fresh = cluster is not None
        self._others: list[Cluster] = []

    async def cluster(self) -> Cluster:
        """The one cluster of the target's region, or the labelled one of several. Raises ProviderRefused or ProviderBusy."""
        if self._cluster is None:
            self._cluster = self._known.get(self._what) or await self.renewed()
        return self._cluster

    async def renewed(self) -> Cluster:
        """The same as GKE says now."""
        self._known.forget(self._what)
        path = f"/v1/projects/{self._target.project_id}/locations/-/clusters"
        found = await self._account.call("GET", "container", path, Clusters)
        self._cluster, self._is_fresh = chosen(found, self._target), True
        self._others = [one for one in usable(found, self._target) if one != self._cluster]
        self._known.put(self._what, self._cluster)
        return self._cluster

    async def kubectl(self, *words: str) -> str:
        """The command that does so in this very cluster, which is made the one that `kubectl` means."""
        cluster = await self.cluster()
        place = (f"--project={self._target.project_id}", f"--location={cluster.location}")
        by_name = ("--dns-endpoint",) if cluster.by_name else ()
        meant = command("gcloud", "container", "clusters", "get-credentials", cluster.name, *place, *by_name)
        return f"{meant} && {command('kubectl', *words)}"

    async def in_namespace(self, *words: str) -> str:
        """The same in the target's namespace."""
        return await self.kubectl(*words, f"--namespace={self._target.namespace}")

    def others(self) -> list[Kubernetes]:
        """The same namespace in the region's other clusters, as GKE said when it was asked last: one of them may have been
        meant before a label was moved."""
        return [Kubernetes(self._account, self._target, self._known, cluster=one) for one in self._others]

    async def require(self) -> None:
        """Raises ProviderRefused where there is no cluster, or none that can be reached from here, or ProviderBusy."""
        cluster = await self.renewed()
        if cluster.by_name or not cluster.is_inside:
            return
        await self._account.token()  # That there is none would say nothing of the cluster.
        try:
            await self._answered()
        except ProviderUnreachable as error:
            raise ProviderRefused(
                "gke_cluster_unreachable",
                f"The cluster {cluster.name} has an address inside its own network only, which this service does not reach.",
                command(
                    "gcloud",
                    "container",
                    "clusters",
                    "update",
                    cluster.name,
                    f"--project={self._target.project_id}",
                    f"--location={cluster.location}",
                    "--enable-dns-access",
                ),
            ) from error
        except Answered:
            return  # It answers; whether it lets us in shows later, with what it was asked for.

    async def _answered(self) -> None:
        """Raises ProviderUnreachable when it did not answer several times, or Answered."""
        for tried in range(1, _TRIES + 1):
            try:
                async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                    await self._exchange("GET", "/version")
            except (ProviderUnreachable, TimeoutError) as error:
                if tried == _TRIES:
                    raise ProviderUnreachable(str(error) or "It did not answer in time.") from error
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            else:
                return

    async def get(self, resource: str, name: str, answer: type[T]) -> T | None:
        """An object by its name. `resource` is its kind's path, such as `apis/apps/v1/deployments`."""
        return await self._found("GET", self._path(resource, name), answer)

    async def listed(self, resource: str, labels: dict[str, str], answer: type[T]) -> T:
        """Those that carry the labels."""
        query = {"labelSelector": ",".join(f"{name}={value}" for name, value in labels.items())}
        return await self._called("GET", self._path(resource), answer, query=query)

    async def apply(self, resource: str, body: dict[str, Any]) -> None:
        """Make the object so, or have it made so; what others wrote into it stays."""
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        path = self._path(resource, body["metadata"]["name"])
        try:
            await self._called("PATCH", path, dict[str, Any], query=query, body=body, media_type=_APPLIED)
        except Answered as error:
            raise await self._not_applied(error) from error

    async def merge(self, resource: str, name: str, body: dict[str, Any]) -> None:
        """Change these fields of the object."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        path = self._path(resource, name)
        await self._called("PATCH", path, dict[str, Any], query=query, body=body, media_type=_MERGED)

    async def remove(self, resource: str, name: str, uid: str) -> None:
        """Take the object away with what it made, if it still is that very one; it may be gone already."""
        body = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        await self._found("DELETE", self._path(resource, name), dict[str, Any], body=body)

    async def log(self, pod: str, container: str, *, lines: int, previous: bool) -> str:
        """The end of what a container of a pod wrote, or the one before it that ended. Raises Answered."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(LOG_BYTES_MAX)}
        content = await self._exchange(
            "GET",
            f"{self._path('api/v1/pods', pod)}/log",
            query=query | ({"previous": "true"} if previous else {}),
        )
        return content.decode(errors="replace").strip()

    async def answers(self, pod: str, port: int, path: str) -> int | None:
        """The status with which a pod answers GET, asked through the cluster; None when it cannot be asked that way.
        Raises ProviderBusy when the cluster does not get through to it."""
        try:
            await self._exchange("GET", f"{self._path('api/v1/pods', pod)}:{port}/proxy{path}")
        except Answered as error:
            if error.status == "Forbidden":
                return None
            if error.status in _NOT_ASKED:
                raise ProviderBusy(error.message) from error
            return error.http_status
        return 200

    async def raise_quota(self, message: str) -> str:
        """What leaves room where the message says that a quota is spent."""
        if (found := quota.raised(message)) is None:
            return "Raise the quota that the message names: " + await self.in_namespace("edit", "resourcequota")
        name, patch = found
        return await self.in_namespace("patch", "resourcequota", name, "--type=merge", f"--patch={patch}")

    async def _not_applied(self, error: Answered) -> Exception:
        """What Kubernetes refuses for reasons of its own."""
        namespace = self._target.namespace
        if error.http_status == 404:
            return ProviderRefused(
                "gke_namespace_missing",
                f"There is no namespace {namespace} in the cluster.",
                await self.kubectl("create", "namespace", namespace),
            )
        if error.http_status == 403 and "exceeded quota" in error.message:
            return ProviderRefused("gke_quota_exceeded", error.message, await self.raise_quota(error.message))
        if error.http_status == 403 and error.reason == "NamespaceTerminating":
            return ProviderBusy(f"The namespace {namespace} is being taken away.")
        return error

    def _path(self, resource: str, name: str = "") -> str:
        group, _, kind = resource.rpartition("/")
        return f"/{group}/namespaces/{self._target.namespace}/{kind}" + (f"/{name}" if name else "")

    async def _found(self, method: str, path: str, answer: type[T], **rest: Any) -> T | None:
        try:
            return await self._called(method, path, answer, **rest)
        except Answered as error:
            if error.http_status == 404:
                return None
            raise

    async def _called(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        media_type: str = _JSON,
    ) -> T:
        content = await self._exchange(method, path, query=query, body=body, media_type=media_type)
        try:
            return msgspec.json.decode(content or b"{}", type=answer)
        except msgspec.MsgspecError as error:
            raise ProviderUnreachable(f"The cluster answered what cannot be read: {error}.") from error

    async def _exchange(self, method: str, path: str, **rest: Any) -> bytes:
        """The answer's bytes. Every call may be repeated. Raises Answered or ProviderUnreachable."""
        cluster = await self.cluster()
        try:
            return await self._asked(cluster, method, path, **rest)
        except ProviderUnreachable:
            if cluster is self._cluster and self._is_fresh:
                self._known.forget(self._what)
                raise
            if cluster is self._cluster:  # Unless a call beside this one has asked meanwhile.
                await self.renewed()
        return await self._asked(await self.cluster(), method, path, **rest)

    async def _asked(self, cluster: Cluster, method: str, path: str, **rest: Any) -> bytes:
        token = await self._account.token()
        try:
            return await self._account.wire.exchange(
                method,
                _root(cluster) + path,
                of=f"the cluster {cluster.name}",
                token=token,
                context=_context(cluster.master_auth.cluster_ca_certificate, cluster.by_name),
                **rest,
            )
        except Answered as error:
            if error.http_status == 401:
                self._account.forget_token()
            error.of(KUBERNETES, path)
            error.project = self._target.project_id
            raise


def _root(cluster: Cluster) -> str:
    return f"https://{cluster.by_name or cluster.endpoint}"


@lru_cache(maxsize=_CONTEXTS_MAX)
def _context(authority: str, by_name: str) -> ssl.SSLContext:
    """Trusts the cluster's own authority and no other, except where the endpoint has a public certificate."""
    if by_name:
        return ssl.create_default_context()
    try:
        text = base64.b64decode(authority, validate=True).decode()
        return ssl.create_default_context(cadata=text)
    except ValueError as error:
        raise ProviderRefused(
            "gke_cluster_unusable",
            "The certificate of the cluster's authority cannot be read.",
            "Let the cluster's DNS endpoint be used from outside, or rotate its credentials.",
        ) from error
