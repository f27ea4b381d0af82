"""What a customer runs once in their AWS account so that one project may deploy there."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import msgspec

from providers.aws import naming, policies
from providers.aws.errors import command, document, role_name
from providers.aws.identity import AUDIENCE, create_provider_command, trust_policy
from providers.aws.policies import Places
from providers.issuer import TokenSource

# Stands for the account's number where it is not known yet; a shell finds it out.
ACCOUNT_ID = "ACCOUNT_ID"
REGION = "eu-west-1"
BUILD_IMAGE = "aws/codebuild/amazonlinux-aarch64-standard:3.0"
BUILD_TYPE = "ARM_CONTAINER"
BUILD_COMPUTE = "BUILD_GENERAL1_SMALL"
BUILD_MINUTES_MAX = 20
UNFINISHED_DAYS_MAX = 7
POLICY_NAME = "dcf"
_MARK_CHARACTERS = 12
_TAGS = [{"Key": "managed-by", "Value": naming.MANAGED_BY}]
# A project needs sources of its own to be made; each build names what it really builds.
_NO_SOURCE = f"{naming.ROOT}source.zip"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer chose; what is empty gets a name of the project's own."""

    account_id: str = ""
    region: str = ""
    role_name: str = ""
    bucket: str = ""
    code_build_project: str = ""
    ecr_repository: str = ""
    execution_role_name: str = ""
    function_names: str = "*"


class AwsSetupStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing to make, by lines for a shell."""

    name: str
    title: str
    commands: tuple[str, ...]


class AwsMade(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is there afterwards, as verifying and deploying take it. ACCOUNT_ID stands for the account's number."""

    role_arn: str
    region: str
    bucket: str
    code_build_project: str
    ecr_repository: str
    execution_role_arn: str


class AwsSetup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The commands one by one, all of them as one script, and the same as a CloudFormation template: run one of these."""

    issuer: str
    audience: str
    subject: str
    makes: AwsMade
    steps: tuple[AwsSetupStep, ...]
    script: str
    cloud_formation_template: str
    cloud_formation_command: str


def setup(source: TokenSource, tenant_id: UUID, project_id: UUID, wanted: Wanted) -> AwsSetup:
    """Everything for one project. Raises TokenUnavailable when this service has no identity to trust."""
    mark = project_id.hex[-_MARK_CHARACTERS:]
    account, region = wanted.account_id or ACCOUNT_ID, wanted.region or REGION
    names = _names(wanted, mark, account)
    issuer, subject = source.issuer, source.subject(tenant_id, project_id)
    plan = _Plan(names, account, region, mark, issuer, subject, f"{naming.secrets_of(project_id)}*")
    steps = plan.steps
    lines = [line for step in steps for line in (f"# {step.title}", *step.commands)]
    template = "dcf-aws.json"
    return AwsSetup(
        issuer=issuer,
        audience=AUDIENCE,
        subject=subject,
        makes=plan.made,
        steps=steps,
        script="\n".join(["set -e", *lines, ""]),
        cloud_formation_template=json.dumps(plan.template, indent=2),
        cloud_formation_command=command(
            "aws",
            "cloudformation",
            "deploy",
            "--template-file",
            template,
            "--stack-name",
            f"dcf-{mark}",
            "--capabilities",
            "CAPABILITY_NAMED_IAM",
            "--region",
            region,
        ),
    )


def _names(wanted: Wanted, mark: str, account: str) -> Wanted:
    """With a name for everything. Roles and buckets are the project's own: a role trusts one project only."""
    return Wanted(
        account_id=account,
        region=wanted.region or REGION,
        role_name=wanted.role_name or f"dcf-deployer-{mark}",
        bucket=wanted.bucket or f"dcf-{mark}-{account}",
        code_build_project=wanted.code_build_project or f"dcf-build-{mark}",
        ecr_repository=wanted.ecr_repository or f"dcf-functions-{mark}",
        execution_role_name=wanted.execution_role_name or f"dcf-function-{mark}",
        function_names=wanted.function_names,
    )


class _Plan:
    """The same things in two ways of making them."""

    def __init__(
        self, names: Wanted, account: str, region: str, mark: str, issuer: str, subject: str, secrets: str
    ) -> None:
        self._names, self._account, self._region, self._mark = names, account, region, mark
        self._issuer, self._subject, self._secrets = issuer, subject, secrets
        self._builder_name = f"dcf-builder-{mark}"

    @property
    def made(self) -> AwsMade:
        places = self._places(self._account)
        return AwsMade(
            role_arn=places.role_arn,
            region=self._region,
            bucket=self._names.bucket,
            code_build_project=self._names.code_build_project,
            ecr_repository=self._names.ecr_repository,
            execution_role_arn=places.execution_role_arn,
        )

    @property
    def steps(self) -> tuple[AwsSetupStep, ...]:
        places, names = self._places(self._account), self._names
        region = ("--region", self._region)
        trust = _json(self._trust(places))

        def role(name: str, trusting: str, statements: list[dict[str, Any]]) -> tuple[str, ...]:
            return (
                _aws(
                    "iam", "create-role", "--role-name", name, "--assume-role-policy-document", trusting, *naming.TAGS
                ),
                _aws(
                    "iam",
                    "put-role-policy",
                    "--role-name",
                    name,
                    "--policy-name",
                    POLICY_NAME,
                    "--policy-document",
                    document(statements),
                ),
            )

        steps = [
            AwsSetupStep(
                name="oidc_provider",
                title="Trust this service's tokens; leave it out when the account has the provider already",
                commands=(create_provider_command(self._issuer),),
            ),
            AwsSetupStep(
                name="bucket",
                title="A bucket for sources, closed to the public",
                commands=self._bucket_commands(),
            ),
            AwsSetupStep(
                name="ecr_repository",
                title="A repository for images, which Lambda may read",
                commands=(
                    _aws(
                        "ecr",
                        "create-repository",
                        "--repository-name",
                        names.ecr_repository,
                        "--image-tag-mutability",
                        "IMMUTABLE",
                        *naming.TAGS,
                        *region,
                    ),
                    _aws(
                        "ecr",
                        "set-repository-policy",
                        "--repository-name",
                        names.ecr_repository,
                        "--policy-text",
                        _json(policies.of_repository(places)),
                        *region,
                    ),
                ),
            ),
            AwsSetupStep(
                name="code_build_role",
                title="The role that builds work as",
                commands=role(
                    self._builder_name,
                    _json(policies.trusting(self._account, policies.CODE_BUILD)),
                    policies.of_builder(places),
                ),
            ),
            AwsSetupStep(
                name="execution_role",
                title="The role that functions run as",
                commands=role(
                    role_name(places.execution_role_arn),
                    _json(policies.trusting(self._account, policies.LAMBDA, policies.SCHEDULER)),
                    policies.of_function(places),
                ),
            ),
            AwsSetupStep(
                name="role",
                title="The role that this project, and no other, acts as",
                commands=role(role_name(places.role_arn), trust, policies.of_deployer(places))[:1],
            ),
            AwsSetupStep(
                name="role_policy",
                title="What that role may do",
                commands=role(role_name(places.role_arn), trust, policies.of_deployer(places))[1:],
            ),
            AwsSetupStep(
                name="code_build_project",
                title="Where images are built; a role that was just made may need some seconds before this succeeds",
                commands=(self._project_command(places),),
            ),
        ]
        if self._account == ACCOUNT_ID:
            find = (
                f'{ACCOUNT_ID}="$(aws sts get-caller-identity --query Account --output text --region {self._region})"'
            )
            steps.insert(0, AwsSetupStep(name="account", title="The account's number", commands=(find,)))
        return tuple(steps)

    @property
    def template(self) -> dict[str, Any]:
        """The same as one CloudFormation template."""
        places, names = self._places("${AWS::AccountId}"), self._names
        bucket = names.bucket.replace(ACCOUNT_ID, "${AWS::AccountId}")
        places = msgspec.structs.replace(places, bucket=bucket)
        made: dict[str, Any] = _substituted(
            {
                "Provider": {
                    "Type": "AWS::IAM::OIDCProvider",
                    "Condition": "MakeOidcProvider",
                    "Properties": {"Url": self._issuer, "ClientIdList": [AUDIENCE], "Tags": _TAGS},
                },
                "Bucket": {
                    "Type": "AWS::S3::Bucket",
                    "DeletionPolicy": "Retain",
                    "UpdateReplacePolicy": "Retain",
                    "Properties": {
                        "BucketName": bucket,
                        "PublicAccessBlockConfiguration": _CLOSED,
                        "LifecycleConfiguration": {"Rules": [_UNFINISHED_IN_TEMPLATE]},
                    },
                },
                "Repository": {
                    "Type": "AWS::ECR::Repository",
                    "DeletionPolicy": "Retain",
                    "UpdateReplacePolicy": "Retain",
                    "Properties": {
                        "RepositoryName": names.ecr_repository,
                        "ImageTagMutability": "IMMUTABLE",
                        "RepositoryPolicyText": policies.of_repository(places),
                        "Tags": _TAGS,
                    },
                },
                "BuilderRole": _role_resource(
                    self._builder_name,
                    policies.trusting("${AWS::AccountId}", policies.CODE_BUILD),
                    policies.of_builder(places),
                ),
                "ExecutionRole": _role_resource(
                    role_name(places.execution_role_arn),
                    policies.trusting("${AWS::AccountId}", policies.LAMBDA, policies.SCHEDULER),
                    policies.of_function(places),
                ),
                "Role": _role_resource(role_name(places.role_arn), self._trust(places), policies.of_deployer(places)),
            }
        )
        made["BuildProject"] = {
            "Type": "AWS::CodeBuild::Project",
            "Properties": {
                "Name": names.code_build_project,
                "ServiceRole": {"Fn::GetAtt": ["BuilderRole", "Arn"]},
                "Source": {"Type": "S3", "Location": _substituted(f"{bucket}/{_NO_SOURCE}")},
                "Artifacts": {"Type": "NO_ARTIFACTS"},
                "Environment": {
                    "Type": BUILD_TYPE,
                    "ComputeType": BUILD_COMPUTE,
                    "Image": BUILD_IMAGE,
                    "PrivilegedMode": True,
                },
                "TimeoutInMinutes": BUILD_MINUTES_MAX,
                "LogsConfig": {"CloudWatchLogs": {"Status": "ENABLED"}},
                "Tags": _TAGS,
            },
        }
        return {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": "Lets one project of Dart Cloud Functions deploy to this account.",
            "Parameters": {
                "OidcProvider": {
                    "Type": "String",
                    "AllowedValues": ["make", "exists"],
                    "Default": "make",
                    "Description": "exists, when the account has the OIDC provider of this service already",
                }
            },
            "Conditions": {"MakeOidcProvider": {"Fn::Equals": [{"Ref": "OidcProvider"}, "make"]}},
            "Resources": made,
            "Outputs": {
                "RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}},
                "ExecutionRoleArn": {"Value": {"Fn::GetAtt": ["ExecutionRole", "Arn"]}},
                "BucketName": {"Value": {"Ref": "Bucket"}},
                "CodeBuildProject": {"Value": {"Ref": "BuildProject"}},
                "EcrRepository": {"Value": {"Ref": "Repository"}},
            },
        }

    def _places(self, account: str) -> Places:
        names, part = self._names, naming.partition_of(self._region)
        return Places(
            account=account,
            region=self._region,
            bucket=names.bucket,
            code_build_project=names.code_build_project,
            ecr_repository=names.ecr_repository,
            execution_role_arn=f"arn:{part}:iam::{account}:role/{names.execution_role_name}",
            role_arn=f"arn:{part}:iam::{account}:role/{names.role_name}",
            builder_role_arn=f"arn:{part}:iam::{account}:role/{self._builder_name}",
            functions=names.function_names,
            secrets=self._secrets,
        )

    def _trust(self, places: Places) -> dict[str, Any]:
        provider = naming.oidc_provider_arn(places.partition, places.account, self._issuer)
        return trust_policy(self._issuer, self._subject, provider)

    def _bucket_commands(self) -> tuple[str, ...]:
        bucket, region = self._names.bucket, self._region
        # In us-east-1, and only there, the place must not be named.
        place = () if region == "us-east-1" else ("--create-bucket-configuration", f"LocationConstraint={region}")
        return (
            _aws("s3api", "create-bucket", "--bucket", bucket, *place, "--region", region),
            _aws(
                "s3api",
                "put-public-access-block",
                "--bucket",
                bucket,
                "--public-access-block-configuration",
                _json(_CLOSED),
                "--region",
                region,
            ),
            _aws(
                "s3api",
                "put-bucket-lifecycle-configuration",
                "--bucket",
                bucket,
                "--lifecycle-configuration",
                _json({"Rules": [_UNFINISHED]}),
                "--region",
                region,
            ),
        )

    def _project_command(self, places: Places) -> str:
        environment = {
            "type": BUILD_TYPE,
            "computeType": BUILD_COMPUTE,
            "image": BUILD_IMAGE,
            "privilegedMode": True,
        }
        return _aws(
            "codebuild",
            "create-project",
            "--name",
            self._names.code_build_project,
            "--source",
            _json({"type": "S3", "location": f"{self._names.bucket}/{_NO_SOURCE}"}),
            "--artifacts",
            _json({"type": "NO_ARTIFACTS"}),
            "--environment",
            _json(environment),
            "--service-role",
            places.builder_role_arn,
            "--timeout-in-minutes",
            str(BUILD_MINUTES_MAX),
            "--logs-config",
            _json({"cloudWatchLogs": {"status": "ENABLED"}}),
            "--tags",
            f"key=managed-by,value={naming.MANAGED_BY}",
            "--region",
            self._region,
        )


_CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_UNFINISHED = {
    "ID": "unfinished-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": naming.ROOT},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS_MAX},
}
_UNFINISHED_IN_TEMPLATE = {
    "Id": "unfinished-uploads",
    "Status": "Enabled",
    "Prefix": naming.ROOT,
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS_MAX},
}


def _role_resource(name: str, trust: dict[str, Any], statements: list[dict[str, Any]]) -> dict[str, Any]:
    policy = {"Version": "2012-10-17", "Statement": statements}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": name,
            "AssumeRolePolicyDocument": trust,
            "Policies": [{"PolicyName": POLICY_NAME, "PolicyDocument": policy}],
            "Tags": _TAGS,
        },
    }


def _substituted(value: Any) -> Any:
    """With Fn::Sub wherever a text names what only CloudFormation knows."""
    if isinstance(value, dict):
        return {key: _substituted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_substituted(inner) for inner in value]
    return {"Fn::Sub": value} if isinstance(value, str) and "${" in value else value


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _aws(*words: str) -> str:
    """A line for a shell, in which the account's number may still be a variable."""
    return " ".join(_word(word) for word in ("aws", *words))


def _word(word: str) -> str:
    quoted = command(word)
    if ACCOUNT_ID not in word:
        return quoted
    inner = f'"${ACCOUNT_ID}"'
    return quoted.replace(ACCOUNT_ID, f"'{inner}'" if quoted.startswith("'") else inner)
