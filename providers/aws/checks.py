"""Looking whether a project's AWS account is set up, one thing after another, each with the command that mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable
from uuid import UUID, uuid4

import msgspec

from domain.clouds import AwsIdentity, AwsStorage
from providers.aws import naming, policies
from providers.aws.account import Account
from providers.aws.errors import Answered, command, denied, grant, grant_to, role_name, told
from providers.aws.policies import Places
from providers.aws.storage import Bucket
from providers.provider import Finding, ProviderRefused
from providers.walk import MaySpread, NotSeen, Walk

# A role or a policy that was made a moment ago is refused meanwhile, for seconds, as Amazon says.
SPREADS_SECONDS = 60.0
_SPREADS = frozenset(
    {
        "AWS_TRUST_POLICY_REFUSED",
        "AWS_OIDC_PROVIDER_NOT_FOUND",
        "AWS_PERMISSION_DENIED",
        "AWS_PASS_ROLE_DENIED",
        "AWS_BUCKET_PERMISSION_DENIED",
    }
)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What deployments are going to name; what is empty is not looked at."""

    code_build_project: str = ""
    ecr_repository: str = ""
    execution_role_arn: str = ""


@runtime_checkable
class ChecksNamed(Protocol):
    """A provider that can look at these too, when it verifies an identity."""

    async def verify_named(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity, named: Named) -> Finding: ...


class Checks:
    """The checks of one project's integration."""

    def __init__(self, account: Account, named: Named | None = None) -> None:
        self._account, self._identity = account, account.identity
        self._named = named or Named()
        self._own = ""

    async def identity(self, walk: Walk) -> None:
        """Our token, the role, and what is named for deployments; nothing cached is believed."""
        self._account.roles.forget(*self._account.whose)
        await walk.step("own_token", self._look_at_own_token)
        await walk.step("assume_role", self._told(self._look_at_role))
        await walk.step("region", self._told(self._look_at_region))
        await walk.step(
            "secrets", self._told(lambda: self._look_at_secrets(self._identity.role_arn, *policies.KEEPING))
        )
        if self._named.code_build_project:
            await walk.step("code_build_project", self._told(self._look_at_project))
        if self._named.ecr_repository:
            await walk.step("ecr_repository", self._told(self._look_at_repository))
        if self._named.execution_role_arn:
            await walk.step("execution_role", self._told(self._look_at_execution_role))
            await walk.step("pass_role", self._told(self._look_at_pass_role))
            await walk.step("opening_secrets", self._told(self._look_at_opening))

    async def bucket(self, walk: Walk, storage: AwsStorage) -> None:
        """That the bucket is there, and that files can be put, listed and removed."""
        bucket = Bucket(self._account, storage)
        await walk.step("bucket", self._told(lambda: self._look_at_bucket(bucket, storage)))
        await walk.step("bucket_permissions", self._told(lambda: self._look_at_staging(bucket, storage)))

    def _told(self, look: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
        async def looked() -> str:
            try:
                try:
                    return await look()
                except Answered as error:
                    raise told(error, self._identity) from error
            except ProviderRefused as refused:
                if refused.code in _SPREADS:
                    raise MaySpread(refused) from refused
                raise

        return looked

    async def _look_at_own_token(self) -> str:
        self._own = self._account.roles.own(*self._account.whose)
        return "This service signed a token that names the tenant and the project."

    async def _look_at_role(self) -> str:
        await self._account.roles.assume(self._own, *self._account.whose)
        return f"The project may act as {self._identity.role_arn}."

    async def _look_at_region(self) -> str:
        found = await self._account.call("sts", "get_caller_identity")
        return f"AWS answers in {self._identity.region} for the account {found['Account']}."

    async def _look_at_project(self) -> str:
        name, region = self._named.code_build_project, self._identity.region
        try:
            found = await self._account.call("codebuild", "batch_get_projects", names=[name])
        except Answered as error:
            raise self._denied(
                error, "codebuild:BatchGetProjects", self._arn("codebuild", f"project/{name}")
            ) from error
        if not found["projects"]:
            raise ProviderRefused(
                "AWS_CODE_BUILD_PROJECT_NOT_FOUND",
                f"There is no CodeBuild project {name} in {region}.",
                "Run the code_build_project command that POST …/aws/oidc/setup-commands shows for this name.",
            )
        if not found["projects"][0]["environment"].get("privilegedMode"):
            raise ProviderRefused(
                "AWS_CODE_BUILD_NOT_PRIVILEGED",
                f"The CodeBuild project {name} may not build images: it is not privileged.",
                "Run the code_build_project command that POST …/aws/oidc/setup-commands shows, with update-project "
                "in place of create-project.",
            )
        return f"The CodeBuild project {name} is in {region} and may build images."

    async def _look_at_repository(self) -> str:
        name, region = self._named.ecr_repository, self._identity.region
        try:
            await self._account.call("ecr", "describe_repositories", repositoryNames=[name])
        except Answered as error:
            if error.is_missing:
                raise ProviderRefused(
                    "AWS_ECR_REPOSITORY_NOT_FOUND",
                    f"There is no ECR repository {name} in {region}.",
                    # Lambda has to be let in as well.
                    "Run the ecr_repository commands that POST …/aws/oidc/setup-commands shows for this name.",
                ) from error
            raise self._denied(error, "ecr:DescribeRepositories", self._arn("ecr", f"repository/{name}")) from error
        return f"The ECR repository {name} is in {region}."

    async def _look_at_execution_role(self) -> str:
        arn = self._named.execution_role_arn
        name = role_name(arn)
        try:
            found = await self._account.call("iam", "get_role", RoleName=name)
        except Answered as error:
            if error.code == "NoSuchEntity":
                raise ProviderRefused(
                    "AWS_EXECUTION_ROLE_NOT_FOUND",
                    f"There is no role {arn}.",
                    "Run the execution_role commands that POST …/aws/oidc/setup-commands shows for this name.",
                ) from error
            raise self._denied(error, "iam:GetRole", arn) from error
        if not _trusts(found["Role"]["AssumeRolePolicyDocument"], policies.LAMBDA):
            trust = policies.trusting(naming.account_id(arn), policies.LAMBDA, policies.SCHEDULER)
            raise ProviderRefused(
                "AWS_EXECUTION_ROLE_UNTRUSTING",
                f"Functions cannot run as {arn}: its trust policy does not name Lambda.",
                command(
                    "aws",
                    "iam",
                    "update-assume-role-policy",
                    "--role-name",
                    name,
                    "--policy-document",
                    policies.encoded(trust),
                ),
            )
        return f"Lambda may run functions as {arn}."

    async def _look_at_pass_role(self) -> str:
        arn = self._named.execution_role_arn
        context = {"iam:PassedToService": policies.LAMBDA}
        if await self._denied_to(self._identity.role_arn, arn, "iam:PassRole", **context):
            raise ProviderRefused(
                "AWS_PASS_ROLE_DENIED",
                f"The role may not let functions run as {arn}: it lacks iam:PassRole.",
                grant(self._identity, "iam:PassRole", arn),
            )
        return f"The role may let functions run as {arn}."

    async def _look_at_opening(self) -> str:
        return await self._look_at_secrets(self._named.execution_role_arn, policies.OPENING)

    async def _look_at_secrets(self, role_arn: str, *actions: str) -> str:
        """Functions without secrets need none of it, so what is missing is no fault: it is said with what mends it."""
        _, project, _ = self._account.whose
        arn = naming.secrets_arn(role_arn, self._identity.region, project)
        if lacks := await self._denied_to(role_arn, arn, *actions):
            missing = lacks[0] if len(lacks) == 1 else list(lacks)
            raise NotSeen(
                f"Functions with secrets cannot run here: {role_arn} lacks {', '.join(lacks)} on {arn}.",
                grant_to(role_arn, missing, arn),
            )
        return f"{role_arn} may do with this project's secrets in Secrets Manager what it has to."

    async def _denied_to(self, role_arn: str, resource: str, *actions: str, **context: str) -> tuple[str, ...]:
        """Those of the actions that a role may not take. Only a simulation can tell without making anything; a role that
        may not simulate is no fault."""
        try:
            found = await self._account.call(
                "iam",
                "simulate_principal_policy",
                PolicySourceArn=role_arn,
                ActionNames=list(actions),
                ResourceArns=[resource],
                ContextEntries=[
                    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                    for key, value in context.items()
                ],
            )
        except Answered as error:
            if error.is_denied:
                raise NotSeen(
                    "Not looked at: the role may not ask IAM what it may do (iam:SimulatePrincipalPolicy)."
                ) from error
            raise
        return tuple(
            str(result["EvalActionName"])
            for result in found["EvaluationResults"]
            if result["EvalDecision"] != "allowed"
        )

    async def _look_at_bucket(self, bucket: Bucket, storage: AwsStorage) -> str:
        try:
            region = await bucket.location()
        except Answered as error:
            if error.is_missing:
                place = (
                    ()
                    if storage.region == "us-east-1"
                    else ("--create-bucket-configuration", f"LocationConstraint={storage.region}")
                )
                raise ProviderRefused(
                    "AWS_BUCKET_NOT_FOUND",
                    f"There is no bucket {storage.bucket}.",
                    command(
                        "aws",
                        "s3api",
                        "create-bucket",
                        "--bucket",
                        storage.bucket,
                        *place,
                        "--region",
                        storage.region,
                    ),
                ) from error
            raise self._bucket_denied(
                error, storage, "There is no such bucket, or the role may not see it. "
            ) from error
        if region != storage.region:
            raise ProviderRefused(
                "AWS_BUCKET_REGION_DIFFERS",
                f"The bucket {storage.bucket} is in {region}, not in {storage.region}.",
                f"Name {region} as its region, or another bucket; CodeBuild reads only from its own region.",
            )
        return f"The bucket {storage.bucket} is in {region}."

    async def _look_at_staging(self, bucket: Bucket, storage: AwsStorage) -> str:
        """S3 tells what one may do only by letting it be done."""
        name = f"{naming.ROOT}check/{uuid4()}"
        try:
            await bucket.stage(name, b"Written and removed while the bucket was checked.")
            await bucket.staged(name)
            await bucket.names(name)
            await bucket.remove(name)
        except Answered as error:
            raise self._bucket_denied(error, storage) from error
        return "Files can be put, read, listed and removed."

    def _bucket_denied(self, error: Answered, storage: AwsStorage, seen: str = "") -> Exception:
        if not error.is_denied:
            return error
        places = Places(
            account=naming.account_id(self._identity.role_arn),
            region=storage.region,
            bucket=storage.bucket,
            code_build_project="",
            ecr_repository="",
            execution_role_arn="",
            role_arn=self._identity.role_arn,
        )
        return ProviderRefused(
            "AWS_BUCKET_PERMISSION_DENIED",
            f"{seen}{error.call} on {storage.bucket}: {error.message}",
            command(
                "aws",
                "iam",
                "put-role-policy",
                "--role-name",
                role_name(self._identity.role_arn),
                "--policy-name",
                "dcf-bucket",
                "--policy-document",
                policies.encoded(policies.policy(policies.of_staging(places))),
            ),
        )

    def _denied(self, error: Answered, action: str, resource: str) -> Exception:
        return denied(error, self._identity, action=action, resource=resource) if error.is_denied else error

    def _arn(self, service: str, resource: str) -> str:
        role, region = self._identity.role_arn, self._identity.region
        return f"arn:{naming.partition(role)}:{service}:{region}:{naming.account_id(role)}:{resource}"


def _trusts(policy: dict[str, Any], service: str) -> bool:
    """Whether a trust policy lets one of Amazon's services become the role."""
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal", {})
        named = principal.get("Service", []) if isinstance(principal, dict) else []
        if statement.get("Effect") == "Allow" and service in ([named] if isinstance(named, str) else named):
            return True
    return False
