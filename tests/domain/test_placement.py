"""What a cloud would refuse once everything was built is refused before anything is queued."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.clouds import AwsIdentity, AwsStorage, AwsTarget, AzureTarget, GcpTarget, LocalTarget, Target
from domain.function import EnvironmentTooLarge
from domain.placement import (
    LAMBDA_BYTES_MAX,
    TargetNotTaken,
    VariableNameRefused,
    VariableReserved,
    check_target,
    check_variables,
    lambda_bytes,
)

_ROLE = "arn:aws:iam::123456789012:role/"
IDENTITY = AwsIdentity(role_arn=f"{_ROLE}dcf", region="eu-west-1")
STORAGE = AwsStorage(bucket="acme-functions", region="eu-west-1")
AWS = AwsTarget(
    region="eu-west-1",
    function_name="greet",
    role_arn=f"{_ROLE}dcf",
    code_build_project="dcf-build",
    ecr_repository="dcf-functions",
    execution_role_arn=f"{_ROLE}dcf-function",
)
AZURE = AzureTarget(
    subscription_id="s", resource_group="g", region="r", registry="acme", environment_name="e", app_name="greet"
)
CLOUD_RUN = GcpTarget(project_id="p", region="r", artifact_repository="a", runtime_target="cloud_run")
GKE = msgspec.structs.replace(CLOUD_RUN, runtime_target="gke")


class TestCheckTarget:
    def test_takes_what_fits(self) -> None:
        check_target(AWS, IDENTITY, STORAGE)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"role_arn": f"{_ROLE}other"}, "target.roleArn"),
            ({"region": "us-east-1"}, "target.region"),
            ({"execution_role_arn": "arn:aws:iam::999999999999:role/f"}, "target.executionRoleArn"),
            ({"execution_role_arn": "arn:aws-cn:iam::123456789012:role/f"}, "target.executionRoleArn"),
        ],
    )
    def test_names_the_field_that_does_not_fit_and_what_mends_it(self, changes: dict[str, str], field: str) -> None:
        with pytest.raises(TargetNotTaken) as refusal:
            check_target(msgspec.structs.replace(AWS, **changes), IDENTITY, STORAGE)

        assert [error.field for error in refusal.value.errors] == [field]
        assert refusal.value.remedy


class TestCheckVariables:
    @pytest.mark.parametrize("target", [LocalTarget(), AWS, AZURE, CLOUD_RUN, GKE])
    def test_takes_what_anybody_would(self, target: Target) -> None:
        check_variables({"GREETING": "Hello"}, ["TOKEN"], target)

    @pytest.mark.parametrize(
        ("target", "environment", "secrets", "kind", "field"),
        [
            (AWS, {"AWS_REGION": "x"}, [], VariableReserved, "environment.AWS_REGION"),
            (AWS, {"AWS_LWA_PORT": "1"}, [], VariableReserved, "environment.AWS_LWA_PORT"),
            (AWS, {}, ["AWS_SESSION_TOKEN"], VariableReserved, "secrets.AWS_SESSION_TOKEN"),
            (AWS, {"X": "x"}, [], VariableNameRefused, "environment.X"),
            (AWS, {}, ["_TOKEN"], VariableNameRefused, "secrets._TOKEN"),
            (AWS, {"LARGE": "x" * 4096}, [], EnvironmentTooLarge, "environment"),
            (AWS, {}, [f"TOKEN_{'X' * 30}_{n}" for n in range(60)], EnvironmentTooLarge, "environment"),
            (CLOUD_RUN, {"K_SERVICE": "x"}, [], VariableReserved, "environment.K_SERVICE"),
            (CLOUD_RUN, {"X_GOOGLE_A": "x"}, [], VariableReserved, "environment.X_GOOGLE_A"),
            (AZURE, {"CONTAINER_APP_NAME": "x"}, [], VariableReserved, "environment.CONTAINER_APP_NAME"),
        ],
    )
    def test_names_what_the_cloud_would_not_take(
        self, target: Target, environment: dict[str, str], secrets: list[str], kind: type[Any], field: str
    ) -> None:
        with pytest.raises(kind) as refusal:
            check_variables(environment, secrets, target)

        assert [error.field for error in refusal.value.errors] == [field]
        assert refusal.value.remedy

    def test_takes_as_many_bytes_as_lambda_does_and_not_one_more(self) -> None:
        room = LAMBDA_BYTES_MAX - lambda_bytes({"LARGE": ""}, ["TOKEN"])

        check_variables({"LARGE": "x" * room}, ["TOKEN"], AWS)
        with pytest.raises(EnvironmentTooLarge):
            check_variables({"LARGE": "x" * (room + 1)}, ["TOKEN"], AWS)
