"""Whose certificates are trusted when httpx asks an address."""

from __future__ import annotations

import ssl


def trusted_at(url: str) -> ssl.SSLContext | bool:
    """For `verify`: whom this machine trusts. Reading that takes longer than asking a process of this machine does, so it is
    left out where nothing is asked over TLS; nobody at all is trusted then."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True
