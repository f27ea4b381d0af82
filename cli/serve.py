"""`serve`: the whole service on one machine, PostgreSQL and four processes, supervised."""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import structlog

from api.exposure import FirstKeysExposed, require_guarded
from cli.supervisor import Child
from eventstore.database import connect
from eventstore.embedded import PostgresUnavailable
from eventstore.postgres import PostgresLog
from eventstore.server import postgres
from migrations.upgrade import MigrationFailed, migrate
from process import logs, ports
from process.ports import AddressUnusable, PortTaken
from process.settings import SettingInvalid, Settings
from process.sockets import SocketDirectoryUnsafe
from process.stopping import stop_requested
from process.trust import trusted_at

READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 9.0
# Waiting for our own PostgreSQL to end too; its guardian sees to that in any case.
GONE_SECONDS_MAX = 9.5
_LOOK_SECONDS = 0.1

# The agent first: it owns what already runs. The API last: it answers when the rest is there.
_MODULES = {
    "agent": "providers.local",
    "projections": "projections",
    "runner": "runner",
    "api": "api",
}
_PORT_FIELDS = {
    "api": "port",
    "functions": "functions_port",
    "projections": "projections_port",
    "runner": "runner_port",
    "agent": "agent_port",
}


class AlreadyServed(Exception):
    """Another service runs on this data directory. The message names it."""


def run(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status is 0 then, and 1 when the service could not start."""
    try:
        settings = Settings.from_environment(environment)
        logs.set_up("serve", style=settings.log_format, level=settings.log_level)
        with _alone(settings):
            asyncio.run(_serve(settings, environment))
    except (
        AddressUnusable,
        AlreadyServed,
        FirstKeysExposed,
        MigrationFailed,
        PortTaken,
        PostgresUnavailable,
        SettingInvalid,
        SocketDirectoryUnsafe,
    ) as problem:
        sys.stderr.write(f"Cannot serve: {problem}\n")
        return 1
    return 0


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Nobody else may serve this data directory; and say at once, rather than in each process's log, if a port is taken."""
    for field in _PORT_FIELDS.values():
        ports.listen(settings.host, getattr(settings, field), variable=f"DCF_{field.upper()}").close()
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.data_dir / "serve.lock").open("a+")
    except OSError as problem:
        raise SettingInvalid("DCF_DATA_DIR", f"{settings.data_dir} cannot be used: {problem.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyServed(
                f"the data directory {settings.data_dir} is served by process {lock.read().strip()}; "
                "stop it, or set DCF_DATA_DIR to another one"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def _serve(settings: Settings, environment: Mapping[str, str]) -> None:
    log = structlog.get_logger()
    with stop_requested(GONE_SECONDS_MAX) as stop:
        async with postgres(settings) as url:
            await migrate(url)
            log.info("database_ready", embedded=settings.database_url is None)
            # Here once, rather than in the API's own log again and again.
            await _require_guarded(settings, url)
            ports.forget(settings.data_dir)
            await _supervise(settings, environment, stop)
    log.info("stopped")


async def _require_guarded(settings: Settings, url: str) -> None:
    async with (
        connect(url, role="dcf_app", size_max=1) as database,
        PostgresLog(database, url, role="dcf_app") as known,
    ):
        await require_guarded(settings, known)


async def _supervise(settings: Settings, environment: Mapping[str, str], stop: asyncio.Event) -> None:
    # Every process holds the embedded server by itself, so its address is not handed down.
    given = {**environment, **settings.to_environment()}
    children = [Child(name, [module], given, _write) for name, module in _MODULES.items()]
    kept = [asyncio.create_task(child.keep()) for child in children]
    announced = asyncio.create_task(_announce(settings))
    try:
        await stop.wait()
    finally:
        announced.cancel()
        structlog.get_logger().info("stopping")
        await asyncio.gather(*(child.stop(STOP_SECONDS_MAX) for child in children))
        await asyncio.wait([*kept, announced], timeout=1)


async def _announce(settings: Settings) -> None:
    """Say where everything is, once all of it is ready; say what is missing when that takes long."""
    async with httpx.AsyncClient(timeout=5, trust_env=False, verify=trusted_at("http://")) as http:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while waiting_for := await _unready(http, settings):
            if time.monotonic() > deadline:
                structlog.get_logger().warning("not_ready", waiting_for=waiting_for)
                deadline = math.inf
            await asyncio.sleep(_LOOK_SECONDS)
    _write(_welcome(settings))


async def _unready(http: httpx.AsyncClient, settings: Settings) -> list[str]:
    found = ports.recorded(settings.data_dir)
    return [name for name in _MODULES if name not in found or not await _is_ready(http, settings.host, found[name])]


async def _is_ready(http: httpx.AsyncClient, host: str, port: int) -> bool:
    try:
        answer = await http.get(f"http://{_reached(host)}:{port}/health/ready")
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK


def _reached(host: str) -> str:
    """Where this machine reaches what listens on `host`."""
    match host:
        case "0.0.0.0" | "":  # noqa: S104 - read here, not bound
            return "127.0.0.1"
        case "::":
            return "[::1]"
        case _:
            return f"[{host}]" if ":" in host else host


def _welcome(settings: Settings) -> str:
    found = ports.recorded(settings.data_dir)
    lines = ["", "Dart Cloud Functions is ready."]
    api = settings.public_url or f"http://{_reached(settings.host)}:{found['api']}"
    lines.append(f"  API          {api}/api/v1")
    if port := found.get("functions"):
        lines.append(f"  functions    {settings.functions_url or f'http://{_reached(settings.host)}:{port}'}")
    keys = {name: settings.data_dir / f"{name}.key" for name in ("owner", "operator")}
    lines += [f"  {name + ' key':<13}{key}" for name, key in keys.items() if key.exists()]
    if keys["owner"].exists():
        lines.append(f"Next: dcf login --url {api} --key-file {keys['owner']}")
    return "\n".join([*lines, "Ctrl-C stops it.", ""]) + "\n"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
