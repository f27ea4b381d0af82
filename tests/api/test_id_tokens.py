"""Whom an ID token is taken from, and every way in which it is not."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.errors import SecurityWarning

from api.id_tokens import TOKEN_CHARACTERS_MAX, IdTokens, looks_like_one
from api.issuer_keys import ASK_AGAIN_SECONDS, FRESH_SECONDS, STALE_SECONDS_MAX
from api.refusals import CredentialUnknown, IssuerAway
from api.trusted_issuers import TrustedIssuer, trusted_issuers
from process.settings import SettingInvalid
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, new_ec_key, new_rsa_key, oidc_issuer


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tokens(issuer: OidcIssuer, clock: Clock) -> AsyncIterator[IdTokens]:
    async with httpx.AsyncClient(trust_env=False) as http:
        yield IdTokens(
            trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC), monotonic=clock
        )


class TestAGenuineToken:
    async def test_says_who_it_is_and_until_when(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        found = await tokens.identity(issuer.token("ada"))

        assert (found.issuer, found.subject, found.name) == (issuer.url, "ada", "Ada Lovelace")
        assert found.email == "ada@example.com"
        assert timedelta(seconds=590) < found.expires_at - datetime.now(UTC) <= timedelta(seconds=600)

    async def test_may_be_signed_on_an_elliptic_curve(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        issuer.rotate(new_ec_key())

        assert (await tokens.identity(issuer.token())).subject == "ada"

    async def test_gives_no_email_that_nobody_verified(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        assert (await tokens.identity(issuer.token(email_verified=False))).email is None
        assert (await tokens.identity(issuer.token(email_verified=None))).email is None

    async def test_may_name_others_beside_us_when_it_was_made_for_us(
        self, issuer: OidcIssuer, tokens: IdTokens
    ) -> None:
        token = issuer.token(aud=[CLIENT_ID, "another"], azp=CLIENT_ID)

        assert (await tokens.identity(token)).subject == "ada"

    async def test_may_come_from_a_clock_a_little_ahead(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        assert (await tokens.identity(issuer.token(iat=int(time.time()) + 20))).subject == "ada"


NOW = time.time()


class TestAForgery:
    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({"exp": int(NOW) - 60}, id="expired"),
            pytest.param({"exp": None}, id="without an end"),
            pytest.param({"exp": "tomorrow"}, id="with an end that is no time"),
            pytest.param({"exp": 1e300}, id="with an end beyond all time"),
            pytest.param({"iat": int(NOW) + 3600}, id="from the future"),
            pytest.param({"iat": None}, id="without a beginning"),
            pytest.param({"nbf": int(NOW) + 3600}, id="not valid yet"),
            pytest.param({"auth_time": int(NOW) + 3600}, id="signed in tomorrow"),
            pytest.param({"aud": "another"}, id="for another audience"),
            pytest.param({"aud": []}, id="for nobody"),
            pytest.param({"aud": None}, id="without an audience"),
            pytest.param({"aud": [CLIENT_ID, "another"]}, id="for several, and made for none of them"),
            pytest.param({"azp": "another"}, id="made for another party"),
            pytest.param({"iss": "https://elsewhere.example"}, id="of an issuer nobody trusts"),
            pytest.param({"iss": None}, id="of no issuer"),
            pytest.param({"sub": None}, id="of nobody"),
            pytest.param({"sub": ""}, id="of an empty subject"),
            pytest.param({"sub": "a" * 256}, id="of an endless subject"),
        ],
    )
    async def test_is_refused(self, issuer: OidcIssuer, tokens: IdTokens, changed: dict[str, Any]) -> None:
        with pytest.raises(CredentialUnknown):
            await tokens.identity(issuer.token(**changed))

    async def test_without_a_signature_is_refused(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        claims = _part(issuer.claims())

        for algorithm in ("none", "None", "NONE", ""):
            with pytest.raises(CredentialUnknown):
                await tokens.identity(f"{_part({'alg': algorithm, 'kid': issuer.key.kid})}.{claims}.AA")

    async def test_signed_with_the_public_key_as_a_secret_is_refused(
        self, issuer: OidcIssuer, tokens: IdTokens
    ) -> None:
        """The confusion of RS256 with HS256: whoever takes the token's word for the algorithm is fooled."""
        public = issuer.key.public_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signed = f"{_part({'alg': 'HS256', 'kid': issuer.key.kid})}.{_part(issuer.claims())}"
        forged = f"{signed}.{_base64(hmac.digest(public, signed.encode(), 'sha256'))}"

        with pytest.raises(CredentialUnknown):
            await tokens.identity(forged)

    async def test_signed_by_a_stranger_under_a_known_key_id_is_refused(
        self, issuer: OidcIssuer, tokens: IdTokens
    ) -> None:
        with pytest.raises(CredentialUnknown):
            await tokens.identity(issuer.token(key=new_rsa_key(), header={"kid": issuer.key.kid}))

    async def test_that_brings_its_own_key_along_is_refused(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        own = new_rsa_key()
        async with oidc_issuer() as elsewhere:
            elsewhere.rotate(own, keep=False)
            for header in (
                {"jku": f"{elsewhere.url}/jwks"},
                {"jwk": own.as_dict(private=False)},
                {"x5u": elsewhere.url},
            ):
                with pytest.raises(CredentialUnknown):
                    await tokens.identity(issuer.token(key=own, header=header))

            assert elsewhere.calls == {}

    async def test_with_conditions_we_do_not_know_is_refused(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        signed = (
            f"{_part({'alg': 'RS256', 'kid': issuer.key.kid, 'crit': ['b64'], 'b64': True})}.{_part(issuer.claims())}"
        )
        private = issuer.key.private_key
        assert isinstance(private, rsa.RSAPrivateKey)
        signature = private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())

        with pytest.raises(CredentialUnknown):
            await tokens.identity(f"{signed}.{_base64(signature)}")

    async def test_with_one_byte_changed_is_refused(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        head, claims, signature = issuer.token().split(".")
        changed = _part({**issuer.claims(), "sub": "eve"})

        for forged in (f"{head}.{changed}.{signature}", f"{head}.{claims}.{signature[:-8]}AAAAAAAA"):
            with pytest.raises(CredentialUnknown):
                await tokens.identity(forged)

    async def test_signed_with_a_key_too_short_is_refused(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        with pytest.warns(SecurityWarning):
            issuer.rotate(new_rsa_key(1024))

        with pytest.raises(CredentialUnknown):
            await tokens.identity(issuer.token())

    async def test_of_another_issuer_with_the_same_subject_is_somebody_else(self, tokens: IdTokens) -> None:
        async with oidc_issuer() as other:
            with pytest.raises(CredentialUnknown):
                await tokens.identity(other.token("ada"))

    @pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "a..c", "é.b.c", "a" * TOKEN_CHARACTERS_MAX + ".b.c"])
    def test_without_the_form_of_one_is_not_looked_at(self, text: str) -> None:
        assert not looks_like_one(text)

    async def test_that_is_rubbish_is_refused(self, tokens: IdTokens) -> None:
        for text in ("a.b.c", "e30.e30.e30", f"{_part([])}.{_part([])}.AA", f"{_part({'alg': ['RS256']})}.e30.AA"):
            with pytest.raises(CredentialUnknown):
                await tokens.identity(text)


class TestTheIssuersKeys:
    async def test_are_asked_for_once_for_many_tokens(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        for _ in range(5):
            await tokens.identity(issuer.token())

        assert issuer.calls["/jwks"] == 1

    async def test_are_asked_for_again_when_a_token_names_a_new_one(
        self, issuer: OidcIssuer, tokens: IdTokens, clock: Clock
    ) -> None:
        await tokens.identity(issuer.token())
        issuer.rotate()
        clock.seconds += ASK_AGAIN_SECONDS

        assert (await tokens.identity(issuer.token())).subject == "ada"

    async def test_are_not_asked_for_by_every_made_up_key_id(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        await tokens.identity(issuer.token())

        for n in range(20):
            with pytest.raises(CredentialUnknown):
                await tokens.identity(issuer.token(header={"kid": f"made-up-{n}"}))

        assert issuer.calls["/jwks"] == 1

    async def test_that_were_withdrawn_are_taken_no_longer_than_they_are_fresh(
        self, issuer: OidcIssuer, tokens: IdTokens, clock: Clock
    ) -> None:
        old = issuer.key
        await tokens.identity(issuer.token())
        issuer.rotate(keep=False)
        clock.seconds += FRESH_SECONDS + 1

        with pytest.raises(CredentialUnknown):
            await tokens.identity(issuer.token(key=old))

    async def test_outlive_an_outage_of_their_issuer_for_a_while(
        self, issuer: OidcIssuer, tokens: IdTokens, clock: Clock
    ) -> None:
        await tokens.identity(issuer.token())
        issuer.is_away = True
        clock.seconds += FRESH_SECONDS + 1

        assert (await tokens.identity(issuer.token())).subject == "ada"
        clock.seconds += STALE_SECONDS_MAX
        with pytest.raises(IssuerAway):
            await tokens.identity(issuer.token())

    async def test_that_cannot_be_had_at_all_are_no_fault_of_the_caller(
        self, issuer: OidcIssuer, tokens: IdTokens, clock: Clock
    ) -> None:
        issuer.is_away = True
        with pytest.raises(IssuerAway):
            await tokens.identity(issuer.token())

        issuer.is_away = False
        clock.seconds += ASK_AGAIN_SECONDS
        assert (await tokens.identity(issuer.token())).subject == "ada"


class TestAnIssuerWhoseAddressesAreTrusted:
    @pytest.mark.parametrize(
        ("claims", "email"),
        [
            ({"email_verified": None}, "ada@example.com"),
            ({"email_verified": True}, "ada@example.com"),
            ({"email_verified": False}, None),
            ({"email_verified": "false"}, None),
            ({"email_verified": 0}, None),
            ({"email_verified": None, "email": None}, None),
            ({"email_verified": None, "email": "nobody"}, None),
        ],
    )
    async def test_is_believed_where_it_says_nothing_and_not_where_it_says_no(
        self, issuer: OidcIssuer, claims: dict[str, Any], email: str | None
    ) -> None:
        async with httpx.AsyncClient() as http:
            trusted = trusted_issuers(f"trusts-email:{issuer.url}={CLIENT_ID}")
            tokens = IdTokens(trusted, http, clock=lambda: datetime.now(UTC))

            assert (await tokens.identity(issuer.token(**claims))).email == email

    def test_is_named_so_and_is_never_firebase(self) -> None:
        strict, trusted = trusted_issuers("https://one.example=id trusts-email:https://two.example=id")

        assert (strict.trusts_email, trusted.trusts_email, trusted.issuer) == (False, True, "https://two.example")
        for refused in ("trusts-email:firebase:shop", "trusts-email:", "trusts-email:http://two.example=id"):
            with pytest.raises(SettingInvalid, match="DCF_SIGN_IN_ISSUERS"):
                trusted_issuers(refused)


class TestFirebase:
    """Tokens as Firebase's page on verifying them describes: its issuer with the project, the project as audience, keys as a
    JSON Web Key Set at one address for all projects, and claims of its own."""

    @pytest.fixture
    async def tokens(self, issuer: OidcIssuer) -> AsyncIterator[IdTokens]:
        [shop] = trusted_issuers("firebase:shop")
        here = msgspec.structs.replace(shop, keys_url=f"{issuer.url}/jwks")  # Google's cannot be reached.
        async with httpx.AsyncClient(trust_env=False) as http:
            yield IdTokens((here,), http, clock=lambda: datetime.now(UTC))

    @staticmethod
    def _token(issuer: OidcIssuer, **changed: Any) -> str:
        subject = "Zk3vY0c1bqWcPz7Qm2f8Lr5TnXa2"
        claims: dict[str, Any] = {
            "iss": "https://securetoken.google.com/shop",
            "aud": "shop",
            "auth_time": int(time.time()) - 60,
            "user_id": subject,
            "picture": "https://images.example/ada",
            "firebase": {"identities": {"email": ["ada@example.com"]}, "sign_in_provider": "password"},
        }
        return issuer.token(subject, **{**claims, **changed})

    async def test_says_who_somebody_is(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        found = await tokens.identity(self._token(issuer, email="ada@example.com"))

        assert found.issuer == "https://securetoken.google.com/shop"
        assert (found.subject, found.email) == ("Zk3vY0c1bqWcPz7Qm2f8Lr5TnXa2", "ada@example.com")

    @pytest.mark.parametrize(
        "claims",
        [
            {"email_verified": False},
            {
                "email": None,
                "email_verified": None,
                "name": None,
                "phone_number": "+34600000000",
                "firebase": {"identities": {"phone": ["+34600000000"]}, "sign_in_provider": "phone"},
            },
            {
                "email": None,
                "email_verified": None,
                "name": None,
                "provider_id": "anonymous",
                "firebase": {"identities": {}, "sign_in_provider": "anonymous"},
            },
        ],
        ids=["unverified", "phone", "anonymous"],
    )
    async def test_gives_no_address_that_nobody_verified(
        self, issuer: OidcIssuer, tokens: IdTokens, claims: dict[str, Any]
    ) -> None:
        assert (await tokens.identity(self._token(issuer, **claims))).email is None

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://securetoken.google.com/another", "aud": "another"},
            {"aud": "another"},
            {"iss": "https://securetoken.google.com/another"},
            {"iss": "https://session.firebase.google.com/shop"},
            {"auth_time": int(NOW) + 3600},
            {"sub": ""},
        ],
        ids=["another project", "its audience", "its issuer", "a session cookie", "signed in tomorrow", "of nobody"],
    )
    async def test_of_another_project_or_form_is_refused(
        self, issuer: OidcIssuer, tokens: IdTokens, claims: dict[str, Any]
    ) -> None:
        with pytest.raises(CredentialUnknown):
            await tokens.identity(self._token(issuer, **claims))

    async def test_goes_on_while_its_keys_change(self, issuer: OidcIssuer, tokens: IdTokens) -> None:
        before = self._token(issuer)
        issuer.rotate()

        assert (await tokens.identity(before)).subject == (await tokens.identity(self._token(issuer))).subject


class TestTrustedIssuers:
    def test_are_named_with_their_audiences(self) -> None:
        found = trusted_issuers("https://login.example.com=one,two  firebase:shop")

        assert found[0] == TrustedIssuer(issuer="https://login.example.com", audiences=("one", "two"))
        assert (found[1].issuer, found[1].audiences) == ("https://securetoken.google.com/shop", ("shop",))
        assert found[1].keys_url is not None

    @pytest.mark.parametrize(
        "text",
        [
            "https://login.example.com",
            "https://login.example.com=",
            "http://login.example.com=one",
            "ftp://login.example.com=one",
            "https://me:secret@login.example.com=one",
            "login.example.com=one",
            "firebase:",
            "https://a.example=one https://a.example=two",
        ],
    )
    def test_that_cannot_be_trusted_stop_the_start(self, text: str) -> None:
        with pytest.raises(SettingInvalid, match="DCF_SIGN_IN_ISSUERS"):
            trusted_issuers(text)


def _part(content: Any) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
