"""Programs of a few bytes of machine code, whole without any library: what an image from scratch needs to be run."""

from __future__ import annotations

import platform
import struct
from ipaddress import IPv4Address

# The machine's number in an ELF file, and the code of a program that exits with 0.
_EXIT_CODE = {
    "x86_64": (62, bytes.fromhex("31ffb83c0000000f05")),
    "aarch64": (183, bytes.fromhex("000080d2a80b80d2010000d4")),
}
# connect(rbx, the address behind the code, 16); what is behind it follows at a distance.
_CONNECT = "89df488d35{distance}ba10000000b82a0000000f05"
_CONNECT_BYTES, _BEFORE_DISTANCE_COUNTS = 21, 9
_SOCKET = bytes.fromhex(
    "b829000000bf02000000be0108000031d20f0589c3"
)  # rbx = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK)
_POLL = bytes.fromhex("895c24f8c74424fc04000000488d7c24f8be01000000bab80b0000b8070000000f05")  # for writing, 3 seconds
_EXIT_WITH_WHETHER_IT_FAILED = bytes.fromhex("31ff85c0400f95c7b83c0000000f05")


def exiting() -> bytes | None:
    """Exits with 0; None where that is not known of this machine."""
    known = _EXIT_CODE.get(platform.machine())
    return None if known is None else _elf(*known)


def connecting(address: IPv4Address, port: int) -> bytes | None:
    """Exits with 0 when it could connect within three seconds, else with 1; None where that is not known of this machine."""
    if platform.machine() != "x86_64":
        return None
    tail = _POLL + bytes(_CONNECT_BYTES) + _EXIT_WITH_WHETHER_IT_FAILED
    first = _connect(len(tail))
    second = _connect(len(_EXIT_WITH_WHETHER_IT_FAILED))
    # A connection that was not made yet is asked for again: then it is told whether it was.
    code = _SOCKET + first + _POLL + second + _EXIT_WITH_WHETHER_IT_FAILED
    return _elf(62, code + struct.pack("<H", 2) + struct.pack(">H", port) + address.packed + bytes(8))


def _connect(behind: int) -> bytes:
    """`behind` is how many bytes of code follow before the address."""
    rest = _CONNECT_BYTES - _BEFORE_DISTANCE_COUNTS
    return bytes.fromhex(_CONNECT.format(distance=struct.pack("<i", rest + behind).hex()))


def _elf(machine: int, code: bytes) -> bytes:
    """A whole ELF file of one segment."""
    base, header_bytes, segment_bytes = 0x400000, 64, 56
    size = header_bytes + segment_bytes + len(code)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    entry = base + header_bytes + segment_bytes
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", identity, 2, machine, 1, entry, header_bytes, 0, 0, header_bytes, segment_bytes, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + segment + code
