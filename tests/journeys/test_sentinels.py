"""Secrets of every kind put into a running service, then looked for on every surface it has."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from cli.__main__ import run
from eventstore.embedded import Place
from tests.api.contract import the_document
from tests.emulators.background import Background
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer
from tests.support.service import HELLO, ROOT, Journey, Service, until

SECRET = "s3ntinel-value-of-a-function"
# Meant to be seen by whoever may read the function, and by nobody else.
VARIABLE = "s3ntinel-variable-of-a-function"
MASTER = "s3ntinel-of-the-master-key-000000000000000"
# Whom the issuer knows by this; it is in the address of the person as well, which is sealed.
SUBJECT = "s3ntinel-subject"
# The function tells its secret to whoever reads its log, and in its last words.
TELLS = b"""import 'dart:io';
void main() async {
  print('the token is ${Platform.environment['TOKEN']}');
  final server = await HttpServer.bind('0.0.0.0', int.parse(Platform.environment['PORT']!));
  await for (final request in server) {
    request.response.write('${Platform.environment['TOKEN']!.length}');
    await request.response.close();
    if (request.uri.path == '/die') {
      stderr.writeln('dying with ${Platform.environment['TOKEN']}');
      exit(3);
    }
  }
}
"""


class Told(msgspec.Struct, frozen=True):
    """What was told at a place, and with which status."""

    where: str
    text: str
    status: int = 200


@pytest.fixture(scope="module")
def issuer() -> Iterator[OidcIssuer]:
    background, made = Background(), OidcIssuer()
    try:
        made.url = f"http://127.0.0.1:{background.serve(made.application())}"
        yield made
    finally:
        background.close()


@pytest.fixture(scope="module")
def service(issuer: OidcIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One where people sign in, and get a workspace of their own."""
    running = Service(
        tmp_path_factory.mktemp("service"),
        DCF_MASTER_KEY=MASTER,
        DCF_SIGN_IN_ISSUERS=f"{issuer.url}={CLIENT_ID}",
        DCF_FIRST_SIGN_IN="workspace",
        DCF_SIGN_UP_PLAN="enterprise",
    )
    try:
        running.start()
        yield running
    finally:
        running.stop()


class Owner:
    """Somebody who signed in with `dcf login`, put a secret into every input that takes one, and knows them all."""

    def __init__(self, service: Service, issuer: OidcIssuer, home: Path, name: str) -> None:
        self.service, self.subject = service, f"{SUBJECT}-{name}"
        self.token, self.refresh_token = _signed_in(service, issuer, home, self.subject)
        self.api = service.client(self.token)
        self.journey = Journey(self.api)
        self.journey.project_id = self.journey.ask("POST", "/projects", {"name": "sentinels"}, status=201)["projectId"]
        files = {"code": ("main.dart", TELLS), "docker": ("Dockerfile", None), "yaml": ("pubspec.yaml", None)}
        self.journey.files = {
            f"{kind}_file": self.journey.upload(kind, file, content or (HELLO / file).read_bytes())
            for kind, (file, content) in files.items()
        }
        self.function_id = self.journey.draft("tells", environment={"SHOWN": VARIABLE})
        self.secrets_path = f"/projects/{self.journey.project_id}/functions/{self.function_id}/secrets"
        self.journey.ask("PUT", f"{self.secrets_path}/TOKEN", {"value": SECRET})
        key = self.journey.ask("POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        invitation = {"email": "ada@example.com", "role": "viewer"}
        invited = self.journey.ask("POST", "/tenant/invitations", invitation, status=201)
        hook = {"url": "https://ci.example.com/dcf", "types": ["deployment.succeeded"]}
        made = self.journey.ask("POST", f"/projects/{self.journey.project_id}/webhooks", hook, status=201)
        claims, signature = self.token.split(".")[1:]
        self.secrets = {
            "secret": SECRET,
            "master key": MASTER,
            "key": key["key"].split("_", 2)[2],
            "invitation": invited["invitation"].rpartition("_")[2],
            "signing secret": made["secret"],
            "claims": claims,
            "signature": signature,
            "refresh token": self.refresh_token,
            "operator's key": service.key("operator").split("_", 2)[2],
        }
        me = self.journey.ask("GET", "/me")
        self.ids = {
            "projectId": self.journey.project_id,
            "functionId": self.function_id,
            "entityId": self.function_id,
            "keyId": key["keyId"],
            "invitationId": invited["invitationId"],
            "webhookId": made["webhookId"],
            "personId": me["actor"]["id"],
            "tenantId": me["tenant"]["tenantId"],
            "artifact": self.journey.files["code_file"].split("/")[3],
        }


def _signed_in(service: Service, issuer: OidcIssuer, home: Path, subject: str) -> tuple[str, str]:
    """The ID token and the refresh token that `dcf login` keeps."""

    def approve() -> None:
        issuer.approve(until(lambda: issuer.pending() or None, seconds=30, what="a code to approve")[0], subject)

    approving = threading.Thread(target=approve)
    approving.start()
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "DCF_DATA_DIR": str(home / "none")}
    try:
        assert run(["login", "--url", service.url, "--browser"], environment) == 0
    finally:
        approving.join(30)
    kept = json.loads((home / "config" / "dcf" / "login.json").read_bytes())
    return kept["key"], kept["renewal"]["refresh_token"]


def test_stand_on_no_surface_before_anything_runs(
    service: Service, issuer: OidcIssuer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same as below for a function that is a draft, which takes no build."""
    owner = Owner(service, issuer, tmp_path, "draft")

    _is_told_nowhere(owner, tmp_path, capfd)


@pytest.mark.proof
def test_stand_on_no_surface(
    service: Service, issuer: OidcIssuer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """
    Goal: whoever reads all that a service tells, keeps and shows finds no secret but where it is sealed.
    Method: one of each kind through every input that takes one, also where it is refused; then answers of every route that reads,
    also of operators, events, logs, metrics, exports, every column of every table, files, what `dcf login` printed, and what the
    machine shows of other processes, those of another function among them.
    """
    owner = Owner(service, issuer, tmp_path, "deployed")
    journey, files = owner.journey, owner.journey.files
    journey.connect_this_machine()
    deployment_id = journey.deploy(owner.function_id)
    ended = until(lambda: _over(journey, deployment_id), seconds=120, what="the deployment over")
    assert ended["status"] == "succeeded", ended
    assert httpx.get(ended["url"], timeout=30).text == str(len(SECRET)), "the function itself has it"
    journey.files = {**files, "code_file": journey.upload("code", "main.dart", (HELLO / "main.dart").read_bytes())}
    other_id = journey.draft("other", environment={"SHOWN": "nothing"})
    other_deployment_id = journey.deploy(other_id)
    other = until(lambda: _over(journey, other_deployment_id), seconds=120, what="the other one over")
    assert other["status"] == "succeeded", other
    for _ in range(4):
        httpx.get(ended["url"].rstrip("/") + "/die", timeout=60)  # Whatever it still says, its last words are kept.
    # One that is just being started has its variables in a file, until it has read them.
    until(lambda: httpx.get(ended["url"], timeout=60).status_code == 200, seconds=120, what="it is started again")
    assert httpx.get(other["url"], timeout=60).status_code == 200
    owner.ids["deploymentId"] = deployment_id

    _is_told_nowhere(owner, tmp_path, capfd, functions=(owner.function_id, other_id))


def _over(journey: Journey, deployment_id: str) -> Any:
    found = journey.deployment(deployment_id)
    return found if found["status"] in ("succeeded", "failed", "canceled") else None


def _is_told_nowhere(
    owner: Owner, folder: Path, capfd: pytest.CaptureFixture[str], functions: tuple[str, ...] = ()
) -> None:
    service = owner.service
    refused = Told("refusals", _refused(owner))
    shown = _answers(owner)
    operators = _operators_answers(owner)
    streamed = Told("stream", _streamed(owner))
    machine = [
        *_of_processes(service),
        Told("service.log", service.log()),
        Told("server.log", _of_the_database(service)),
    ]
    printed = Told("dcf login", "".join(capfd.readouterr()))
    exported = Told("export", _exported(service, folder))
    told = [refused, *shown, *operators, streamed, *machine, printed, exported]
    texts = owner.secrets
    kept = asyncio.run(_columns_with(Place.of(service.data_dir).url("dcf"), {**texts, "subject": owner.subject}))
    files = _files_with(service.data_dir, {**texts, "subject": owner.subject})
    processes, running = _processes_with(service, owner)

    # The first start tells its key once to whoever started the service.
    announced = texts["operator's key"]
    assert service.log().count(announced) == 1
    found = [(name, one.where) for one in told for name, text in texts.items() if text in one.text]
    assert found == [("operator's key", "service.log")]
    # Whose sign-in it is, and what a function's variables are, is told to members and to nobody else.
    assert [one.where for one in (*operators, *machine, refused) if VARIABLE in one.text] == []
    assert [one.where for one in (*operators, *machine, exported) if owner.subject in one.text] == []
    assert any(VARIABLE in one.text for one in shown), "a variable is there to be seen"
    assert any(owner.subject in one.text for one in shown), "members are there to be seen"
    assert kept == []
    # The function's own output, which is its own business.
    own_output = {("secret", "function.log"), ("secret", "function.log.1")}
    assert files - own_output == {("operator's key", "service.log")}
    assert processes == []
    assert running >= set(functions), "the processes of functions were looked at"


def _refused(owner: Owner) -> str:
    """What is answered where a secret comes in the wrong place."""
    api, path = owner.api, f"/api/v1{owner.secrets_path}"
    forged = owner.token[:-4] + ("AAAA" if not owner.token.endswith("AAAA") else "BBBB")
    answers = [
        api.put(f"{path}/PORT", json={"value": SECRET}),
        api.put(f"{path}/TOKEN", json={"valu": SECRET}),
        api.put(f"{path}/TOKEN", content=SECRET.encode()),
        api.put(f"{path}/TOKEN", json={"value": [SECRET]}),
        api.put(f"{path}/TOKEN", json={"value": SECRET}, headers={"If-Match": '"1"'}),
        api.get("/api/v1/me", headers={"Authorization": f"Basic {SECRET}"}),
        *(
            api.get("/api/v1/me", headers={"Authorization": f"Bearer {bearer}"})
            for bearer in (SECRET, forged, owner.refresh_token)
        ),
        # The bearer of one who may not, and of one whom nobody knows there.
        api.get("/api/v1/operations/queue"),
        api.get("/api/v1/me", headers={"Dcf-Tenant": "01955000-0000-7000-8000-000000000001"}),
        api.post("/api/v1/me/memberships", json={"invitation": SECRET}),
        api.post("/api/v1/me/memberships", json={"invitation": owner.refresh_token}),
    ]
    assert {answer.status_code // 100 for answer in answers} == {4}
    return "".join(answer.text + str(answer.headers) for answer in answers)


def _answers(owner: Owner) -> list[Told]:
    """Of every route that reads, but operators': all that a member is told of what was made here."""
    events = owner.journey.ask("GET", "/audit/events")["items"]
    places = {"from": events[-1]["position"], "to": events[0]["position"], "position": events[0]["position"]}
    ids = {**owner.ids, "correlationId": events[0]["correlationId"], "level": "0", "tile": "000", "version": "3.11.0"}
    told = _asked(owner.api, {**places, **ids}, lambda path: "/operations/" not in path)
    answered = {one.where for one in told if one.status == 200}
    wanted = [
        "/me",
        "/keys",
        "/audit/events",
        "/projects/{projectId}/functions/{functionId}",
        "/tenant/members/{personId}",
    ]
    wanted += ["/audit/history/{entityId}", "/audit/diff/{entityId}", "/audit/export"]
    wanted += ["/projects/{projectId}/functions/{functionId}/revisions", "/projects/{projectId}/webhooks/{webhookId}"]
    if "deploymentId" in ids:
        wanted += [f"/projects/{{projectId}}/deployments/{{deploymentId}}{part}" for part in ("", "/events", "/logs")]
    assert [path for path in wanted if f"/api/v1{path}" not in answered] == []
    assert len(answered) >= 40
    return told


def _operators_answers(owner: Owner) -> list[Told]:
    with owner.service.client(owner.service.key("operator")) as api:
        told = _asked(api, {"version": "3.11.0"}, lambda path: "/operations/" in path)
        told += _asked(api, {"name": "enterprise"}, lambda path: "/operations/plans/{name}" in path)
        told += _asked(api, {"name": "functions"}, lambda path: "/operations/projections/{name}" in path)
    answered = [one.where for one in told if one.status == 200]
    assert len(answered) >= 10, [(one.where, one.status) for one in told]
    return told


def _asked(api: httpx.Client, known: Mapping[str, str], fits: Callable[[str], bool]) -> list[Told]:
    """Every route that reads, as far as what its address needs is known."""
    told = []
    for path, methods in the_document()["paths"].items():
        if "get" not in methods or not fits(path) or not set(re.findall(r"{(\w+)}", path)) <= known.keys():
            continue
        parameters = [one for one in methods["get"].get("parameters", []) if one.get("in") == "query"]
        query = {one["name"]: known[one["name"]] for one in parameters if one.get("required") and one["name"] in known}
        if any(one["name"] == "limit" for one in parameters):
            query["limit"] = "200"
        answer = api.get(re.sub(r"{(\w+)}", lambda found: known[found[1]], path), params=query)
        told.append(Told(path, answer.text + str(answer.headers), answer.status_code))
    return told


def _streamed(owner: Owner) -> str:
    """What the live stream of everything says from its beginning, until it falls silent."""
    heard, end = b"", time.monotonic() + 5
    oldest = min(owner.journey.ask("GET", "/audit/events?limit=200")["items"], key=lambda event: str(event["at"]))
    asking = {"Accept": "text/event-stream", "Last-Event-ID": oldest["position"]}
    with (
        suppress(httpx.ReadTimeout),
        owner.api.stream("GET", "/api/v1/audit/events", headers=asking, timeout=httpx.Timeout(30, read=1)) as answer,
    ):
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            heard += piece
            if time.monotonic() > end:
                break
    assert b"function.created" in heard
    return heard.decode(errors="replace")


def _of_processes(service: Service) -> list[Told]:
    return [
        Told(f"{name}{path}", httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30).text)
        for name, port in service.ports.items()
        if name != "functions"
        for path in ("/metrics", "/health/ready", "/health/live")
    ]


def _of_the_database(service: Service) -> str:
    return Place.of(service.data_dir).log.read_text(errors="replace")


def _exported(service: Service, folder: Path) -> str:
    """The whole log as a folder of files, without keys."""
    environment = {**os.environ, "DCF_DATA_DIR": str(service.data_dir), "DCF_MASTER_KEY": MASTER}
    argv = [sys.executable, "-m", "cli", "audit", "export", str(folder / "export")]
    done = subprocess.run(argv, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    files = [path for path in (folder / "export").rglob("*") if path.is_file()]
    assert files
    return done.stdout + done.stderr + "".join(_content(path).decode("latin-1") for path in files)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


async def _columns_with(url: str, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Every table in which one of the texts stands, as it is or in bytes, and which."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        forms = [[f"%{text}%", f"%{text.encode().hex()}%"] for text in texts.values()]
        found = []
        for schema, table in tables:
            counts = ", ".join(f"count(*) FILTER (WHERE t::text LIKE ANY (${n}))" for n in range(1, len(forms) + 1))
            row = await connection.fetchrow(f'SELECT {counts} FROM "{schema}"."{table}" t', *forms)
            assert row is not None
            found += [(f"{schema}.{table}", name) for name, count in zip(texts, row, strict=True) if count]
        assert len(tables) > 30
        return found
    finally:
        await connection.close()


def _files_with(folder: Path, texts: Mapping[str, str]) -> set[tuple[str, str]]:
    """What stands in which file of the service, but for the database's own pages and the keys in their files."""
    found = set()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "postgres"]
        for path in (Path(place) / name for name in names):
            with suppress(FileNotFoundError):  # What is there for a moment only.
                if path.suffix != ".key" and path.is_file():
                    content = path.read_bytes()
                    found |= {(name, path.name) for name, text in texts.items() if text.encode() in content}
    return found


def _processes_with(service: Service, owner: Owner) -> tuple[list[tuple[str, str]], set[str]]:
    """Every other process whose arguments show a secret, or a variable, and every one whose environment does, but for the master
    key in those of the service, and what is the function's own in those of the function; and which functions run."""
    found, running = [], set()
    texts = {**owner.secrets, "variable": VARIABLE, "subject": owner.subject}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or process.name == str(os.getpid()):
            continue
        try:
            arguments = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        of_function = re.search(rb"(?:^|\0)DCF_FUNCTION_ID=([^\0]*)", environment)
        function_id = of_function[1].decode() if of_function else ""
        running.add(function_id)
        own = {"secret", "variable"} if function_id == owner.function_id else set()
        if not function_id and str(service.data_dir).encode() in environment:
            own = {"master key"}
        found += [(f"arguments of {process.name}", name) for name, text in texts.items() if text.encode() in arguments]
        found += [
            (f"environment of {process.name}", name)
            for name, text in texts.items()
            if text.encode() in environment and name not in own
        ]
    return found, running
