"""Connecting a project to Azure: its identity, the template that makes it, and the container of blobs."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from api import onboarding
from api.answer import Answer, encoded
from api.body import read
from api.example_ids import CLOUD_ID
from api.listing import arguments
from api.onboarding import Verification
from api.operation import Operation, Parameter
from api.patterns import whole
from api.reading import tenant_of
from api.services import services_of
from api.targets import (
    PULL_IDENTITY,
    PULL_IDENTITY_EXAMPLE,
    AzureEnvironment,
    AzureGroup,
    AzureId,
    AzureRegion,
    AzureRegistry,
    ProviderNotOffered,
    offered,
)
from commands.basis import fold
from domain.clouds import AzureIdentity, AzureResources, AzureStorage
from domain.integration import INTEGRATION, StorageNotChecked, integration_id
from domain.integration import Integration as State
from domain.project import PROJECT, ProjectIsArchived, ProjectUnknown, require_open
from projections.integrations import Integration
from providers.azure import setup
from providers.azure.setup import ArmTemplate, AzureSetup, Wanted
from providers.azure.templates import identity_template
from providers.provider import ChecksResources


def _text(pattern: str, length_max: int, example: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=whole(pattern), max_length=length_max, examples=[example])


AccountName = Annotated[str, _text(r"^[a-z0-9]{3,24}$", 24, "acmefunctions")]
ContainerName = Annotated[str, _text(r"^[a-z0-9]([a-z0-9]|-[a-z0-9]){2,62}$", 63, "functions")]
IdentityName = Annotated[str, _text(r"^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$", 128, "dcf-pull")]


class AzureRegistration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The directory and the subscription that functions will run in."""

    azure_tenant_id: AzureId
    subscription_id: AzureId


class AzureRegistered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the customer makes the identity; the correlation id is the same whenever the project is registered."""

    dcf_correlation_id: UUID
    portal_url: str


class AzureIdentityRequest(AzureRegistration, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The identity that the template made: what its outputs show."""

    client_id: AzureId


class AzureIdentityAgain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The connected identity is meant."""


class AzureBucketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The container in which files are staged."""

    account: AccountName
    container: ContainerName


class AzureTemplateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Names of your own: what is left out gets a name of the project's own."""

    resource_group: AzureGroup | None = None
    region: AzureRegion | None = None
    account: AccountName | None = None
    container: ContainerName | None = None
    registry: AzureRegistry | None = None
    environment_name: AzureEnvironment | None = None
    pull_identity_name: IdentityName | None = None


class AzureResourcesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What to look at. With nothing named it is what was looked at last; else what is left out is as the template calls it.

    `pullIdentity` is a resource id, as a target takes it.
    """

    resource_group: AzureGroup | None = None
    account: AccountName | None = None
    container: ContainerName | None = None
    registry: AzureRegistry | None = None
    environment_name: AzureEnvironment | None = None
    pull_identity: Annotated[str, _text(rf"^{PULL_IDENTITY}$", 512, PULL_IDENTITY_EXAMPLE)] | None = None


_PLACE = {"azureTenantId": str(CLOUD_ID), "subscriptionId": str(CLOUD_ID)}
_BUCKET = {"account": "acmefunctions", "container": "functions"}

_REGISTER = Operation(
    name="registerAzure",
    permission="integrations:write",
    summary="Where in the Azure portal the identity is made that this project acts as; nothing is recorded",
    tag="Integrations",
    takes=AzureRegistration,
    example=_PLACE,
    answers={200: AzureRegistered},
    refusals=(ProjectUnknown, ProjectIsArchived),
)


@post("/projects/{project_id:uuid}/integrations/azure/wif/register", status_code=200, opt=_REGISTER.as_opt())
async def register_azure(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    await read(request, AzureRegistration)
    services, tenant_id = services_of(request), tenant_of(request)
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
    template = f"{services.public_url()}/api/v1/azure/templates/{tenant_id}/{project_id}"
    return Answer(
        encoded(
            AzureRegistered(
                dcf_correlation_id=integration_id(project_id, "azure"),
                portal_url=setup.portal_link(template),
            )
        )
    )


_CONNECT = onboarding.onboarding(
    "connectAzure",
    "Connect the project to Azure as the identity that the template made",
    takes=AzureIdentityRequest,
    example={**_PLACE, "clientId": str(CLOUD_ID)},
    answers={200: Integration, 201: Integration},
)


@post("/projects/{project_id:uuid}/integrations/azure/connect", status_code=200, opt=_CONNECT.as_opt())
async def connect_azure(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AzureIdentityRequest)
    identity = AzureIdentity(**msgspec.structs.asdict(given))
    return await onboarding.connect(request, content, project_id, identity)


_VERIFY = onboarding.onboarding(
    "verifyAzure",
    "Look whether Entra lets the project act as the identity",
    takes=AzureIdentityAgain,
    example={},
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/azure/wif/verify", status_code=200, opt=_VERIFY.as_opt())
async def verify_azure(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    _, content = await read(request, AzureIdentityAgain)
    return await onboarding.verify(request, content, project_id, "azure")


_CHECK = onboarding.onboarding(
    "checkAzureBucket",
    "Look whether files can be staged in the container",
    takes=AzureBucketRequest,
    example=_BUCKET,
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/azure/bucket/check", status_code=200, opt=_CHECK.as_opt())
async def check_azure_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AzureBucketRequest)
    return await onboarding.check(request, content, project_id, AzureStorage(**msgspec.structs.asdict(given)))


_CONFIGURE = onboarding.onboarding(
    "configureAzureBucket",
    "Stage the project's files in the container",
    StorageNotChecked,
    takes=AzureBucketRequest,
    example=_BUCKET,
    answers={200: Integration},
)


@post("/projects/{project_id:uuid}/integrations/azure/bucket/config", status_code=200, opt=_CONFIGURE.as_opt())
async def configure_azure_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AzureBucketRequest)
    return await onboarding.configure(request, content, project_id, AzureStorage(**msgspec.structs.asdict(given)))


_RESOURCES_TEMPLATE = Operation(
    name="makeAzureTemplate",
    permission="integrations:write",
    summary="What to run once in Azure: a template, its link to the portal, and commands; nothing is recorded",
    tag="Integrations",
    takes=AzureTemplateRequest,
    example={"resourceGroup": "functions", "region": "westeurope"},
    answers={200: AzureSetup},
    refusals=(ProjectUnknown, ProjectIsArchived),
)


@post(
    "/projects/{project_id:uuid}/integrations/azure/resources/template",
    status_code=200,
    opt=_RESOURCES_TEMPLATE.as_opt(),
)
async def make_azure_template(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, _ = await read(request, AzureTemplateRequest)
    services, tenant_id = services_of(request), tenant_of(request)
    require_open(await fold(services.log, PROJECT, PROJECT.stream(tenant_id, project_id)))
    state: State = await fold(
        services.log, INTEGRATION, INTEGRATION.stream(tenant_id, integration_id(project_id, "azure"))
    )
    identity = state.identity if isinstance(state.identity, AzureIdentity) else None
    address = f"{services.public_url()}/api/v1/azure/templates/{tenant_id}/{project_id}/resources"
    return Answer(encoded(setup.setup(project_id, Wanted(**_named(given)), address, identity)))


_LOOK = onboarding.onboarding(
    "verifyAzureResources",
    "Look at each resource that deployments use, and at what the project may do with it",
    takes=AzureResourcesRequest,
    example={"resourceGroup": "functions", "registry": "acmefunctions"},
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/azure/resources/verify", status_code=200, opt=_LOOK.as_opt())
async def verify_azure_resources(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, AzureResourcesRequest)
    services, tenant_id = services_of(request), tenant_of(request)
    state = await onboarding.integration_state(services, tenant_id, project_id, "azure")
    assert isinstance(state.identity, AzureIdentity), "an integration has its own provider's identity"
    provider = offered(services, "azure")
    if not isinstance(provider, ChecksResources):
        raise ProviderNotOffered("This service cannot look at the resources of azure.")
    fields = _named(given)
    resources = state.resources if state.resources is not None and not fields else None
    wanted = resources or _resources(project_id, state.identity, fields)
    finding = await provider.check_resources(tenant_id, project_id, state.identity, wanted)
    return await onboarding.record_resources(request, content, project_id, state.identity, wanted, finding)


_TEMPLATE = Operation(
    name="getAzureTemplate",
    permission="public",
    summary="The ARM template that makes the identity of any project: it holds the ids of its address, and no secret",
    tag="Integrations",
    answers={200: ArmTemplate},
    shows=("Access-Control-Allow-Origin",),
)


@get("/azure/templates/{tenant_id:uuid}/{project_id:uuid}", opt=_TEMPLATE.as_opt())
async def get_azure_template(
    request: Request[Any, Any, Any], tenant_id: FromPath[UUID], project_id: FromPath[UUID]
) -> Answer:
    source = services_of(request).token_source
    template = identity_template(setup.identity_name(project_id), source.issuer, source.subject(tenant_id, project_id))
    return _served(msgspec.convert(template, ArmTemplate))


def _name(name: str, type: Any, example: str, description: str) -> Parameter:
    return Parameter(name=name, type=type, description=description, example=example)


_SERVED = Operation(
    name="getAzureResourcesTemplate",
    permission="public",
    summary="The ARM template that makes what functions are built and run with: it holds ids and names, and no secret",
    tag="Integrations",
    answers={200: ArmTemplate},
    query=(
        _name("account", AccountName, "acmefunctions", "The storage account."),
        _name("container", ContainerName, "functions", "The container for sources."),
        _name("registry", AzureRegistry, "acmefunctions", "The registry."),
        _name("environmentName", AzureEnvironment, "functions", "The environment of the apps."),
        _name("pullIdentityName", IdentityName, "dcf-pull", "The identity that pulls images."),
    ),
    shows=("Access-Control-Allow-Origin",),
)


@get("/azure/templates/{tenant_id:uuid}/{project_id:uuid}/resources", opt=_SERVED.as_opt())
async def get_azure_resources_template(
    request: Request[Any, Any, Any], tenant_id: FromPath[UUID], project_id: FromPath[UUID]
) -> Answer:
    given = arguments(request, _SERVED.query)
    wanted = msgspec.convert(given, AzureTemplateRequest)
    return _served(setup.template(project_id, Wanted(**_named(wanted))))


def _served(template: ArmTemplate) -> Answer:
    # The portal's page fetches it.
    return Answer(encoded(template), headers=((b"access-control-allow-origin", b"*"),))


def _resources(project_id: UUID, identity: AzureIdentity, fields: dict[str, Any]) -> AzureResources:
    pull_identity = fields.pop("pull_identity", "")
    named = setup.resources_of(setup.names(project_id, Wanted(**fields)), identity.subscription_id)
    return msgspec.structs.replace(named, pull_identity=pull_identity or named.pull_identity)


def _named(given: AzureTemplateRequest | AzureResourcesRequest) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}


AZURE_ROUTES = (
    register_azure,
    connect_azure,
    verify_azure,
    check_azure_bucket,
    configure_azure_bucket,
    make_azure_template,
    verify_azure_resources,
    get_azure_template,
    get_azure_resources_template,
)
