"""What tests do on the way to what they are about."""

from __future__ import annotations

from typing import Any, cast

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.services import Services
from eventstore.tree.notes import Checkpoint, VerifierKey, sign
from eventstore.tree.tree import GrowingTree, SignedCheckpoint, root
from tests.api.world import DOCKERFILE, MAIN_DART, PUBSPEC

NAMES = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
CONTENTS = {"code": MAIN_DART, "docker": DOCKERFILE, "yaml": PUBSPEC}


async def ask(client: httpx.AsyncClient, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
    """The answer's body, once its status is the expected one."""
    answer = await client.request(method, f"/api/v1{path}", json=body)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json()


async def a_project(client: httpx.AsyncClient, name: str = "shop") -> str:
    project_id: str = (await ask(client, "POST", "/projects", {"name": name}, status=201))["projectId"]
    return project_id


async def upload(
    client: httpx.AsyncClient, kind: str, project_id: str, content: bytes | None = None, name: str = "", **headers: str
) -> httpx.Response:
    sent = CONTENTS[kind] if content is None else content
    return await client.post(
        f"/api/v1/functions/upload/{kind}",
        data={"projectId": project_id},
        files={"file": (name or NAMES[kind], sent, "application/octet-stream")},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


async def the_files(client: httpx.AsyncClient, project_id: str, **contents: bytes) -> dict[str, str]:
    """All three files uploaded, those of `contents` as given there; what `artifactFiles` takes."""
    return {
        f"{kind}_file": (await upload(client, kind, project_id, contents.get(kind))).json()["path"] for kind in NAMES
    }


def a_draft(project_id: str, **changes: object) -> dict[str, object]:
    return {"projectId": project_id, "name": "hello", "runtime": "3.11.0", "access": "public", **changes}


async def a_function(client: httpx.AsyncClient, project_id: str, **changes: object) -> str:
    function_id: str = (await ask(client, "POST", "/functions", a_draft(project_id, **changes), status=201))[
        "functionId"
    ]
    return function_id


async def connected(client: httpx.AsyncClient, project_id: str) -> None:
    """The project deploys to this machine from here on."""
    local = f"/projects/{project_id}/integrations/local"
    await ask(client, "POST", f"{local}/connect", {}, status=201)
    for step in ("verify", "bucket/check", "bucket/config"):
        await ask(client, "POST", f"{local}/{step}", {})


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    """Whether the answer is the problem it should be, complete; shows what it is when not."""
    body = answer.json()
    fields = {"type", "title", "status", "detail", "code", "errors", "remedy", "correlationId"}
    assert (answer.status_code, body.get("code")) == (status, code), f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == fields
    assert body["status"] == status
    assert body["title"]
    assert body["correlationId"]
    return True


def fields_of(answer: httpx.Response) -> list[str]:
    """The fields a problem names."""
    return [error["field"] for error in answer.json()["errors"]]


LOG_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


async def grown(services: Services) -> SignedCheckpoint:
    """The tree of a log in memory takes in all there is, and a checkpoint of it is signed."""
    tree, size = cast("GrowingTree", services.tree), await services.log.head()
    while await tree.extend(at_most=1_000) < size:
        pass
    origin = await tree.origin()
    signed = SignedCheckpoint(
        epoch=await services.log.epoch(),
        size=size,
        note=sign(Checkpoint(origin, size, await root(tree, size)).text, origin, [LOG_KEY]),
        verifier_keys=(VerifierKey.of(origin, LOG_KEY).text,),
        made_at=services.clock(),
    )
    await tree.publish(signed)
    return signed
