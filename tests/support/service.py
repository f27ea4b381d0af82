"""A whole service in processes of its own, as `make run` starts it, on free ports and a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx

from process.trust import trusted_at

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "hello"
START_SECONDS_MAX = 120
# Nobody is hurried by looks: what takes long is looked at less and less often.
LOOK_SECONDS, LOOK_SECONDS_MAX = 0.05, 0.25
T = TypeVar("T")


def until(look: Callable[[], T | None], *, seconds: float, what: str | Callable[[], str]) -> T:
    """What `look` returns as soon as it is neither None nor False. Raises AssertionError when the time is up, with `what`
    did not happen, or what that says then."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(min(LOOK_SECONDS_MAX, LOOK_SECONDS + waited / 20))
    raise AssertionError(f"not within {seconds} s: {what if isinstance(what, str) else what()}")


class Service:
    """Started by `start`, stopped with all its processes by `stop`."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        ports = dict.fromkeys(
            ("DCF_PORT", "DCF_FUNCTIONS_PORT", "DCF_PROJECTIONS_PORT", "DCF_RUNNER_PORT", "DCF_AGENT_PORT"), "0"
        )
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DCF_")}
        toolchain = os.environ.get("DCF_TOOLCHAIN_DIR", str(ROOT / ".dcf" / "toolchain"))
        self.environment = {
            **inherited,
            **ports,
            "DCF_DATA_DIR": str(data_dir),
            "DCF_TOOLCHAIN_DIR": toolchain,
            "DCF_DATABASE_DURABLE": "false",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", "serve"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.await_ready()

    def await_ready(self) -> None:
        until(self._is_ready, seconds=START_SECONDS_MAX, what=lambda: f"ready; its log ends: {self.log()[-2000:]}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=120)
        finally:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        path = self.data_dir / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.data_dir / "ports.json").read_bytes())
        return ports

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    def client(self, credential: str | None = None) -> httpx.Client:
        """A client with the owner's key, or with another credential. Connection failures are tried again: an API that was
        killed comes back."""
        bearer = credential or self.key("owner")
        headers = {"Authorization": f"Bearer {bearer}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=trusted_at(self.url))

    def key(self, name: Literal["owner", "operator"]) -> str:
        """One of the keys of the first start; there is no owner's where people sign in."""
        return (self.data_dir / f"{name}.key").read_text().strip()

    def process_id(self, module: str) -> int | None:
        """The process running `python -m <module>` under this service's supervisor, if there is one now."""
        assert self._process is not None
        for child in _children(self._process.pid):
            if module in _arguments(child):
                return child
        return None

    def kill(self, module: str) -> None:
        """End the process at once, as a crash would."""
        found = until(lambda: self.process_id(module), seconds=60, what=f"a {module} process")
        os.kill(found, signal.SIGKILL)

    def must_run(self) -> None:
        """Raises AssertionError when the service has ended."""
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended: {self.log()[-4000:]}"

    def _is_ready(self) -> bool:
        self.must_run()
        try:
            ready = _asked(f"{self.url}/health/ready")
        except (httpx.HTTPError, FileNotFoundError, KeyError, ValueError):
            return False
        first = "operator.key" if "DCF_SIGN_IN_ISSUERS" in self.environment else "owner.key"
        return ready.status_code == 200 and (self.data_dir / first).exists()


def _asked(url: str) -> httpx.Response:
    return httpx.get(url, timeout=5, verify=trusted_at(url))


def _children(parent: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _arguments(process_id: int) -> list[str]:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


class Journey:
    """The steps of a Dart developer against a running service."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api
        self.project_id = ""
        self.files: dict[str, str] = {}

    def ask(self, method: str, path: str, body: object = None, *, status: int | tuple[int, ...] = 200) -> Any:
        answer = self.api.request(method, f"/api/v1{path}", json=body)
        wanted = status if isinstance(status, tuple) else (status,)
        assert answer.status_code in wanted, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def upload(self, kind: str, name: str, content: bytes) -> str:
        answer = self.api.post(
            f"/api/v1/functions/upload/{kind}", data={"projectId": self.project_id}, files={"file": (name, content)}
        )
        assert answer.status_code in (200, 201), answer.text
        path: str = answer.json()["path"]
        return path

    def prepare(self, name: str) -> None:
        """A project with uploads and the local provider ready to deploy to."""
        self.project_id = self.ask("POST", "/projects", {"name": name}, status=201)["projectId"]
        names = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
        self.files = {f"{k}_file": self.upload(k, n, (HELLO / n).read_bytes()) for k, n in names.items()}
        self.connect_this_machine()

    def connect_this_machine(self) -> None:
        """The local provider ready to deploy the project to."""
        local = f"/projects/{self.project_id}/integrations/local"
        self.ask("POST", f"{local}/connect", {}, status=(200, 201))
        until(
            lambda: self.ask("POST", f"{local}/verify", {})["status"] == "verified",
            seconds=240,
            what="the local provider verified",
        )
        for step in ("bucket/check", "bucket/config"):
            self.ask("POST", f"{local}/{step}", {}, status=(200, 201))

    def draft(self, name: str, **changes: object) -> str:
        body = {
            "projectId": self.project_id,
            "name": name,
            "trigger": {"type": "http", "settings": {}},
            "runtime": self.ask("GET", "/runtimes")["default"],
            "access": "public",
            "artifactFiles": self.files,
            **changes,
        }
        function_id: str = self.ask("POST", "/functions", body, status=201)["functionId"]
        return function_id

    def deploy(self, function_id: str, **changes: object) -> str:
        body = {
            "functionId": function_id,
            "provider": "local",
            "artifactFiles": self.files,
            "target": {},
            **changes,
        }
        answer = self.ask("POST", f"/projects/{self.project_id}/deployments", body, status=202)
        deployment_id: str = answer["deploymentId"]
        return deployment_id

    def deployment(self, deployment_id: str) -> Any:
        return self.ask("GET", f"/projects/{self.project_id}/deployments/{deployment_id}")

    def events(self, deployment_id: str) -> list[Any]:
        path = f"/projects/{self.project_id}/deployments/{deployment_id}/events?limit=200"
        items: list[Any] = self.ask("GET", path)["items"]
        return items

    def ended(self, deployment_id: str, *, seconds: float = 120) -> Any:
        outcomes = {"succeeded", "failed", "canceled", "undeployed", "undeploy_failed"}

        def look() -> Any:
            state = self.deployment(deployment_id)
            return state if state["status"] in outcomes else None

        return until(look, seconds=seconds, what=f"an outcome of {deployment_id}")


@contextmanager
def another_api(service: Service, **environment: str) -> Iterator[str]:
    """The address of a second API process of the service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DCF_")}
    given = {"DCF_DATA_DIR": str(service.data_dir), "DCF_PORT": str(port), "DCF_FUNCTIONS_PORT": "0"}
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return _asked(f"{url}/health/live").status_code == 200
        except httpx.HTTPError:
            return False

    with subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env={**inherited, **given, "DCF_DATABASE_DURABLE": "false", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(answers, seconds=START_SECONDS_MAX, what="a second API")
            yield url
        finally:
            process.terminate()
