"""Every route, asked by whoever should not get through: strangers with real ids and made-up ones, roles that do not suffice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar, Router

from api.app import ROUTES
from api.first_start import OWNER_ID, TENANT_ID
from api.openapi.permissions import page
from api.operation import Operation, operations
from api.principal import ALLOWED, WITHIN_PROJECTS, PrincipalRole
from domain.tenant import ROLES_RISING
from tests.api.runs import succeeded
from tests.api.steps import a_function, a_project, ask, connected, grown, the_files
from tests.api.world import MAIN_DART, World

Ids = dict[str, str]


class Request(msgspec.Struct, frozen=True):
    """An operation as a caller asks for it; `{project_id}` and the like in the path stand for ids."""

    method: str
    path: str
    operation: Operation

    @property
    def names(self) -> set[str]:
        """The ids it names: in its address and in its body."""
        body = self.operation.example if isinstance(self.operation.example, dict) else {}
        form = {"project_id"} if self.operation.takes_form else set()
        return set(re.findall(r"\{(\w+)\}", self.path)) | {_snake(name) for name in body if name in _IN_BODIES} | form

    async def by(self, client: httpx.AsyncClient, ids: Ids) -> httpx.Response:
        path = self.path.format(**ids)
        if self.operation.takes_form:
            form, files = {"projectId": ids["project_id"]}, {"file": ("main.dart", MAIN_DART)}
            return await client.request(self.method, path, data=form, files=files)
        body = self.operation.example
        if self.operation.takes_bytes:
            headers = {"Content-Type": self.operation.takes_bytes, "Upload-Offset": "0", "Upload-Complete": "?1"}
            params = {"kind": "code"} if self.operation.query else {}
            return await client.request(self.method, path, content=MAIN_DART, headers=headers, params=params)
        if isinstance(body, dict):
            body = {name: ids[_snake(name)] if name in _IN_BODIES else value for name, value in body.items()}
        params = {one.name: str(one.example) for one in self.operation.query if one.required}
        return await client.request(self.method, path, json=body, params=params)


_IN_BODIES = {"projectId", "functionId"}
_APP = Litestar([Router(path="/api/v1", route_handlers=list(ROUTES))], openapi_config=None)
REQUESTS = [
    Request(method, route.path_format, operation)
    for route, handler, operation in operations(_APP)
    for method in sorted(handler.http_methods - {"HEAD", "OPTIONS"})
]


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@pytest.fixture
async def ids(world: World, client: httpx.AsyncClient) -> Ids:
    """What the owner has of everything."""
    project_id = await a_project(client)
    await connected(client, project_id)
    files = await the_files(client, project_id)
    function_id = await a_function(client, project_id, artifactFiles=files)
    wanted = {"functionId": function_id, "provider": "local", "target": {}}
    deployment = await client.post(f"/api/v1/projects/{project_id}/deployments", json=wanted)
    await succeeded(world, deployment.json())
    key = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
    invited = await ask(client, "POST", "/tenant/invitations", {"email": "a@b.example", "role": "viewer"}, status=201)
    uploads = f"/api/v1/projects/{project_id}/uploads?kind=code"
    begun = await client.post(uploads, headers={"Upload-Complete": "?0"})
    hook = {"url": "https://ci.example.com/dcf"}
    webhook = await ask(client, "POST", f"/projects/{project_id}/webhooks", hook, status=201)
    await grown(world.services)
    job = await world.services.upkeep.request("plans", "rebuild", id=uuid4(), requested_by="test")
    return {
        "project_id": project_id,
        "job_id": str(job.id),
        "function_id": function_id,
        "deployment_id": deployment.json()["deploymentId"],
        "artifact": files["code_file"].split("/")[3],
        "key_id": key["keyId"],
        "person_id": str(OWNER_ID),
        "entity_id": project_id,
        "correlation_id": deployment.headers["x-request-id"],
        "invitation_id": invited["invitationId"],
        "upload_id": begun.json()["uploadId"],
        "webhook_id": webhook["webhookId"],
        "position": deployment.headers["event-position"],
    }


def _made_up(ids: Ids) -> Ids:
    """Ids of the same kinds, of nothing at all."""
    return {name: str(uuid4()) for name in ids} | {"position": "1:999999"}


def _said(answer: httpx.Response, ids: Ids) -> tuple[int, str]:
    """What an answer tells, but for the ids the caller itself had sent."""
    text = answer.text
    for name, id in ids.items():
        # Names that are suggested end as the id does.
        text = text.replace(id, name).replace(id[-12:], name)
    body = json.loads(text) if text.startswith("{") else text
    if isinstance(body, dict):
        body.pop("correlationId", None)
    return answer.status_code, json.dumps(body, sort_keys=True)


def _each_alone(request: Request, ids: Ids, made_up: Ids) -> list[Ids]:
    """One real id among made-up ones, for each that the request names beside another."""
    names = sorted(request.names & ids.keys())
    return [{**made_up, name: ids[name]} for name in names] if len(names) > 1 else []


class TestStrangers:
    async def test_are_told_the_same_of_what_is_anothers_and_of_what_never_was(self, world: World, ids: Ids) -> None:
        """Goal: nobody learns what another tenant has. Method: every route that names ids, with real and random ones, as every
        role of another tenant, and with each of the ids real among made-up ones."""
        asked_of = [request for request in REQUESTS if request.names & ids.keys()]
        made_up = _made_up(ids)
        stranger_id = await world.another_tenant("enterprise")  # Which is asked from often enough.
        for role in ROLES_RISING:
            async with world.client(await world.key(stranger_id, role)) as stranger:
                for request in asked_of:
                    allowed = request.operation.permission in ({"public"} | ALLOWED[role])
                    random = await request.by(stranger, {**_DEFAULTS, **made_up})
                    told = _said(random, made_up)
                    # What is public is made of the ids alone: it is the same for any, as is seen here.
                    assert request.operation.permission == "public" or random.status_code in (
                        (400, 404, 409, 422) if allowed else (403,)
                    ), (role, request.operation.name, random.text)
                    for given in (ids, *_each_alone(request, ids, made_up)):
                        real = await request.by(stranger, {**_DEFAULTS, **given})
                        assert _said(real, given) == told, (role, request.operation.name)

        assert len(asked_of) > 40
        # A new kind of id gets a real one above, or no stranger is tried on it.
        assert {name for request in REQUESTS for name in request.names} - _DEFAULTS.keys() == ids.keys()


class TestAKeyForOneProject:
    async def test_knows_no_more_of_the_others_than_of_what_never_was(self, world: World, ids: Ids) -> None:
        """Goal: a key for one project is a stranger in the others of its own tenant. Method: every route, with ids of another
        project, with these under its own project's address, and with made-up ones in their places."""
        async with world.client() as owner:
            own = await a_project(owner, "its own")
            await connected(owner, own)
            asked_for = {"name": "narrow", "role": "owner", "projects": [own]}
            key = (await ask(owner, "POST", "/keys", asked_for, status=201))["key"]
        made_up = _made_up(ids)
        tried = 0
        async with world.client(key) as narrow:
            for request in REQUESTS:
                if request.operation.permission == "public" or not request.names & ids.keys():
                    continue
                # What names nothing but a project is its own to make there.
                for place in ({}, {"project_id": own}) if request.names - {"project_id"} else ({},):
                    real = await request.by(narrow, {**_DEFAULTS, **ids, **place})
                    random = await request.by(narrow, {**_DEFAULTS, **made_up, **place})
                    assert _said(real, ids) == _said(random, made_up), (request.operation.name, place)
                    assert real.status_code in (403, 404, 409, 422), (request.operation.name, place, real.text)
                    tried += 1

        assert tried > 100

    async def test_does_all_its_role_allows_in_its_own(self, world: World, ids: Ids) -> None:
        async with world.client() as owner:
            asked_for = {"name": "narrow", "role": "developer", "projects": [ids["project_id"]]}
            key = (await ask(owner, "POST", "/keys", asked_for, status=201))["key"]
            other = await a_project(owner, "another")
            theirs = await a_function(owner, other)
        async with world.client(key) as narrow:
            reached = 0
            for request in REQUESTS:
                operation = request.operation
                if request.method == "GET" and operation.permission in ALLOWED["developer"] & WITHIN_PROJECTS:
                    if operation.permission == "audit:read" and not operation.within_projects:
                        continue  # What is about the whole log.
                    answer = await request.by(narrow, {**_DEFAULTS, **ids})
                    unconnected = answer.status_code == 404 and answer.json()["code"] == "integration_not_found"
                    assert answer.status_code < 400 or unconnected, (request.operation.name, answer.text)
                    reached += 1
            listed = await ask(narrow, "GET", "/projects")
            page = await ask(narrow, "GET", "/projects?limit=1")
            me = await ask(narrow, "GET", "/me")
            made = await a_function(narrow, ids["project_id"], name="by the key")
            changed = {"functionId": made, "description": "by the key"}
            await ask(narrow, "PUT", "/functions/update", changed)
            refused = await narrow.put("/api/v1/functions/update", json={**changed, "functionId": theirs})

        assert reached > 15
        assert [project["projectId"] for project in listed["items"]] == [ids["project_id"]]
        assert (page["nextCursor"], len(page["items"])) == (None, 1)
        assert (me["projects"], "audit:read" in me["permissions"]) == ([ids["project_id"]], True)
        assert (refused.status_code, refused.json()["code"]) == (404, "function_not_found")

    def test_is_looked_after_by_every_route_that_names_no_project(self) -> None:
        """Deny by default: a route about things in projects names one in its address, or says that its handler looks."""
        for request in REQUESTS:
            operation = request.operation
            if operation.permission in WITHIN_PROJECTS - {"self", "catalogue:read", "audit:read"}:
                assert ("{project_id}" in request.path) is not operation.within_projects, operation.name


class TestRoles:
    def test_stand_in_the_documentation_as_they_are(self) -> None:
        written = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text()

        assert written == page(), "make it anew: python -m api.openapi.permissions > docs/permissions.md"

    async def test_that_do_not_suffice_are_refused_everywhere(self, world: World, ids: Ids) -> None:
        refused = 0
        for role in ROLES_RISING:
            async with world.client(await world.key(TENANT_ID, role)) as client:
                for request in REQUESTS:
                    if request.operation.permission in ({"public"} | ALLOWED[role]):
                        continue
                    answer = await request.by(client, {**_DEFAULTS, **ids})
                    assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing"), (
                        role,
                        request.operation.name,
                    )
                    refused += 1

        assert refused > 60

    async def test_reach_what_they_suffice_for(self, world: World, ids: Ids) -> None:
        """Goal: the table allows what it says. Method: every role at every route that reads, with ids of its own tenant, or,
        so that nothing changes for the next, at every route that writes with ids of nothing."""
        made_up = _made_up(ids)
        keys: list[tuple[PrincipalRole, str]] = [(role, await world.key(TENANT_ID, role)) for role in ROLES_RISING]
        keys.append(("operator", world.operator_key))
        for role, key in keys:
            async with world.client(key) as client:
                for request in REQUESTS:
                    if request.operation.permission in ({"public"} | ALLOWED[role]):
                        given = made_up if request.operation.writes else ids
                        answer = await request.by(client, {**_DEFAULTS, **given})
                        code = answer.json().get("code") if answer.status_code >= 400 else ""
                        assert answer.status_code < 500, (role, request.operation.name, answer.text)
                        assert code not in ("permission_missing", "credential_unknown"), (role, request.operation.name)

    async def test_every_scope_alone_allows_its_own_routes_and_no_others(self, world: World, ids: Ids) -> None:
        """Every permission as the only scope of an owner's key, at every route, with ids of nothing."""
        made_up = _made_up(ids)
        for scope in sorted(ALLOWED["owner"] - {"self"}):
            async with world.client(await world.key(TENANT_ID, "owner", scope)) as client:
                for request in REQUESTS:
                    answer = await request.by(client, {**_DEFAULTS, **made_up})
                    missing = answer.status_code == 403 and answer.json()["code"] == "permission_missing"
                    allowed = request.operation.permission in ("public", "self", scope)
                    assert missing is not allowed, (scope, request.operation.name, answer.text)

    async def test_of_operators_reach_nothing_of_a_tenant(self, world: World, ids: Ids) -> None:
        async with world.client(world.operator_key) as operator:
            for request in REQUESTS:
                if request.operation.permission not in ({"public"} | ALLOWED["operator"]):
                    answer = await request.by(operator, {**_DEFAULTS, **ids})
                    assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing")

    async def test_scopes_narrow_every_role(self, world: World, ids: Ids) -> None:
        async with world.client(await world.key(TENANT_ID, "owner", "catalogue:read")) as client:
            for request in REQUESTS:
                if (
                    request.operation.permission not in ("public", "catalogue:read")
                    and request.operation.name != "getMe"
                ):
                    answer = await request.by(client, {**_DEFAULTS, **ids})
                    assert answer.status_code == 403, request.operation.name

    async def test_nobody_gets_in_without_a_key(self, world: World, ids: Ids) -> None:
        async with world.client("") as nobody:
            for request in REQUESTS:
                if request.operation.permission != "public":
                    answer = await request.by(nobody, {**_DEFAULTS, **ids})
                    assert answer.status_code == 401, request.operation.name


_DEFAULTS: Ids = {
    "version": "3.11.0",
    "name": "sandbox",
    "tenant_id": str(TENANT_ID),
    "level": "0",
    "tile": "000.p/1",
}
