"""Where a tenant may send us: to addresses of the public network, and to those networks the operator names.

Names are resolved by us and the connection is made to what was looked at, so no name can mean one address when it is
looked at and another when it is called.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import abc

from process.settings import SettingInvalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# RFC 6052: IPv4 addresses as seen through a translator.
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
# Public by their numbers, and all the same a cloud's own: where Azure's and Oracle's machines learn their secrets.
_OF_CLOUDS = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
VARIABLE = "DCF_WEBHOOK_NETWORKS"
_IPV4_BITS = 0xFFFF_FFFF


class NotPublic(OSError):
    """The host has no address that may be called. The message says which it has."""


def reachable(networks: str) -> Reachable:
    """What the setting of that name allows. Raises SettingInvalid."""
    try:
        return Reachable(ip_network(part) for part in networks.split())
    except ValueError:
        raise SettingInvalid(VARIABLE, "name networks such as 10.0.0.0/8 or fd00::/8, with spaces between") from None


class Reachable:
    """Which addresses may be called."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        """`networks` are allowed besides what is public."""
        self._networks = tuple(networks)

    @property
    def has_own(self) -> bool:
        """Whether the operator allowed networks of their own."""
        return bool(self._networks)

    def allows(self, address: Address) -> bool:
        """Whether it is public or in a network that was allowed; what an IPv6 address wraps is looked at as well."""
        return all(self._allows(one) for one in (address, *_wrapped(address)))

    def literal(self, host: str) -> bool | None:
        """Whether a host that is an address may be called; None: it is a name."""
        try:
            return self.allows(ip_address(host.partition("%")[0]))
        except ValueError:
            pass
        try:
            # What resolvers take for an address as well: 2130706433, 0x7f.1, 127.1.
            return self.allows(IPv4Address(socket.inet_aton(host)))
        except (OSError, ValueError):
            return None

    def _allows(self, address: Address) -> bool:
        if any(address.version == network.version and address in network for network in self._networks):
            return True
        public = address.is_global and not address.is_multicast
        return public and not any(address in network for network in _OF_CLOUDS)


def _wrapped(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    found += address.teredo or ()
    if any(address in network for network in _TRANSLATED):
        found.append(IPv4Address(int(address) & _IPV4_BITS))
    return [one for one in found if one is not None]


class Resolver(abc.AbstractResolver):
    """Finds the addresses of a name, less those that may not be called."""

    def __init__(self, reachable: Reachable) -> None:
        self._reachable = reachable

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[abc.ResolveResult]:
        """Raises NotPublic when none is left, and OSError when there is no such name."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        allowed = [
            abc.ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in found
            if self._reachable.literal(str(address[0]))
        ]
        if not allowed:
            raise NotPublic(f"{host} has no public address")
        return allowed

    async def close(self) -> None:
        """There is nothing to close."""
