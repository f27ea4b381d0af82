"""What a customer runs in AWS: a template that Amazon's own linter takes, and policies that name one project only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from providers.aws.setup import AwsSetup, Wanted, setup

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
