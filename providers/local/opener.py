"""Runs in a function's own network, with nothing but the standard library: makes sockets there and hands them to the agent.

A socket belongs to the network it was made in, whoever holds it; so nothing a function sends or gets passes through here.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

# Each carries one byte: how many sockets are wanted.
SOCKETS_MAX = 16
PROXY_PORT = 3128
_WAITING_MAX = 128
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def main() -> None:
    """Serve the agent at the other end of the descriptor until it closes that."""
    agent = socket.socket(fileno=int(sys.argv[1]))
    _raise_loopback()
    proxy = socket.socket()
    proxy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    proxy.bind(("127.0.0.1", PROXY_PORT))
    proxy.listen(_WAITING_MAX)
    _hand_over(agent, [proxy])
    while asked := agent.recv(1):
        _hand_over(agent, [socket.socket() for _ in range(min(asked[0], SOCKETS_MAX))])


def _hand_over(agent: socket.socket, sockets: list[socket.socket]) -> None:
    socket.send_fds(agent, [b"+"], [one.fileno() for one in sockets])
    for one in sockets:
        one.close()


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        found = fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack_from("h", found, 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


if __name__ == "__main__":
    main()
