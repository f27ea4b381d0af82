"""Connecting a project to AWS: what to run there once, the role, and the bucket."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from api import onboarding
from api.answer import Answer, encoded
from api.body import read
from api.onboarding import Verification
from api.operation import Operation
from api.patterns import whole
from api.reading import tenant_of
from api.services import Services, services_of
from api.targets import (
    AwsRegion,
    CodeBuildProject,
    EcrRepository,
    LambdaName,
    ProviderNotOffered,
    RoleArn,
    offered,
)
from api.writing import Writing
from commands.basis import fold
from domain.clouds import AwsIdentity, AwsNamed, AwsStorage
from domain.integration import IntegrationUnknown, StorageNotChecked
from domain.project import PROJECT, ProjectIsArchived, ProjectUnknown, require_open
from domain.refusal import FieldError, Invalid
from projections.integrations import Integration
from providers.aws.setup import AwsSetup, Wanted, setup
from providers.provider import ChecksNamed, Finding


def _text(pattern: str, length_max: int, example: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=whole(pattern), max_length=length_max, examples=[example])


_BUCKET_NAME = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
BucketName = Annotated[str, _text(_BUCKET_NAME, 63, "acme-functions")]
RoleName = Annotated[str, _text(r"^[A-Za-z0-9_+=,.@-]+$", 64, "dcf-deployer")]


class AwsSetupRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The account, and names of your own: what is left out gets a name of the project's own.

    `functionNames` is a pattern for the names of the Lambda functions that the role may touch.
    """

    account_id: Annotated[str, _text(r"^[0-9]{12}$", 12, "123456789012")] | None = None
    region: AwsRegion | None = None
    role_name: RoleName | None = None
    bucket: BucketName | None = None
    code_build_project: CodeBuildProject | None = None
    ecr_repository: EcrRepository | None = None
    execution_role_name: RoleName | None = None
    function_names: Annotated[str, _text(r"^[A-Za-z0-9_*-]+$", 64, "shop-*")] | None = None


class AwsVerifyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The role that the project acts as, and whereto its region's STS is asked. Without both, the connected role is meant.

    What is named beside them is looked at too.
    """

    role_arn: RoleArn | None = None
    region: AwsRegion | None = None
    code_build_project: CodeBuildProject | None = None
    ecr_repository: EcrRepository | None = None
    execution_role_arn: RoleArn | None = None
    function_name: LambdaName | None = None


class AwsBucketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bucket in which files are staged, in the region that functions are built in."""

    bucket: BucketName
    region: AwsRegion


class RoleIncomplete(Invalid):
    """A role goes with a region."""

    code = "role_incomplete"
    remedy = "Send both roleArn and region, or neither to look at the connected role again."


_ROLE = {"roleArn": "arn:aws:iam::123456789012:role/dcf-deployer", "region": "eu-west-1"}
_BUCKET = {"bucket": "acme-functions", "region": "eu-west-1"}


def _setup_operation(name: str, summary: str, **more: Any) -> Operation:
    return Operation(
        name=name,
        permission="integrations:write",
        summary=summary,
        tag="Integrations",
        answers={200: AwsSetup},
        refusals=(ProjectUnknown, ProjectIsArchived),
        **more,
    )


_SHOW = _setup_operation("getAwsSetup", "What to run once in AWS, under names of the project's own")


@get("/projects/{project_id:uuid}/integrations/aws/oidc/setup-commands", opt=_SHOW.as_opt())
async def get_aws_setup(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    return await _setup(request, project_id, Wanted())


_MAKE = _setup_operation(
    "makeAwsSetup",
    "What to run once in AWS, for your account and under your names; nothing is recorded",
    takes=AwsSetupRequest,
    example={"accountId": "123456789012", "region": "eu-west-1"},
)


@post("/projects/{project_id:uuid}/integrations/aws/oidc/setup-commands", status_code=200, opt=_MAKE.as_opt())
async def make_aws_setup(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, _ = await read(request, AwsSetupRequest)
    return await _setup(request, project_id, Wanted(**_named(given)))


_VERIFY = onboarding.onboarding(
    "verifyAws",
    "Connect the project to AWS as a role, and look whether AWS lets it act so",
    RoleIncomplete,
    takes=AwsVerifyRequest,
    example=_ROLE,
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/aws/oidc/verify", status_code=200, opt=_VERIFY.as_opt())
async def verify_aws(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AwsVerifyRequest)
    writing, tenant_id = Writing(request, content), tenant_of(request)
    identity = await _identity(request, project_id, given)
    names = {name: value for name, value in _named(given).items() if name not in ("role_arn", "region")}
    named = AwsNamed(**names, bucket=await _bucket(services_of(request), tenant_id, project_id)) if names else None
    finding = await _look(request, tenant_id, project_id, identity, named)
    return await onboarding.record_checked(
        writing, project_id, identity, finding, connects=given.role_arn is not None, named=named
    )


_CHECK = onboarding.onboarding(
    "checkAwsBucket",
    "Look whether files can be staged in the bucket",
    takes=AwsBucketRequest,
    example=_BUCKET,
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/aws/bucket/check", status_code=200, opt=_CHECK.as_opt())
async def check_aws_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AwsBucketRequest)
    return await onboarding.check(request, content, project_id, AwsStorage(**msgspec.structs.asdict(given)))


_CONFIGURE = onboarding.onboarding(
    "configureAwsBucket",
    "Stage the project's files in the bucket",
    StorageNotChecked,
    takes=AwsBucketRequest,
    example=_BUCKET,
    answers={200: Integration},
)


@post("/projects/{project_id:uuid}/integrations/aws/bucket/config", status_code=200, opt=_CONFIGURE.as_opt())
async def configure_aws_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AwsBucketRequest)
    return await onboarding.configure(request, content, project_id, AwsStorage(**msgspec.structs.asdict(given)))


async def _setup(request: Request[Any, Any, Any], project_id: UUID, wanted: Wanted) -> Answer:
    services, tenant_id = services_of(request), tenant_of(request)
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
    return Answer(encoded(setup(services.token_source, tenant_id, project_id, wanted)))


async def _identity(request: Request[Any, Any, Any], project_id: UUID, given: AwsVerifyRequest) -> AwsIdentity:
    """The role to look at. Raises RoleIncomplete, IntegrationUnknown or what is wrong with the project."""
    services, tenant_id = services_of(request), tenant_of(request)
    if given.role_arn is not None and given.region is not None:
        require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
        return AwsIdentity(role_arn=given.role_arn, region=given.region)
    if given.role_arn is not None or given.region is not None:
        missing = "region" if given.region is None else "roleArn"
        raise RoleIncomplete(errors=(FieldError(field=missing, message="missing"),))
    connected = await onboarding.identity_of(services, tenant_id, project_id, "aws")
    assert isinstance(connected, AwsIdentity), "an integration has its own provider's identity"
    return connected


async def _look(
    request: Request[Any, Any, Any], tenant_id: UUID, project_id: UUID, identity: AwsIdentity, named: AwsNamed | None
) -> Finding:
    services = services_of(request)
    provider = offered(services, "aws")
    if named is None:
        return await provider.verify_identity(tenant_id, project_id, identity)
    if not isinstance(provider, ChecksNamed):
        raise ProviderNotOffered("This service cannot look at what deployments to aws name.")
    return await provider.verify_named(tenant_id, project_id, identity, named)


async def _bucket(services: Services, tenant_id: UUID, project_id: UUID) -> str:
    """Where the project stages its files, or is going to; empty while nobody said."""
    try:
        state = await onboarding.integration_state(services, tenant_id, project_id, "aws")
    except IntegrationUnknown:
        return ""
    storage = state.storage or state.storage_checked
    return storage.bucket if isinstance(storage, AwsStorage) else ""


def _named(given: AwsSetupRequest | AwsVerifyRequest) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}


AWS_ROUTES = (get_aws_setup, make_aws_setup, verify_aws, check_aws_bucket, configure_aws_bucket)
