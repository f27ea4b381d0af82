"""What is put around a function's process, as far as the machine allows."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec
import structlog
from msgspec.structs import replace

from providers.local.command import run
from providers.local.network import Network, NetworkShut
from providers.local.process_group import NotStarted, ProcessGroup

OPEN_FILES_MAX = 1024
FILE_BYTES_MAX = 256 * 1024 * 1024
NICENESS = 5
PROBE_SECONDS_MAX = 10.0
ENVIRONMENT_FILE = ".environment"

TOOLS = ("unshare", "mount", "setpriv", "mkdir", "nice", "nsenter", "rm", "sh")
# Whose processes functions are where we are root and may choose: a number that owns nothing, on every Linux.
NOBODY = 65_534
# Threads count too. In namespaces of their own these are a function's, elsewhere all of that user's.
PROCESSES_MAX = 4096

# How much is put around functions, the most first. `dropped`: as a user that owns nothing, in namespaces in which nothing of
# ours and no other process is to be seen. `namespaces`: the same as our own user. `hidden`: without the processes. `limits`:
# limits alone.
Means = Literal["dropped", "namespaces", "hidden", "limits"]
_MOUNTS = ("--mount", "--propagation", "private")
_PROCESSES = ("--pid", "--fork", "--kill-child", "--mount-proc")
_AS_ROOT_OF_ITS_OWN = ("--user", "--map-root-user")
_UNSHARED: dict[Means, tuple[str, ...]] = {
    "dropped": (*_MOUNTS, *_PROCESSES),
    "namespaces": (*_AS_ROOT_OF_ITS_OWN, *_MOUNTS, *_PROCESSES),
    "hidden": (*_AS_ROOT_OF_ITS_OWN, *_MOUNTS),
    "limits": (),
}
# Being root of a namespace of its own, it could take the covers off again.
_POWERLESS = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
_SOMEBODY_ELSE = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
# The first process of a namespace is spared every signal it has no handler for: that is none for a function to be.
_FIRST_PROCESS = '"$@" & wait "$!"'
_FEW = 8
# In its new network there is not even a loopback before the agent comes in; without the agent there never will be.
_HELD = ("read -r _ || exit 1", "exec </dev/null")
# POSIX counts the file size limit in units of 512 bytes; shells differ in how they call the number of processes.
_LIMITS = (
    f"ulimit -c 0; ulimit -n {OPEN_FILES_MAX} 2>/dev/null; ulimit -f {FILE_BYTES_MAX // 512} 2>/dev/null; "
    f"(ulimit -u 1) 2>/dev/null && ulimit -u {PROCESSES_MAX} 2>/dev/null || ulimit -p {PROCESSES_MAX} 2>/dev/null"
)

log = structlog.get_logger()


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and lower priority always; and, as `means` allows, `hidden` folders look empty and other processes are not there.

    Hidden are the service's own keys, sockets and data, which a function running as the same user could read otherwise.
    """

    hidden: tuple[Path, ...]
    tools: Mapping[str, str]
    means: Means
    # What every program of the machine needs, though it may lie in a folder that is hidden: how to find other machines.
    seen: tuple[Path, ...] = (Path("/etc/resolv.conf"),)
    # Whether functions have a network of their own, which nobody else is in; and whether builds have.
    own_network: bool = False
    builds_apart: bool = False

    @classmethod
    async def probe(cls, hidden: Iterable[Path], folder: Path, search_path: str, *, own_network: bool = True) -> Self:
        """Find out, in a hidden folder, how much this machine allows, and say so in the log.

        `own_network`: whether functions are to have one, if it allows that. Builds always have, then.
        """
        found = {tool: path for tool in TOOLS if (path := shutil.which(tool, path=search_path))}
        tools = {tool: found.get(tool, tool) for tool in TOOLS}
        folders, words = tuple(hidden), ""
        wanted: tuple[Means, ...] = (
            ("dropped", "namespaces", "hidden") if os.geteuid() == 0 else ("namespaces", "hidden")
        )
        for means in wanted:
            one = cls(hidden=_outermost(folders, closed=means == "dropped"), tools=tools, means=means)
            fault = await one._fault(folder)
            if not fault:
                break
            words = words or fault
        else:
            one = cls(hidden=_outermost(folders), tools=tools, means="limits")
        if one.means != "limits":
            fault = await one._network_fault(folder)
            words = words or fault
            one = replace(one, own_network=own_network and not fault, builds_apart=not fault)
        lacks = one.lacks
        say = log.warning if lacks else log.info
        apart = {"own_network": one.own_network, "builds_apart": one.builds_apart}
        say("functions_confined", means=one.means, **apart, lacks=lacks, because=words)
        return one

    @property
    def lacks(self) -> tuple[str, ...]:
        """What a function can do here that it should not be able to, in words."""
        found = []
        if self.means == "limits":
            found.append("functions can read the files of the service's user, its keys among them")
        if self.means in ("hidden", "limits"):
            found.append("functions can see and signal other processes of the service's user")
        if self.means != "dropped" and os.geteuid() == 0:
            found.append("functions run as root")
        if not self.own_network:
            found.append(
                "functions listen on every address of this machine, and reach its ports, each other's among them"
            )
        if not self.builds_apart:
            found.append("builds reach the ports of this machine and whatever it reaches, a cloud's metadata among it")
        return tuple(found)

    async def _fault(self, folder: Path) -> str:
        """What keeps these means from doing what they are for; empty when they do."""
        kept, secret = folder / "probe-kept", folder / "probe-hidden"
        kept.mkdir(exist_ok=True)
        secret.touch()
        looks = [f"test -d {shlex.quote(str(kept))}", f"test ! -e {shlex.quote(str(secret))}", ": >mine"]
        if self.means != "hidden":
            # Of the processes of this machine it sees its own few.
            looks.append(f"set -- /proc/[0-9]*; test $# -lt {_FEW}")
        try:
            argv = self.around(("sh", "-c", " && ".join(looks)), cwd=kept, environment={"PATH": os.defpath}, kept=())
            finished = await run(argv, cwd=kept, seconds_max=PROBE_SECONDS_MAX)
            return "" if finished.succeeded else finished.output.strip() or "it hides nothing"
        except OSError as error:
            return str(error)
        finally:
            shutil.rmtree(kept)
            secret.unlink()

    async def _network_fault(self, folder: Path) -> str:
        """What keeps a network of its own from being one; empty when nothing does."""
        place = folder / "probe-network"
        place.mkdir(exist_ok=True)
        argv = self.around(
            ("sh", "-c", "exit 0"), cwd=place, environment={"PATH": os.defpath}, kept=(), own_network=True
        )
        try:
            group = ProcessGroup.start(argv, environment={}, cwd=place, log=place / "log", held=True)
        except (OSError, NotStarted) as error:
            return str(error)
        try:
            network = await Network.entered(group.mark.pid, self.tools, None)
            with network.open_socket() as inside:
                found = inside.connect_ex(("127.0.0.1", 1))
            await network.close()
            group.release()
            await asyncio.wait([group.ended], timeout=PROBE_SECONDS_MAX)
            ran = group.ended.done() and group.ended.result() == 0
            return "" if found == errno.ECONNREFUSED and ran else "its loopback is not up"
        except (OSError, NetworkShut) as error:
            return str(error)
        finally:
            await group.stop(0)
            shutil.rmtree(place)

    def around(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        kept: Iterable[Path] | None,
        own_network: bool = False,
    ) -> tuple[str, ...]:
        """The command that runs `argv` confined, in `cwd`, with the `kept` files and folders still to be seen.

        With None for `kept`, `argv` confines by itself what it runs: nothing is hidden from it. Whatever `environment`
        says (where programs and libraries are found, for one) holds for `argv` only, not for what confines it. With `own_network`
        it waits there for a line of its input.
        """
        _write_environment(cwd / ENVIRONMENT_FILE, environment)
        # Secrets are in it: it goes as soon as it is read.
        load = f'. ./{ENVIRONMENT_FILE}; {self.tools["rm"]} -f ./{ENVIRONMENT_FILE}; {_LIMITS}; exec {self.tools["nice"]} -n {NICENESS} "$@"'
        limited = (self.tools["sh"], "-c", load, "sh", *argv)
        if kept is None or self.means == "limits":
            return limited
        needed = (cwd, *kept)
        if self.means == "dropped":
            _hand_over(cwd, needed)
        seen = (path for path in self.seen if path.is_file())
        lines = "\n".join((*(_HELD if own_network else ()), self._covering((*needed, *seen), cwd)))
        covered = (self.tools["sh"], "-c", lines, "sh", *limited)
        network = ("--net",) if own_network else ()
        return (self.tools["unshare"], *_UNSHARED[self.means], *network, "--", *covered)

    def _covering(self, kept: tuple[Path, ...], cwd: Path) -> str:
        """A script that holds on to what is kept, covers what is hidden, puts back what is kept, and goes on."""
        mount = self.tools["mount"]
        inside = [path.resolve() for path in kept if any(path.resolve().is_relative_to(one) for one in self.hidden)]
        lines = ["set -e", "umask 022"]
        lines += [f"exec {number}<{shlex.quote(str(path))}" for number, path in enumerate(inside, 3)]
        lines += [f"{mount} -t tmpfs -o {_cover(one)} tmpfs {shlex.quote(str(one))}" for one in self.hidden]
        for number, path in enumerate(inside, 3):
            lines += self._putting_back(number, path, writable=path == cwd.resolve())
        lines += [f"cd {shlex.quote(str(cwd.resolve()))}", "umask 077", self._going_on()]
        return "\n".join(lines)

    def _going_on(self) -> str:
        """The last line: what is left of our powers goes, and the command takes the shell's place, or is waited for by one."""
        options = (*(_SOMEBODY_ELSE if self.means == "dropped" else ()), *_POWERLESS)
        powerless = f"exec {self.tools['setpriv']} {' '.join(options)}"
        if self.means == "hidden":
            return f'{powerless} "$@"'
        return f'{powerless} {self.tools["sh"]} -c {shlex.quote(_FIRST_PROCESS)} sh "$@"'

    def _putting_back(self, number: int, path: Path, *, writable: bool) -> list[str]:
        mount, mkdir, place = self.tools["mount"], self.tools["mkdir"], shlex.quote(str(path))
        make = [f"{mkdir} -p {place if path.is_dir() else shlex.quote(str(path.parent))}"]
        if not path.is_dir():
            make.append(f": >{place}")
        # The path itself leads to the cover now; the open descriptor still leads to what is under it.
        put = [f"{mount} --no-canonicalize --bind /proc/self/fd/{number} {place}", f"exec {number}<&-"]
        lock = [] if writable else [f"{mount} -o remount,bind,ro {place} 2>/dev/null || true"]
        return [*make, *put, *lock]


def _cover(folder: Path) -> str:
    """Empty; what everybody may write to, everybody of this function may write to."""
    return "mode=1777,size=64m" if folder.stat().st_mode & 0o002 else "mode=0711,size=1m"


def _write_environment(path: Path, environment: Mapping[str, str]) -> None:
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    # Replaced, never followed: the folder is the function's own, and it may have put a link there.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)
    fresh.replace(path)


def _hand_over(cwd: Path, needed: Iterable[Path]) -> None:
    """Let the user that owns nothing have the folder it runs in, and read what it needs."""
    for path in (cwd, *cwd.iterdir()):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for path in needed:
        if path.is_file():
            path.chmod(path.stat().st_mode | 0o555)


def _outermost(folders: Iterable[Path], *, closed: bool = False) -> tuple[Path, ...]:
    """Those that lie in no other. `closed`: instead of each, the outermost folder around it that only its owner may enter."""
    found = sorted(
        {_entrance(folder.resolve()) if closed else folder.resolve() for folder in folders if folder.is_dir()}
    )
    return tuple(one for one in found if not any(one != other and one.is_relative_to(other) for other in found))


def _entrance(folder: Path) -> Path:
    closed = (one for one in reversed((folder, *folder.parents)) if not one.stat().st_mode & 0o001)
    return next(closed, folder)
