"""What the doctor sees of the service's processes: which answer, how they are, what is in their way."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator

import httpx
import psutil

from cli.finding import Finding
from process import ports
from process.ports import AddressUnusable, PortTaken
from process.settings import Settings
from process.trust import trusted_at

LOOK_SECONDS_MAX = 5.0
# Deployments that wait longer than this wait for a runner that is not there, or too busy.
QUEUE_SECONDS_MAX = 120.0

_PROCESSES = {
    "api": "DCF_PORT",
    "projections": "DCF_PROJECTIONS_PORT",
    "runner": "DCF_RUNNER_PORT",
    "agent": "DCF_AGENT_PORT",
}
_PORTS = {
    "DCF_PORT": "port",
    "DCF_FUNCTIONS_PORT": "functions_port",
    "DCF_PROJECTIONS_PORT": "projections_port",
    "DCF_RUNNER_PORT": "runner_port",
    "DCF_AGENT_PORT": "agent_port",
}
_QUEUE_AGE = "dcf_runner_queue_age_seconds "
_DEGRADED = "degraded: "


def is_served(settings: Settings) -> bool:
    """Whether a service, or one of its processes, runs on the data directory."""
    try:
        with (settings.data_dir / "serve.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    # Processes may also be started one by one.
    return any(_listens(port) for port in ports.recorded(settings.data_dir).values())


def port_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the service could listen where it is told to, while it does not run."""
    if is_served(settings):
        return
    for variable, field in _PORTS.items():
        try:
            ports.listen(settings.host, getattr(settings, field), variable=variable).close()
        except (PortTaken, AddressUnusable) as problem:
            said, _, remedy = str(problem).partition("; ")
            yield Finding("ports", "fail", said, remedy)
            return
    yield Finding("ports", "ok", "the ports of the service are free")


def service_findings(settings: Settings) -> Iterator[Finding]:
    """Each process, and whether what is asked of them gets done."""
    known = ports.recorded(settings.data_dir) if settings.data_dir.is_dir() else {}
    if not known:
        yield Finding("service", "warn", "no service was started on this data directory", "dcf serve")
        return
    for name, variable in _PROCESSES.items():
        if name not in known:
            yield Finding(name, "fail", "not started", f"dcf serve, or python -m {_module(name)}")
        else:
            yield _ready(name, known[name], variable)
    if "functions" in known:
        yield _functions(known["functions"])
    if "runner" in known:
        yield from _queue(known["runner"])
    if settings.public_url is not None:
        yield _public(settings.public_url.rstrip("/"))


def _listens(port: int) -> bool:
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in found)


def _ready(name: str, port: int, variable: str) -> Finding:
    try:
        answer = _asked(port, "/health/ready")
        checks = answer.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as problem:
        message = f"port {port} does not answer as it should ({type(problem).__name__})"
        return Finding(name, "fail", message, f"dcf serve; another port is chosen with {variable}")
    wrong = "; ".join(f"{check}: {said}" for check, said in checks.items() if said != "ok")
    if answer.status_code != httpx.codes.OK:
        return Finding(name, "fail", f"not ready: {wrong or answer.status_code}", "its log says why")
    if wrong:
        return Finding(name, "warn", wrong.replace(_DEGRADED, ""), "its log says why")
    return Finding(name, "ok", f"ready on port {port}")


def _asked(port: int, path: str) -> httpx.Response:
    url = f"http://127.0.0.1:{port}{path}"
    return httpx.get(url, timeout=LOOK_SECONDS_MAX, trust_env=False, verify=trusted_at(url))


def _functions(port: int) -> Finding:
    """Any answer will do: there is no function without a name."""
    try:
        _asked(port, "/")
    except httpx.HTTPError as problem:
        message = f"the functions' port {port} does not answer ({type(problem).__name__})"
        return Finding("functions", "fail", message, "dcf serve; another port is chosen with DCF_FUNCTIONS_PORT")
    return Finding("functions", "ok", f"answered on port {port}")


def _queue(port: int) -> Iterator[Finding]:
    try:
        told = _asked(port, "/metrics").text
    except httpx.HTTPError:
        return  # The runner's own finding says so.
    ages = [float(line.removeprefix(_QUEUE_AGE)) for line in told.splitlines() if line.startswith(_QUEUE_AGE)]
    if ages and max(ages) > QUEUE_SECONDS_MAX:
        message = f"a deployment has been waiting for {max(ages):.0f} s"
        remedy = "start more runners (python -m runner), or see in the runner's log what it is at"
        yield Finding("queue", "warn", message, remedy)


def _public(url: str) -> Finding:
    try:
        answer = httpx.get(f"{url}/health/live", timeout=LOOK_SECONDS_MAX)
        wrong = "" if answer.status_code == httpx.codes.OK else f"answers {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        wrong = f"does not answer ({type(problem).__name__})"
    if wrong:
        remedy = "check DCF_PUBLIC_URL and the proxy in front of the API: clouds fetch our keys there"
        return Finding("public", "warn", f"{url} {wrong}", remedy)
    return Finding("public", "ok", f"{url} answers")


def _module(name: str) -> str:
    return "providers.local" if name == "agent" else name
