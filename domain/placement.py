"""Whether a cloud takes a release as it is to be: its target beside how the project is connected, and its variables.

Only what the cloud would refuse once everything was built is looked at. The limits are the vendors' own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import assert_never

import msgspec

from domain.clouds import (
    AwsIdentity,
    AwsStorage,
    AwsTarget,
    AzureTarget,
    GcpTarget,
    Identity,
    LocalTarget,
    Storage,
    Target,
)
from domain.function import EnvironmentTooLarge
from domain.refusal import FieldError, Invalid

# All of a function's variables together, as Lambda counts them: JSON, with ours.
LAMBDA_BYTES_MAX = 4096
# What the adapter reads; the values are those that a version is given.
LAMBDA_OWN: Mapping[str, str] = {"AWS_LWA_PORT": "8080", "AWS_LWA_READINESS_CHECK_PATH": "/", "PORT": "8080"}
# Names where secrets are kept: `dcf/{project}/{function}-{place}/`, and behind it ` NAME={value id}` for each.
LAMBDA_SECRETS = "DCF_SECRETS"
_LAMBDA_ROOT_CHARACTERS, _VALUE_ID_CHARACTERS = 87, 32
# Lambda sets these itself and refuses whoever gives them.
_LAMBDAS = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }
)
# The adapter's: another port or path, and nothing would reach the function.
_ADAPTERS = frozenset({"AWS_LWA_PORT", "AWS_LWA_READINESS_CHECK_PATH", "AWS_LWA_READINESS_CHECK_PORT"})
_CLOUD_RUNS, _CLOUD_RUNS_PREFIX = frozenset({"K_SERVICE", "K_REVISION", "K_CONFIGURATION"}), "X_GOOGLE_"
_CONTAINER_APPS = frozenset({"CONTAINER_APP_NAME", "CONTAINER_APP_REVISION", "CONTAINER_APP_REPLICA_NAME"})


class TargetNotTaken(Invalid):
    """The target does not fit how the project is connected."""

    code = "target_not_taken"
    remedy = "Give a target of the account and region that the project is connected to."


class VariableReserved(Invalid):
    """A variable or secret has a name that the cloud keeps to itself."""

    code = "environment_reserved"
    remedy = "Rename it."


class VariableNameRefused(Invalid):
    """A variable or secret has a name that the cloud does not take."""

    code = "environment_invalid"
    remedy = "Rename it."


def check_target(target: Target, identity: Identity | None, storage: Storage | None) -> None:
    """Raise TargetNotTaken unless the target can be deployed to by this identity from this storage."""
    if (
        not isinstance(target, AwsTarget)
        or not isinstance(identity, AwsIdentity)
        or not isinstance(storage, AwsStorage)
    ):
        return
    if target.role_arn != identity.role_arn:
        raise _not_taken(
            "roleArn",
            f"The target names {target.role_arn}, and the project is connected as {identity.role_arn}.",
            "Name the connected role as roleArn, or verify the other one: POST …/aws/oidc/verify.",
        )
    if storage.region != target.region:
        raise _not_taken(
            "region",
            f"The bucket {storage.bucket} is in {storage.region}; CodeBuild in {target.region} reads only from there.",
            f"Check and save a bucket in {target.region}, or deploy to {storage.region}.",
        )
    if _owner(target.execution_role_arn) != _owner(target.role_arn):
        raise _not_taken(
            "executionRoleArn",
            f"{target.execution_role_arn} is in another account than {target.role_arn}; Lambda takes roles of its own only.",
            "Name a role of the account that is deployed to.",
        )


def check_variables(environment: Mapping[str, str], secrets: Collection[str], target: Target) -> None:
    """Raise VariableReserved, VariableNameRefused or EnvironmentTooLarge unless the cloud takes them; `secrets` are names."""
    names = {**dict.fromkeys(environment, "environment"), **dict.fromkeys(secrets, "secrets")}
    match target:
        case LocalTarget():
            return
        case AwsTarget():
            _refuse_reserved(names, "Lambda", [name for name in names if name in _LAMBDAS | _ADAPTERS])
            if bad := sorted(name for name in names if len(name) < 2 or name.startswith("_")):
                raise VariableNameRefused(
                    f"Lambda takes names of two characters and more that begin with a letter, not {', '.join(bad)}.",
                    errors=_fields(names, bad, "Lambda does not take it"),
                )
            if (size := lambda_bytes(environment, secrets)) > LAMBDA_BYTES_MAX:
                raise EnvironmentTooLarge(
                    f"The variables and the names of the secrets are {size} bytes together; Lambda takes {LAMBDA_BYTES_MAX}.",
                    errors=(FieldError(field="environment", message=f"{size} bytes, of {LAMBDA_BYTES_MAX}"),),
                )
        case GcpTarget(runtime_target="cloud_run"):
            taken = [name for name in names if name in _CLOUD_RUNS or name.startswith(_CLOUD_RUNS_PREFIX)]
            _refuse_reserved(names, "Cloud Run", taken)
        case GcpTarget():
            return
        case AzureTarget():
            _refuse_reserved(names, "Container Apps", [name for name in names if name in _CONTAINER_APPS])
        case _:
            assert_never(target)


def lambda_bytes(environment: Mapping[str, str], secrets: Collection[str]) -> int:
    """How many bytes of variables a version is given, ours with them."""
    given = {**environment, **LAMBDA_OWN}
    if secrets:
        pairs = sum(len(f" {name}=") + _VALUE_ID_CHARACTERS for name in secrets)
        given[LAMBDA_SECRETS] = "x" * (_LAMBDA_ROOT_CHARACTERS + pairs)
    return len(msgspec.json.encode(given))


def _refuse_reserved(names: Mapping[str, str], cloud: str, taken: Iterable[str]) -> None:
    if taken := sorted(taken):
        raise VariableReserved(
            f"These names are reserved by {cloud}: {', '.join(taken)}.",
            errors=_fields(names, taken, f"reserved by {cloud}"),
        )


def _fields(names: Mapping[str, str], wrong: Iterable[str], message: str) -> tuple[FieldError, ...]:
    return tuple(FieldError(field=f"{names[name]}.{name}", message=message) for name in wrong)


def _not_taken(field: str, detail: str, remedy: str) -> TargetNotTaken:
    errors = (FieldError(field=f"target.{field}", message="does not fit how the project is connected"),)
    return TargetNotTaken(detail, errors=errors, remedy=remedy)


def _owner(role_arn: str) -> tuple[str, ...]:
    """The part of Amazon's world and the account that a role is of."""
    return tuple(role_arn.split(":")[1:5:3])
