"""Where packages come from, and the way there out of a build's own network."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import structlog

from providers.local.outbound import Outbound
from providers.local.upstream import Upstream

# What `dart pub` asks when the operator names nothing else, with where it is sent on to.
PUBLIC_HOSTS = ("pub.dev", "pub.dartlang.org", "storage.googleapis.com")
_PORTS = {"http": 80, "https": 443}

log = structlog.get_logger()


def way_to_packages(environment: Mapping[str, str]) -> Outbound:
    """The internet; besides, wherever it is, the host that `PUB_HOSTED_URL` names, at its port and no other.

    Where the agent has a proxy of its own (`https_proxy`, less `no_proxy`) it leads to the hosts of packages only: what else it
    reaches is for the operator.
    """
    chosen = _chosen(environment.get("PUB_HOSTED_URL", ""))
    hosts = [host for host, _ in chosen] or PUBLIC_HOSTS
    return Outbound(chosen=chosen, upstream=_upstream(environment, hosts))


def _chosen(url: str) -> tuple[tuple[str, int], ...]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = None, 0
    return ((host, port),) if host and port else ()


def _upstream(environment: Mapping[str, str], hosts: list[str] | tuple[str, ...]) -> Upstream | None:
    given = {name.lower(): text for name, text in environment.items() if text}
    proxy = given.get("https_proxy") or given.get("http_proxy") or given.get("all_proxy")
    beside = given.get("no_proxy", "").split(",")
    through = [host for host in hosts if not any(_is_of(host, one.strip()) for one in beside)]
    if not proxy or not through:
        return None
    try:
        return Upstream(proxy, through)
    except ValueError as problem:
        log.warning("packages_proxy_unusable", because=str(problem))
        return None


def _is_of(host: str, name: str) -> bool:
    """As clients read `no_proxy`: a host, a domain with or without its dot, or `*`."""
    domain = name.lstrip(".").lower()
    return name == "*" or (domain != "" and (host == domain or host.endswith(f".{domain}")))
