"""What each role in the customer's account may do: no more than a deployment from nothing to serving and back needs."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from providers.aws import naming

Statement = dict[str, Any]

LAMBDA = "lambda.amazonaws.com"
SCHEDULER = "scheduler.amazonaws.com"
CODE_BUILD = "codebuild.amazonaws.com"
# What we do with secrets, whose values we cannot read back, and what the function does.
KEEPING = ("secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:TagResource")
OPENING = "secretsmanager:GetSecretValue"


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where in an account a project's things are. `functions` is a pattern for the names of Lambda functions,
    `secrets` for those of secrets."""

    account: str
    region: str
    bucket: str
    code_build_project: str
    ecr_repository: str
    execution_role_arn: str
    role_arn: str
    functions: str = "*"
    secrets: str = f"{naming.ROOT}*"

    @property
    def partition(self) -> str:
        return naming.partition_of(self.region)

    def arn(self, service: str, resource: str, *, region: bool = True) -> str:
        place = self.region if region else ""
        return f"arn:{self.partition}:{service}:{place}:{self.account}:{resource}"

    @property
    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    @property
    def repository_arn(self) -> str:
        return self.arn("ecr", f"repository/{self.ecr_repository}")

    @property
    def project_arn(self) -> str:
        return self.arn("codebuild", f"project/{self.code_build_project}")

    @property
    def build_log_arn(self) -> str:
        return self.arn("logs", f"log-group:/aws/codebuild/{self.code_build_project}")

    @property
    def function_arn(self) -> str:
        return self.arn("lambda", f"function:{self.functions}")

    @property
    def secrets_arn(self) -> str:
        return self.arn("secretsmanager", f"secret:{self.secrets}")


def of_deployer(places: Places) -> list[Statement]:
    """The role that our token becomes."""
    return [
        *of_staging(places),
        _allow(
            "Building",
            places.project_arn,
            "codebuild:BatchGetBuilds",
            "codebuild:BatchGetProjects",
            "codebuild:ListBuildsForProject",
            "codebuild:StartBuild",
            "codebuild:StopBuild",
        ),
        _allow("BuildLog", f"{places.build_log_arn}:log-stream:*", "logs:GetLogEvents"),
        _allow(
            "Images",
            places.repository_arn,
            "ecr:BatchDeleteImage",
            "ecr:BatchGetImage",
            "ecr:DescribeImages",
            "ecr:DescribeRepositories",
            "ecr:GetDownloadUrlForLayer",
            "ecr:PutImage",
        ),
        _allow(
            "Functions",
            [places.function_arn, f"{places.function_arn}:*"],
            "lambda:AddPermission",
            "lambda:CreateAlias",
            "lambda:CreateFunction",
            "lambda:CreateFunctionUrlConfig",
            "lambda:DeleteAlias",
            "lambda:DeleteFunction",
            "lambda:DeleteFunctionUrlConfig",
            "lambda:GetAlias",
            "lambda:GetFunction",
            "lambda:GetFunctionConfiguration",
            "lambda:GetFunctionUrlConfig",
            "lambda:GetPolicy",
            "lambda:InvokeFunction",
            "lambda:ListTags",
            "lambda:ListVersionsByFunction",
            "lambda:PublishVersion",
            "lambda:RemovePermission",
            "lambda:TagResource",
            "lambda:UpdateAlias",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
            "lambda:UpdateFunctionUrlConfig",
        ),
        {
            **_allow("RunAs", places.execution_role_arn, "iam:PassRole"),
            "Condition": {"StringEquals": {"iam:PassedToService": [LAMBDA, SCHEDULER]}},
        },
        _allow(
            "Schedules",
            places.arn("scheduler", "schedule/default/dcf-*"),
            "scheduler:CreateSchedule",
            "scheduler:DeleteSchedule",
            "scheduler:GetSchedule",
            "scheduler:UpdateSchedule",
        ),
        _allow("Secrets", places.secrets_arn, *KEEPING),
        _allow("Looking", places.execution_role_arn, "iam:GetRole", "iam:SimulatePrincipalPolicy"),
        _allow("LookingAtItself", places.role_arn, "iam:SimulatePrincipalPolicy"),
    ]


def of_staging(places: Places) -> list[Statement]:
    """The part that is about the bucket."""
    return [
        _allow("Bucket", places.bucket_arn, "s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"),
        _allow(
            "Staging",
            f"{places.bucket_arn}/{naming.ROOT}*",
            "s3:AbortMultipartUpload",
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:ListMultipartUploadParts",
            "s3:PutObject",
        ),
    ]


def of_builder(places: Places) -> list[Statement]:
    """The role that CodeBuild works as."""
    return [
        _allow(
            "Log",
            [places.build_log_arn, f"{places.build_log_arn}:*"],
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ),
        _allow("Sources", f"{places.bucket_arn}/{naming.ROOT}*", "s3:GetObject", "s3:GetObjectVersion"),
        _allow("SourcesPlace", places.bucket_arn, "s3:GetBucketLocation", "s3:ListBucket"),
        _allow("SignIn", "*", "ecr:GetAuthorizationToken"),
        _allow(
            "Images",
            places.repository_arn,
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        ),
    ]


def of_function(places: Places) -> list[Statement]:
    """The role that functions run as, and that EventBridge Scheduler calls them as."""
    return [
        _allow(
            "Log",
            places.arn("logs", "log-group:/aws/lambda/*"),
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ),
        _allow("Schedules", f"{places.function_arn}:{naming.LIVE}", "lambda:InvokeFunction"),
        _allow("Secrets", places.secrets_arn, OPENING),
    ]


def trusting(account: str, *services: str) -> dict[str, Any]:
    """A trust policy for Amazon's own services; for all that say for which account they act, for this one only."""
    statements = [{"Effect": "Allow", "Principal": {"Service": name}, "Action": "sts:AssumeRole"} for name in services]
    for statement in statements:
        if statement["Principal"] != {"Service": LAMBDA}:  # It does not say so.
            statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return {"Version": "2012-10-17", "Statement": statements}


def of_repository(places: Places) -> dict[str, Any]:
    """What lets Lambda take images from the repository, for functions of this account only."""
    statement = {
        "Sid": "Lambda",
        "Effect": "Allow",
        "Principal": {"Service": LAMBDA},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Condition": {"StringLike": {"aws:sourceArn": places.arn("lambda", "function:*")}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy(statements: list[Statement]) -> dict[str, Any]:
    """A policy document of these statements."""
    return {"Version": "2012-10-17", "Statement": statements}


def encoded(policy: dict[str, Any]) -> str:
    """As a command takes it."""
    return json.dumps(policy, separators=(",", ":"))


def _allow(sid: str, resource: str | list[str], *actions: str) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
