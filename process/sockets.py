"""Where a service's Unix sockets live: inside its data directory, or, when that path is too long, a private short one."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

# The kernel allows 107 bytes; the rest is for the longest name put inside (".s.PGSQL.5432.lock").
DIRECTORY_BYTES_MAX = 107 - len("/.s.PGSQL.5432.lock")


class SocketDirectoryUnsafe(Exception):
    """The place for sockets exists and somebody else could use it. The message names it and the remedy."""


def socket_directory(data_dir: Path) -> Path:
    """The directory, made if missing, that only this user may enter. The same data directory always has the same one."""
    real = data_dir.resolve()
    inside = real / "run"
    if len(os.fsencode(inside)) <= DIRECTORY_BYTES_MAX:
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        return inside
    key = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    outside = Path(tempfile.gettempdir()) / f"dcf-{os.getuid()}-{key}"
    if len(os.fsencode(outside)) > DIRECTORY_BYTES_MAX:
        outside = Path("/tmp") / outside.name  # noqa: S108 - checked below; TMPDIR itself may be too long
    outside.mkdir(mode=0o700, exist_ok=True)
    _check(outside)
    return outside


def _check(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise SocketDirectoryUnsafe(f"{directory} must be a directory of this user alone (mode 0700): remove it")
