"""The ports a process listens on: bound before anything else is started, and written down for who must find them."""

from __future__ import annotations

import errno
import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec
import psutil

# Connections waiting to be accepted.
BACKLOG = 1024


class PortTaken(Exception):
    """Something else listens there. The message says on which port, who, and which variable chooses another."""


class AddressUnusable(Exception):
    """The host or port cannot be listened on at all. The message says why and which variable chooses another."""


class Listener(socket.socket):
    """A listening socket, and the name it may hold in a data directory."""

    _lock: IO[bytes] | None = None

    def holds(self, data_dir: Path, name: str) -> bool:
        """Whether the name is this socket's until it is closed: no other open one has taken it."""
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / f"ports.{name}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def close(self) -> None:
        super().close()
        if self._lock is not None:
            self._lock.close()


def listen(host: str, port: int, *, variable: str) -> Listener:
    """A listening socket; port 0 takes a free one. Raises PortTaken or AddressUnusable, naming `variable`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; left on, small answers wait 40 ms.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} is taken by {holder(port)}; stop it, or set {variable} to another port (0 takes a free one)"
            ) from None
        raise AddressUnusable(
            f"cannot listen on {host} port {port}: {problem.strerror}; set DCF_HOST or {variable}"
        ) from None
    return listener


def listen_again(host: str, port: int, *, variable: str, name: str, data_dir: Path) -> Listener:
    """Listen and write the choice down under `name`. For port 0 the one chosen last time is tried first,
    so that a process started again is found where it was.

    Of several processes of one name the first is written down, for as long as its socket is open.
    """
    listener = _as_before(host, port, recorded(data_dir).get(name), variable) or listen(host, port, variable=variable)
    if listener.holds(data_dir, name):
        record(data_dir, {name: listener.getsockname()[1]})
    return listener


def holder(port: int) -> str:
    """Who listens on a port of this machine, as a person would say it."""
    for pid in _listeners(port):
        with suppress(psutil.Error):
            return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())})"
    return "a process of another user"


def recorded(data_dir: Path) -> dict[str, int]:
    """The port of each process by name; empty when nothing was written down yet."""
    try:
        return msgspec.json.decode(_file(data_dir).read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}


def record(data_dir: Path, ports: dict[str, int]) -> None:
    """Add to what is written down. Several processes may do so at once; readers never see half a file."""
    with _alone(data_dir):
        _write(data_dir, recorded(data_dir) | ports)


def forget(data_dir: Path) -> None:
    """Start a fresh record."""
    with _alone(data_dir):
        _file(data_dir).unlink(missing_ok=True)


def _as_before(host: str, port: int, before: int | None, variable: str) -> Listener | None:
    if port != 0 or before is None:
        return None
    with suppress(PortTaken, AddressUnusable):
        return listen(host, before, variable=variable)
    return None


def _listeners(port: int) -> list[int]:
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return []
    return [c.pid for c in found if c.pid and c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port]


def _file(data_dir: Path) -> Path:
    return data_dir / "ports.json"


def _write(data_dir: Path, ports: dict[str, int]) -> None:
    fresh = data_dir / "ports.json.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(ports), indent=2) + b"\n")
    fresh.replace(_file(data_dir))


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
