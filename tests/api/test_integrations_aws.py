"""Connecting to AWS over HTTP, over a provider that sees what it is told to."""

from __future__ import annotations

import json
from uuid import UUID

import httpx
import msgspec
import pytest

from domain.clouds import AwsIdentity, AwsNamed, Identity
from providers.provider import Finding, Step
from providers.simulated.provider import SimulatedProvider
from tests.api.steps import a_project, ask, fields_of, is_problem
from tests.api.world import World

ROLE = {"roleArn": "arn:aws:iam::123456789012:role/dcf-deployer", "region": "eu-west-1"}
BUCKET = {"bucket": "acme-functions", "region": "eu-west-1"}


class Amazon(SimulatedProvider):
    """The simulated provider, which also looks at what is named, and notes it."""

    def __init__(self) -> None:
        super().__init__(1, clock=lambda: 0.0)
        self.asked: list[tuple[Identity, AwsNamed]] = []
        self.status: str = "verified"

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        return await self.verify_named(tenant_id, project_id, identity, AwsNamed())

    async def verify_named(self, tenant_id: UUID, project_id: UUID, identity: Identity, named: AwsNamed) -> Finding:
        self.asked.append((identity, named))
        step = Step(name="assume_role", status="passed", message="The project may act as the role.")
        return msgspec.convert({"status": self.status, "steps": [msgspec.to_builtins(step)]}, Finding)


@pytest.fixture
def amazon(world: World) -> Amazon:
    made = Amazon()
    world.services.providers["aws"] = made  # type: ignore[index] # the world's own dictionary
    return made


@pytest.fixture
async def path(client: httpx.AsyncClient) -> str:
    return f"/projects/{await a_project(client)}/integrations/aws"


class TestSetupCommands:
    async def test_trust_this_project_alone_and_are_the_same_when_asked_again(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        shown = await ask(client, "GET", f"{path}/oidc/setup-commands")
        asked = await ask(client, "POST", f"{path}/oidc/setup-commands", {})

        template = json.loads(shown["cloudFormationTemplate"])
        [trust] = template["Resources"]["Role"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        project_id = path.split("/")[2]
        assert shown == asked
        assert shown["subject"].endswith(f":project:{project_id}")
        assert shown["subject"] in trust["Condition"]["StringEquals"].values()
        assert [step["name"] for step in shown["steps"]][-1] == "code_build_project"

    async def test_use_the_names_that_were_asked_for(self, client: httpx.AsyncClient, path: str) -> None:
        wanted = {"accountId": "123456789012", "region": "us-east-1", "roleName": "mine", "ecrRepository": "team/f"}

        made = (await ask(client, "POST", f"{path}/oidc/setup-commands", wanted))["makes"]

        assert made["roleArn"] == "arn:aws:iam::123456789012:role/mine"
        assert (made["region"], made["ecrRepository"]) == ("us-east-1", "team/f")
        assert made["bucket"].endswith("-123456789012")

    @pytest.mark.parametrize("wanted", [{"accountId": "12"}, {"roleName": "a;b"}, {"bucket": "Ä"}, {"secretKey": "x"}])
    async def test_refuse_what_no_account_takes(
        self, client: httpx.AsyncClient, path: str, wanted: dict[str, str]
    ) -> None:
        answer = await client.post(f"/api/v1{path}/oidc/setup-commands", json=wanted)

        assert is_problem(answer, 422, "body_invalid")


class TestVerifyAws:
    async def test_connects_the_role_and_looks_again_when_nothing_is_named(
        self, client: httpx.AsyncClient, path: str, amazon: Amazon
    ) -> None:
        seen = await ask(client, "POST", f"{path}/oidc/verify", ROLE)
        again = await ask(client, "POST", f"{path}/oidc/verify", {})

        shown = await ask(client, "GET", path)
        assert seen == again
        assert (shown["status"], shown["identity"]) == ("verified", {"provider": "aws", **ROLE})
        role = AwsIdentity(role_arn=ROLE["roleArn"], region=ROLE["region"])
        assert amazon.asked == [(role, AwsNamed()), (role, AwsNamed())]

    async def test_keeps_the_role_and_says_what_is_wrong_when_it_fails(
        self, client: httpx.AsyncClient, path: str, amazon: Amazon
    ) -> None:
        amazon.status = "failed"

        seen = await ask(client, "POST", f"{path}/oidc/verify", ROLE)

        shown = await ask(client, "GET", path)
        assert seen["status"] == shown["status"] == "failed"
        assert shown["identity"]["roleArn"] == ROLE["roleArn"]

    async def test_looks_at_what_is_named_for_deployments(
        self, client: httpx.AsyncClient, path: str, amazon: Amazon
    ) -> None:
        wanted = {"codeBuildProject": "dcf-build", "functionName": "hello"}
        await ask(client, "POST", f"{path}/oidc/verify", {**ROLE, **wanted})
        before = amazon.asked[-1][1]
        await ask(client, "POST", f"{path}/bucket/check", BUCKET)
        await ask(client, "POST", f"{path}/oidc/verify", wanted)

        assert before == AwsNamed(code_build_project="dcf-build", function_name="hello")
        assert amazon.asked[-1][1] == msgspec.structs.replace(before, bucket=BUCKET["bucket"])

    @pytest.mark.parametrize(("given", "missing"), [("roleArn", "region"), ("region", "roleArn")])
    async def test_refuses_a_role_without_its_region(
        self, client: httpx.AsyncClient, path: str, given: str, missing: str
    ) -> None:
        answer = await client.post(f"/api/v1{path}/oidc/verify", json={given: ROLE[given]})

        assert is_problem(answer, 422, "role_incomplete")
        assert fields_of(answer) == [missing]

    async def test_refuses_to_look_again_at_what_is_not_connected(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.post(f"/api/v1{path}/oidc/verify", json={})

        assert is_problem(answer, 404, "integration_not_found")


class TestBucket:
    async def test_is_checked_then_saved_and_gone_once_disconnected(
        self, client: httpx.AsyncClient, path: str, amazon: Amazon
    ) -> None:
        await ask(client, "POST", f"{path}/oidc/verify", ROLE)
        refused = await client.post(f"/api/v1{path}/bucket/config", json=BUCKET)
        await ask(client, "POST", f"{path}/bucket/check", BUCKET)

        saved = await ask(client, "POST", f"{path}/bucket/config", BUCKET)
        gone = await ask(client, "POST", f"{path}/disconnect", {})

        assert is_problem(refused, 409, "storage_not_checked")
        assert saved["storage"] == {"provider": "aws", **BUCKET}
        assert (gone["status"], gone["storage"]) == ("disconnected", None)
