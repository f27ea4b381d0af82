"""Which action each operation is, and what it is about."""

from __future__ import annotations

from typing import Any

from tests.emulators.aws.account import Account
from tests.emulators.aws.schema import Asked

_S3 = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "UploadPart": "s3:PutObject",
}


def action_of(asked: Asked) -> str:
    """Such as `lambda:InvokeFunction`."""
    if asked.service == "s3":
        return _S3.get(asked.name, f"s3:{asked.name}")
    name = "InvokeFunction" if (asked.service, asked.name) == ("lambda", "Invoke") else asked.name
    return f"{asked.service}:{name}"


def actions_of(asked: Asked) -> tuple[str, ...]:
    """All that one must be allowed for it: what is made with tags is tagged too."""
    tags = asked.service == "secretsmanager" and asked.parameters.get("Tags")
    return (action_of(asked), "secretsmanager:TagResource") if tags else (action_of(asked),)


def resource_of(asked: Asked, account: Account) -> str:
    """The ARN that policies name it by; `*` where an action is about nothing in particular."""
    given = asked.parameters
    match asked.service:
        case "s3":
            key = f"/{given['Key']}" if given.get("Key") else ""
            return f"arn:aws:s3:::{given['Bucket']}{key}"
        case "lambda":
            qualifier = f":{given['Qualifier']}" if given.get("Qualifier") else ""
            return account.arn("lambda", f"function:{given['FunctionName']}{qualifier}")
        case "codebuild":
            return account.arn("codebuild", f"project/{_project(given)}")
        case "ecr":
            name = given.get("repositoryName") or (given.get("repositoryNames") or ["*"])[0]
            return account.arn("ecr", f"repository/{name}")
        case "logs":
            return account.arn("logs", f"log-group:{given['logGroupName']}:log-stream:{given['logStreamName']}")
        case "secretsmanager":
            name = str(given.get("Name") or given.get("SecretId"))
            return name if name.startswith("arn:") else account.arn("secretsmanager", f"secret:{name}-AbCdEf")
        case "scheduler":
            return account.arn("scheduler", f"schedule/{given.get('GroupName') or 'default'}/{given['Name']}")
        case "kms":
            return str(given.get("KeyId") or "*")
        case "iam":
            name = given.get("RoleName")
            return f"arn:aws:iam::{account.id}:role/{name}" if name else str(given.get("PolicySourceArn", "*"))
        case _:
            return "*"


def context_of(asked: Asked) -> dict[str, str]:
    """What conditions may be about, of the actions whose conditions anybody here uses."""
    given = asked.parameters
    kinds = {"lambda:FunctionUrlAuthType": given.get("FunctionUrlAuthType") or given.get("AuthType")}
    return {name: str(value) for name, value in kinds.items() if asked.service == "lambda" and value}


def _project(given: dict[str, Any]) -> str:
    if named := given.get("projectName") or given.get("name"):
        return str(named)
    if names := given.get("names"):
        return str(names[0])
    build = given.get("id") or (given.get("ids") or ["*"])[0]
    return str(build).partition(":")[0]
