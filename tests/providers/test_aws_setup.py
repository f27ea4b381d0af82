"""What a customer runs in AWS: a template that Amazon's own linter takes, and policies that name one project only."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from providers.aws.setup import AwsSetup, Wanted, setup
from tests.emulators.aws.account import REGION
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR

TENANT, PROJECT = UUID(int=1), UUID(int=2)


class _Source:
    issuer = "https://dcf.example"

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        return f"tenant:{tenant_id}:project:{project_id}"

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        return "a.token.of.ours"


def _setup(wanted: Wanted) -> AwsSetup:
    return setup(_Source(), TENANT, PROJECT, wanted)


@pytest.mark.parametrize(
    "wanted",
    [Wanted(), Wanted(account_id="123456789012", region="us-east-1"), Wanted(region="cn-north-1")],
    ids=["nothing-known", "account-known", "china"],
)
def test_the_template_is_one_that_cloudformation_takes(wanted: Wanted, tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    template.write_text(_setup(wanted).cloud_formation_template)

    linted = subprocess.run(
        (Path(sys.executable).with_name("cfn-lint"), template), capture_output=True, text=True, check=False, timeout=60
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

    checked = subprocess.run(("bash", "-n"), input=script, capture_output=True, text=True, check=False, timeout=10)

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
