"""What is put around a function's process, as far as the machine allows."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
import structlog

from providers.local.command import run

OPEN_FILES_MAX = 1024
FILE_BYTES_MAX = 256 * 1024 * 1024
NICENESS = 5
PROBE_SECONDS_MAX = 10.0
ENVIRONMENT_FILE = ".environment"

_TOOLS = ("unshare", "mount", "setpriv", "mkdir", "nice", "rm", "sh")
_NAMESPACES = ("--user", "--map-root-user", "--mount", "--propagation", "private", "--")
# Being root of a namespace of its own, it could take the covers off again.
_POWERLESS = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
# POSIX counts the file size limit in units of 512 bytes.
_LIMITS = f"ulimit -c 0; ulimit -n {OPEN_FILES_MAX} 2>/dev/null; ulimit -f {FILE_BYTES_MAX // 512} 2>/dev/null"

log = structlog.get_logger()


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and lower priority always; and, with namespaces, `hidden` folders look empty.

    Hidden are the service's own keys, sockets and data, which a function running as the same user could read otherwise.
    """

    hidden: tuple[Path, ...]
    tools: Mapping[str, str]
    namespaces: bool

    @classmethod
    async def probe(cls, hidden: Iterable[Path], folder: Path, search_path: str) -> Self:
        """Find out, in a hidden folder, whether namespaces can be made here."""
        found = {tool: path for tool in _TOOLS if (path := shutil.which(tool, path=search_path))}
        tools = {tool: found.get(tool, tool) for tool in _TOOLS}
        confinement = cls(hidden=_outermost(hidden), tools=tools, namespaces=True)
        words = await confinement._fault(folder)
        if words:
            log.warning("functions_see_our_files", because=words)
        return cls(hidden=confinement.hidden, tools=tools, namespaces=not words)

    async def _fault(self, folder: Path) -> str:
        """What keeps namespaces from hiding things; empty when they do."""
        kept, secret = folder / "probe-kept", folder / "probe-hidden"
        kept.mkdir(exist_ok=True)
        secret.touch()
        look = ("sh", "-c", f"test -d {shlex.quote(str(kept))} && test ! -e {shlex.quote(str(secret))}")
        try:
            argv = self.around(look, cwd=kept, environment={"PATH": os.defpath}, kept=())
            finished = await run(argv, cwd=kept, seconds_max=PROBE_SECONDS_MAX)
            return "" if finished.succeeded else finished.output.strip() or "it hides nothing"
        except OSError as error:
            return str(error)
        finally:
            shutil.rmtree(kept)
            secret.unlink()

    def around(
        self, argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], kept: Iterable[Path] | None
    ) -> tuple[str, ...]:
        """The command that runs `argv` confined, in `cwd`, with the `kept` files and folders still to be seen.

        With None for `kept`, `argv` confines by itself what it runs: nothing is hidden from it. Whatever `environment`
        says (where programs and libraries are found, for one) holds for `argv` only, not for what confines it.
        """
        _write_environment(cwd / ENVIRONMENT_FILE, environment)
        # Secrets are in it: it goes as soon as it is read.
        load = f'. ./{ENVIRONMENT_FILE}; {self.tools["rm"]} -f ./{ENVIRONMENT_FILE}; {_LIMITS}; exec {self.tools["nice"]} -n {NICENESS} "$@"'
        limited = (self.tools["sh"], "-c", load, "sh", *argv)
        if kept is None or not self.namespaces:
            return limited
        covered = (self.tools["sh"], "-c", self._covering((cwd, *kept), cwd), "sh", *limited)
        return (self.tools["unshare"], *_NAMESPACES, *covered)

    def _covering(self, kept: tuple[Path, ...], cwd: Path) -> str:
        """A script that holds on to what is kept, covers what is hidden, puts back what is kept, and goes on."""
        mount = self.tools["mount"]
        inside = [path.resolve() for path in kept if any(path.resolve().is_relative_to(one) for one in self.hidden)]
        lines = ["set -e"]
        lines += [f"exec {number}<{shlex.quote(str(path))}" for number, path in enumerate(inside, 3)]
        lines += [f"{mount} -t tmpfs -o mode=0700,size=1m tmpfs {shlex.quote(str(one))}" for one in self.hidden]
        for number, path in enumerate(inside, 3):
            lines += self._putting_back(number, path, writable=path == cwd.resolve())
        lines += [f"cd {shlex.quote(str(cwd.resolve()))}", f'exec {self.tools["setpriv"]} {" ".join(_POWERLESS)} "$@"']
        return "\n".join(lines)

    def _putting_back(self, number: int, path: Path, *, writable: bool) -> list[str]:
        mount, mkdir, place = self.tools["mount"], self.tools["mkdir"], shlex.quote(str(path))
        make = [f"{mkdir} -p {place if path.is_dir() else shlex.quote(str(path.parent))}"]
        if not path.is_dir():
            make.append(f": >{place}")
        # The path itself leads to the cover now; the open descriptor still leads to what is under it.
        put = [f"{mount} --no-canonicalize --bind /proc/self/fd/{number} {place}", f"exec {number}<&-"]
        lock = [] if writable else [f"{mount} -o remount,bind,ro {place} 2>/dev/null || true"]
        return [*make, *put, *lock]


def _write_environment(path: Path, environment: Mapping[str, str]) -> None:
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    # Replaced, never followed: the folder is the function's own, and it may have put a link there.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)
    fresh.replace(path)


def _outermost(folders: Iterable[Path]) -> tuple[Path, ...]:
    found = sorted({folder.resolve() for folder in folders if folder.is_dir()})
    return tuple(one for one in found if not any(one != other and one.is_relative_to(other) for other in found))
