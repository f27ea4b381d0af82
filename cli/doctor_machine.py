"""What the doctor sees of this machine: programs, settings, the data directory."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import os
import platform
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from uuid import UUID

import msgspec
import psutil
import structlog

from cli import postgres_tools
from cli.finding import Finding, Status
from domain.clouds import LocalIdentity
from process.master_key import FILE_NAME as MASTER_KEY
from process.settings import PREFIX, SettingInvalid, Settings
from process.sockets import SocketDirectoryUnsafe, socket_directory
from providers.local.client import SOCKET_NAME, AgentSocket, LocalProvider
from providers.local.confinement import Confinement
from providers.provider import ProviderBusy, ProviderRefused

PYTHON_MIN = (3, 11)
FREE_BYTES_LOW, FREE_BYTES_MIN = 2_000_000_000, 200_000_000
ENGINE_SECONDS_MAX = 20.0
PACKAGES_SHOWN_MAX = 5

_LOCK = Path(__file__).parent.parent / "requirements.lock"
# Variables of the command line, and of applications on the bridge.
_OURS = ("DCF_URL", "DCF_KEY", "DCF_PROJECT", "DCF_TENANT")
_NOBODY = UUID(int=0)


def machine_findings() -> Iterator[Finding]:
    """Python and the packages."""
    yield _python()
    yield _packages()


def settings_finding(environment: Mapping[str, str]) -> Finding:
    """Whether every DCF_* variable is one, and has a value that can be used."""
    try:
        Settings.from_environment(environment)
    except SettingInvalid as problem:
        return Finding("settings", "fail", str(problem), f"set or unset {problem.variable}")
    known = [PREFIX + field.encode_name.upper() for field in msgspec.structs.fields(Settings)]
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in (*known, *_OURS):
            near = difflib.get_close_matches(variable, known, n=1)
            meant = f"did you mean {near[0]}?" if near else "docs/operations.md lists them all"
            return Finding("settings", "warn", f"{variable} is no setting, so it does nothing", meant)
    return Finding("settings", "ok", "every DCF_* variable can be used")


def data_findings(settings: Settings) -> Iterator[Finding]:
    """The data directory and the keys in it."""
    yield _data_directory(settings.data_dir)
    yield _keys(settings)


def engine_findings(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What backs the service up, and what builds and runs functions here."""
    yield _tools()
    yield asyncio.run(_engine(settings))
    found = asyncio.run(_probed(settings, environment))
    yield _confinement(found)
    yield _functions_ports(found)


def _python() -> Finding:
    if sys.version_info < PYTHON_MIN:
        return Finding(
            "python", "fail", f"Python {platform.python_version()} is too old", "install Python 3.11 or later"
        )
    return Finding("python", "ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Finding:
    if not _LOCK.exists():
        return Finding("packages", "ok", "installed from a wheel, so its own requirements hold")
    wrong = [text for line in _LOCK.read_text().splitlines() if "==" in line and (text := _wrong(line))]
    if wrong:
        some = ", ".join(wrong[:PACKAGES_SHOWN_MAX]) + (", …" if len(wrong) > PACKAGES_SHOWN_MAX else "")
        return Finding("packages", "warn", f"not what requirements.lock names: {some}", "make test renews .venv")
    return Finding("packages", "ok", "installed as requirements.lock names them")


def _wrong(line: str) -> str:
    """What is different about a package, from its line in the lock; empty when nothing is."""
    name, _, rest = line.partition("==")
    # A marker behind it says on which machines it is needed; those are left out.
    wanted, needed_everywhere = rest.split()[0].rstrip(";\\"), ";" not in rest
    try:
        found = metadata.version(name.strip())
    except metadata.PackageNotFoundError:
        return f"{name} is missing" if needed_everywhere else ""
    return "" if found == wanted else f"{name} is {found}"


def _data_directory(data_dir: Path) -> Finding:
    if not data_dir.exists():
        above = next(folder for folder in data_dir.parents if folder.exists())
        if not os.access(above, os.W_OK):
            return Finding("data", "fail", f"{data_dir} cannot be made: {above} cannot be written", "set DCF_DATA_DIR")
        return Finding("data", "warn", f"{data_dir} is not there yet", "dcf serve makes it, or set DCF_DATA_DIR")
    if not data_dir.is_dir():
        return Finding("data", "fail", f"{data_dir} is no folder", "set DCF_DATA_DIR to a folder")
    try:
        # A page that is really written: a full disk takes names and no content.
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(os.urandom(8192))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        remedy = "make room, or give the service's user the right to write there"
        return Finding("data", "fail", f"{data_dir} cannot be written: {problem.strerror}", remedy)
    free = shutil.disk_usage(data_dir).free
    message = f"{data_dir}, {free / 1e9:.1f} GB free"
    if free < FREE_BYTES_LOW:
        status: Status = "fail" if free < FREE_BYTES_MIN else "warn"
        return Finding("data", status, message, "make room: PostgreSQL stops when the disk is full")
    return Finding("data", "ok", message)


def _keys(settings: Settings) -> Finding:
    """Keys that others can read are not secret any more; and without its master key a database does not open."""
    data_dir = settings.data_dir
    for path in sorted(data_dir.glob("*.key")):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            return Finding("keys", "fail", f"others can read {path}", f"chmod 600 {path}, and make a new key")
    if (
        settings.master_key is None
        and settings.master_key_service is None
        and (data_dir / "postgres" / "data").exists()
        and not (data_dir / MASTER_KEY).exists()
    ):
        return Finding(
            "keys",
            "fail",
            f"{data_dir / MASTER_KEY} is gone: names and secrets in the database cannot be opened",
            "put it back from a backup before the service starts and makes another",
        )
    # Where people sign in there is no owner's key.
    first = data_dir / ("operator.key" if settings.sign_in_issuers else "owner.key")
    if not first.exists():
        return Finding("keys", "warn", f"there is no {first.name} here", "dcf serve makes it at its first start")
    return Finding("keys", "ok", f"{first} is yours alone")


def _tools() -> Finding:
    missing = [tool for tool in ("pg_dump", "pg_restore", "psql") if postgres_tools.found(tool) is None]
    if missing:
        message = f"{', '.join(missing)} not found: no backup, no restore"
        return Finding("backup", "warn", message, "install the requirements, or PostgreSQL's client programs")
    return Finding("backup", "ok", "pg_dump, pg_restore and psql are here")


async def _engine(settings: Settings) -> Finding:
    """What the agent that runs here found when it tried; without one only what is installed."""
    here = [name for name in ("dart", "podman", "docker") if shutil.which(name)]
    chosen = settings.local_engine
    if chosen in ("dart", "podman", "docker") and chosen not in here:
        message = f"DCF_LOCAL_ENGINE is {chosen}, which is not installed"
        return Finding("engine", "fail", message, f"install {chosen}, or unset DCF_LOCAL_ENGINE")
    try:
        agent = AgentSocket(socket_directory(settings.data_dir) / SOCKET_NAME) if settings.data_dir.is_dir() else None
    except SocketDirectoryUnsafe as problem:
        return Finding("engine", "fail", str(problem), "set DCF_DATA_DIR to a folder of this user's own")
    except OSError:
        agent = None  # What is wrong with the data directory is a finding of its own.
    if agent is not None and (found := await _tried(agent)) is not None:
        return found
    if not here:
        message = "no dart, podman or docker: functions run on the stand-in Dart VM, without packages"
        return Finding("engine", "warn", message, "install the Dart SDK, podman or docker")
    return Finding("engine", "ok", f"{', '.join(here)} found; whether they work is tried when the service runs")


async def _probed(settings: Settings, environment: Mapping[str, str]) -> Confinement:
    path, own_network = environment.get("PATH", os.defpath), settings.functions_outbound != "all"
    # What the probe would log are the findings themselves.
    with tempfile.TemporaryDirectory(prefix="dcf-doctor-") as place, structlog.testing.capture_logs():
        return await Confinement.probe((Path(place),), Path(place), path, own_network=own_network)


def _confinement(found: Confinement) -> Finding:
    """What is put around functions and builds here; in a container of an engine, its own confinement counts instead."""
    if not found.lacks:
        how = "as a user that owns nothing, " if found.means == "dropped" else ""
        return Finding("confinement", "ok", f"functions run {how}without our files and other processes in sight")
    remedy = (
        "run functions by podman or docker; or run the service as a user of its own where "
        "`unshare --user --map-root-user --mount --pid --fork --mount-proc true` works"
    )
    return Finding("confinement", "warn", "; ".join(found.lacks), remedy)


def _functions_ports(found: Confinement) -> Finding:
    """A function listens on every address, as its contract says; whoever reaches its port needs no key of ours."""
    if found.own_network:
        message = "functions are reached through the functions' origin alone, and reach no port of this machine"
        return Finding("function ports", "ok", message)
    addresses = [one for name in psutil.net_if_addrs().values() for one in name if one.family == socket.AF_INET]
    reached = sorted(one.address for one in addresses if not ipaddress.ip_address(one.address).is_loopback)
    if not reached:
        return Finding("function ports", "ok", "this machine has no address that others could reach functions at")
    remedy = "unset DCF_FUNCTIONS_OUTBOUND where it is all; else let the machine's firewall take nothing from outside but the service's own ports, or run functions by podman or docker"
    some = ", ".join(reached[:PACKAGES_SHOWN_MAX])
    return Finding("function ports", "warn", f"functions that run as processes listen on {some} too", remedy)


async def _tried(agent: AgentSocket) -> Finding | None:
    """What the agent says, None when there is none to ask."""
    try:
        async with asyncio.timeout(ENGINE_SECONDS_MAX):
            seen = await LocalProvider(agent, lambda: "").verify_identity(_NOBODY, _NOBODY, LocalIdentity())
    except (ProviderBusy, ProviderRefused, TimeoutError):
        return None
    finally:
        await agent.close()
    step = next((step for step in seen.steps if step.name == "engine_ready"), None)
    if step is None:
        return None
    stands_in = step.status == "passed" and "stand-in" in step.message
    is_warned = stands_in or step.status != "passed" or step.code == "metadata_in_reach"
    status: Status = "fail" if step.status == "failed" else "warn" if is_warned else "ok"
    remedy = "for packages and newer Dart install the Dart SDK, podman or docker" if stands_in else step.remedy
    return Finding("engine", status, step.message.rstrip("."), remedy)
