"""Forged ID tokens, each sent to a real server: one answer for all, and nothing of them in the log."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.access_log import Note
from api.id_tokens import IdTokens
from api.trusted_issuers import trusted_issuers
from tests.api.served import served_at
from tests.api.steps import is_problem
from tests.api.world import world_in_memory
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, new_ec_key, new_rsa_key, oidc_issuer


class Forge:
    """What an attacker has: a token of the issuer, its public key, a key and an issuer of their own."""

    def __init__(self, issuer: OidcIssuer, other: OidcIssuer) -> None:
        self.issuer, self.other, self.own = issuer, other, new_rsa_key()
        other.rotate(self.own, keep=False)

    @property
    def genuine(self) -> tuple[str, str, str]:
        head, claims, signature = self.issuer.token().split(".")
        return head, claims, signature

    def unsigned(self, signature: str, **head: Any) -> str:
        """Of any header, the claims genuine."""
        return f"{_part({'kid': self.issuer.key.kid, 'typ': 'JWT', **head})}.{self.genuine[1]}.{signature}"

    def with_secret(self, encoding: Encoding, form: PublicFormat) -> str:
        """Signed with the public key as if it were a shared secret."""
        public = self.issuer.key.public_key.public_bytes(encoding, form)
        signed = self.unsigned("", alg="HS256").removesuffix(".")
        return f"{signed}.{_base64(hmac.digest(public, signed.encode(), 'sha256'))}"

    def signed(self, head: str, claims: str) -> str:
        """Signed with the issuer's own key, whatever it says: what only a flaw of the issuer's would let out."""
        private = self.issuer.key.private_key
        assert isinstance(private, rsa.RSAPrivateKey)
        text = f"{_base64(head.encode())}.{_base64(claims.encode())}"
        return f"{text}.{_base64(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def twice(self, name: str, value: Any) -> str:
        """One claim twice, the genuine one last."""
        claims = json.dumps(self.issuer.claims())
        return self.signed(self.head, f"{{{json.dumps(name)}: {json.dumps(value)}, {claims[1:]}")

    @property
    def head(self) -> str:
        return json.dumps({"alg": "RS256", "kid": self.issuer.key.kid})

    def by_stranger(self, **head: Any) -> str:
        return self.issuer.token(key=self.own, header={"kid": self.issuer.key.kid, **head})


NOW = int(time.time())

FORGERIES: dict[str, Callable[[Forge], str]] = {
    "algorithm none": lambda forge: forge.unsigned("", alg="none"),
    "algorithm none with a signature": lambda forge: forge.unsigned(forge.genuine[2], alg="none"),
    "algorithm nOnE": lambda forge: forge.unsigned("AA", alg="nOnE"),
    "no algorithm": lambda forge: forge.unsigned(forge.genuine[2]),
    "HS256 with the public key (PEM)": lambda f: f.with_secret(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "HS256 with the public key (DER)": lambda f: f.with_secret(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "HS256 with the public key (PKCS1)": lambda f: f.with_secret(Encoding.PEM, PublicFormat.PKCS1),
    "unknown kid": lambda forge: forge.issuer.token(key=forge.own),
    "known kid, another's key": lambda forge: forge.by_stranger(),
    "kid that is a path": lambda forge: forge.issuer.token(header={"kid": "../../dev/null"}),
    "kid that is a query": lambda forge: forge.issuer.token(header={"kid": "' OR '1'='1"}),
    "kid that is no text": lambda forge: forge.unsigned(forge.genuine[2], alg="RS256", kid=[forge.issuer.key.kid]),
    "jku": lambda forge: forge.by_stranger(jku=f"{forge.other.url}/jwks"),
    "jku, own kid": lambda forge: forge.issuer.token(key=forge.own, header={"jku": f"{forge.other.url}/jwks"}),
    "x5u": lambda forge: forge.by_stranger(x5u=f"{forge.other.url}/jwks"),
    "x5c": lambda forge: forge.by_stranger(x5c=["MIIB"]),
    "embedded jwk": lambda forge: forge.by_stranger(jwk=forge.own.as_dict(private=False)),
    "expired": lambda forge: forge.issuer.token(exp=NOW - 60, iat=NOW - 660),
    "not valid yet": lambda forge: forge.issuer.token(nbf=NOW + 3600),
    "made in the future": lambda forge: forge.issuer.token(iat=NOW + 3600),
    "another audience": lambda forge: forge.issuer.token(aud="another"),
    "another issuer, same subject": lambda forge: forge.other.token("ada"),
    "another issuer that names ours": lambda forge: forge.other.token("ada", iss=forge.issuer.url),
    "another issuer that names ours, our kid": lambda forge: forge.by_stranger(),
    "our issuer with a slash more": lambda forge: forge.issuer.token(iss=f"{forge.issuer.url}/"),
    "crit": lambda f: f.signed(json.dumps({**json.loads(f.head), "crit": ["b64"], "b64": True}), _claims(f)),
    "crit, empty": lambda f: f.signed(json.dumps({**json.loads(f.head), "crit": []}), _claims(f)),
    "subject twice": lambda forge: forge.twice("sub", "eve"),
    "audience twice": lambda forge: forge.twice("aud", "another"),
    "end twice": lambda forge: forge.twice("exp", NOW - 60),
    "algorithm twice": lambda f: f.signed(f'{{"alg": "none", {f.head[1:]}', _claims(f)),
    "empty signature": lambda forge: ".".join((*forge.genuine[:2], "")),
    "no signature part": lambda forge: ".".join(forge.genuine[:2]),
    "another's signature": lambda f: ".".join((*f.genuine[:2], f.issuer.token("eve").split(".")[2])),
    "claims changed": lambda f: ".".join((f.genuine[0], _part(f.issuer.claims("eve")), f.genuine[2])),
    "RS512 of the same key": lambda forge: forge.unsigned(forge.genuine[2], alg="RS512"),
    "PS256 of the same key": lambda forge: forge.unsigned(forge.genuine[2], alg="PS256"),
    "ES256 of an RSA key": lambda f: f.issuer.token(key=new_ec_key(), header={"kid": f.issuer.key.kid}),
    "EdDSA of an RSA key": lambda forge: forge.unsigned(forge.genuine[2], alg="EdDSA"),
    "nested in itself": lambda forge: f"{forge.genuine[0]}.{_base64(forge.issuer.token().encode())}.{forge.genuine[2]}",
    "five parts": lambda forge: f"{forge.issuer.token()}.AA.AA",
    "deep claims": lambda f: f.signed(f.head, '{"sub":' * 2000 + "1" + "}" * 2000),
}


def _claims(forge: Forge) -> str:
    return json.dumps(forge.issuer.claims())


def _part(content: Any) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture
async def forge() -> AsyncIterator[Forge]:
    async with oidc_issuer() as issuer, oidc_issuer() as other:
        yield Forge(issuer, other)


async def test_every_forgery_is_refused_alike_and_leaves_no_trace_of_itself(
    forge: Forge, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Goal: no forgery gets in, none learns by its answer why not, none of their hosts is asked, and no line of the log helps
    whoever reads it to act as somebody.
    Method: each over real HTTP, beside the token it was made from, which is taken.
    """
    caplog.set_level(logging.DEBUG)
    noted: list[Any] = []
    note: Note = noted.append
    async with httpx.AsyncClient(trust_env=False) as http:
        tokens = IdTokens(trusted_issuers(f"{forge.issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
        async with (
            world_in_memory(tmp_path, tokens=tokens, note=note) as world,
            served_at(world) as address,
            httpx.AsyncClient(base_url=address, timeout=20) as client,
        ):
            with structlog.testing.capture_logs() as said:
                answers = {}
                for name, made in FORGERIES.items():
                    token = made(forge)
                    answers[name] = (
                        token,
                        await client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}),
                    )
                genuine = {"Authorization": f"Bearer {'.'.join(forge.genuine)}"}
                taken = await client.get("/api/v1/me", headers=genuine)

    assert taken.status_code == 200, taken.text
    for name, (_, answer) in answers.items():
        assert is_problem(answer, 401, "credential_unknown"), (name, answer.status_code, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer"), name
    assert len({answer.json()["detail"] for _, answer in answers.values()}) <= 2, "as a token, or as no token at all"
    assert forge.other.calls == {}
    log = repr(said) + repr(noted) + caplog.text
    assert len(noted) > len(FORGERIES)
    assert "id_token_refused" in log
    for name, (token, answer) in answers.items():
        for part in (token, *(part for part in token.split(".") if len(part) > 16)):
            assert part not in log, name
            assert part not in answer.text, name
