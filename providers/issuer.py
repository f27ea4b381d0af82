"""Our own identity towards the clouds: short-lived tokens that name a tenant and a project, and the keys that prove them."""

from __future__ import annotations

import base64
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from process.private_file import write_private

ALGORITHM = "RS256"
KEY_BITS = 2048
FILE_NAME = "issuer-keys.json"
TOKEN_SECONDS = 600
# Clouds read the keys about once a day, so a new one is shown for that long before it signs, and an old one after it has.
ANNOUNCED_SECONDS = 86_400.0
SIGNS_SECONDS = 30 * 86_400.0
_DAY_SECONDS = 86_400.0


class IssuerUnusable(Exception):
    """The signing keys cannot be read. The message names the file and the remedy."""


class TokenUnavailable(Exception):
    """There is no token to show to a cloud. The message says why, and what mends it."""


class TokenSource(Protocol):
    """Where the tokens come from that clouds trust."""

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        """Whom a token is about; a customer's trust names exactly this."""
        ...

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        """A signed token for one audience. Raises TokenUnavailable."""
        ...

    @property
    def issuer(self) -> str:
        """The URL that clouds know the tokens' issuer by."""
        ...

    @property
    def keys_url(self) -> str:
        """Where the keys that prove the tokens are to be had."""
        ...


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """One RSA key. `signs_from` is in seconds since 1970."""

    kid: str
    signs_from: float
    private_pem: str

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


class _Kept(msgspec.Struct, frozen=True):
    keys: tuple[SigningKey, ...]


class Keyring:
    """The signing keys in one file that all our processes share, readable for this user only.

    Whoever finds the newest key half worn out adds the next one, a day before it signs; the file is locked meanwhile.
    With `rotates` false the file belongs to the operator (a mounted secret): it is only read.
    """

    def __init__(self, path: Path, *, rotates: bool = True, clock: Callable[[], float] = time.time) -> None:
        self._path, self._rotates, self._clock = path, rotates, clock
        self._read_as: tuple[int, int, int] | None = None
        self._keys: tuple[SigningKey, ...] = ()

    def signing(self) -> SigningKey:
        """The newest key whose time to sign has come; with all of them announced only, the oldest."""
        keys, now = self.all(), self._clock()
        due = [key for key in keys if key.signs_from <= now]
        return due[-1] if due else keys[0]

    def all(self) -> tuple[SigningKey, ...]:
        """Those whose tokens may be about, and the one that comes next; the oldest first. Raises IssuerUnusable."""
        keys, now = self._load(), self._clock()
        if not self._rotates:
            return keys
        return self._rotated() if _is_due(keys, now) else _still_shown(keys, now)

    def _load(self) -> tuple[SigningKey, ...]:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            if self._rotates:
                return ()
            raise IssuerUnusable(
                f"{self._path}: there are no signing keys; put them there, or unset DCF_ISSUER_KEYS_FILE"
            ) from None
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        if seen != self._read_as:
            self._keys = _decoded(self._path)
            self._read_as = seen
        return self._keys

    def _rotated(self) -> tuple[SigningKey, ...]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self._path):
            keys, now = self._load(), self._clock()
            if _is_due(keys, now):
                # The very first one signs at once: nobody knows an older one.
                fresh = _made(now + ANNOUNCED_SECONDS if keys else now)
                kept = _Kept(keys=(*_still_shown(keys, now), fresh))
                write_private(self._path, msgspec.json.encode(kept).decode())
            return self._load()


class Issuer:
    """The TokenSource of our own keys. `url` says, when asked, where our keys are published."""

    def __init__(self, keyring: Keyring, url: Callable[[], str], *, clock: Callable[[], float] = time.time) -> None:
        self._keyring, self._url, self._clock = keyring, url, clock

    @property
    def issuer(self) -> str:
        return self._url().rstrip("/")

    @property
    def keys_url(self) -> str:
        return f"{self.issuer}/.well-known/jwks.json"

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        return f"tenant:{tenant_id}:project:{project_id}"

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        key, now = self._keyring.signing(), int(self._clock())
        claims = {
            "iss": self.issuer,
            "sub": self.subject(tenant_id, project_id),
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "jti": str(uuid4()),
            "tenant": str(tenant_id),
            "project": str(project_id),
        }
        return jwt.encode(claims, _private(key.private_pem), algorithm=ALGORITHM, headers={"kid": key.kid})

    def configuration(self) -> dict[str, object]:
        """What stands at /.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": self.keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "tenant", "project"],
        }

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public halves of the keys, as a JSON Web Key Set."""
        return {"keys": [_public(key) for key in self._keyring.all()]}


class ProjectedToken:
    """The TokenSource of a token file that Kubernetes renews. Its subject is that of the pod, the same for every tenant:
    for a service of one tenant only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def issuer(self) -> str:
        return str(self._claims().get("iss", ""))

    @property
    def keys_url(self) -> str:
        """As every cluster of Kubernetes has it."""
        return f"{self.issuer}/openid/v1/jwks"

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        return str(self._claims().get("sub", ""))

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        given = self._claims().get("aud", [])
        audiences = given if isinstance(given, list) else [given]
        if audience not in audiences:
            raise TokenUnavailable(
                f"{self._path}: the projected token is for {', '.join(map(str, audiences)) or 'nobody'}; "
                f"set the volume's audience to {audience}"
            )
        return self._text()

    def _claims(self) -> dict[str, object]:
        try:
            # Read only: whether it is genuine is for the cloud to find out.
            return dict(jwt.decode(self._text(), options={"verify_signature": False}))
        except jwt.InvalidTokenError as error:
            raise TokenUnavailable(
                f"{self._path}: this is no token ({error}); see the pod's projected volume"
            ) from error

    def _text(self) -> str:
        try:
            return self._path.read_text().strip()
        except OSError as error:
            raise TokenUnavailable(
                f"{self._path}: it cannot be read ({error.strerror}); mount it, or unset DCF_IDENTITY_TOKEN_FILE"
            ) from error


def token_source(
    url: Callable[[], str], *, data_dir: Path, keys_file: Path | None = None, token_file: Path | None = None
) -> Issuer | ProjectedToken:
    """The token file when there is one, else our own keys: those of `keys_file`, or ones we make in the data directory."""
    if token_file is not None:
        return ProjectedToken(token_file)
    return Issuer(Keyring(keys_file or data_dir / FILE_NAME, rotates=keys_file is None), url)


def _is_due(keys: tuple[SigningKey, ...], now: float) -> bool:
    return not keys or now >= keys[-1].signs_from + SIGNS_SECONDS - ANNOUNCED_SECONDS


def _still_shown(keys: tuple[SigningKey, ...], now: float) -> tuple[SigningKey, ...]:
    """A key goes a day after the next one began to sign."""
    ends = [*(key.signs_from for key in keys[1:]), float("inf")]
    return tuple(key for key, end in zip(keys, ends, strict=False) if now < end + _DAY_SECONDS)


def _made(signs_from: float) -> SigningKey:
    private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningKey(kid=uuid4().hex, signs_from=signs_from, private_pem=pem.decode())


def _decoded(path: Path) -> tuple[SigningKey, ...]:
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=_Kept).keys
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise IssuerUnusable(
            f"{path}: the signing keys cannot be read ({error}); restore the file from a backup"
        ) from error
    return tuple(sorted(keys, key=lambda key: key.signs_from))


@lru_cache(maxsize=16)
def _private(pem: str) -> rsa.RSAPrivateKey:
    """The key, read once: reading proves that it is whole, which takes about a tenth of a second of CPU, and anybody may ask
    for our keys."""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _public(key: SigningKey) -> dict[str, str]:
    numbers = _private(key.private_pem).public_key().public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": ALGORITHM,
        "kid": key.kid,
        "n": _base64url(numbers.n),
        "e": _base64url(numbers.e),
    }


def _base64url(number: int) -> str:
    length = (number.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(number.to_bytes(length, "big")).rstrip(b"=").decode()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
