"""Nobody is trusted without a reason, and nothing is read where nobody has to be."""

from __future__ import annotations

import ssl

import pytest

from process.trust import trusted_at


@pytest.mark.parametrize("url", ["https://dcf.example", "HTTPS://dcf.example"])
def test_over_tls_it_is_whom_this_machine_trusts(url: str) -> None:
    assert trusted_at(url) is True


def test_otherwise_it_is_nobody_at_all() -> None:
    trusted = trusted_at("http://127.0.0.1:8000")

    assert isinstance(trusted, ssl.SSLContext)
    assert (trusted.verify_mode, trusted.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert trusted.get_ca_certs() == []
