"""Secrets of every kind put into a running service, then looked for on every surface it has."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from eventstore.embedded import Place
from tests.api.contract import the_document
from tests.support.service import ROOT, Journey, Service, until

SECRET = "s3ntinel-value-of-a-function"
MASTER = "s3ntinel-of-the-master-key-000000000000000"
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


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), DCF_MASTER_KEY=MASTER)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.proof
def test_stand_on_no_surface(service: Service, tmp_path: Path) -> None:
    """
    Goal: whoever reads all that a service tells, keeps and shows finds no secret but where it is sealed.
    Method: one of each kind through every input that takes one, also where it is refused; then answers of every route that reads,
    events, logs, metrics, exports, every column of every table, files, and what the machine shows of other processes.
    """
    with service.client() as api:
        journey = Journey(api)
        journey.prepare("sentinels")
        journey.files["code_file"] = journey.upload("code", "main.dart", TELLS)
        function_id = journey.draft("tells")
        secrets = f"/projects/{journey.project_id}/functions/{function_id}/secrets"
        journey.ask("PUT", f"{secrets}/TOKEN", {"value": SECRET})
        key = journey.ask("POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)["key"]
        invited = journey.ask("POST", "/tenant/invitations", {"email": "ada@example.com", "role": "viewer"}, status=201)
        hook = {"url": "https://ci.example.com/dcf", "types": ["deployment.succeeded"]}
        signing = journey.ask("POST", f"/projects/{journey.project_id}/webhooks", hook, status=201)["secret"]
        shown = [_refused(api, secrets)]
        deployment_id = journey.deploy(function_id)
        ended = until(lambda: _over(journey, deployment_id), seconds=120, what="the deployment over")
        assert ended["status"] == "succeeded", ended
        assert httpx.get(ended["url"], timeout=30).text == str(len(SECRET)), "the function itself has it"
        for _ in range(4):
            httpx.get(ended["url"].rstrip("/") + "/die", timeout=60)  # Whatever it still says, its last words are kept.
        # One that is just being started has its variables in a file, until it has read them.
        until(lambda: httpx.get(ended["url"], timeout=60).status_code == 200, seconds=120, what="it is started again")

        ids = {"project_id": journey.project_id, "function_id": function_id, "deployment_id": deployment_id}
        shown += _everything_told(service, api, ids)
        shown += [service.log(), _exported(service, tmp_path)]
        kept = asyncio.run(
            _columns_with(
                Place.of(service.data_dir).url("dcf"),
                SECRET,
                key.split("_", 2)[2],
                invited["invitation"].rpartition("_")[2],
                signing,
                MASTER,
            )
        )
        files = _files_with(service.data_dir, SECRET, MASTER, signing)
        processes = _processes_with(service, SECRET, MASTER, signing)

    assert len(shown) > 40
    for secret in (SECRET, MASTER, key.split("_", 2)[2], invited["invitation"].rpartition("_")[2], signing):
        assert [text[:200] for text in shown if secret in text] == []
    assert kept == []
    # The function's own output, which is its own business.
    assert {path.name for path in files} <= {"function.log", "function.log.1"}
    assert processes == []


def _over(journey: Journey, deployment_id: str) -> Any:
    found = journey.deployment(deployment_id)
    return found if found["status"] in ("succeeded", "failed", "canceled") else None


def _refused(api: httpx.Client, secrets: str) -> str:
    """What is answered where a secret comes in the wrong place."""
    path = f"/api/v1{secrets}"
    answers = [
        api.put(f"{path}/PORT", json={"value": SECRET}),
        api.put(f"{path}/TOKEN", json={"valu": SECRET}),
        api.put(f"{path}/TOKEN", content=SECRET.encode()),
        api.put(f"{path}/TOKEN", json={"value": [SECRET]}),
        api.put(f"{path}/TOKEN", json={"value": SECRET}, headers={"If-Match": '"1"'}),
        api.get("/api/v1/me", headers={"Authorization": f"Bearer {SECRET}"}),
        api.get("/api/v1/me", headers={"Authorization": f"Basic {SECRET}"}),
        api.post("/api/v1/me/memberships", json={"invitation": SECRET}),
    ]
    assert {answer.status_code // 100 for answer in answers} == {4}
    return "".join(answer.text + str(answer.headers) for answer in answers)


def _everything_told(service: Service, api: httpx.Client, ids: dict[str, str]) -> list[str]:
    """Of every route that reads, as far as its address is about what was made here, of every process."""
    told = []
    for path, methods in the_document()["paths"].items():
        named = (
            path.replace("projectId", "project_id")
            .replace("functionId", "function_id")
            .replace("deploymentId", "deployment_id")
        )
        address = named.replace("{entityId}", ids["function_id"])
        for name, id in ids.items():
            address = address.replace("{" + name + "}", id)
        if "get" in methods and "{" not in address:
            answer = api.get(address, params={"limit": 200} if "limit" in str(methods["get"]["parameters"]) else {})
            told.append(answer.text + str(answer.headers))
    for name, port in service.ports.items():
        if name != "functions":
            told += [
                httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30).text for path in ("/metrics", "/health/ready")
            ]
    return told


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
    import gzip

    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


async def _columns_with(url: str, *texts: str) -> list[tuple[str, str]]:
    """Every table in which one of the texts stands, as it is, in bytes, or in base64."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        found = []
        for schema, table in tables:
            for text in texts:
                forms = [f"%{text}%", f"%{text.encode().hex()}%"]
                count = await connection.fetchval(
                    f'SELECT count(*) FROM "{schema}"."{table}" t WHERE t::text LIKE ANY ($1)', forms
                )
                if count:
                    found.append((f"{schema}.{table}", text[:12]))
        assert len(tables) > 30
        return found
    finally:
        await connection.close()


def _files_with(folder: Path, *texts: str) -> list[Path]:
    """Every file of the service, but for the database's own pages and the keys in their files."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "postgres"]
        for path in (Path(place) / name for name in names):
            with suppress(FileNotFoundError):  # What is there for a moment only.
                if path.suffix != ".key" and path.is_file():
                    content = path.read_bytes()
                    found += [path for text in texts if text.encode() in content]
    return found


def _processes_with(service: Service, *texts: str) -> list[tuple[str, str]]:
    """Every other process whose arguments show one of the texts, and every one that is no process of the service itself, nor
    the function the secret is for, whose environment does."""
    found = []
    own = {str(os.getpid())}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or process.name in own:
            continue
        try:
            arguments = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        is_function = b"DCF_FUNCTION_ID" in environment
        of_service = str(service.data_dir).encode() in environment and not is_function
        for text in texts:
            shows = text.encode() in environment and not (is_function and text == SECRET) and not of_service
            if text.encode() in arguments or shows:
                found.append((process.name, text[:12]))
    return found
