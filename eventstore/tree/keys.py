"""The keys that checkpoints are signed with: PEM blocks in one file, each of which signs every checkpoint."""

from __future__ import annotations

import fcntl
import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from process.private_file import write_private

# `dcf backup` takes along what is named so.
FILE_NAME = "log.key"
KEYS_MAX = 8
_BLOCK = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----", re.DOTALL)


class LogKeysUnusable(Exception):
    """The keys cannot be read. The message names the file and the remedy."""


class LogKeys:
    """One file that all our processes share, readable for this user only.

    Adding a key to it gives the next checkpoints one more signature, so that a key can be changed without a moment in which
    nobody knows the one in use. `own` false: the file is the operator's, and never made.
    """

    def __init__(self, path: Path, *, own: bool) -> None:
        self._path, self._own = path, own

    @classmethod
    def of(cls, data_dir: Path, file: Path | None) -> LogKeys:
        """Those of the file that was given, else of one in the data directory."""
        return cls(file or data_dir / FILE_NAME, own=file is None)

    def all(self) -> list[Ed25519PrivateKey]:
        """As they stand there now, at least one; made first where there is none yet. Raises LogKeysUnusable."""
        if self._own and not self._path.exists():
            self._make()
        try:
            keys = [
                serialization.load_pem_private_key(block, None) for block in _BLOCK.findall(self._path.read_bytes())
            ]
        except (OSError, ValueError) as error:
            raise LogKeysUnusable(
                f"{self._path}: the keys of the log cannot be read ({error}); {self._remedy}"
            ) from error
        found = [key for key in keys if isinstance(key, Ed25519PrivateKey)]
        if not 0 < len(found) == len(keys) <= KEYS_MAX:
            raise LogKeysUnusable(f"{self._path}: it ought to hold 1 to {KEYS_MAX} keys of Ed25519; {self._remedy}")
        return found

    @property
    def _remedy(self) -> str:
        return "restore it from a backup" if self._own else "make one: openssl genpkey -algorithm ed25519"

    def _make(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(f".{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._path.exists():
                key = Ed25519PrivateKey.generate()
                pem = key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                write_private(self._path, pem.decode())
