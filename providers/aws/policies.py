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
# Without any of these a build fails; what it may do beside them makes it faster.
_LOGGING = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
_FETCHING = "s3:GetObject"
_SIGNING_IN = "ecr:GetAuthorizationToken"
_PUSHING = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
_RUNNING = (
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
)
SCHEDULING = (
    "scheduler:CreateSchedule",
    "scheduler:DeleteSchedule",
    "scheduler:GetSchedule",
    "scheduler:UpdateSchedule",
)
# What lets everybody call a Function URL.
PUBLISHING = ("lambda:AddPermission", "lambda:UpdateFunctionUrlConfig")


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """Actions that a role has to be allowed on one thing."""

    resource: str
    actions: tuple[str, ...]


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
    builder_role_arn: str = ""
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
            *_RUNNING,
        ),
        {
            **_allow("RunAs", places.execution_role_arn, "iam:PassRole"),
            "Condition": {"StringEquals": {"iam:PassedToService": [LAMBDA, SCHEDULER]}},
        },
        _allow(
            "Schedules",
            places.arn("scheduler", "schedule/default/dcf-*"),
            *SCHEDULING,
        ),
        _allow("Secrets", places.secrets_arn, *KEEPING),
        _allow(
            "Looking",
            [places.execution_role_arn, places.builder_role_arn],
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
        ),
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
            *_LOGGING,
        ),
        _allow("Sources", f"{places.bucket_arn}/{naming.ROOT}*", _FETCHING, "s3:GetObjectVersion"),
        _allow("SourcesPlace", places.bucket_arn, "s3:GetBucketLocation", "s3:ListBucket"),
        _allow("SignIn", "*", _SIGNING_IN),
        _allow(
            "Images",
            places.repository_arn,
            "ecr:GetDownloadUrlForLayer",
            *_PUSHING,
        ),
    ]


def needed_to_build(places: Places, log_group: str) -> tuple[Needed, ...]:
    """What that role cannot do without; of a log, a bucket or a repository that is not named nothing."""
    needed = [Needed(resource="*", actions=(_SIGNING_IN,))]
    if log_group:
        log = places.arn("logs", f"log-group:{log_group}")
        needed.append(Needed(resource=log, actions=_LOGGING[:1]))
        needed.append(Needed(resource=f"{log}:log-stream:*", actions=_LOGGING[1:]))
    if places.bucket:
        needed.append(Needed(resource=f"{places.bucket_arn}/{naming.ROOT}*", actions=(_FETCHING,)))
    if places.ecr_repository:
        needed.append(Needed(resource=places.repository_arn, actions=_PUSHING))
    return tuple(needed)


def needed_to_run(places: Places) -> tuple[Needed, ...]:
    """What the project's role cannot do without to run functions of these names."""
    return tuple(
        Needed(resource=resource, actions=_RUNNING)
        for resource in (places.function_arn, f"{places.function_arn}:{naming.LIVE}")
    )


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


def allow(needed: Needed) -> Statement:
    """The statement that lets a role do it."""
    return {"Effect": "Allow", "Action": list(needed.actions), "Resource": needed.resource}


def encoded(policy: dict[str, Any]) -> str:
    """As a command takes it."""
    return json.dumps(policy, separators=(",", ":"))


def _allow(sid: str, resource: str | list[str], *actions: str) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
