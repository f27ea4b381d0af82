"""Where a deployment goes, as a request gives it: one Struct for each cloud, told apart by `provider`."""

from __future__ import annotations

from typing import Annotated, assert_never

import msgspec

from api.example_ids import CLOUD_ID
from api.patterns import whole
from api.services import Services
from domain.clouds import (
    AwsTarget,
    AzureTarget,
    GcpTarget,
    LocalTarget,
    ProviderName,
    Target,
)
from domain.refusal import FieldError, Invalid
from providers.provider import Provider


class ProviderNotOffered(Invalid):
    """This service does not deploy to the provider."""

    code = "provider_not_offered"
    remedy = "Choose a provider that GET /api/v1/functions/trigger-types names as supported, such as local."


def _text(pattern: str, length_max: int, example: str, description: str | None = None) -> msgspec.Meta:
    return msgspec.Meta(pattern=whole(pattern), max_length=length_max, examples=[example], description=description)


_LABEL = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
_GUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

PULL_IDENTITY = (
    r"/subscriptions/[0-9a-fA-F-]{36}/resource[gG]roups/[\w.()-]*[\w()-]"
    r"/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[A-Za-z0-9][A-Za-z0-9_-]{2,127}"
)
PULL_IDENTITY_EXAMPLE = (
    f"/subscriptions/{CLOUD_ID}/resourceGroups/functions"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/dcf-pull"
)

GcpProjectId = Annotated[str, _text(r"^[a-z][-a-z0-9]{4,28}[a-z0-9]$", 30, "acme-prod")]
GcpRegion = Annotated[str, _text(r"^[a-z]+-[a-z]+[0-9]+$", 40, "europe-west1")]
GcpRepository = Annotated[str, _text(_LABEL, 63, "functions")]
_SERVICE = "Google takes 46 characters together with the tag of a revision, and ours have 13."
CloudRunService = Annotated[str, _text(r"^[a-z]([-a-z0-9]{0,31}[a-z0-9])?$", 33, "hello", _SERVICE)]
AwsRegion = Annotated[str, _text(r"^[a-z]{2}(-[a-z]+)+-[0-9]+$", 40, "eu-west-1")]
RoleArn = Annotated[
    str, _text(r"^arn:aws[-a-z]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$", 2048, "arn:aws:iam::123456789012:role/dcf")
]
LambdaName = Annotated[str, _text(r"^[A-Za-z0-9_-]+$", 64, "hello")]
CodeBuildProject = Annotated[str, _text(r"^[A-Za-z0-9][A-Za-z0-9_-]+$", 255, "dcf-build")]
EcrRepository = Annotated[str, _text(r"^[a-z0-9]([._/-]?[a-z0-9])+$", 256, "dcf-functions")]
AzureGroup = Annotated[str, _text(r"^[\w.()-]*[\w()-]$", 90, "functions")]
AzureRegion = Annotated[str, _text(r"^[a-z0-9]+$", 40, "westeurope")]
AzureRegistry = Annotated[str, _text(r"^[a-zA-Z0-9]{5,50}$", 50, "acmefunctions")]
AzureEnvironment = Annotated[str, _text(r"^[a-z][-a-z0-9]*[a-z0-9]$", 60, "functions")]
_APP = "Lower-case letters, digits and single hyphens, beginning with a letter."
AzureApp = Annotated[str, _text(r"^[a-z](-?[a-z0-9])+$", 32, "hello", _APP)]
AzureId = Annotated[str, _text(_GUID, 36, str(CLOUD_ID))]


class LocalTargetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This machine takes no fields."""


class AwsTargetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A Lambda function, and what builds it."""

    region: AwsRegion
    function_name: LambdaName
    role_arn: RoleArn
    code_build_project: CodeBuildProject
    ecr_repository: EcrRepository
    execution_role_arn: RoleArn
    memory_mb: Annotated[int, msgspec.Meta(ge=128, le=10_240)] | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=900)] | None = None


class AzureTargetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A container app, and the registry that builds it."""

    subscription_id: AzureId
    resource_group: AzureGroup
    region: AzureRegion
    registry: AzureRegistry
    environment_name: AzureEnvironment
    app_name: AzureApp
    # Empty stands for the one that the resources' template makes.
    pull_identity: Annotated[str, _text(rf"^({PULL_IDENTITY})?$", 512, PULL_IDENTITY_EXAMPLE)] = ""


class _GcpTargetRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="runtimeTarget",
):
    """A project, and the repository its images are kept in."""

    project_id: GcpProjectId
    region: GcpRegion
    artifact_repository: GcpRepository


class CloudRunTargetRequest(_GcpTargetRequest, frozen=True, kw_only=True, tag="cloud_run"):
    """A Cloud Run service; it is made when there is none of this name."""

    service_name: CloudRunService


class GkeTargetRequest(_GcpTargetRequest, frozen=True, kw_only=True, tag="gke"):
    """The container of a Kubernetes Deployment; the plan must allow it."""

    namespace: Annotated[str, _text(_LABEL, 63, "default")]
    deployment_name: Annotated[str, _text(_LABEL, 63, "hello")]
    container_name: Annotated[str, _text(_LABEL, 63, "app")]


GcpTargetRequest = CloudRunTargetRequest | GkeTargetRequest
TargetRequest = LocalTargetRequest | AwsTargetRequest | AzureTargetRequest | GcpTargetRequest


def target_of(given: TargetRequest) -> Target:
    """The target in the domain's own terms."""
    fields = msgspec.structs.asdict(given)
    match given:
        case LocalTargetRequest():
            return LocalTarget()
        case AwsTargetRequest():
            return AwsTarget(**fields)
        case AzureTargetRequest():
            return AzureTarget(**fields)
        case CloudRunTargetRequest():
            return GcpTarget(runtime_target="cloud_run", **fields)
        case GkeTargetRequest():
            return GcpTarget(runtime_target="gke", **fields)
        case _:
            assert_never(given)


def offered(services: Services, name: ProviderName) -> Provider:
    """The provider of this name. Raises ProviderNotOffered."""
    try:
        return services.providers[name]
    except KeyError:
        raise ProviderNotOffered(
            f"This service does not deploy to {name}.",
            errors=(FieldError(field="provider", message="not offered here"),),
        ) from None
