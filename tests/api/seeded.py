"""A tenant with one of everything, so that the examples of the API's description can be sent as they are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec

from api import example_ids
from api.access_log import Note, note_nothing
from api.id_tokens import IdTokens
from api.openapi.parameters import AN_EVENT
from api.sign_in import Newcomers
from commands.ids import new_id
from commands.tenant import AddMember, CreateTenant
from eventstore.ticks import Tick
from eventstore.webhook_deliveries import Delivery
from tests.api.contract import resolved
from tests.api.runs import succeeded
from tests.api.steps import CONTENTS, NAMES, a_function, a_project, ask, connected, grown, the_files, upload
from tests.api.world import World, world_in_memory

_PLENTY = 1_000_000
_MANY = 10**9
# The runtime that the examples speak of.
_RUNTIME = "3.12.0"


class Seeded(msgspec.Struct, frozen=True):
    """`ids` gives the real id for each id of the examples; `key` is that of the owner of it all."""

    world: World
    key: str
    ids: dict[str, str]

    def client(self, said: dict[str, Any]) -> httpx.AsyncClient:
        """Whoever may ask for the operation: the owner, or an operator."""
        operates = said.get("x-permission") == "operate"
        return self.world.client(self.world.operator_key if operates else self.key)

    def request(self, method: str, path: str, said: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The operation's own example as arguments of `httpx.AsyncClient.request`."""
        headers = {**_headers_of(said), **changes.pop("headers", {})}
        params = {**_needed_of(said), **changes.pop("params", {})}
        return {
            "method": method,
            "url": self.address(path, said),
            "headers": headers,
            "params": params,
            **self._body(path, said),
            **changes,
        }

    def address(self, path: str, said: dict[str, Any]) -> str:
        """The path with the example of each parameter in it."""
        for parameter in map(resolved, said["parameters"]):
            if parameter["in"] == "path":
                example = parameter["examples"]["example"]["value"]
                path = path.replace("{" + parameter["name"] + "}", self.real(example))
        return path

    def real(self, value: Any) -> Any:
        """The value with real ids for those of the examples, wherever they stand in it."""
        match value:
            case str():
                return re.sub("|".join(map(re.escape, self.ids)), lambda found: self.ids[found[0]], value)
            case dict():
                return {name: self.real(item) for name, item in value.items()}
            case list():
                return [self.real(item) for item in value]
            case _:
                return value

    def _body(self, path: str, said: dict[str, Any]) -> dict[str, Any]:
        if "requestBody" not in said:
            return {}
        ((media_type, media),) = said["requestBody"]["content"].items()
        example = self.real(media["examples"]["example"]["value"])
        if media_type == "application/json":
            return {"json": example}
        if media_type != "multipart/form-data":
            return {"content": example.encode()}
        kind = path.rsplit("/", maxsplit=1)[-1]
        content = example.pop("file", CONTENTS[kind])
        return {"data": example, "files": {"file": (NAMES[kind], content)}}


# Without these the operations that heed them cannot be asked at all.
_NEEDED = {"Upload-Offset", "Upload-Complete"}


def _headers_of(said: dict[str, Any]) -> dict[str, str]:
    """The headers that the operation needs, as their examples are."""
    heeded = {parameter["name"]: parameter for parameter in map(resolved, said["parameters"])}
    found = {name: heeded[name]["examples"]["example"]["value"] for name in _NEEDED & heeded.keys()}
    if found and "requestBody" in said:
        found["Content-Type"] = next(iter(said["requestBody"]["content"]))
    return found


def _needed_of(said: dict[str, Any]) -> dict[str, str]:
    return {"beginUpload": {"kind": "code"}, "proveConsistency": {"from": "1"}}.get(said["operationId"], {})


@asynccontextmanager
async def roomy_world(
    data_dir: Path,
    *,
    tokens: IdTokens | None = None,
    newcomers: Newcomers | None = None,
    note: Note = note_nothing,
) -> AsyncIterator[World]:
    """A world whose tenants may have as much as its tests make, and in which nobody waits long for what never comes."""
    async with world_in_memory(data_dir, tokens=tokens, newcomers=newcomers, wait_seconds_max=0.05, note=note) as world:
        async with world.client(world.operator_key) as operator:
            for plan in (await ask(operator, "GET", "/operations/plans"))["items"]:
                limits = {name: limit and max(limit, _PLENTY) for name, limit in plan["limits"].items()}
                body = {"limits": {**limits, "uploadBytes": plan["limits"]["uploadBytes"]}, "entitlements": []}
                await ask(operator, "PUT", f"/operations/plans/{plan['name']}", body)
        yield world


async def seeded(world: World, *, token: str = "") -> Seeded:
    """A tenant of its own for one test, in a world that many share; its owner signs in with the token when there is one."""
    tenant_id = new_id()
    name = f"tenant-{tenant_id.hex[-12:]}"
    await world.record(CreateTenant(tenant_id=tenant_id, at=world.services.clock(), name=name, plan="sandbox"))
    owner_key = await world.key(tenant_id, "owner")
    runtime = f"3.12.{tenant_id.int % _MANY}"
    async with world.client(world.operator_key) as operator:
        released = {"version": runtime, "releasedAt": "2026-05-13T00:00:00Z"}
        await ask(operator, "POST", "/operations/runtimes", released, status=201)
    if token:
        await _make_owner(world, tenant_id, token)
    async with world.client(owner_key) as client:
        project_id = await a_project(client, "the shop")
        await connected(client, project_id)
        files = await the_files(client, project_id)
        function_id = await a_function(client, project_id, name="greeter", runtime=runtime, artifactFiles=files)
        secret = f"/projects/{project_id}/functions/{function_id}/secrets/API_TOKEN"
        await ask(client, "PUT", secret, {"value": "correct horse"})
        deployments = f"/projects/{project_id}/deployments"
        body = {"functionId": function_id, "provider": "local", "target": {}}
        former = await ask(client, "POST", deployments, body, status=202)
        await succeeded(world, former, tenant_id=tenant_id)
        asked = await client.post(f"/api/v1{deployments}", json=body)
        await succeeded(world, asked.json(), tenant_id=tenant_id)
        key = await ask(client, "POST", "/keys", {"name": "ci", "role": "developer"}, status=201)
        person_id = str(await world.person())
        await ask(client, "POST", "/tenant/members", {"personId": person_id, "role": "viewer"}, status=201)
        invitation = {"email": "ada@example.com", "role": "developer"}
        invited = await ask(client, "POST", "/tenant/invitations", invitation, status=201)
        webhook = await ask(
            client, "POST", f"/projects/{project_id}/webhooks", {"url": "https://ci.example.com/dcf"}, status=201
        )
        uploads = f"/api/v1/projects/{project_id}/uploads?kind=code"
        begun = await client.post(uploads, headers={"Upload-Complete": "?0"})
        [event] = (await ask(client, "GET", "/audit/events?limit=1"))["items"]
    ids = {
        AN_EVENT: event["position"],
        example_ids.TENANT_ID: str(tenant_id),
        example_ids.PROJECT_ID: project_id,
        example_ids.FUNCTION_ID: function_id,
        example_ids.DEPLOYMENT_ID: asked.json()["deploymentId"],
        example_ids.FORMER_DEPLOYMENT_ID: former["deploymentId"],
        example_ids.KEY_ID: key["keyId"],
        example_ids.INVITATION_ID: invited["invitationId"],
        example_ids.PERSON_ID: person_id,
        example_ids.UPLOAD_ID: begun.json()["uploadId"],
        example_ids.WEBHOOK_ID: webhook["webhookId"],
        example_ids.ARTIFACT_ID: files["code_file"].split("/")[3],
        example_ids.CORRELATION_ID: asked.headers["x-correlation-id"],
    }
    one = Seeded(
        world, token or owner_key, {_RUNTIME: runtime, **{str(example): real for example, real in ids.items()}}
    )
    await _tick(one)
    await _told(one, 1)
    await grown(world.services)
    return one


async def _make_owner(world: World, tenant_id: UUID, token: str) -> None:
    async with world.client(token) as person:
        person_id = UUID((await ask(person, "GET", "/me"))["actor"]["id"])
    await world.record(AddMember(tenant_id=tenant_id, at=world.services.clock(), person_id=person_id, role="owner"))


async def more(one: Seeded) -> None:
    """One more of what there are lists of, in the same project, function and tenant."""
    project_id, function_id = (one.ids[str(id)] for id in (example_ids.PROJECT_ID, example_ids.FUNCTION_ID))
    word = new_id().hex[-12:]
    await _tick(one)
    await _told(one, new_id().int % _MANY + 2)
    await grown(one.world.services)
    async with one.world.client(one.key) as client:
        await a_project(client, f"shop-{word}")
        await a_function(client, project_id, name=f"hello-{word}")
        await upload(client, "code", project_id, f"void main() {{}} // {word}\n".encode())
        await ask(client, "PUT", "/functions/update", {"functionId": function_id, "description": word})
        body = {"functionId": function_id, "provider": "local", "target": {}}
        await ask(client, "POST", f"/projects/{project_id}/deployments", body, status=202)
        await ask(
            client, "POST", f"/projects/{project_id}/webhooks", {"url": f"https://ci.example.com/{word}"}, status=201
        )
        await ask(client, "POST", "/keys", {"name": word, "role": "viewer"}, status=201)
        body = {"personId": str(await one.world.person()), "role": "viewer"}
        await ask(client, "POST", "/tenant/members", body, status=201)


async def _tick(one: Seeded) -> None:
    """The schedule of the function, were it one that has a schedule, was due now."""
    tenant_id, function_id, deployment_id = (
        UUID(one.ids[str(id)]) for id in (example_ids.TENANT_ID, example_ids.FUNCTION_ID, example_ids.DEPLOYMENT_ID)
    )
    due_at = one.world.services.clock()
    tick = Tick(tenant_id=tenant_id, function_id=function_id, due_at=due_at, deployment_id=deployment_id)
    await one.world.services.ticks.take([tick], seconds=60)


async def _told(one: Seeded, position: int) -> None:
    """The webhook was told of an event."""
    tenant_id, webhook_id = (UUID(one.ids[str(id)]) for id in (example_ids.TENANT_ID, example_ids.WEBHOOK_ID))
    now, deliveries = one.world.services.clock(), one.world.services.deliveries
    delivery = Delivery(
        tenant_id=tenant_id,
        webhook_id=webhook_id,
        position=position,
        type="deployment.succeeded",
        status="delivered",
        first_at=now,
        last_at=now,
    )
    progress = (await deliveries.progress([(tenant_id, webhook_id, 0)]))[webhook_id]
    await deliveries.move(progress, msgspec.structs.replace(progress, position=position), delivery)
