"""Temporary files in memory: nobody needs what tests leave, and a database is made there in a tenth of the time."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
# Four workers with a few databases and services each hold about two gigabytes at most.
FREE_BYTES_MIN = 6 * 1024**3
_PREFIX, _LOCK = "dcf-tests-", "held"


@contextmanager
def temporary_files_in_memory(memory: Path = MEMORY) -> Iterator[None]:
    """Have this process, and all it starts, make its temporary files in a folder in memory that goes with the block.

    Where there is no such memory, little of it, or where programs may not run from it, nothing changes.
    """
    if not _suits(memory):
        yield
        return
    _remove_what_nobody_holds(memory)
    # Under another name until it is held: what nobody holds is removed.
    making = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=memory))
    former = os.environ.get("TMPDIR")
    with (making / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = making.rename(memory / making.name.removeprefix("."))
        _use(str(folder))
        try:
            yield
        finally:
            _use(former)
            shutil.rmtree(folder, ignore_errors=True)


def _suits(memory: Path) -> bool:
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return False
    found = os.statvfs(memory)
    free = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return free >= FREE_BYTES_MIN and not found.f_flag & os.ST_NOEXEC


def _remove_what_nobody_holds(memory: Path) -> None:
    """A session that was killed could not do so itself, and the kernel gave its lock back."""
    for folder in memory.glob(f"{_PREFIX}*"):
        try:
            with (folder / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # Somebody's, or about to be.


def _use(folder: str | None) -> None:
    if folder is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = folder
    tempfile.tempdir = None  # It is looked up again.
