"""The Unix socket that the agent is reached by."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from process.ports import BACKLOG


def listen(path: Path) -> socket.socket:
    """A socket that only this user can connect to. Whatever an agent before us left there is replaced: the caller owns the place."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
