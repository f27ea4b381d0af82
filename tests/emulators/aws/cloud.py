"""AWS and its customer, for the journey: an account set up by the service's own commands, broken and mended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.clouds import ProviderName
from providers.aws import policies
from providers.aws.identity import trust_policy
from providers.aws.naming import oidc_provider_arn
from providers.aws.setup import Wanted, setup
from providers.issuer import TokenUnavailable
from tests.emulators.aws.account import REGION
from tests.emulators.aws.server import Amazon
from tests.emulators.aws.shell import Shell
from tests.emulators.cloud import Break
from tests.emulators.images import Workshop
from tests.support.service import HELLO

NAMES = Wanted(
    region=REGION,
    role_name="dcf-deployer",
    code_build_project="dcf-build",
    ecr_repository="dcf-functions",
    execution_role_name="dcf-function",
)
_POLICY = "dcf"


class Trusted:
    """Whom the account trusts: one subject of one issuer."""

    def __init__(self, issuer: str, subject: str) -> None:
        self.issuer, self._subject = issuer, subject
        self.keys_url = f"{issuer}/.well-known/jwks.json"

    def subject(self, tenant_id: UUID, project_id: UUID) -> str:
        return self._subject

    def token(self, tenant_id: UUID, project_id: UUID, audience: str) -> str:
        """The customer has none of the service's keys."""
        raise TokenUnavailable


class AwsCloud:
    """The account is empty until it is prepared. A role trusts one project: the next one gets the same role anew."""

    name: ProviderName = "aws"
    connect = "aws/oidc/verify"
    verify = "aws/oidc/verify"
    diagnose = ""
    diagnosed: Mapping[str, Any] = {}
    bucket = "aws/bucket"

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self.amazon = Amazon(workshop)
        self.account = self.amazon.account
        self.shell = Shell(self.amazon.client, REGION)
        self.bucket_name = f"acme-functions-{self.account.id}"
        self.identity: Mapping[str, Any] = {"roleArn": self.role_arn("dcf-deployer"), "region": REGION}
        self.storage: Mapping[str, Any] = {"bucket": self.bucket_name, "region": REGION}
        self._issuer = ""

    @property
    def named(self) -> Mapping[str, Any]:
        """What deployments are going to name, for whoever asks to have it looked at."""
        target = self.target("any")
        named = ("codeBuildProject", "ecrRepository", "executionRoleArn", "functionName")
        return {name: target[name] for name in named}

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DCF_AWS_ENDPOINTS": self.amazon.endpoints}

    @property
    def stands_in_for(self) -> str:
        return f"{self._workshop.stands_in_for} The Lambda Web Adapter is stood in for by the emulator."

    def role_arn(self, name: str) -> str:
        return f"arn:aws:iam::{self.account.id}:role/{name}"

    def target(self, name: str) -> dict[str, Any]:
        return {
            "region": REGION,
            "functionName": name,
            "roleArn": self.role_arn("dcf-deployer"),
            "codeBuildProject": "dcf-build",
            "ecrRepository": "dcf-functions",
            "executionRoleArn": self.role_arn("dcf-function"),
        }

    def prepare(self, issuer: str, subject: str) -> None:
        """The commands that the service shows, one after another."""
        if not self._issuer:
            self._issuer = issuer
            for line in self._commands(issuer, subject):
                self.shell.obey(line)
        self.trust(issuer, subject)

    def prepare_for_all(self, issuer: str) -> None:
        """The same for the tokens of any project of the issuer."""
        self.prepare(issuer, "nobody")
        trust = json.loads(json.dumps(self._trust(issuer, "*")).replace('"StringEquals"', '"StringLike"'))
        self.amazon.client("iam").update_assume_role_policy(RoleName="dcf-deployer", PolicyDocument=json.dumps(trust))

    def trust(self, issuer: str, subject: str) -> None:
        trust = shlex.quote(json.dumps(self._trust(issuer, subject)))
        self.shell.obey(f"aws iam update-assume-role-policy --role-name dcf-deployer --policy-document {trust}")

    def breaks(self) -> tuple[Break, ...]:
        iam, s3, build = (self.amazon.client(service) for service in ("iam", "s3", "codebuild"))

        def broken(what: str, act: Callable[[], object], asked: Any, step: str, code: str) -> Break:
            return Break(what=what, act=act, asked=asked, step=step, code=code, mend=self.shell.obey)

        def without_provider() -> None:
            [provider] = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
            iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])

        def another_audience() -> None:
            [provider] = self.account.iam.open_id_providers.values()
            provider.client_id_list[:] = ["other"]

        def without(prefix: str) -> None:
            policy = self._policy_without(prefix)
            iam.put_role_policy(RoleName="dcf-deployer", PolicyName=_POLICY, PolicyDocument=policy)

        def without_execution_role() -> None:
            for name in iam.list_role_policies(RoleName="dcf-function")["PolicyNames"]:
                iam.delete_role_policy(RoleName="dcf-function", PolicyName=name)
            iam.delete_role(RoleName="dcf-function")

        def building_on(**changes: object) -> None:
            [project] = build.batch_get_projects(names=["dcf-build"])["projects"]
            build.update_project(name="dcf-build", environment={**project["environment"], **changes})

        def anew(step: str, remedy: str) -> None:
            """As the remedy says: the commands of that step."""
            assert step in remedy
            for line in self._commands(self._issuer, "nobody", step):
                self.shell.obey(line)

        def named(
            what: str, act: Callable[[], object], step: str, code: str, mend: Callable[[str], object] = self.shell.obey
        ) -> Break:
            return Break(what=what, act=act, asked="named", step=step, code=code, mend=mend)

        identity = "identity"
        return (
            broken("no OIDC provider", without_provider, identity, "assume_role", "AWS_OIDC_PROVIDER_NOT_FOUND"),
            broken("another audience", another_audience, identity, "assume_role", "AWS_AUDIENCE_REFUSED"),
            broken(
                "another subject",
                lambda: self.trust(self._issuer, "tenant:other"),
                identity,
                "assume_role",
                "AWS_TRUST_POLICY_REFUSED",
            ),
            broken(
                "no bucket",
                lambda: s3.delete_bucket(Bucket=self.bucket_name),
                "bucket",
                "bucket",
                "AWS_BUCKET_NOT_FOUND",
            ),
            broken(
                "no right to the bucket", lambda: without("s3:"), "bucket", "bucket", "AWS_BUCKET_PERMISSION_DENIED"
            ),
            named(
                "no CodeBuild project",
                lambda: build.delete_project(name="dcf-build"),
                "code_build_project",
                "AWS_CODE_BUILD_PROJECT_NOT_FOUND",
                lambda remedy: anew("code_build_project", remedy),
            ),
            named(
                "a CodeBuild project that may build no images",
                lambda: building_on(privilegedMode=False),
                "code_build_project",
                "AWS_CODE_BUILD_NOT_PRIVILEGED",
            ),
            named(
                "a CodeBuild project that builds for other processors",
                lambda: building_on(type="LINUX_CONTAINER"),
                "code_build_project",
                "AWS_CODE_BUILD_NOT_ARM",
            ),
            named(
                "builds that may not write their log, read their sources or push their image",
                lambda: self._builder_without("logs:PutLogEvents", "s3:GetObject", "ecr:PutImage"),
                "code_build_role",
                "AWS_BUILD_ROLE_DENIED",
            ),
            named(
                "builds that work as nobody",
                lambda: self._trusted_by(self._builder, policies.LAMBDA),
                "code_build_role",
                "AWS_BUILD_ROLE_UNTRUSTING",
            ),
            named(
                "no right to look at CodeBuild",
                lambda: without("codebuild:BatchGetProjects"),
                "code_build_project",
                "AWS_PERMISSION_DENIED",
            ),
            named(
                "no ECR repository",
                lambda: self.amazon.images.repositories.pop("dcf-functions"),
                "ecr_repository",
                "AWS_ECR_REPOSITORY_NOT_FOUND",
                lambda remedy: anew("ecr_repository", remedy),
            ),
            named(
                "no right to look at ECR",
                lambda: without("ecr:DescribeRepositories"),
                "ecr_repository",
                "AWS_PERMISSION_DENIED",
            ),
            named(
                "no execution role",
                without_execution_role,
                "execution_role",
                "AWS_EXECUTION_ROLE_NOT_FOUND",
                lambda remedy: anew("execution_role", remedy),
            ),
            named(
                "an execution role that Lambda may not be",
                lambda: self._trusted_by("dcf-function", policies.SCHEDULER),
                "execution_role",
                "AWS_EXECUTION_ROLE_UNTRUSTING",
            ),
            named(
                "an execution role that may not be passed",
                lambda: without("iam:PassRole"),
                "pass_role",
                "AWS_PASS_ROLE_DENIED",
            ),
        )

    @contextmanager
    def slowly(self) -> Iterator[bytes]:
        with self._workshop.held():
            yield (HELLO / "main.dart").read_bytes()

    def tick(self, at: datetime) -> list[int]:
        return self.amazon.schedules.tick(at)

    def builds_running(self) -> int:
        return sum(not build.is_over for build in self.amazon.builds.made.values())

    def remains(self) -> list[str]:
        objects = self.amazon.client("s3").list_objects_v2(Bucket=self.bucket_name).get("Contents", [])
        return [
            *(str(one["Key"]) for one in objects),
            *(f"image {tag}" for one in self.amazon.images.repositories.values() for tag in one.tags),
            *self.amazon.functions.names(),
            *(f"secret {name}" for name in self.amazon.secrets()),
            *(f"schedule {name} {one['Description']}" for name, one in self.amazon.schedules.there.items()),
        ]

    def close(self) -> None:
        self.amazon.close()
        self._workshop.close()

    @property
    def _builder(self) -> str:
        """The role that builds work as, which is not the customer's to name."""
        return str(self.amazon.builds.projects["dcf-build"]["serviceRole"]).rpartition("/")[2]

    def _builder_without(self, *prefixes: str) -> None:
        policy = self._policy_without(*prefixes, role=self._builder)
        self.amazon.client("iam").put_role_policy(RoleName=self._builder, PolicyName=_POLICY, PolicyDocument=policy)

    def _trusted_by(self, role: str, *services: str) -> None:
        trust = policies.encoded(policies.trusting(self.account.id, *services))
        self.amazon.client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=trust)

    def _commands(self, issuer: str, subject: str, only: str = "") -> list[str]:
        wanted = msgspec.structs.replace(NAMES, account_id=self.account.id, bucket=self.bucket_name)
        shown = setup(Trusted(issuer, subject), UUID(int=1), UUID(int=2), wanted)
        # Which project it is for is known later, and there will be others.
        return [
            line.replace(UUID(int=2).hex, "*")
            for step in shown.steps
            if only in ("", step.name)
            for line in step.commands
        ]

    def _trust(self, issuer: str, subject: str) -> dict[str, Any]:

        return trust_policy(issuer, subject, oidc_provider_arn("aws", self.account.id, issuer))

    def _policy_without(self, *prefixes: str, role: str = "dcf-deployer") -> str:
        """The role's policy as it is, but for some actions, or those of a service."""
        document = json.loads(self.account.role(self.role_arn(role)).policies[_POLICY])
        kept = [
            {**one, "Action": left}
            for one in document["Statement"]
            if (left := [action for action in one["Action"] if not action.startswith(prefixes)])
        ]
        return policies.encoded(policies.policy(kept))
