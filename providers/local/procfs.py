"""What the kernel tells of processes: who lives, in which group, with how much memory."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from providers.local.records import ProcessMark

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(msgspec.Struct, frozen=True):
    """A line of /proc/<pid>/stat, as far as it is asked for."""

    pid: int
    state: str
    group: int
    start_ticks: int
    resident_bytes: int


def boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def stat(pid: int) -> Stat | None:
    """None: there is no such process."""
    try:
        line = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    fields = line[line.rindex(b")") + 2 :].split()
    return Stat(pid, fields[0].decode(), int(fields[2]), int(fields[19]), int(fields[21]) * _PAGE_BYTES)


def mark(pid: int) -> ProcessMark | None:
    """How to recognise the process later; None when it is gone already."""
    found = stat(pid)
    return ProcessMark(pid=pid, start_ticks=found.start_ticks, boot_id=boot_id()) if found else None


def lives(process: ProcessMark) -> bool:
    """Whether that very process is still running; a dead one that nobody has reaped is not."""
    found = stat(process.pid)
    return (
        found is not None
        and found.start_ticks == process.start_ticks
        and found.state not in "ZX"
        and process.boot_id == boot_id()
    )


def group(pid: int) -> int:
    """The process group it belongs to; 0 when it is gone."""
    found = stat(pid)
    return found.group if found else 0


def is_apart(pid: int) -> bool:
    """Whether it lives in another network than ours, which can be entered.

    Of a process that makes itself a namespace of users the network is another one before its users are anybody, and until
    then the kernel lets nobody in (user_namespaces(7): a map is empty until it is written).
    """
    return _differs(pid, "net") and _is_mapped(pid, "uid_map") and _is_mapped(pid, "gid_map")


def has_user_apart(pid: int) -> bool:
    """Whether its users are others than ours: those of a namespace that an ordinary user may make."""
    return _differs(pid, "user")


def _is_mapped(pid: int, users: str) -> bool:
    try:
        return bool((_PROC / str(pid) / users).read_text().strip())
    except OSError:
        return False


def _differs(pid: int, namespace: str) -> bool:
    try:
        return (_PROC / str(pid) / "ns" / namespace).readlink() != (_PROC / "self" / "ns" / namespace).readlink()
    except OSError:
        return False


def resident_bytes_by_group() -> dict[int, int]:
    """The memory of every process group."""
    sums: defaultdict[int, int] = defaultdict(int)
    for found in _all():
        sums[found.group] += found.resident_bytes
    return sums


def with_variable(name: str, value: str) -> dict[int, dict[str, str]]:
    """The environments of the living processes that were started with this variable, by process id."""
    wanted = f"{name}={value}"
    found = {}
    for one in _all():
        if one.state not in "ZX" and wanted in (lines := _environment(one.pid)):
            found[one.pid] = dict(line.split("=", 1) for line in lines if "=" in line)
    return found


def _all() -> Iterator[Stat]:
    for path in _PROC.iterdir():
        if path.name.isdecimal() and (found := stat(int(path.name))):
            yield found


def _environment(pid: int) -> list[str]:
    with suppress(OSError):
        return (_PROC / str(pid) / "environ").read_bytes().decode(errors="replace").split("\0")
    return []
