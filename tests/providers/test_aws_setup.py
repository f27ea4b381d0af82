"""What a customer runs in AWS: a template that Amazon's own linter takes, and policies that name one project only."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from domain.clouds import AwsIdentity, AwsNamed, AwsStorage
from providers.aws.naming import session_name
from providers.aws.provider import AwsProvider
from providers.aws.setup import AwsSetup, Wanted, setup
from providers.issuer import Issuer, Keyring
from providers.provider import Finding
from tests.emulators.aws.account import REGION
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.aws.stacks import Stack
from tests.emulators.background import Background
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known

TENANT, PROJECT = UUID(int=1), UUID(int=2)


class _Source:
    issuer = "https://dcf.example"
    keys_url = "https://dcf.example/.well-known/jwks.json"

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        return f"tenant:{tenant_id}:project:{project_id}"

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        return "a.token.of.ours"


def _setup(wanted: Wanted) -> AwsSetup:
    return setup(_Source(), TENANT, PROJECT, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(Wanted(), id="nothing-known", marks=pytest.mark.proof),
        pytest.param(Wanted(account_id="123456789012", region="us-east-1"), id="account-known"),
        pytest.param(Wanted(region="cn-north-1"), id="china", marks=pytest.mark.proof),
    ],
)
def test_the_template_is_one_that_cloudformation_takes(wanted: Wanted, tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    template.write_text(_setup(wanted).cloud_formation_template)

    linted = subprocess.run(
        (Path(sys.executable).with_name("cfn-lint"), template), capture_output=True, text=True, check=False, timeout=110
    )

    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_role_trusts_the_tokens_of_this_project_only() -> None:
    made = json.loads(_setup(Wanted()).cloud_formation_template)

    [statement] = made["Resources"]["Role"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {
            "dcf.example:aud": "sts.amazonaws.com",
            "dcf.example:sub": f"tenant:{TENANT}:project:{PROJECT}",
        }
    }


def test_the_script_is_one_that_a_shell_takes() -> None:
    script = _setup(Wanted()).script

    checked = subprocess.run(("bash", "-n"), input=script, capture_output=True, text=True, check=False, timeout=60)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert 'dcf-000000000002-"$ACCOUNT_ID"' in script


def test_secrets_are_those_of_this_project_alone_and_the_deployer_reads_none() -> None:
    made = json.loads(_setup(Wanted(account_id="123456789012", region="us-east-1")).cloud_formation_template)[
        "Resources"
    ]

    rights = {}
    for role in ("Role", "ExecutionRole", "BuilderRole"):
        [policy] = made[role]["Properties"]["Policies"]
        statements = policy["PolicyDocument"]["Statement"]
        rights[role] = [one for one in statements if "secretsmanager" in str(one["Action"])]

    place = f"secret:dcf/{PROJECT.hex}/*"
    assert [
        str(one["Resource"]).partition("secretsmanager:us-east-1:")[2].endswith(f"{place}'}}") for one in rights["Role"]
    ] == [True]
    assert "GetSecretValue" not in str(rights["Role"])
    assert [one["Action"] for one in rights["ExecutionRole"]] == [["secretsmanager:GetSecretValue"]]
    assert rights["BuilderRole"] == []


# moto makes the roles of a template, and says of what else it does not make.
@pytest.mark.filterwarnings("ignore:Tried to parse AWS:UserWarning")
@pytest.mark.proof
def test_the_template_and_the_commands_make_the_same_roles(tmp_path: Path) -> None:
    """*Method:* one account by each; what their roles may do and whom they trust is compared."""
    wanted, made = Wanted(region=REGION), []
    for way in ("commands", "template"):
        cloud = AwsCloud(workshop(tmp_path / way, TOOLCHAIN_DIR, real=False))
        shown = _setup(msgspec.structs.replace(wanted, account_id=cloud.account.id))
        if way == "commands":
            for line in (line for step in shown.steps for line in step.commands):
                cloud.shell.obey(line)
        else:
            cloud.amazon.client("cloudformation").create_stack(
                StackName="dcf", TemplateBody=shown.cloud_formation_template, Capabilities=["CAPABILITY_NAMED_IAM"]
            )
        made.append(_roles(cloud).replace(cloud.account.id, "ACCOUNT"))
        cloud.close()

    assert made[0] == made[1]
    assert made[0].count("secretsmanager:GetSecretValue") == 1


def _roles(cloud: AwsCloud) -> str:
    iam = cloud.amazon.client("iam")
    roles = {
        role["RoleName"]: [
            role["AssumeRolePolicyDocument"],
            _document(iam.get_role_policy(RoleName=role["RoleName"], PolicyName="dcf")["PolicyDocument"]),
        ]
        for role in iam.list_roles()["Roles"]
    }
    return json.dumps(roles, sort_keys=True)


def _document(kept: Any) -> Any:
    """What moto keeps of a template's policies is how Python writes them."""
    return ast.literal_eval(kept) if isinstance(kept, str) else kept


class TestTheTemplateAndTheCommands:
    def test_make_the_same_and_it_is_all_that_is_asked_for(self, tmp_path: Path) -> None:
        """
        Goal: whichever a customer runs, there is the same in the account, and every check passes.
        Method: one account by each, by Amazon's own calls; all there is in them is compared, then looked at by us.
        """
        published = Background()
        issuer = Issuer(Keyring(tmp_path / "keys.json"), lambda: f"http://127.0.0.1:{port}")
        port = published.serve(well_known(issuer))
        made, seen = [], []
        for way in ("commands", "template"):
            cloud = AwsCloud(workshop(tmp_path / way, TOOLCHAIN_DIR, real=False))
            shown = setup(issuer, TENANT, PROJECT, Wanted(region=REGION, account_id=cloud.account.id))
            if way == "commands":
                for line in (line for step in shown.steps for line in step.commands):
                    cloud.shell.obey(line)
            else:
                stack = Stack(cloud.amazon.client, cloud.account.id, REGION)
                stack.make(json.loads(shown.cloud_formation_template))
            made.append(json.loads(_everything(cloud, shown.makes.bucket).replace(cloud.account.id, "ACCOUNT")))
            seen.append(asyncio.run(_looked_at(cloud, issuer, shown)))
            cloud.close()
        published.close()

        assert made[0] == made[1]
        assert {len(made[0][kind]) for kind in ("providers", "repositories", "projects")} == {1}
        assert len(made[0]["roles"]) == 3
        for findings in seen:
            assert [step for finding in findings for step in finding.steps if step.status != "passed"] == []


async def _looked_at(cloud: AwsCloud, issuer: Issuer, shown: AwsSetup) -> tuple[Finding, Finding]:
    """What verifying the identity with all that is named, and checking the bucket, sees."""
    provider = AwsProvider(issuer, cloud.amazon.endpoints)
    identity = AwsIdentity(role_arn=shown.makes.role_arn, region=REGION)
    named = AwsNamed(
        code_build_project=shown.makes.code_build_project,
        ecr_repository=shown.makes.ecr_repository,
        execution_role_arn=shown.makes.execution_role_arn,
    )
    storage = AwsStorage(bucket=shown.makes.bucket, region=REGION)
    try:
        return (
            await provider.verify_named(TENANT, PROJECT, identity, named),
            await provider.check_storage(TENANT, PROJECT, identity, storage),
        )
    finally:
        await provider.close()


def _everything(cloud: AwsCloud, bucket: str) -> str:
    """All that somebody set up in the account."""
    iam, s3 = cloud.amazon.client("iam"), cloud.amazon.client("s3")
    providers = [
        iam.get_open_id_connect_provider(OpenIDConnectProviderArn=one["Arn"])
        for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    ]
    kept = {
        "name": bucket,
        "place": s3.get_bucket_location(Bucket=bucket)["LocationConstraint"],
        "closed": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        "rules": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
    }
    repositories = [
        {"name": one.name, "immutable": one.immutable, "policy": json.loads(one.policy), "tags": one.labels}
        for one in cloud.amazon.images.repositories.values()
    ]
    said = {
        "providers": [{key: one[key] for key in ("Url", "ClientIDList", "Tags")} for one in providers],
        "roles": json.loads(_roles(cloud)),
        "tags": {
            one["RoleName"]: iam.list_role_tags(RoleName=one["RoleName"])["Tags"] for one in iam.list_roles()["Roles"]
        },
        "bucket": kept,
        "repositories": repositories,
        "projects": list(cloud.amazon.builds.projects.values()),
    }
    return json.dumps(said, sort_keys=True)


class TestTheNamesAndSizes:
    @pytest.mark.parametrize("wanted", [Wanted(), Wanted(account_id="123456789012", region="us-gov-west-1")])
    def test_stay_within_what_amazon_takes(self, wanted: Wanted) -> None:
        """*Goal:* no step of the setup is refused for its size, however long the address of the service is."""
        source = _Source()
        source.issuer = f"https://{'a' * 60}.{'b' * 60}.example/service"
        shown = setup(source, TENANT, PROJECT, wanted)

        template = json.loads(shown.cloud_formation_template)
        roles = [one["Properties"] for one in template["Resources"].values() if one["Type"] == "AWS::IAM::Role"]
        assert len(shown.cloud_formation_template.encode()) <= 51_200
        for role in roles:
            assert len(role["RoleName"]) <= 64
            assert len(json.dumps(role["AssumeRolePolicyDocument"], separators=(",", ":"))) <= 2048
            written = "".join(json.dumps(one["PolicyDocument"]) for one in role["Policies"])
            assert len(re.sub(r"\s", "", written)) <= 10_240
        assert len(shown.makes.bucket.replace("ACCOUNT_ID", "1" * 12)) <= 63
        assert len(session_name(TENANT, PROJECT)) <= 64
