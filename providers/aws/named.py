"""Looking at what deployments are going to name in AWS: where they build, where images are kept, as whom functions run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from domain.clouds import AwsNamed
from providers.aws import naming, policies
from providers.aws.account import Account
from providers.aws.errors import Answered, command, denied
from providers.aws.policies import Needed, Places
from providers.aws.rights import Rights
from providers.aws.setup import BUILD_COMPUTE, BUILD_IMAGE, BUILD_TYPE
from providers.aws.trust import Trust
from providers.provider import ProviderRefused
from providers.walk import NotSeen

# Lambda runs what is built on ARM, where it is cheaper.
_ARM = ("ARM_CONTAINER", "ARM_EC2")
_PASSED = "iam:PassRole"
Look = Callable[[], Awaitable[str]]


class NamedChecks:
    """Of one project's integration. Each look raises Answered, ProviderRefused, ProviderBusy or NotSeen."""

    def __init__(self, account: Account, named: AwsNamed) -> None:
        self._account, self._identity, self._named = account, account.identity, named
        self._rights = Rights(account)
        self._project: dict[str, Any] = {}

    @property
    def steps(self) -> tuple[tuple[str, Look], ...]:
        """What is looked at, in this order."""
        named = self._named
        every: tuple[tuple[str, str, Look], ...] = (
            ("code_build_project", named.code_build_project, self._look_at_project),
            ("code_build_role", named.code_build_project, self._look_at_builder),
            ("ecr_repository", named.ecr_repository, self._look_at_repository),
            ("execution_role", named.execution_role_arn, self._look_at_execution_role),
            ("pass_role", named.execution_role_arn, self._look_at_pass_role),
            ("opening_secrets", named.execution_role_arn, self._look_at_opening),
            ("schedules", named.execution_role_arn, self._look_at_schedules),
            ("function", named.function_name, self._look_at_function),
            ("public_url", named.function_name, self._look_at_public_url),
        )
        return tuple((step, look) for step, name, look in every if name)

    async def look_at_secrets(self, role_arn: str, *actions: str) -> str:
        """Functions without secrets need none of it, so what is missing is no fault: it is said with what mends it."""
        _, project, _ = self._account.whose
        arn = naming.secrets_arn(role_arn, self._identity.region, project)
        if lack := await self._rights.lacking(role_arn, Needed(resource=arn, actions=actions)):
            raise NotSeen(f"Functions with secrets cannot run here: {role_arn} lacks {lack}.", lack.remedy)
        return f"{role_arn} may do with this project's secrets in Secrets Manager what it has to."

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
        self._project = found["projects"][0]
        environment = self._project["environment"]
        if environment["type"] not in _ARM:
            arm = {"type": BUILD_TYPE, "image": BUILD_IMAGE, "computeType": BUILD_COMPUTE, "privilegedMode": True}
            raise ProviderRefused(
                "AWS_CODE_BUILD_NOT_ARM",
                f"The CodeBuild project {name} builds on {environment['type']}, and functions run on ARM.",
                self._changed_project(arm),
            )
        if not environment.get("privilegedMode"):
            raise ProviderRefused(
                "AWS_CODE_BUILD_NOT_PRIVILEGED",
                f"The CodeBuild project {name} may not build images: it is not privileged.",
                self._changed_project({**environment, "privilegedMode": True}),
            )
        return f"The CodeBuild project {name} is in {region} and may build images."

    async def _look_at_builder(self) -> str:
        """A build that may not do something fails after minutes, with words of Docker's."""
        arn, log_group = str(self._project["serviceRole"]), _log_group(self._project)
        try:
            await Trust(self._account, arn, "BUILD").require(policies.CODE_BUILD)
        except Answered as error:
            if error.is_denied:  # Of an account that was set up before this was looked at.
                raise self._rights.unseen(arn, "iam:GetRole") from error
            raise
        needed = policies.needed_to_build(self._places(), log_group)
        if lack := await self._rights.lacking(arn, *needed):
            raise ProviderRefused(
                "AWS_BUILD_ROLE_DENIED", f"Builds fail here: they work as {arn}, which lacks {lack}.", lack.remedy
            )
        return f"Builds work as {arn}, which may do what they need."

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
        try:
            await Trust(self._account, arn, "EXECUTION").require(policies.LAMBDA)
        except Answered as error:
            raise self._denied(error, "iam:GetRole", arn) from error
        return f"Lambda may run functions as {arn}."

    async def _look_at_pass_role(self) -> str:
        arn = self._named.execution_role_arn
        needed, context = Needed(resource=arn, actions=(_PASSED,)), {"iam:PassedToService": policies.LAMBDA}
        if lack := await self._rights.lacking(self._identity.role_arn, needed, **context):
            raise ProviderRefused(
                "AWS_PASS_ROLE_DENIED",
                f"The role may not let functions run as {arn}: it lacks iam:PassRole.",
                lack.remedy,
            )
        return f"The role may let functions run as {arn}."

    async def _look_at_opening(self) -> str:
        return await self.look_at_secrets(self._named.execution_role_arn, policies.OPENING)

    async def _look_at_schedules(self) -> str:
        """Functions without a schedule need none of it."""
        arn, own = self._named.execution_role_arn, self._identity.role_arn
        cannot = "Functions with a schedule cannot run here"
        try:
            await Trust(self._account, arn, "EXECUTION").require(policies.SCHEDULER)
        except ProviderRefused as refused:
            raise NotSeen(f"{cannot}: {refused.message}", refused.remedy, refused.code) from refused
        passing = Needed(resource=arn, actions=(_PASSED,))
        schedules = Needed(resource=self._arn("scheduler", "schedule/default/dcf-*"), actions=policies.SCHEDULING)
        context = {"iam:PassedToService": policies.SCHEDULER}
        asked: list[tuple[str, tuple[Needed, ...], dict[str, str]]] = [(own, (schedules, passing), context)]
        if self._named.function_name:
            live = f"{self._places().function_arn}:{naming.LIVE}"
            asked.append((arn, (Needed(resource=live, actions=("lambda:InvokeFunction",)),), {}))
        for role_arn, needed, given in asked:
            if lack := await self._rights.lacking(role_arn, *needed, **given):
                raise NotSeen(f"{cannot}: {role_arn} lacks {lack}.", lack.remedy, "AWS_SCHEDULES_DENIED")
        return f"EventBridge Scheduler may call functions as {arn}."

    async def _look_at_function(self) -> str:
        name = self._named.function_name
        if lack := await self._rights.lacking(self._identity.role_arn, *policies.needed_to_run(self._places())):
            raise ProviderRefused(
                "AWS_FUNCTION_DENIED", f"The role may not run a function {name}: it lacks {lack}.", lack.remedy
            )
        return f"The role may make, change and remove a function {name}."

    async def _look_at_public_url(self) -> str:
        """Private functions need none of it. What an organization forbids under conditions the simulation leaves out."""
        name, own = self._named.function_name, self._identity.role_arn
        live = Needed(resource=f"{self._places().function_arn}:{naming.LIVE}", actions=policies.PUBLISHING)
        context = {"lambda:FunctionUrlAuthType": "NONE", "lambda:Principal": "*"}
        if lack := await self._rights.lacking(own, live, **context):
            raise NotSeen(
                f"Functions that everybody may call cannot run here: {own} lacks {lack}.",
                lack.remedy,
                "AWS_PUBLIC_URL_DENIED",
            )
        return (
            f"The role may let everybody call {name}. A policy of the organization that forbids it under conditions shows "
            "only when a public function is let serve."
        )

    def _places(self) -> Places:
        named, own = self._named, self._identity
        kind, location = (str(self._project.get("source", {}).get(key, "")) for key in ("type", "location"))
        return Places(
            account=naming.account_id(own.role_arn),
            region=own.region,
            # Where none is configured yet, it is the one that the setup made for the project.
            bucket=named.bucket or (location.partition("/")[0] if kind == "S3" else ""),
            code_build_project=named.code_build_project,
            ecr_repository=named.ecr_repository,
            execution_role_arn=named.execution_role_arn,
            role_arn=own.role_arn,
            functions=named.function_name,
        )

    def _changed_project(self, environment: dict[str, Any]) -> str:
        return command(
            "aws",
            "codebuild",
            "update-project",
            "--name",
            self._named.code_build_project,
            "--environment",
            policies.encoded(environment),
            "--region",
            self._identity.region,
        )

    def _denied(self, error: Answered, action: str, resource: str) -> Exception:
        return denied(error, self._identity, action=action, resource=resource) if error.is_denied else error

    def _arn(self, service: str, resource: str) -> str:
        role, region = self._identity.role_arn, self._identity.region
        return f"arn:{naming.partition(role)}:{service}:{region}:{naming.account_id(role)}:{resource}"


def _log_group(project: dict[str, Any]) -> str:
    """Where its builds write their log; nothing when they write none there."""
    log = project.get("logsConfig", {}).get("cloudWatchLogs", {})
    if log.get("status") == "DISABLED":
        return ""
    return str(log.get("groupName") or f"/aws/codebuild/{project['name']}")
