"""Connecting a project to Google Cloud: workload identity, its diagnosis, and the bucket."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.params import FromPath

from api import onboarding
from api.answer import Answer, encoded
from api.body import read
from api.onboarding import Verification
from api.operation import Operation
from api.patterns import whole
from api.reading import tenant_of
from api.services import services_of
from api.targets import GcpProjectId, ProviderNotOffered, offered
from domain.clouds import GcpIdentity, GcpStorage, Identity
from domain.integration import StorageNotChecked
from domain.refusal import Conflict, FieldError
from projections.integrations import Integration
from providers.provider import Diagnosing


def _text(pattern: str, length_max: int, example: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=whole(pattern), max_length=length_max, examples=[example])


_EMAIL = r"^[a-z0-9][-a-z0-9]*@[a-z0-9][-a-z0-9.:]*\.gserviceaccount\.com$"
_POOL = r"^[a-z0-9-]{4,32}$"
ServiceAccountEmail = Annotated[str, _text(_EMAIL, 254, "dcf@acme-prod.iam.gserviceaccount.com")]
ProjectNumber = Annotated[str, _text(r"^[1-9][0-9]*$", 20, "123456789012")]
PoolName = Annotated[str, _text(_POOL, 32, "dcf-pool")]
PoolProviderName = Annotated[str, _text(_POOL, 32, "dcf-provider")]
BucketName = Annotated[str, _text(r"^[a-z0-9][-a-z0-9_.]{1,220}[a-z0-9]$", 222, "acme-functions")]


class GcpIdentityRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The service account, and the workload identity provider that leads to it. The audience is derived from these."""

    gcp_project_id: GcpProjectId
    service_account_email: ServiceAccountEmail
    workload_identity_project_number: ProjectNumber
    workload_identity_pool: PoolName
    workload_identity_provider: PoolProviderName


class GcpIdentityAgain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The connected identity is meant; what is named of it must be as it was connected."""

    gcp_project_id: GcpProjectId | None = None
    service_account_email: ServiceAccountEmail | None = None
    workload_identity_project_number: ProjectNumber | None = None
    workload_identity_pool: PoolName | None = None
    workload_identity_provider: PoolProviderName | None = None


class GcpBucketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bucket in which files are staged."""

    bucket: BucketName


class IdentityDiffers(Conflict):
    """The project is connected with another identity."""

    code = "identity_differs"
    remedy = "Connect this identity first: POST …/integrations/gcp/wif/connect."


_IDENTITY = {
    "gcpProjectId": "acme-prod",
    "serviceAccountEmail": "dcf@acme-prod.iam.gserviceaccount.com",
    "workloadIdentityProjectNumber": "123456789012",
    "workloadIdentityPool": "dcf-pool",
    "workloadIdentityProvider": "dcf-provider",
}
_BUCKET = {"bucket": "acme-functions"}

_CONNECT = onboarding.onboarding(
    "connectGcp",
    "Connect the project to Google Cloud",
    takes=GcpIdentityRequest,
    example=_IDENTITY,
    answers={200: Integration, 201: Integration},
)


@post("/projects/{project_id:uuid}/integrations/gcp/wif/connect", status_code=200, opt=_CONNECT.as_opt())
async def connect_gcp(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, GcpIdentityRequest)
    identity = GcpIdentity(**msgspec.structs.asdict(given))
    return await onboarding.connect(request, content, project_id, identity)


_VERIFY = onboarding.onboarding(
    "verifyGcp",
    "Look whether Google Cloud lets the project act as the service account",
    IdentityDiffers,
    takes=GcpIdentityAgain,
    example={},
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/gcp/wif/verify", status_code=200, opt=_VERIFY.as_opt())
async def verify_gcp(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, GcpIdentityAgain)
    _check_same(given, await _connected(request, project_id))
    return await onboarding.verify(request, content, project_id, "gcp")


_DIAGNOSE = Operation(
    name="diagnoseGcp",
    permission="integrations:write",
    summary="Look at everything a deployment to Google Cloud needs, step by step; nothing is recorded",
    tag="Integrations",
    takes=GcpIdentityAgain,
    example={},
    answers={200: Verification},
    refusals=(
        *onboarding.CONNECTED,
        IdentityDiffers,
    ),
)


@post("/projects/{project_id:uuid}/integrations/gcp/wif/diagnostics", status_code=200, opt=_DIAGNOSE.as_opt())
async def diagnose_gcp(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, _ = await read(request, GcpIdentityAgain)
    services, tenant_id = services_of(request), tenant_of(request)
    state = await onboarding.integration_state(services, tenant_id, project_id, "gcp")
    assert state.identity is not None, "what is connected has an identity"
    _check_same(given, state.identity)
    provider = offered(services, "gcp")
    if not isinstance(provider, Diagnosing):
        raise ProviderNotOffered("This service has no diagnosis of gcp.")
    storage = state.storage or state.storage_checked
    finding = await provider.diagnose(tenant_id, project_id, state.identity, storage)
    return Answer(encoded(onboarding.unrecorded(finding, state, services.clock())))


_CHECK = onboarding.onboarding(
    "checkGcpBucket",
    "Look whether files can be staged in the bucket",
    takes=GcpBucketRequest,
    example=_BUCKET,
    answers={200: Verification},
)


@post("/projects/{project_id:uuid}/integrations/gcp/bucket/check", status_code=200, opt=_CHECK.as_opt())
async def check_gcp_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, GcpBucketRequest)
    return await onboarding.check(request, content, project_id, GcpStorage(bucket=given.bucket))


_CONFIGURE = onboarding.onboarding(
    "configureGcpBucket",
    "Stage the project's files in the bucket",
    StorageNotChecked,
    takes=GcpBucketRequest,
    example=_BUCKET,
    answers={200: Integration},
)


@post("/projects/{project_id:uuid}/integrations/gcp/bucket/config", status_code=200, opt=_CONFIGURE.as_opt())
async def configure_gcp_bucket(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    given, content = await read(request, GcpBucketRequest)
    return await onboarding.configure(request, content, project_id, GcpStorage(bucket=given.bucket))


async def _connected(request: Request[Any, Any, Any], project_id: UUID) -> Identity:
    return await onboarding.identity_of(services_of(request), tenant_of(request), project_id, "gcp")


def _check_same(given: GcpIdentityAgain, connected: Identity) -> None:
    """Raises IdentityDiffers, naming the fields."""
    differing = [
        name
        for name, value in msgspec.structs.asdict(given).items()
        if value is not None and value != getattr(connected, name)
    ]
    if differing:
        encoded_names = dict(zip(given.__struct_fields__, given.__struct_encode_fields__, strict=True))
        errors = tuple(FieldError(field=encoded_names[name], message="not as connected") for name in differing)
        raise IdentityDiffers(errors=errors)


GCP_ROUTES = (connect_gcp, verify_gcp, diagnose_gcp, check_gcp_bucket, configure_gcp_bucket)
