"""The operator's master key, and the keys made from it: one a purpose, so that none can stand in for another."""

from __future__ import annotations

import fcntl
import secrets
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from process.private_file import write_private
from process.secret import Secret
from process.settings import Settings

KEY_BYTES = 32
FILE_NAME = "master.key"
# What is shorter could be guessed.
TEXT_LENGTH_MIN = 32

Purpose = Literal["person-keys", "function-secrets", "agent-secrets"]


class MasterKeyUnusable(Exception):
    """The master key is too short, or its file is empty. The message says which and what to do."""


def master_key(settings: Settings, *, make: bool = True) -> Secret:
    """The key the operator gave, else the one kept in the data directory, made when there is none.

    Losing it loses every stored secret and personal field: keep it with the backups of the database, yet apart from them.
    With `make` false none is made. Raises MasterKeyUnusable.
    """
    if settings.master_key is not None:
        return _checked(settings.master_key, "DCF_MASTER_KEY")
    path = settings.data_dir / FILE_NAME
    if not make and not path.exists():
        raise MasterKeyUnusable(f"{path}: there is no master key")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / f"{FILE_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Several processes may start at once on one data directory.
        if not path.exists():
            write_private(path, secrets.token_urlsafe(KEY_BYTES) + "\n")
        return _checked(Secret(path.read_text().strip()), str(path))


def former_master_keys(settings: Settings) -> tuple[Secret, ...]:
    """The keys the operator has replaced, and that still open what they closed. Raises MasterKeyUnusable."""
    if settings.former_master_keys is None:
        return ()
    keys = settings.former_master_keys.reveal().split()
    return tuple(_checked(Secret(key), "DCF_FORMER_MASTER_KEYS") for key in keys)


class LocalKeys(msgspec.Struct, frozen=True):
    """The keys for one purpose that are made from the operator's own: the current one, if there is any, and those of before."""

    current: bytes | None
    former: tuple[bytes, ...]

    def __repr__(self) -> str:
        return "LocalKeys(********)"


def local_keys(settings: Settings, purpose: Purpose) -> LocalKeys:
    """Where a key service holds the master key, none is made here, and one that is here opens what it closed before.

    Raises MasterKeyUnusable.
    """
    former = tuple(key_for(one, purpose) for one in former_master_keys(settings))
    if settings.master_key_service is not None and not has_own(settings):
        return LocalKeys(None, former)
    return LocalKeys(key_for(master_key(settings), purpose), former)


def has_own(settings: Settings) -> bool:
    """Whether there is a master key here, by environment or in the data directory."""
    return settings.master_key is not None or (settings.data_dir / FILE_NAME).exists()


def key_for(master: Secret, purpose: Purpose) -> bytes:
    """32 bytes for one purpose, always the same ones (HKDF, RFC 5869)."""
    derive = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"dcf/{purpose}".encode())
    return derive.derive(master.reveal().encode())


def _checked(key: Secret, where: str) -> Secret:
    if len(key.reveal()) < TEXT_LENGTH_MIN:
        raise MasterKeyUnusable(f"{where}: a master key has at least {TEXT_LENGTH_MIN} characters, chosen at random")
    return key
