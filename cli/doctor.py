"""`dcf doctor`: is everything installed, reachable and well configured, and what mends what is not?"""

from __future__ import annotations

import asyncio
import platform
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal

import asyncpg
import click
import httpx
import msgspec

from cli import exits, postgres_tools
from cli.account import NotSignedIn
from cli.epilog import epilog
from cli.screen import Colour
from cli.session import Session, shown
from cli.trouble import Trouble
from eventstore.embedded import Place
from eventstore.embedded import running as server_of
from migrations.upgrade import newest
from process import ports
from process.settings import SettingInvalid, Settings

LOOK_SECONDS_MAX = 5.0
FREE_BYTES_LOW, FREE_BYTES_MIN = 2_000_000_000, 200_000_000
PYTHON_MIN = (3, 11)

Status = Literal["ok", "warn", "fail"]
_COLOURS: Mapping[Status, Colour] = {"ok": "green", "warn": "yellow", "fail": "red"}
_LOCK = Path(__file__).parent.parent / "requirements.lock"
_PROCESSES = {
    "api": "DCF_PORT",
    "projections": "DCF_PROJECTIONS_PORT",
    "runner": "DCF_RUNNER_PORT",
    "agent": "DCF_AGENT_PORT",
}


class Finding(msgspec.Struct, frozen=True):
    """What one check saw; `remedy` is what to do about it, empty when there is nothing to do."""

    check: str
    status: Status
    message: str
    remedy: str = ""


@click.command(epilog=epilog("dcf doctor", "dcf doctor --json"))
@shown
@click.pass_obj
def doctor(session: Session) -> int:
    """Check what is installed here, how it is configured, and whether the service answers.

    Run it where the service runs, with the service's environment. The exit code is 1 when any check fails.
    """
    findings = []
    for finding in examined(session):
        findings.append(finding)
        session.screen.say(f"{finding.status:<5} {finding.check:<12} {finding.message}", _COLOURS[finding.status])
        if finding.remedy:
            session.screen.say(f"{'':<19}-> {finding.remedy}")
    failed = sum(finding.status == "fail" for finding in findings)
    session.screen.result(
        {"checks": msgspec.to_builtins(findings), "failed": failed},
        f"{len(findings)} checks, {failed} failed." if failed else f"{len(findings)} checks, none failed.",
    )
    return exits.FAILED if failed else exits.OK


def examined(session: Session) -> Iterator[Finding]:
    """All findings, in the order in which one can be the cause of the next."""
    yield _python()
    yield _packages()
    try:
        settings = Settings.from_environment(session.environment)
    except SettingInvalid as problem:
        yield Finding("settings", "fail", str(problem), f"set or unset {problem.variable}")
    else:
        yield Finding("settings", "ok", "every DCF_* variable can be used")
        yield from _service(settings)
    yield _account(session)


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
        shown_some = ", ".join(wrong[:5]) + (", …" if len(wrong) > 5 else "")
        return Finding("packages", "warn", f"not what requirements.lock names: {shown_some}", "make test renews .venv")
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


def _service(settings: Settings) -> Iterator[Finding]:
    yield _data_directory(settings.data_dir)
    yield from _private_files(settings.data_dir)
    yield _database(settings)
    yield _tools()
    yield _engine(settings)
    yield from _processes(settings)


def _data_directory(data_dir: Path) -> Finding:
    if not data_dir.exists():
        return Finding("data", "warn", f"{data_dir} is not there yet", "dcf serve makes it, or set DCF_DATA_DIR")
    free = shutil.disk_usage(data_dir).free
    message = f"{data_dir}, {free / 1e9:.1f} GB free"
    if free < FREE_BYTES_LOW:
        status: Status = "fail" if free < FREE_BYTES_MIN else "warn"
        return Finding("data", status, message, "make room: PostgreSQL stops when the disk is full")
    return Finding("data", "ok", message)


def _private_files(data_dir: Path) -> Iterator[Finding]:
    """Keys that others can read are not secret any more."""
    for path in sorted(data_dir.glob("*.key")):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("keys", "fail", f"others can read {path}", f"chmod 600 {path}, and make a new key")
            return
    if not (data_dir / "owner.key").exists():
        yield Finding("keys", "warn", "there is no owner's key here", "dcf serve makes it at its first start")
        return
    yield Finding("keys", "ok", f"{data_dir / 'owner.key'} is yours alone")


def _database(settings: Settings) -> Finding:
    if settings.database_url is not None:
        remedy = "check DCF_DATABASE_URL, and that PostgreSQL runs there"
        return asyncio.run(_asked(settings.database_url.reveal(), "the PostgreSQL of DCF_DATABASE_URL", remedy))
    if postgres_tools.found("psql") is None:
        return Finding("database", "fail", "the embedded PostgreSQL is not installed", "install the requirements")
    if not (settings.data_dir / "postgres" / "data").exists():
        return Finding("database", "warn", "the embedded PostgreSQL has no data yet", "dcf serve makes it")
    place = Place.of(settings.data_dir)
    if server_of(place) is None:
        return Finding("database", "warn", "the embedded PostgreSQL is not running", "dcf serve starts it")
    return asyncio.run(_asked(place.url(), "the embedded PostgreSQL", f"see the end of {place.log}"))


async def _asked(url: str, what: str, remedy: str) -> Finding:
    try:
        connection = await asyncpg.connect(url, timeout=LOOK_SECONDS_MAX)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
        said = str(problem) or type(problem).__name__
        return Finding("database", "fail", f"{what} does not answer: {said}", remedy)
    version = connection.get_server_version().major
    try:
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return Finding("database", "warn", f"{what} {version} has no schema yet", "dcf migrate")
    finally:
        await connection.close()
    if revision != newest():
        then = "dcf migrate" if revision < newest() else "use the release that made it, or a newer one"
        return Finding("database", "fail", f"{what} {version} has schema {revision}, not {newest()}", then)
    return Finding("database", "ok", f"{what} {version}, schema {revision}")


def _tools() -> Finding:
    missing = [tool for tool in ("pg_dump", "pg_restore", "psql") if postgres_tools.found(tool) is None]
    if missing:
        message = f"{', '.join(missing)} not found: no backup, no restore"
        return Finding("backup", "warn", message, "install the requirements, or PostgreSQL's client programs")
    return Finding("backup", "ok", "pg_dump, pg_restore and psql are here")


def _engine(settings: Settings) -> Finding:
    """What could build and run functions; whether it does is what verifying the local integration finds out."""
    here = [name for name in ("dart", "podman", "docker") if shutil.which(name)]
    if settings.local_engine in ("dart", "podman", "docker") and settings.local_engine not in here:
        message = f"DCF_LOCAL_ENGINE is {settings.local_engine}, which is not installed"
        return Finding("engine", "fail", message, f"install {settings.local_engine}, or unset DCF_LOCAL_ENGINE")
    if not here:
        message = "no dart, podman or docker: functions run on the stand-in Dart VM, without packages"
        return Finding("engine", "warn", message, "install the Dart SDK, podman or docker")
    return Finding("engine", "ok", f"{', '.join(here)} found")


def _processes(settings: Settings) -> Iterator[Finding]:
    known = ports.recorded(settings.data_dir) if settings.data_dir.exists() else {}
    if not known:
        yield Finding("service", "warn", "no service was started on this data directory", "dcf serve")
        return
    for name, variable in _PROCESSES.items():
        if name not in known:
            yield Finding(name, "fail", "not started", f"dcf serve, or python -m {_module(name)}")
        else:
            yield _ready(name, known[name], variable)


def _ready(name: str, port: int, variable: str) -> Finding:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=LOOK_SECONDS_MAX, trust_env=False)
        checks = answer.json().get("checks", {})
    except (httpx.HTTPError, ValueError) as problem:
        message = f"port {port} does not answer ({type(problem).__name__})"
        return Finding(name, "fail", message, f"dcf serve; another port is chosen with {variable}")
    if answer.status_code == httpx.codes.OK:
        return Finding(name, "ok", f"ready on port {port}")
    wrong = "; ".join(f"{check}: {said}" for check, said in checks.items() if said != "ok")
    return Finding(name, "fail", f"not ready: {wrong or answer.status_code}", "its log says why")


def _module(name: str) -> str:
    return "providers.local" if name == "agent" else name


def _account(session: Session) -> Finding:
    try:
        url = session.account.url
        me = session.api.get("me")
    except NotSignedIn as trouble:
        return Finding("account", "warn", trouble.message, trouble.then)
    except Trouble as trouble:
        return Finding("account", "fail", trouble.message, trouble.then)
    tenant = (me.get("tenant") or {}).get("name", "no tenant")
    return Finding("account", "ok", f"{url} takes the key: {me.get('role')} of {tenant}")
