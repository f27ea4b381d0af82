"""Connecting a project to Azure: its identity, the template that makes it, and the container of blobs."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from api import onboarding
from api.answer import Answer, encoded
from api.body import read
from api.example_ids import CLOUD_ID
from api.onboarding import Verification
from api.operation import Operation
from api.patterns import whole
from api.reading import tenant_of
from api.services import services_of
from api.targets import AzureId
from commands.basis import fold
from domain.clouds import AzureIdentity, AzureStorage
from domain.integration import StorageNotChecked, integration_id
from domain.project import PROJECT, ProjectIsArchived, ProjectUnknown, require_open
from projections.integrations import Integration
from providers.azure.templates import identity_template

PORTAL = "https://portal.azure.com/#create/Microsoft.Template/uri/"


class AzureRegistration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The directory and the subscription that functions will run in."""

    azure_tenant_id: AzureId
    subscription_id: AzureId


class AzureRegistered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the customer makes the identity; the correlation id is the same whenever the project is registered."""

    dcf_correlation_id: UUID
    portal_url: str


class ArmTemplate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A template as Azure Resource Manager takes it."""

    schema: str = msgspec.field(name="$schema")
    content_version: str
    resources: list[dict[str, Any]]
    outputs: dict[str, dict[str, str]]


class AzureIdentityRequest(AzureRegistration, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The identity that the template made: what its outputs show."""

    client_id: AzureId


class AzureIdentityAgain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The connected identity is meant."""


class AzureBucketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The container in which files are staged."""

    account: Annotated[str, msgspec.Meta(pattern=whole(r"^[a-z0-9]{3,24}$"), max_length=24, examples=["acmefunctions"])]
    container: Annotated[
        str,
        msgspec.Meta(pattern=whole(r"^[a-z0-9]([a-z0-9]|-[a-z0-9]){2,62}$"), max_length=63, examples=["functions"]),
    ]


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
                portal_url=PORTAL + quote(template, safe=""),
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
    template = identity_template(f"dcf-{project_id}", source.issuer, source.subject(tenant_id, project_id))
    # The portal's page fetches it.
    return Answer(encoded(msgspec.convert(template, ArmTemplate)), headers=((b"access-control-allow-origin", b"*"),))


AZURE_ROUTES = (
    register_azure,
    connect_azure,
    verify_azure,
    check_azure_bucket,
    configure_azure_bucket,
    get_azure_template,
)
