"""The main job, told by a REST client: a Dart function from draft to answering HTTP, and its audit trail.

Starts a fresh service of its own on free ports, uses nothing but its HTTP API, and ends it again. With a cloud for
--provider the functions run there, in an emulator of it: no account is needed, and none is touched.
Exits with 0 only if every answer was the right one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
HELLO = ROOT / "examples" / "hello"
START_SECONDS_MAX = 90
# The first use of a machine without a Dart SDK fetches a stand-in Dart VM.
ENGINE_SECONDS_MAX = 240
DEPLOY_SECONDS_MAX = 120
LOOK_SECONDS = 0.25
EMULATOR_SECONDS_MAX = 120
OUTCOMES = {"succeeded", "failed", "canceled", "undeployed", "undeploy_failed"}


class WrongAnswer(Exception):
    """The service did not answer as it should."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where functions run: the requests that connect it, and the target of a deployment."""

    provider: str = "local"
    connect: tuple[str, Any] = ("local/connect", {})
    verify: str = "local/verify"
    bucket: tuple[str, Any] = ("local/bucket", {})
    target: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    # Of an emulator: what it is, and where it takes what the customer does in the cloud.
    stands_in_for: str = ""
    control: str = ""


class Screen:
    """What the viewer sees: numbered chapters, facts, and a line that moves while something takes long."""

    def __init__(self) -> None:
        self._chapter = 0
        self._began = time.monotonic()
        self._live = sys.stdout.isatty()
        self._waiting = False

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self.clear()
        print(f"\n{self._chapter:2}. {self._bold(title)}", flush=True)

    def fact(self, text: str) -> None:
        self.clear()
        print(f"    {text}", flush=True)

    def waiting(self, text: str) -> None:
        if self._live:
            print(f"\r\033[K    … {text} ({time.monotonic() - self._began:.0f} s)", end="", flush=True)
            self._waiting = True

    def clear(self) -> None:
        if self._waiting:
            print("\r\033[K", end="")
            self._waiting = False

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._live else text


def expect(condition: object, what: str, saw: object) -> None:
    """Raise WrongAnswer unless the condition holds."""
    if not condition:
        raise WrongAnswer(f"{what}; instead: {json.dumps(saw, default=str)[:2000]}")


@contextmanager
def emulator(screen: Screen, provider: str) -> Iterator[Place]:
    """A cloud to try things in, in a process of its own, ended with the block."""
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "tests.emulators", "--json", provider]
        toolchain = os.environ.get("DCF_TOOLCHAIN_DIR")
        process = subprocess.Popen(
            [*command, *(["--toolchain", toolchain] if toolchain else [])],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            screen.waiting(f"starting an emulator of {provider}")
            line = process.stdout.readline() if process.stdout else ""
            said.seek(0)
            expect(line, f"The emulator of {provider} should start", said.read()[-2000:])
            yield _place(json.loads(line))
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _place(told: dict[str, Any]) -> Place:
    [connect], [bucket] = told["connect"].items(), told["bucket"].items()
    return Place(
        provider=told["provider"],
        connect=connect,
        verify=told["verify"],
        bucket=bucket,
        target=told["target"],
        settings=told["settings"],
        stands_in_for=told["standsInFor"],
        control=told["control"],
    )


@contextmanager
def service(screen: Screen, data_dir: Path, settings: dict[str, str]) -> Iterator[dict[str, int]]:
    """A service of our own on free ports; yields the ports by name. Stopped with everything it started."""
    log_path = data_dir / "service.log"
    ports = {f"DCF_{name}_PORT": "0" for name in ("FUNCTIONS", "PROJECTIONS", "RUNNER", "AGENT")}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DCF_")},
        **{name: os.environ[name] for name in ("DCF_LOCAL_ENGINE", "DCF_TOOLCHAIN_DIR") if name in os.environ},
        "DCF_DATA_DIR": str(data_dir),
        "DCF_PORT": "0",
        **ports,
        **settings,
    }
    # The stand-in VM outlives one demo, so that the next need not fetch it again.
    environment.setdefault("DCF_TOOLCHAIN_DIR", str(ROOT / ".dcf" / "toolchain"))
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield _ready(screen, process, data_dir, log_path)
        except BaseException:
            screen.clear()
            print(f"\nThe end of the service's log:\n{log_path.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(screen: Screen, process: subprocess.Popen[bytes], data_dir: Path, log_path: Path) -> dict[str, int]:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            raise WrongAnswer(f"The service ended at once with code {process.returncode}; see {log_path}.")
        screen.waiting("starting PostgreSQL, the API, the projections, the runner and the local agent")
        ports = _ports(data_dir)
        if "api" in ports and (data_dir / "owner.key").exists() and _is_ready(ports["api"]):
            return ports
        time.sleep(LOOK_SECONDS)
    raise WrongAnswer(f"The service was not ready within {START_SECONDS_MAX} s; see {log_path}.")


def _ports(data_dir: Path) -> dict[str, int]:
    try:
        ports: dict[str, int] = json.loads((data_dir / "ports.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return ports


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


class Demo:
    """The chapters, each a few requests and what must come back."""

    def __init__(self, screen: Screen, api: httpx.Client, place: Place) -> None:
        self.screen, self.api, self.place = screen, api, place
        self.project = ""
        self.function = ""
        self._shown: dict[str, int] = {}

    def run(self) -> None:
        self._make_project()
        files = self._save_draft()
        self._connect()
        first = self._deploy("Deploy it", files)
        self._call(first["url"], "Hello")
        second = self._change_and_deploy(files)
        self._break_and_deploy(files, second["url"])
        self._undeploy(second)
        self._show_audit_trail()

    def ask(self, method: str, path: str, status: int, body: object = None) -> Any:
        answer = self.api.request(method, f"/api/v1{path}", json=body)
        expect(
            answer.status_code == status, f"{method} {path} should answer {status}", [answer.status_code, answer.text]
        )
        return answer.json()

    def upload(self, kind: str, name: str, content: bytes) -> dict[str, Any]:
        answer = self.api.post(
            f"/api/v1/functions/upload/{kind}", data={"projectId": self.project}, files={"file": (name, content)}
        )
        expect(answer.status_code in (200, 201), f"The upload of {name} should be taken", answer.text)
        artifact: dict[str, Any] = answer.json()
        self.screen.fact(f"{name}: {artifact['sizeBytes']} bytes, {artifact['digest'][:19]}…")
        return artifact

    def _make_project(self) -> None:
        self.screen.chapter("Create a project")
        project = self.ask("POST", "/projects", 201, {"name": "demo"})
        self.project = project["projectId"]
        self.screen.fact(f"project demo, {self.project}")

    def _save_draft(self) -> dict[str, str]:
        self.screen.chapter("Upload main.dart, Dockerfile and pubspec.yaml, and save a draft")
        names = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
        files = {f"{k}_file": self.upload(k, n, (HELLO / n).read_bytes())["path"] for k, n in names.items()}
        runtime = self.ask("GET", "/runtimes", 200)["default"]
        draft = {
            "projectId": self.project,
            "name": "hello",
            "description": "Says hello.",
            "trigger": {"type": "http", "settings": {}},
            "runtime": runtime,
            "access": "public",
            "artifactFiles": files,
        }
        function = self.ask("POST", "/functions", 201, draft)
        expect(function["status"] == "draft", "A new function should be a draft", function)
        self.function = function["functionId"]
        self.screen.fact(f"function hello, {function['status']}, runtime {runtime}")
        return files

    def _connect(self) -> None:
        where = "this machine" if self.place.provider == "local" else self.place.provider
        self.screen.chapter(f"Connect {where} as the provider")
        self._prepare_account()
        path = f"/projects/{self.project}/integrations"
        self._integrate(f"{path}/{self.place.connect[0]}", self.place.connect[1])
        seen = self._verified(f"{path}/{self.place.verify}")
        for step in seen["steps"]:
            self.screen.fact(f"{step['status']:7} {step['name']}: {step['message']}")
        bucket, storage = self.place.bucket
        for step in ("check", "config"):
            self._integrate(f"{path}/{bucket}/{step}", storage)
        self.screen.fact("storage checked and saved")

    def _prepare_account(self) -> None:
        """What a customer does in the cloud before: let this project in."""
        if not self.place.control:
            return
        issuer = httpx.get(f"{self.api.base_url}/.well-known/openid-configuration").json()["issuer"]
        tenant = self.ask("GET", "/me", 200)["tenant"]["tenantId"]
        subject = f"tenant:{tenant}:project:{self.project}"
        prepared = httpx.post(f"{self.place.control}/prepare", json={"issuer": issuer, "subject": subject}, timeout=60)
        expect(prepared.status_code == 200, "The account should be prepared", prepared.text)
        self.screen.fact(f"the account trusts {issuer} for {subject[:30]}…")

    def _integrate(self, path: str, body: Any) -> None:
        answer = self.api.post(f"/api/v1{path}", json=body)
        expect(answer.status_code in (200, 201), f"{path} should work", answer.text)

    def _verified(self, path: str) -> Any:
        end = time.monotonic() + ENGINE_SECONDS_MAX
        while True:
            seen = self.ask("POST", path, 200, {})
            if seen["status"] == "verified":
                return seen
            expect(seen["status"] == "pending" and time.monotonic() < end, "It should be verified", seen)
            self.screen.waiting("; ".join(s["message"] for s in seen["steps"] if s["status"] != "passed"))
            time.sleep(1)

    def _deploy(self, title: str, files: dict[str, str], *, succeeds: bool = True) -> Any:
        self.screen.chapter(title)
        body = {
            "functionId": self.function,
            "provider": self.place.provider,
            "artifactFiles": files,
            "target": self.place.target,
            "reason": title.lower(),
        }
        deployment = self.ask("POST", f"/projects/{self.project}/deployments", 202, body)
        ended = self._follow(deployment["deploymentId"])
        wanted = "succeeded" if succeeds else "failed"
        expect(ended["status"] == wanted, f"The deployment should have {wanted}", ended)
        expect(ended["active"] == succeeds, "Only what succeeded is active", ended)
        return ended

    def _follow(self, deployment_id: str, *, until: set[str] = OUTCOMES) -> Any:
        """Print the deployment's events as they are recorded, until it rests."""
        path = f"/projects/{self.project}/deployments/{deployment_id}"
        began, end = time.monotonic(), time.monotonic() + DEPLOY_SECONDS_MAX
        while True:
            state = self.ask("GET", path, 200)
            events = self.ask("GET", f"{path}/events?limit=200", 200)["items"]
            for event in events[self._shown.get(deployment_id, 0) :]:
                sentence = event["message"].splitlines()[0]
                self.screen.fact(f"{time.monotonic() - began:5.1f} s  {event['type']:30} {sentence}")
            self._shown[deployment_id] = len(events)
            if state["status"] in until:
                return state
            expect(time.monotonic() < end, f"It should end within {DEPLOY_SECONDS_MAX} s", state)
            self.screen.waiting(f"{state['status']}")
            time.sleep(LOOK_SECONDS)

    def _call(self, url: str, wanted: str) -> None:
        answer = httpx.get(url, timeout=30)
        expect(answer.status_code == 200 and wanted in answer.text, f"{url} should say {wanted!r}", answer.text)
        self.screen.fact(f"GET {url} → {answer.status_code} {answer.text.strip()[:100]}")

    def _change_and_deploy(self, files: dict[str, str]) -> Any:
        code = (HELLO / "main.dart").read_text()
        changed = code.replace("Hello", "Good morning")
        expect(changed != code, "The example should say Hello", code[:200])
        self.screen.chapter("Change the code")
        files["code_file"] = self.upload("code", "main.dart", changed.encode())["path"]
        ended = self._deploy("Deploy the change", files)
        self._call(ended["url"], "Good morning")
        return ended

    def _break_and_deploy(self, files: dict[str, str], url: str) -> None:
        self.screen.chapter("Upload code that does not compile")
        broken = self.upload("code", "main.dart", b"void main() { this is not dart; }\n")
        ended = self._deploy("Deploy it all the same", {**files, "code_file": broken["path"]}, succeeds=False)
        failure = ended["failure"]
        expect("main.dart" in failure["message"], "Dart's own message should be shown", failure)
        self.screen.fact(f"{failure['code']} at {failure['step']}: {failure['message'].splitlines()[0]}")
        self.screen.fact(f"remedy: {failure['remedy']}")
        self.screen.fact("and the release before it still answers:")
        self._call(url, "Good morning")

    def _undeploy(self, deployment: Any) -> None:
        self.screen.chapter("Undeploy")
        path = f"/projects/{self.project}/deployments/{deployment['deploymentId']}"
        self.ask("POST", f"{path}/undeploy", 202, {"reason": "the demo is over"})
        ended = self._follow(deployment["deploymentId"], until={"undeployed", "undeploy_failed"})
        expect(ended["status"] == "undeployed", "It should be undeployed", ended)
        status = _status(deployment["url"])
        expect(status in ("404", "no answer"), "An undeployed function should be gone", status)
        self.screen.fact(f"GET {deployment['url']} → {status}")

    def _show_audit_trail(self) -> None:
        self.screen.chapter("The audit trail, straight from the log")
        trail = list(self._audit_trail())
        types = [event["type"] for event in trail]
        for event in trail:
            who = f"{event['actor']['type']} {event['actor']['id'][:8]}"
            self.screen.fact(f"{event['at'][11:23]}  {event['type']:32} {who:18} {event['command']}")
        for wanted in ("project.created", "function.created", "deployment.succeeded", "deployment.undeployed"):
            expect(wanted in types, f"{wanted} should be in the log", types)
        expect(types.count("deployment.succeeded") == 2, "Two deployments succeeded, each once", types)
        self.screen.fact(f"{len(types)} events of this tenant, in the order they were recorded")

    def _audit_trail(self) -> Iterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = self.ask("GET", f"/audit/events?limit=100{cursor}", 200)
            yield from page["items"]
            if page["nextCursor"] is None:
                return
            cursor = f"&cursor={page['nextCursor']}"


def _where(screen: Screen, provider: str) -> AbstractContextManager[Place]:
    return nullcontext(Place()) if provider == "local" else emulator(screen, provider)


def _status(url: str) -> str:
    """What is answered there; where nobody listens any more, nothing is."""
    try:
        return str(httpx.get(url, timeout=30).status_code)
    except httpx.ConnectError:
        return "no answer"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", metavar="DIR", help="keep the service's data and log in DIR, which must be empty")
    parser.add_argument(
        "--provider", default="local", metavar="NAME", help="where the functions run: local, or a cloud"
    )
    options = parser.parse_args()
    began = time.monotonic()
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="dcf-demo-") as temporary:
        data_dir = Path(options.keep or temporary).absolute()
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with _where(screen, options.provider) as place, service(screen, data_dir, place.settings) as ports:
                if place.stands_in_for:
                    screen.fact(f"an emulator of {place.provider}. {place.stands_in_for}")
                screen.fact(f"the service is ready: API on port {ports['api']}, functions on {ports['functions']}")
                key = (data_dir / "owner.key").read_text().strip()
                with httpx.Client(
                    base_url=f"http://127.0.0.1:{ports['api']}", headers={"Authorization": f"Bearer {key}"}, timeout=60
                ) as api:
                    Demo(screen, api, place).run()
        except WrongAnswer as wrong:
            print(f"\nThe demo failed: {wrong}", file=sys.stderr)
            return 1
    print(f"\nEvery answer was right, in {time.monotonic() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
