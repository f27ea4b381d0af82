"""Targets, identity fields and storage of each cloud: tagged unions, told apart by `provider`."""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec

from domain.refusal import FieldError, Invalid

ProviderName = Literal["local", "aws", "azure", "gcp"]
PROVIDERS: tuple[ProviderName, ...] = ("local", "aws", "azure", "gcp")


class _OfProvider(msgspec.Struct, frozen=True, kw_only=True, tag_field="provider", rename="camel", omit_defaults=True):
    """What belongs to one provider. What is stored says `provider`; fields added later have a default."""


class LocalTarget(_OfProvider, frozen=True, kw_only=True, tag="local"):
    """This machine."""


class LocalIdentity(_OfProvider, frozen=True, kw_only=True, tag="local"):
    """This machine needs no identity of its own."""


class LocalStorage(_OfProvider, frozen=True, kw_only=True, tag="local"):
    """The service's own content-addressed store."""


class AwsTarget(_OfProvider, frozen=True, kw_only=True, tag="aws"):
    """A Lambda function. `role_arn` deploys it, `execution_role_arn` is what it runs as."""

    region: str
    function_name: str
    role_arn: str
    code_build_project: str
    ecr_repository: str
    execution_role_arn: str
    memory_mb: int | None = None
    timeout_seconds: int | None = None


class AwsIdentity(_OfProvider, frozen=True, kw_only=True, tag="aws"):
    """The role that trusts our issuer."""

    role_arn: str
    region: str


class AwsNamed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What deployments are going to name; what is empty is not looked at. `bucket` is where the project stages its files."""

    code_build_project: str = ""
    ecr_repository: str = ""
    execution_role_arn: str = ""
    function_name: str = ""
    bucket: str = ""


class AwsStorage(_OfProvider, frozen=True, kw_only=True, tag="aws"):
    bucket: str
    region: str


class AzureTarget(_OfProvider, frozen=True, kw_only=True, tag="azure"):
    """A container app. `pull_identity` is the resource id of the identity that pulls its image."""

    subscription_id: str
    resource_group: str
    region: str
    registry: str
    environment_name: str
    app_name: str
    pull_identity: str = ""


class AzureIdentity(_OfProvider, frozen=True, kw_only=True, tag="azure"):
    """The application whose federated credential names our issuer. `azure_tenant_id` is that of Entra."""

    azure_tenant_id: str
    client_id: str
    subscription_id: str


class AzureStorage(_OfProvider, frozen=True, kw_only=True, tag="azure"):
    account: str
    container: str


class AzureResources(_OfProvider, frozen=True, kw_only=True, tag="azure"):
    """What functions are built and run with, in one resource group; `pull_identity` is a resource id, as in a target."""

    resource_group: str
    registry: str
    environment_name: str
    pull_identity: str
    account: str
    container: str


GcpRuntimeTarget = Literal["cloud_run", "gke"]


class GcpTarget(_OfProvider, frozen=True, kw_only=True, tag="gcp"):
    """A Cloud Run service, or the container of a Deployment in GKE: the fields of the other one are empty."""

    project_id: str
    region: str
    artifact_repository: str
    runtime_target: GcpRuntimeTarget
    service_name: str = ""
    namespace: str = ""
    deployment_name: str = ""
    container_name: str = ""


class GcpIdentity(_OfProvider, frozen=True, kw_only=True, tag="gcp"):
    """The service account, and the workload identity provider through which our token becomes it.

    `workload_identity_project_number` is the number of the pool's project, never its id.
    """

    gcp_project_id: str
    service_account_email: str
    workload_identity_project_number: str
    workload_identity_pool: str
    workload_identity_provider: str

    @property
    def pool_name(self) -> str:
        number, pool = self.workload_identity_project_number, self.workload_identity_pool
        return f"projects/{number}/locations/global/workloadIdentityPools/{pool}"

    @property
    def audience(self) -> str:
        """Of our token, and of its exchange: derived, so that it can never disagree with the other fields."""
        return f"//iam.googleapis.com/{self.pool_name}/providers/{self.workload_identity_provider}"


class GcpStorage(_OfProvider, frozen=True, kw_only=True, tag="gcp"):
    bucket: str


Target = LocalTarget | AwsTarget | AzureTarget | GcpTarget
Identity = LocalIdentity | AwsIdentity | AzureIdentity | GcpIdentity
Storage = LocalStorage | AwsStorage | AzureStorage | GcpStorage


class ProviderMismatch(Invalid):
    """The target, identity or storage is that of another provider."""

    code = "provider_mismatch"
    remedy = "Give the fields of the provider that is named."


def provider_of(thing: Target | Identity | Storage | AzureResources) -> ProviderName:
    """The provider that a target, an identity, a storage or resources belong to."""
    match thing:
        case LocalTarget() | LocalIdentity() | LocalStorage():
            return "local"
        case AwsTarget() | AwsIdentity() | AwsStorage():
            return "aws"
        case AzureTarget() | AzureIdentity() | AzureStorage() | AzureResources():
            return "azure"
        case GcpTarget() | GcpIdentity() | GcpStorage():
            return "gcp"
        case _:
            assert_never(thing)


def check_provider(
    of_provider: Target | Identity | Storage | AzureResources, named: ProviderName, *, field: str
) -> None:
    """Raise ProviderMismatch unless the thing belongs to the provider that is named."""
    if provider_of(of_provider) != named:
        raise ProviderMismatch(errors=(FieldError(field=field, message=f"not one of {named}"),))


def target_key(target: Target) -> str:
    """Tells apart the places one function can be deployed to: two deployments with one key replace each other."""
    match target:
        case LocalTarget():
            return "local"
        case AwsTarget():
            return f"aws/{_account(target.role_arn)}/{target.region}/{target.function_name}"
        case AzureTarget():
            return f"azure/{target.subscription_id}/{target.resource_group}/{target.app_name}".lower()
        case GcpTarget(runtime_target="cloud_run"):
            return f"gcp/{target.project_id}/{target.region}/{target.service_name}"
        case GcpTarget():
            place = f"{target.project_id}/{target.region}/{target.namespace}"
            return f"gcp/gke/{place}/{target.deployment_name}/{target.container_name}"
        case _:
            assert_never(target)


def account_key(target: Target) -> str:
    """The account and region whose quotas a deployment to the target uses."""
    match target:
        case LocalTarget():
            return "local"
        case AwsTarget():
            return f"aws/{_account(target.role_arn)}/{target.region}"
        case AzureTarget():
            return f"azure/{target.subscription_id}/{target.region}".lower()
        case GcpTarget():
            return f"gcp/{target.project_id}/{target.region}"
        case _:
            assert_never(target)


def _account(role_arn: str) -> str:
    """The account in `arn:aws:iam::123456789012:role/name`."""
    parts = role_arn.split(":")
    return parts[4] if len(parts) > 4 else ""
