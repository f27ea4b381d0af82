"""What an answer leads to is there: every link of the description is followed, with what it says and nothing else."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api import example_ids
from api.id_tokens import IdTokens
from api.sign_in import Newcomers
from api.trusted_issuers import trusted_issuers
from tests.api.contract import operations
from tests.api.seeded import Seeded, roomy_world, seeded
from tests.api.steps import CONTENTS, NAMES, ask, the_files
from tests.api.world import World, now
from tests.emulators.oidc_issuer import CLIENT_ID, OidcIssuer, oidc_issuer

# One world for all of them, and a tenant of its own for each.
pytestmark = pytest.mark.asyncio(loop_scope="module")

Said = dict[str, Any]
_SAID = {said["operationId"]: (method, path, said) for method, path, said in operations()}
# Jobs that the read models in memory cannot have (a build to go back to, one that takes so long that it can be stopped): their
# links are followed in test_read_models.py.
_ELSEWHERE = {"cancelProjectionJob", "switchReadModelBack"}
_LINKS = [
    pytest.param(source, int(status), link, id=f"{source}-{status}-{name}")
    for source, (_, _, said) in _SAID.items()
    for status, answer in said["responses"].items()
    for name, link in answer.get("links", {}).items()
    if source not in _ELSEWHERE
]
# A new project is connected to nothing, so these say so.
_NOT_CONNECTED = (
    "checkAwsBucket checkAzureBucket checkGcpBucket checkLocalBucket "
    "configureAwsBucket configureAzureBucket configureGcpBucket configureLocalBucket "
    "disconnectAws disconnectAzure disconnectGcp disconnectLocal diagnoseGcp "
    "getAwsIntegration getAzureIntegration getGcpIntegration getLocalIntegration "
    "verifyAzure verifyAzureResources verifyGcp verifyLocal"
)
# Where a link leads to what is there, and is refused for now what it asks. A new project has no function yet, a new deployment
# is neither over nor active, who makes a tenant is no member of it, and a new webhook has missed nothing.
_REFUSED = {
    **dict.fromkeys(_NOT_CONNECTED.split(), "integration_not_found"),
    "verifyAws": "provider_not_offered",
    "createProject createDeployment": "function_not_found",
    "createTenant leaveTenant": "member_not_found",
    "redeployDeployment": "deployment_pending",
    "retryDeployment": "deployment_not_retryable",
    "rollbackDeployment": "rollback_pending",
    "undeployDeployment": "deployment_not_active",
    "replayWebhook": "replay_from_the_future",
}
# What their answers lead to ends what the next would be about: the tenant, the function.
_ENDING = {"acceptInvitation", "updateFunction"}
_INVITED = "somebody@example.com"
_NUMBERS = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with oidc_issuer() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(issuer: OidcIssuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with httpx.AsyncClient(trust_env=False) as http:
        tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=now)
        folder: Path = tmp_path_factory.mktemp("links")
        async with roomy_world(folder, tokens=tokens, newcomers=Newcomers()) as world:
            yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(shared: World) -> dict[str, Seeded]:
    """What was made for each operation whose answers are followed."""
    return {}


@pytest.mark.parametrize(("source", "status", "link"), _LINKS)
async def test_leads_on(
    shared: World, issuer: OidcIssuer, tenants: dict[str, Seeded], source: str, status: int, link: Said
) -> None:
    one = tenants.get(source) or await seeded(shared)
    if source not in _ENDING:
        tenants[source] = one
    somebody = issuer.token(f"somebody-{next(_NUMBERS)}", email=_INVITED, email_verified=True)
    asked = await _asked(one, source, status)
    async with _client(one, source, somebody) as client:
        made = await client.request(**asked)
    assert made.status_code == status, made.text

    target = link["operationId"]
    async with _client(one, target, somebody) as client:
        led = await client.request(**_followed(one, source, link, asked, made))

    refusal = _REFUSED.get(f"{source} {target}", _REFUSED.get(target))
    assert (None if led.is_success else led.json()["code"]) == refusal, led.text


def _client(one: Seeded, operation: str, somebody: str) -> httpx.AsyncClient:
    """Whoever may ask for it: people accept invitations, and leave what they came to."""
    if operation in ("acceptInvitation", "leaveTenant") and _SAID[operation][2].get("x-permission") != "operate":
        return one.world.client(somebody)
    return one.client(_SAID[operation][2])


async def _asked(one: Seeded, source: str, status: int) -> dict[str, Any]:
    """The operation's example, for something that is new."""
    method, path, said = _SAID[source]
    asked, new = one.request(method, path, said), f"new-{next(_NUMBERS)}"
    kind = path.rpartition("/")[2]
    match source, status:
        case "createProject" | "createTenant" | "createKey", _:
            asked["json"]["name"] = new
        case "createFunction" | "saveFunction" | "updateFunction", _:
            async with one.world.client(one.key) as author:
                files = await the_files(author, one.ids[str(example_ids.PROJECT_ID)])
            asked["json"] |= {"artifactFiles": files} | ({} if source == "updateFunction" else {"name": new})
        case "uploadCode" | "uploadDocker" | "uploadYaml", _:
            asked["files"]["file"] = (NAMES[kind], CONTENTS[kind] + f"# {new}\n".encode())
        case "createWebhook", _:
            asked["json"]["url"] = f"https://ci.example.com/{new}"
        case "addMember", _:
            asked["json"]["personId"] = str(await one.world.person())
        case "inviteMember" | "inviteOwner", _:
            asked["json"]["email"] = f"{new}@example.com"
        case "acceptInvitation", _:
            async with one.world.client(one.key) as owner:
                invitation = {"email": _INVITED, "role": "developer"}
                made = await ask(owner, "POST", "/tenant/invitations", invitation, status=201)
            asked["json"]["invitation"] = made["invitation"]
        case "beginUpload", 201:
            asked["content"] = b""
            asked["headers"]["Upload-Complete"] = "?0"
        case "appendToUpload", _:
            known = CONTENTS["code"]
            asked["content"] = known if status == 200 else known + f"// {new}\n".encode()
            asked["headers"] |= {"Upload-Offset": "0", "Upload-Complete": "?1"}
            begin = one.request(*_SAID["beginUpload"], content=b"", headers={"Upload-Complete": "?0"})
            async with one.world.client(one.key) as client:
                asked["url"] = (await client.request(**begin)).headers["location"]
        case _:
            pass
    if status == 200 and source in ("saveFunction", "uploadCode", "uploadDocker", "uploadYaml", "beginUpload"):
        async with one.world.client(one.key) as author:
            await author.request(**asked)  # Then it is there already.
    return asked


def _followed(one: Seeded, source: str, link: Said, asked: dict[str, Any], made: httpx.Response) -> dict[str, Any]:
    """The request that the link describes; what it leaves open is as in the operation's own example."""

    def value(expression: Any) -> Any:
        match re.split(r"#/|path\.", str(expression)):
            case ["$response.body", name]:
                return made.json()[name]
            case ["$request.body", name]:
                return (asked.get("json") or asked["data"])[name]
            case ["$request.", name]:
                return asked["url"].split("/")[_SAID[source][1].split("/").index("{" + name + "}")]
            case _:
                return one.real(expression)

    method, path, said = _SAID[link["operationId"]]
    for name, expression in link.get("parameters", {}).items():
        path = path.replace("{" + name + "}", value(expression))
    body = {name: value(expression) for name, expression in link.get("requestBody", {}).items()}
    return one.request(method, path, said, **({"json": body} if body else {}))
