"""What must be so before the service listens where others than this machine reach it."""

from __future__ import annotations

from ipaddress import ip_address

from api.first_start import first_keys_open
from api.trusted_issuers import trusted_issuers
from eventstore.log import Log
from process.settings import Settings


class FirstKeysExposed(Exception):
    """The service would listen beyond this machine with the keys of its first start. The message says the ways out."""


async def require_guarded(settings: Settings, log: Log) -> None:
    """Raise FirstKeysExposed where others could use the keys that were printed at the first start, or are about to be.

    They are meant for whoever starts the service on a machine of their own: they never end, and lie in files and terminals.
    """
    if settings.first_keys_exposed or is_loopback(settings.host):
        return
    found = await first_keys_open(log, with_tenant=has_tenant(settings))
    if found:
        names = " and ".join(f"{name}.key" for name in found)
        raise FirstKeysExposed(
            f"DCF_HOST is {settings.host}, where others than this machine reach the service, and the first start's "
            f"{names} would open it. Start it on 127.0.0.1 first, make keys of your own (`dcf keys create`) and revoke the "
            "first ones, or put a proxy in front of 127.0.0.1; or set DCF_FIRST_KEYS_EXPOSED=true to have it so."
        )


def has_tenant(settings: Settings) -> bool:
    """Whether the first start makes a tenant and its owner's key: where people sign in, nobody needs one."""
    return not trusted_issuers(settings.sign_in_issuers)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # A name: nobody knows where it leads tomorrow.
