"""Fetch Azurite with the machine's npm, once for all processes of a toolchain folder, every package held against its hash."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FETCH_SECONDS_MAX = 280.0
LOCK_POLL_SECONDS = 0.2
_HERE = Path(__file__).parent
_FILES = ("package.json", "package-lock.json")
_MAIN = Path("node_modules/azurite/dist/src/blob/main.js")
# What is not in the lock file is not asked for, and no package runs anything of its own while it is put there.
_CI = (
    "ci",
    "--ignore-scripts",
    "--no-engine-strict",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--loglevel=error",
)
_PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-timeout=30000")
_TOLD_CHARACTERS_MAX = 300


class AzuriteUnavailable(Exception):
    """Azurite cannot be had on this machine. The message says why."""


def fetched(toolchain_dir: Path) -> Path:
    """The program for Node.js, fetched unless it is there; another process fetching it is waited for.

    What is half fetched leaves nothing behind. Raises AzuriteUnavailable, at the latest after FETCH_SECONDS_MAX.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise AzuriteUnavailable("Azurite needs node and npm, which are not on this machine")
    locked = hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()
    folder = toolchain_dir.absolute() / f"azurite-{locked[:16]}"
    if not folder.is_dir():
        until = time.monotonic() + FETCH_SECONDS_MAX
        try:
            with _alone(toolchain_dir, until):
                if not folder.is_dir():
                    _fetch_into(folder, until)
        except OSError as error:
            raise AzuriteUnavailable(f"Azurite could not be put into {toolchain_dir}: {error}") from error
    return folder / _MAIN


@contextmanager
def _alone(toolchain_dir: Path, until: float) -> Iterator[None]:
    toolchain_dir.mkdir(parents=True, exist_ok=True)
    with (toolchain_dir / "azurite.lock").open("wb") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > until:
                raise AzuriteUnavailable("another process has been fetching Azurite for too long")
            time.sleep(LOCK_POLL_SECONDS)
        yield


def _fetch_into(folder: Path, until: float) -> None:
    for stale in folder.parent.glob("staging-azurite-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="staging-azurite-", dir=folder.parent))
    try:
        for name in _FILES:
            shutil.copy(_HERE / name, staging / name)
        _run_npm(staging, until)
        if not (staging / _MAIN).is_file():
            raise AzuriteUnavailable("npm fetched something else than Azurite")
        staging.chmod(0o755)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run_npm(folder: Path, until: float) -> None:
    """npm, and whatever it starts, ended when the time is over. Raises AzuriteUnavailable."""
    with subprocess.Popen(
        ("npm", *_CI, *_PATIENCE),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as npm:
        try:
            _, told = npm.communicate(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AzuriteUnavailable(f"npm did not fetch Azurite within {FETCH_SECONDS_MAX:g} seconds") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(npm.pid, signal.SIGKILL)
    if npm.returncode:
        raise AzuriteUnavailable(f"npm could not fetch Azurite: {' '.join(told.split())[:_TOLD_CHARACTERS_MAX]}")
