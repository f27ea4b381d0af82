"""Whose ID tokens people may sign in with: the issuers an operator names, and where each publishes its keys."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from process.settings import SettingInvalid

VARIABLE = "DCF_SIGN_IN_ISSUERS"
_FORM = "name each issuer as ISSUER_URL=AUDIENCE (further audiences after commas), trusts-email: before it where all its addresses are verified, or firebase:PROJECT_ID, with spaces between"
# Firebase's ID tokens, as its documentation of verifying them with another library has it
# (https://firebase.google.com/docs/auth/admin/verify-id-tokens): issuer, audience and where the keys are.
_FIREBASE_ISSUER = "https://securetoken.google.com/{project}"
_FIREBASE_KEYS = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
_TRUSTS_EMAIL = "trusts-email:"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class TrustedIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """`issuer` is the exact `iss` of its tokens, `audiences` of which each must name one; the first is the client id
    people sign in with. `keys_url` is where its JSON Web Key Set is; None: its discovery document says so."""

    issuer: str
    audiences: tuple[str, ...]
    keys_url: str | None = None
    # Whether its addresses are believed without its saying of each that it verified it.
    trusts_email: bool = False

    @property
    def client_id(self) -> str:
        return self.audiences[0]


def trusted_issuers(text: str) -> tuple[TrustedIssuer, ...]:
    """The issuers a setting names. Raises SettingInvalid."""
    found: dict[str, TrustedIssuer] = {}
    for entry in text.split():
        issuer = _issuer(entry)
        if issuer.issuer in found:
            raise SettingInvalid(VARIABLE, f"{issuer.issuer} stands there twice; {_FORM}")
        found[issuer.issuer] = issuer
    return tuple(found.values())


def _issuer(entry: str) -> TrustedIssuer:
    if entry.startswith("firebase:"):
        return _firebase(entry)
    if entry.startswith(_TRUSTS_EMAIL + "firebase:"):
        # There anybody may give any address as theirs, and each token says whether it was verified.
        raise SettingInvalid(VARIABLE, f"addresses of Firebase are believed where it verified them; {_FORM}")
    named = _named(entry.removeprefix(_TRUSTS_EMAIL))
    return msgspec.structs.replace(named, trusts_email=entry.startswith(_TRUSTS_EMAIL))


def _firebase(entry: str) -> TrustedIssuer:
    project = entry.removeprefix("firebase:")
    if not project:
        raise SettingInvalid(VARIABLE, f"firebase: lacks its project; {_FORM}")
    issuer = _FIREBASE_ISSUER.format(project=project)
    return TrustedIssuer(issuer=issuer, audiences=(project,), keys_url=_FIREBASE_KEYS)


def _named(entry: str) -> TrustedIssuer:
    issuer, _, named = entry.partition("=")
    audiences = tuple(filter(None, named.split(",")))
    if not audiences:
        raise SettingInvalid(VARIABLE, f"{issuer} lacks its audience; {_FORM}")
    if not is_safe(issuer):
        raise SettingInvalid(VARIABLE, f"{issuer} is no https address; {_FORM}")
    return TrustedIssuer(issuer=issuer, audiences=audiences)


def is_safe(url: str) -> bool:
    """Whether keys may be fetched from there: over TLS, or on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.username is not None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
