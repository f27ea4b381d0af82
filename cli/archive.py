"""A backup as a file: one tar with what it is, the database's dump, and the keys; read without trusting it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from cli.trouble import Trouble
from process.private_file import sync_directory
from process.secret import Secret

FORMAT = 1
DUMP = "database.dump"
KEY_BYTES_MAX = 4096
_CONTENTS, _KEYS = "backup.json", "keys/"
_CONTENTS_BYTES_MAX = 64 * 1024
_PIECE_BYTES = 1 << 20
_KEY_NAME = re.compile(r"[a-z]{1,32}\.key")


class Contents(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a backup holds. `digests` are SHA-256, hexadecimal, by member; `events` is the last position in it.

    `master_key` is that key's fingerprint, empty when there was none; the key itself is a member unless the operator
    gave it by environment.
    """

    format: int = FORMAT
    made_at: str
    release: str
    revision: str
    epoch: int
    events: int
    master_key: str
    # The key services that wrap keys in it, as operators write them; without these those open nothing.
    key_services: tuple[str, ...] = ()
    digests: dict[str, str]

    @property
    def keys(self) -> list[str]:
        """The names of the key files."""
        return sorted(name.removeprefix(_KEYS) for name in self.digests if name.startswith(_KEYS))

    @property
    def holds_master_key(self) -> bool:
        return f"{_KEYS}master.key" in self.digests


def fingerprint(key: Secret | None) -> str:
    """Tells master keys apart without giving them away: they are long and random."""
    return "" if key is None else hashlib.sha256(b"dcf master key\n" + key.reveal().encode()).hexdigest()[:16]


def key_member(name: str) -> str:
    """The member that holds a key file."""
    return f"{_KEYS}{name}"


def digest_of(file: IO[bytes]) -> str:
    """The SHA-256 of what is left to read."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def write_archive(target: Path, contents: Contents, dump: Path, keys: Mapping[str, bytes]) -> None:
    """Write the archive, readable by this user alone; under its name there is all of it or what was there before."""
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                _add(tar, _CONTENTS, msgspec.json.encode(contents))
                for name, key in keys.items():
                    _add(tar, key_member(name), key)
                tar.add(dump, DUMP, filter=_anonymous)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(target.absolute().parent)


class Archive:
    """An open archive whose every part is what its contents say."""

    def __init__(self, tar: tarfile.TarFile, contents: Contents) -> None:
        self._tar, self.contents = tar, contents

    def keys(self) -> dict[str, bytes]:
        """The key files by name."""
        return {name: _read(self._tar, key_member(name), KEY_BYTES_MAX) for name in self.contents.keys}

    def extract_dump(self, target: Path) -> None:
        """Write the database's dump to a new file that only this user can read."""
        with (
            _member(self._tar, DUMP) as member,
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        ):
            while piece := member.read(_PIECE_BYTES):
                file.write(piece)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive, checked from end to end. Raises Trouble when it is none, damaged, or of a newer format."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            contents = msgspec.json.decode(_read(tar, _CONTENTS, _CONTENTS_BYTES_MAX), type=Contents)
            _check(tar, contents)
            yield Archive(tar, contents)
    except (tarfile.TarError, KeyError, EOFError, msgspec.DecodeError) as problem:
        raise Trouble(
            f"{path} is not a whole backup: {problem}.", then="give a file that `dcf backup` wrote"
        ) from problem


def _check(tar: tarfile.TarFile, contents: Contents) -> None:
    if contents.format > FORMAT:
        raise Trouble("The backup was made by a newer release.", then="restore it with that release or a newer one")
    if DUMP not in contents.digests or not all(_KEY_NAME.fullmatch(name) for name in contents.keys):
        raise KeyError("it does not hold what a backup holds")
    for name, digest in contents.digests.items():
        with _member(tar, name) as member:
            if digest_of(member) != digest:
                raise Trouble(f"The backup is damaged: {name} is not what was written.", then="use another backup")


@contextmanager
def _member(tar: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(f"{name} is not a file")
    with member:
        yield member


def _read(tar: tarfile.TarFile, name: str, bytes_max: int) -> bytes:
    with _member(tar, name) as member:
        content = member.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise KeyError(f"{name} is too large")
    return content


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member
