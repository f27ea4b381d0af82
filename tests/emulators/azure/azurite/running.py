"""Azurite as a process: blobs in memory, over TLS with a certificate of its own, for whoever shows a token of Entra's form."""

from __future__ import annotations

import base64
import os
import re
import secrets
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.emulators.azure.azurite.fetching import AzuriteUnavailable
from tests.emulators.azure.customer import CLIENT, DIRECTORY

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
TOKEN_SECONDS = 3600
AUDIENCE = "https://storage.azure.com"
_LISTENS = re.compile(r"successfully listens on https://127\.0\.0\.1:(\d+)")
# The SDK is younger than the newest Azurite, which knows no version of the API after its own; nor may it call home.
_OPTIONS = (
    *("--blobHost", "127.0.0.1", "--blobPort", "0", "--disableProductStyleUrl", "--oauth", "basic"),
    *("--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--silent"),
)


class Azurite:
    """One process with one storage account. `context` trusts its certificate. Close it at the end.

    Raises AzuriteUnavailable where it does not start.
    """

    def __init__(self, main: Path, account: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dcf-azurite-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        certificate, key = _certificate(folder)
        self.context = ssl.create_default_context(cafile=str(certificate))
        self._process = subprocess.Popen(
            ("node", str(main), *_OPTIONS, "--cert", str(certificate), "--key", str(key)),
            env=_environment(account),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._told: list[str] = []
        self._listens = threading.Event()
        self._port = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listens.wait(START_SECONDS_MAX) or not self._port:
            self.close()
            raise AzuriteUnavailable(f"Azurite does not start: {' '.join(self._told)[-300:] or 'it says nothing'}")

    @property
    def url(self) -> str:
        """Where it is; a path below begins with the account."""
        return f"https://127.0.0.1:{self._port}"

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS_MAX)
        self._process.kill()
        self._process.wait()
        self._reader.join(STOP_SECONDS_MAX)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()

    def _read(self) -> None:
        """What it says, until it ends: it would wait if nobody read."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.append(line.strip())
            if found := _LISTENS.search(line):
                self._port = int(found[1])
                self._listens.set()
        self._listens.set()


def bearer(
    *, audience: str = AUDIENCE, issuer: str = f"https://sts.windows.net/{DIRECTORY}/", late: float = 0.0
) -> str:
    """A token as Entra makes them, over since `late` seconds. Azurite looks at issuer, audience and times, at no signature."""
    now = time.time()
    until = now - late if late else now + TOKEN_SECONDS
    claims = {"iss": issuer, "aud": audience, "iat": int(now) - 60, "nbf": int(now) - 60 - int(late), "exp": int(until)}
    return jwt.encode(
        {**claims, "oid": CLIENT, "tid": DIRECTORY}, "nobody looks at the signature of it", algorithm="HS256"
    )


def _environment(account: str) -> dict[str, str]:
    """No variable of ours, and no key that could be guessed."""
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    return {"PATH": os.environ["PATH"], "AZURITE_ACCOUNTS": f"{account}:{key}", "NODE_NO_WARNINGS": "1"}


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this address that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "azurite")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path
