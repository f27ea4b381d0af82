"""Facts and commands with everything a test is not about filled in: `a.project_created(name="Shop")`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from commands import (
    api_key,
    artifact,
    deploy_lock,
    deployment,
    function,
    integration,
    person,
    plan,
    progress,
    project,
    runtime,
    tenant,
)
from domain.api_key import API_KEY, ApiKeyCreated, ApiKeyRevoked
from domain.artifact import ARTIFACT, ArtifactDiscarded, ArtifactStaged, artifact_id
from domain.clouds import (
    AwsIdentity,
    AwsStorage,
    AwsTarget,
    AzureResources,
    GcpStorage,
    LocalIdentity,
    LocalStorage,
    LocalTarget,
    ProviderName,
)
from domain.deployment import (
    DEPLOYMENT,
    BuildFailed,
    BuildStarted,
    BuildSucceeded,
    CancelRequested,
    DeploymentActivated,
    DeploymentBundled,
    DeploymentCanceled,
    DeploymentClaimed,
    DeploymentEvent,
    DeploymentFailed,
    DeploymentQueued,
    DeploymentRetired,
    DeploymentSucceeded,
    DeploymentSuperseded,
    DeploymentUndeployed,
    DeploymentWaiting,
    DeploymentWithdrawn,
    DriftCleared,
    DriftFound,
    Failure,
    FailureFound,
    ImagePushed,
    ReleaseApplied,
    ReleaseStarted,
    ReleaseVerified,
    UndeployFailed,
    UndeployRequested,
    UndeployStarted,
)
from domain.event import SYSTEM_TENANT, Claim, Counter, Fact
from domain.function import (
    FUNCTION,
    ArchiveRequested,
    ArtifactFiles,
    Authored,
    DeploymentEnded,
    DeploymentRequested,
    FunctionArchived,
    FunctionCreated,
    FunctionDeployed,
    FunctionUndeployed,
    FunctionUpdated,
    SecretRemoved,
    SecretSet,
)
from domain.integration import (
    INTEGRATION,
    CheckStep,
    FormerStorageSwept,
    IdentityChecked,
    IntegrationConnected,
    IntegrationDisconnected,
    ResourcesChecked,
    StorageChecked,
    StorageConfigured,
    integration_id,
)
from domain.person import PERSON, PersonErased, PersonRegistered
from domain.plan import Limits, PlanDefined, plan_stream
from domain.project import (
    PROJECT,
    DeploymentsLocked,
    DeploymentsUnlocked,
    LockedBy,
    ProjectArchived,
    ProjectCreated,
    ProjectRenamed,
)
from domain.release import ArtifactKind, PinnedImage, Release, SourceRef, Toolchain, Trigger
from domain.runtime import RUNTIMES_STREAM, Dates, RuntimeAdded, RuntimeDatesSet, RuntimeDefaultSet
from domain.sealed import Sealed
from domain.tenant import (
    TENANT,
    InvitationAccepted,
    InvitationWithdrawn,
    MemberAdded,
    MemberInvited,
    MemberRemoved,
    MemberRoleChanged,
    PlanChosen,
    Role,
    TenantClosed,
    TenantCreated,
    TenantResumed,
    TenantSuspended,
)
from domain.webhook import WEBHOOK, WebhookCreated, WebhookEvent

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = AT - timedelta(days=300)


def id_of(number: int) -> UUID:
    """A UUIDv7 that is told apart from others by a small number."""
    return UUID(int=0x0195_5000_0000_7000_8000_0000_0000_0000 + number)


TENANT_ID, OTHER_TENANT_ID = id_of(1), id_of(2)
PROJECT_ID, OTHER_PROJECT_ID = id_of(3), id_of(4)
FUNCTION_ID, OTHER_FUNCTION_ID = id_of(5), id_of(6)
PERSON_ID, KEY_ID = id_of(7), id_of(8)
INVITATION_ID = id_of(9)
WEBHOOK_ID, WEBHOOK_URL = id_of(13), "https://ci.example.com/dcf"
DEPLOYMENT_ID, LATER_DEPLOYMENT_ID = id_of(10), id_of(11)

LOCKED_BY = LockedBy(type="person", id=str(PERSON_ID))
RUNTIME = "3.11.0"
FAILURE = Failure(code="build_failed", step="build", message="main.dart:1: Error: expected ';'", remedy="Mend it.")
TOOLCHAIN = Toolchain(engine="dart-sdk", version=RUNTIME)
DIGEST = "sha256:" + "0" * 64


# Facts about tenants, plans, people and keys.


def limits(**changes: Any) -> Limits:
    few = Limits(projects=3, functions_per_project=5, members=2, concurrent_deployments=2, queued_deployments=4)
    return msgspec.structs.replace(few, **changes)


def plan_defined(name: str = "sandbox", entitlements: tuple[str, ...] = (), **changes: Any) -> Fact:
    return Fact(plan_stream(name), PlanDefined(name=name, limits=limits(**changes), entitlements=entitlements))


def tenant_created(tenant_id: UUID = TENANT_ID, name: str = "Acme", slug: str = "acme") -> Fact:
    return Fact(TENANT.stream(tenant_id, tenant_id), TenantCreated(name=name, slug=slug, plan="sandbox"))


def member_added(person_id: UUID = PERSON_ID, role: Role = "developer") -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), MemberAdded(person_id=person_id, role=role))


def member_role_changed(role: Role, person_id: UUID = PERSON_ID) -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), MemberRoleChanged(person_id=person_id, role=role))


def member_removed(person_id: UUID = PERSON_ID) -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), MemberRemoved(person_id=person_id))


def plan_chosen(plan: str = "standard") -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), PlanChosen(plan=plan))


def tenant_closed() -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), TenantClosed(reason="moved"))


def tenant_suspended(reason: str = "unpaid") -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), TenantSuspended(reason=reason))


def tenant_resumed() -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), TenantResumed())


def member_invited(
    *, role: Role = "developer", expires_at: datetime = AT + timedelta(days=7), invitation_id: UUID = INVITATION_ID
) -> Fact:
    return Fact(
        TENANT.stream(TENANT_ID, TENANT_ID),
        MemberInvited(
            invitation_id=invitation_id,
            email=Sealed("c2VhbGVk"),
            role=role,
            secret_hash="ab" * 32,
            expires_at=expires_at,
        ),
    )


def invitation_accepted() -> Fact:
    return Fact(
        TENANT.stream(TENANT_ID, TENANT_ID), InvitationAccepted(invitation_id=INVITATION_ID, person_id=PERSON_ID)
    )


def invitation_withdrawn(invitation_id: UUID = INVITATION_ID) -> Fact:
    return Fact(TENANT.stream(TENANT_ID, TENANT_ID), InvitationWithdrawn(invitation_id=invitation_id))


def person_registered(person_id: UUID = PERSON_ID, *, identity: str = "") -> Fact:
    return Fact(PERSON.stream(SYSTEM_TENANT, person_id), PersonRegistered(name=Sealed("c2VhbGVk"), identity=identity))


def person_erased(person_id: UUID = PERSON_ID) -> Fact:
    return Fact(PERSON.stream(SYSTEM_TENANT, person_id), PersonErased())


def api_key_created(**changes: Any) -> Fact:
    created = ApiKeyCreated(name="CI", secret_hash="ab" * 32, role="developer")
    return Fact(API_KEY.stream(TENANT_ID, KEY_ID), msgspec.structs.replace(created, **changes))


def api_key_revoked(reason: str = "") -> Fact:
    return Fact(API_KEY.stream(TENANT_ID, KEY_ID), ApiKeyRevoked(reason=reason))


# Facts about projects, runtimes, artifacts and integrations.


def project_created(project_id: UUID = PROJECT_ID, name: str = "Shop", slug: str = "shop") -> Fact:
    return Fact(PROJECT.stream(TENANT_ID, project_id), ProjectCreated(name=name, slug=slug))


def project_renamed(name: str, project_id: UUID = PROJECT_ID) -> Fact:
    return Fact(PROJECT.stream(TENANT_ID, project_id), ProjectRenamed(name=name))


def project_archived(project_id: UUID = PROJECT_ID, reason: str = "") -> Fact:
    return Fact(PROJECT.stream(TENANT_ID, project_id), ProjectArchived(reason=reason))


def deployments_locked(reason: str = "stocktaking", expires_at: datetime = AT + timedelta(hours=1)) -> Fact:
    locked = DeploymentsLocked(reason=reason, expires_at=expires_at, locked_by=LOCKED_BY)
    return Fact(PROJECT.stream(TENANT_ID, PROJECT_ID), locked)


def deployments_unlocked() -> Fact:
    return Fact(PROJECT.stream(TENANT_ID, PROJECT_ID), DeploymentsUnlocked())


def webhook_created(**changes: Any) -> Fact:
    created = WebhookCreated(project_id=PROJECT_ID, url=WEBHOOK_URL, secret_id=id_of(80))
    return webhook(msgspec.structs.replace(created, **changes))


def webhook(event: WebhookEvent) -> Fact:
    return Fact(WEBHOOK.stream(TENANT_ID, WEBHOOK_ID), event)


def dates(**changes: Any) -> Dates:
    return msgspec.structs.replace(Dates(released_at=LONG_AGO), **changes)


def runtime_added(version: str = RUNTIME, **changes: Any) -> Fact:
    return Fact(RUNTIMES_STREAM, RuntimeAdded(version=version, dates=dates(**changes)))


def runtime_dates_set(version: str = RUNTIME, **changes: Any) -> Fact:
    return Fact(RUNTIMES_STREAM, RuntimeDatesSet(version=version, dates=dates(**changes)))


def runtime_default_set(version: str = RUNTIME) -> Fact:
    return Fact(RUNTIMES_STREAM, RuntimeDefaultSet(version=version))


_FILE_NAMES: dict[ArtifactKind, str] = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}


def staged_id(kind: ArtifactKind = "code", project_id: UUID = PROJECT_ID) -> UUID:
    """The id of what `artifact_staged` stages."""
    return artifact_id(project_id, kind, _FILE_NAMES[kind], DIGEST)


def artifact_staged(kind: ArtifactKind = "code", project_id: UUID = PROJECT_ID, **changes: Any) -> Fact:
    staged = ArtifactStaged(
        project_id=project_id,
        kind=kind,
        file_name=_FILE_NAMES[kind],
        digest=DIGEST,
        size_bytes=120,
        sdk_constraint="^3.5.0" if kind == "yaml" else None,
    )
    staged = msgspec.structs.replace(staged, **changes)
    return Fact(ARTIFACT.stream(TENANT_ID, staged_id(kind, project_id)), staged)


def artifact_discarded(kind: ArtifactKind = "code") -> Fact:
    """Of what `artifact_staged` stages."""
    discarded = ArtifactDiscarded(retention_days=30, size_bytes=120)
    return Fact(ARTIFACT.stream(TENANT_ID, staged_id(kind)), discarded)


_INTEGRATION = INTEGRATION.stream(TENANT_ID, integration_id(PROJECT_ID, "local"))


def integration_connected(provider: ProviderName = "local") -> Fact:
    connected = IntegrationConnected(project_id=PROJECT_ID, provider=provider, identity=LocalIdentity())
    return Fact(INTEGRATION.stream(TENANT_ID, integration_id(PROJECT_ID, provider)), connected)


def aws_ready() -> tuple[Fact, ...]:
    """The project is connected to AWS, in eu-west-1."""
    stream, target = INTEGRATION.stream(TENANT_ID, integration_id(PROJECT_ID, "aws")), aws_target()
    identity = AwsIdentity(role_arn=target.role_arn, region=target.region)
    storage = AwsStorage(bucket="acme-functions", region=target.region)
    return (
        Fact(stream, IntegrationConnected(project_id=PROJECT_ID, provider="aws", identity=identity)),
        Fact(stream, IdentityChecked(status="verified", steps=())),
        Fact(stream, StorageChecked(storage=storage, status="verified", steps=())),
        Fact(stream, StorageConfigured(storage=storage)),
    )


def aws_target() -> AwsTarget:
    """One that can be deployed to when the project is `aws_ready`."""
    role = "arn:aws:iam::123456789012:role/dcf"
    return AwsTarget(
        region="eu-west-1",
        function_name="greet",
        role_arn=role,
        code_build_project="dcf-build",
        ecr_repository="dcf-functions",
        execution_role_arn=f"{role}-function",
    )


def identity_checked(status: Any = "verified", steps: tuple[CheckStep, ...] = ()) -> Fact:
    return Fact(_INTEGRATION, IdentityChecked(status=status, steps=steps))


def storage_checked(status: Any = "verified") -> Fact:
    return Fact(_INTEGRATION, StorageChecked(storage=LocalStorage(), status=status, steps=()))


def storage_configured() -> Fact:
    return Fact(_INTEGRATION, StorageConfigured(storage=LocalStorage()))


def resources_checked(status: Any = "verified", steps: tuple[CheckStep, ...] = ()) -> Fact:
    """Of a project that is connected to Azure."""
    checked = ResourcesChecked(resources=azure_resources(), status=status, steps=steps)
    return Fact(INTEGRATION.stream(TENANT_ID, integration_id(PROJECT_ID, "azure")), checked)


_OF_GCP = INTEGRATION.stream(TENANT_ID, integration_id(PROJECT_ID, "gcp"))


def gcp_storage(bucket: str) -> Fact:
    """Of a project that is connected to Google Cloud."""
    return Fact(_OF_GCP, StorageConfigured(storage=GcpStorage(bucket=bucket)))


def former_storage_swept(**found: Any) -> Fact:
    """Of a project that is connected to Google Cloud."""
    return Fact(_OF_GCP, FormerStorageSwept(**found))


def integration_disconnected(reason: str = "", provider: ProviderName = "local") -> Fact:
    stream = INTEGRATION.stream(TENANT_ID, integration_id(PROJECT_ID, provider))
    return Fact(stream, IntegrationDisconnected(reason=reason))


# Facts about functions.


def authored(**changes: Any) -> Authored:
    plain = Authored(name="Greet", trigger=Trigger(), runtime=RUNTIME)
    return msgspec.structs.replace(plain, **changes)


def function_created(
    function_id: UUID = FUNCTION_ID, project_id: UUID = PROJECT_ID, slug: str = "greet", **changes: Any
) -> Fact:
    """The changes are those to the record."""
    created = FunctionCreated(project_id=project_id, slug=slug, authored=authored(**changes))
    return Fact(FUNCTION.stream(TENANT_ID, function_id), created)


def secret_set(name: str = "TOKEN", version: int = 1, value_id: UUID | None = None) -> Fact:
    return _of_function(SecretSet(name=name, version=version, value_id=value_id or id_of(60)))


def secret_removed(name: str = "TOKEN") -> Fact:
    return _of_function(SecretRemoved(name=name))


def _of_function(event: Any) -> Fact:
    return Fact(FUNCTION.stream(TENANT_ID, FUNCTION_ID), event)


def function_updated(**changes: Any) -> Fact:
    return _of_function(FunctionUpdated(authored=authored(**changes)))


def function_updated_of(tenant_id: UUID, function_id: UUID, **changes: Any) -> Fact:
    """Of another function than that of all the other facts."""
    return Fact(FUNCTION.stream(tenant_id, function_id), FunctionUpdated(authored=authored(**changes)))


def archive_requested(reason: str = "") -> Fact:
    return _of_function(ArchiveRequested(reason=reason))


def function_archived(reason: str = "") -> Fact:
    return _of_function(FunctionArchived(reason=reason))


def deployment_requested(deployment_id: UUID = DEPLOYMENT_ID, number: int = 1) -> Fact:
    return _of_function(DeploymentRequested(deployment_id=deployment_id, number=number, target_key="local"))


def function_deployed(
    deployment_id: UUID = DEPLOYMENT_ID,
    number: int = 1,
    replaced: UUID | None = None,
    function_revision: int = 1,
    **changes: Any,
) -> Fact:
    """The changes are those to the release."""
    return _of_function(
        FunctionDeployed(
            deployment_id=deployment_id,
            number=number,
            target_key="local",
            function_revision=function_revision,
            replaced=replaced,
            inputs=release(**changes).inputs,
        )
    )


def deployment_ended(deployment_id: UUID = DEPLOYMENT_ID) -> Fact:
    return _of_function(DeploymentEnded(deployment_id=deployment_id))


def function_undeployed(deployment_id: UUID = DEPLOYMENT_ID) -> Fact:
    return _of_function(FunctionUndeployed(deployment_id=deployment_id, target_key="local"))


# Facts about deployments.


def source(kind: ArtifactKind) -> SourceRef:
    return SourceRef(kind=kind, artifact_id=staged_id(kind), file_name=_FILE_NAMES[kind], digest=DIGEST, size_bytes=120)


def release(**changes: Any) -> Release:
    plain = Release(
        function_id=FUNCTION_ID,
        function_revision=1,
        sources=(source("code"), source("yaml")),
        runtime=RUNTIME,
        trigger=Trigger(),
        access="private",
        environment={},
        provider="local",
        target=LocalTarget(),
        integration_version=4,
        address=("acme", "shop", "greet"),
    )
    return msgspec.structs.replace(plain, **changes)


def pinned_image() -> PinnedImage:
    """What `image_pushed` and `build_succeeded` come to."""
    return PinnedImage(reference="images/1", digest=DIGEST, toolchain=TOOLCHAIN)


def _of_deployment(event: DeploymentEvent, deployment_id: UUID = DEPLOYMENT_ID) -> Fact:
    return Fact(DEPLOYMENT.stream(TENANT_ID, deployment_id), event)


def deployment_queued(deployment_id: UUID = DEPLOYMENT_ID, number: int = 1, **changes: Any) -> Fact:
    queued = DeploymentQueued(project_id=PROJECT_ID, number=number, release=release())
    return _of_deployment(msgspec.structs.replace(queued, **changes), deployment_id)


def deployment_claimed(
    deployment_id: UUID = DEPLOYMENT_ID, epoch: int = 1, runner_id: str = "runner-1", account: str = "local"
) -> Fact:
    return _of_deployment(DeploymentClaimed(epoch=epoch, runner_id=runner_id, account=account), deployment_id)


def deployment_bundled(epoch: int = 1, digest: str = DIGEST) -> Fact:
    return _of_deployment(DeploymentBundled(epoch=epoch, location="bundles/1", digest=digest))


def build_started(epoch: int = 1, build_id: str = "build-1") -> Fact:
    return _of_deployment(BuildStarted(epoch=epoch, build_id=build_id))


def build_succeeded(epoch: int = 1, **changes: Any) -> Fact:
    built = BuildSucceeded(epoch=epoch, build_id="build-1", toolchain=TOOLCHAIN)
    return _of_deployment(msgspec.structs.replace(built, **changes))


def build_failed(epoch: int = 1) -> Fact:
    return _of_deployment(BuildFailed(epoch=epoch, build_id="build-1", failure=FAILURE))


def image_pushed(epoch: int = 1) -> Fact:
    return _of_deployment(ImagePushed(epoch=epoch, reference="images/1", digest=DIGEST))


def release_started(epoch: int = 1) -> Fact:
    return _of_deployment(ReleaseStarted(epoch=epoch))


def release_applied(epoch: int = 1) -> Fact:
    return _of_deployment(ReleaseApplied(epoch=epoch, url="http://127.0.0.1/acme/shop/greet/", revision="1"))


def release_verified(epoch: int = 1) -> Fact:
    return _of_deployment(ReleaseVerified(epoch=epoch))


def deployment_activated(replaced: UUID | None = None, epoch: int = 1) -> Fact:
    return _of_deployment(DeploymentActivated(epoch=epoch, replaced=replaced))


def deployment_succeeded(epoch: int = 1, **changes: Any) -> Fact:
    return _of_deployment(DeploymentSucceeded(epoch=epoch, **changes))


def failure_found() -> Fact:
    return _of_deployment(FailureFound(epoch=1, failure=FAILURE))


def deployment_failed(remaining: tuple[str, ...] = (), epoch: int = 1) -> Fact:
    return _of_deployment(DeploymentFailed(epoch=epoch, failure=FAILURE, remaining=remaining))


def cancel_requested(deployment_id: UUID = DEPLOYMENT_ID, reason: str = "") -> Fact:
    return _of_deployment(CancelRequested(reason=reason), deployment_id)


def deployment_canceled(deployment_id: UUID = DEPLOYMENT_ID, **changes: Any) -> Fact:
    return _of_deployment(msgspec.structs.replace(DeploymentCanceled(), **changes), deployment_id)


def deployment_superseded(deployment_id: UUID = DEPLOYMENT_ID, by: UUID = LATER_DEPLOYMENT_ID) -> Fact:
    return _of_deployment(DeploymentSuperseded(by_deployment_id=by), deployment_id)


def deployment_waiting(step: str = "build", epoch: int = 1) -> Fact:
    return _of_deployment(DeploymentWaiting(epoch=epoch, step=step, message="Throttled.", retry_in_seconds=2.5))


def deployment_retired(releases_kept: int = 5) -> Fact:
    return _of_deployment(DeploymentRetired(releases_kept=releases_kept))


def drift_found(*differences: str) -> Fact:
    return _of_deployment(DriftFound(differences=differences))


def drift_cleared() -> Fact:
    return _of_deployment(DriftCleared())


def undeploy_requested(reason: str = "") -> Fact:
    return _of_deployment(UndeployRequested(reason=reason))


def undeploy_started(epoch: int = 2) -> Fact:
    return _of_deployment(UndeployStarted(epoch=epoch))


def deployment_withdrawn(remaining: tuple[str, ...] = (), epoch: int = 2) -> Fact:
    return _of_deployment(DeploymentWithdrawn(epoch=epoch, remaining=remaining))


def deployment_undeployed(epoch: int = 2) -> Fact:
    return _of_deployment(DeploymentUndeployed(epoch=epoch))


def undeploy_failed(remaining: tuple[str, ...] = (), epoch: int = 2) -> Fact:
    return _of_deployment(UndeployFailed(epoch=epoch, failure=FAILURE, remaining=remaining))


# Whole stretches of the flow.


def tenant_with_plan(**changes: Any) -> tuple[Fact, ...]:
    return (plan_defined(**changes), tenant_created())


def integration_ready() -> tuple[Fact, ...]:
    return (integration_connected(), identity_checked(), storage_checked(), storage_configured())


def function_ready(**changes: Any) -> tuple[Fact, ...]:
    """A function that can be deployed as it is: its sources are staged, its runtime supported, its provider ready."""
    files = ArtifactFiles(code_file=staged_id("code"), yaml_file=staged_id("yaml"))
    return (
        *tenant_with_plan(),
        project_created(),
        runtime_added(),
        artifact_staged("code"),
        artifact_staged("yaml", sdk_constraint="^3.5.0"),
        *integration_ready(),
        function_created(**{"artifact_files": files, **changes}),
    )


def deployment_under_way() -> tuple[Fact, ...]:
    return (*function_ready(), deployment_requested(), deployment_queued(), deployment_claimed())


def deployment_verified() -> tuple[Fact, ...]:
    """Everything is recorded but that it serves."""
    built = (deployment_bundled(), build_started(), build_succeeded(), image_pushed())
    return (*deployment_under_way(), *built, release_started(), release_applied(), release_verified())


def deployment_active() -> tuple[Fact, ...]:
    return (*deployment_verified(), deployment_activated(), deployment_succeeded(), function_deployed())


def deployment_undeploying() -> tuple[Fact, ...]:
    return (*deployment_active(), undeploy_requested(), deployment_claimed(epoch=2), undeploy_started())


# Claims and counts.


def claim(scope: str, key: str, holder: UUID, *, tenant_id: UUID = TENANT_ID, release: bool = False) -> Claim:
    return Claim(tenant_id=tenant_id, scope=scope, key=key, holder=holder, release=release)


def slot(deployment_id: UUID = DEPLOYMENT_ID, *, release: bool = False) -> Claim:
    return claim("slot", f"{FUNCTION_ID}/local", deployment_id, release=release)


def count(scope: str, name: str, delta: int, limit: int | None = None) -> Counter:
    return Counter(tenant_id=TENANT_ID, scope=scope, name=name, delta=delta, limit=limit)


# Commands.


def _filled(defaults: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {"tenant_id": TENANT_ID, "at": AT, **defaults, **changes}


def define_plan(**changes: Any) -> plan.DefinePlan:
    defaults = {"tenant_id": SYSTEM_TENANT, "name": "sandbox", "limits": limits()}
    return plan.DefinePlan(**_filled(defaults, changes))


def create_tenant(**changes: Any) -> tenant.CreateTenant:
    return tenant.CreateTenant(**_filled({"name": "Acme", "plan": "sandbox"}, changes))


def add_member(**changes: Any) -> tenant.AddMember:
    return tenant.AddMember(**_filled({"person_id": PERSON_ID, "role": "developer"}, changes))


def change_role(**changes: Any) -> tenant.ChangeRole:
    return tenant.ChangeRole(**_filled({"person_id": PERSON_ID, "role": "admin"}, changes))


def remove_member(**changes: Any) -> tenant.RemoveMember:
    return tenant.RemoveMember(**_filled({"person_id": PERSON_ID}, changes))


def suspend_tenant(**changes: Any) -> tenant.SuspendTenant:
    return tenant.SuspendTenant(**_filled({"reason": "unpaid"}, changes))


def close_tenant() -> tenant.CloseTenant:
    return tenant.CloseTenant(**_filled({"reason": "moved"}, {}))


def resume_tenant() -> tenant.ResumeTenant:
    return tenant.ResumeTenant(**_filled({}, {}))


def invite_member(**changes: Any) -> tenant.InviteMember:
    defaults = {
        "invitation_id": INVITATION_ID,
        "email": Sealed("c2VhbGVk"),
        "role": "developer",
        "secret_hash": "ab" * 32,
        "expires_at": AT + timedelta(days=7),
    }
    return tenant.InviteMember(**_filled(defaults, changes))


def accept_invitation(**changes: Any) -> tenant.AcceptInvitation:
    defaults = {"invitation_id": INVITATION_ID, "secret_hash": "ab" * 32, "person_id": PERSON_ID}
    return tenant.AcceptInvitation(**_filled(defaults, changes))


def withdraw_invitation(**changes: Any) -> tenant.WithdrawInvitation:
    return tenant.WithdrawInvitation(**_filled({"invitation_id": INVITATION_ID}, changes))


def choose_plan(**changes: Any) -> tenant.ChoosePlan:
    return tenant.ChoosePlan(**_filled({"plan": "standard"}, changes))


def register_person(**changes: Any) -> person.RegisterPerson:
    return person.RegisterPerson(**_filled({"person_id": PERSON_ID, "name": Sealed("c2VhbGVk")}, changes))


def sign_up(**changes: Any) -> person.SignUp:
    defaults = {
        "tenant_id": SYSTEM_TENANT,
        "person_id": PERSON_ID,
        "signs_in_as": "ab" * 32,
        "name": Sealed("c2VhbGVk"),
    }
    return person.SignUp(**_filled(defaults, changes))


def erase_person(**changes: Any) -> person.ErasePerson:
    return person.ErasePerson(**_filled({"person_id": PERSON_ID}, changes))


def create_api_key(**changes: Any) -> api_key.CreateApiKey:
    defaults = {"key_id": KEY_ID, "name": "CI", "secret_hash": "ab" * 32, "role": "developer"}
    return api_key.CreateApiKey(**_filled(defaults, changes))


def rotate_api_key(**changes: Any) -> api_key.RotateApiKey:
    defaults = {"key_id": OTHER_TENANT_ID, "replaces": KEY_ID, "secret_hash": "cd" * 32}
    return api_key.RotateApiKey(**_filled(defaults, changes))


def revoke_api_key(**changes: Any) -> api_key.RevokeApiKey:
    return api_key.RevokeApiKey(**_filled({"key_id": KEY_ID}, changes))


def create_project(**changes: Any) -> project.CreateProject:
    return project.CreateProject(**_filled({"project_id": PROJECT_ID, "name": "Shop"}, changes))


def rename_project(**changes: Any) -> project.RenameProject:
    return project.RenameProject(**_filled({"project_id": PROJECT_ID, "name": "Store"}, changes))


def lock_deployments(**changes: Any) -> deploy_lock.LockDeployments:
    defaults = {"project_id": PROJECT_ID, "reason": "stocktaking", "locked_by": LOCKED_BY}
    return deploy_lock.LockDeployments(**_filled(defaults, changes))


def unlock_deployments(**changes: Any) -> deploy_lock.UnlockDeployments:
    return deploy_lock.UnlockDeployments(**_filled({"project_id": PROJECT_ID}, changes))


def add_runtime(version: str = RUNTIME, **changes: Any) -> runtime.AddRuntime:
    return runtime.AddRuntime(tenant_id=SYSTEM_TENANT, at=AT, version=version, dates=dates(**changes))


def set_runtime_dates(version: str = RUNTIME, **changes: Any) -> runtime.SetRuntimeDates:
    return runtime.SetRuntimeDates(
        tenant_id=SYSTEM_TENANT, at=AT, version=version, date_changes=runtime.DateChanges(**changes)
    )


def set_default_runtime(version: str = RUNTIME, at: datetime = AT) -> runtime.SetDefaultRuntime:
    return runtime.SetDefaultRuntime(tenant_id=SYSTEM_TENANT, at=at, version=version)


def stage_artifact(kind: ArtifactKind = "code", **changes: Any) -> artifact.StageArtifact:
    defaults = {"project_id": PROJECT_ID, "kind": kind, "file_name": _FILE_NAMES[kind], "digest": DIGEST}
    constraint = {"sdk_constraint": "^3.5.0"} if kind == "yaml" else {}
    return artifact.StageArtifact(**_filled({**defaults, "size_bytes": 120, **constraint}, changes))


_LOCAL = {"project_id": PROJECT_ID, "provider": "local"}


def connect_provider(**changes: Any) -> integration.ConnectProvider:
    return integration.ConnectProvider(**_filled({**_LOCAL, "identity": LocalIdentity()}, changes))


def record_identity_checked(**changes: Any) -> integration.RecordIdentityChecked:
    return integration.RecordIdentityChecked(
        **_filled({**_LOCAL, "identity": LocalIdentity(), "status": "verified", "steps": ()}, changes)
    )


def record_storage_checked(**changes: Any) -> integration.RecordStorageChecked:
    defaults = {**_LOCAL, "identity": LocalIdentity(), "storage": LocalStorage(), "status": "verified", "steps": ()}
    return integration.RecordStorageChecked(**_filled(defaults, changes))


def azure_resources(**changes: str) -> AzureResources:
    names = {
        "resource_group": "functions",
        "registry": "acmefunctions",
        "environment_name": "acme",
        "pull_identity": "/subscriptions/s/…/userAssignedIdentities/dcf-pull",
        "account": "acmefunctions",
        "container": "dcf",
    }
    return AzureResources(**{**names, **changes})


def record_resources_checked(**changes: Any) -> integration.RecordResourcesChecked:
    defaults = {
        "project_id": PROJECT_ID,
        "provider": "azure",
        "identity": LocalIdentity(),
        "resources": azure_resources(),
        "status": "verified",
        "steps": (),
    }
    return integration.RecordResourcesChecked(**_filled(defaults, changes))


def record_former_storage_swept(**changes: Any) -> integration.RecordFormerStorageSwept:
    return integration.RecordFormerStorageSwept(**_filled({"project_id": PROJECT_ID, "provider": "gcp"}, changes))


def configure_storage(**changes: Any) -> integration.ConfigureStorage:
    return integration.ConfigureStorage(**_filled({**_LOCAL, "storage": LocalStorage()}, changes))


def disconnect_provider(**changes: Any) -> integration.DisconnectProvider:
    return integration.DisconnectProvider(**_filled(_LOCAL, changes))


def create_function(function_id: UUID = FUNCTION_ID, **changes: Any) -> function.CreateFunction:
    return function.CreateFunction(
        tenant_id=TENANT_ID, at=AT, project_id=PROJECT_ID, function_id=function_id, authored=authored(**changes)
    )


def update_function(project_id: UUID | None = None, at: datetime = AT, **changes: Any) -> function.UpdateFunction:
    """The changes are those to the record."""
    return function.UpdateFunction(
        tenant_id=TENANT_ID,
        at=at,
        project_id=project_id,
        function_id=FUNCTION_ID,
        changes=function.Changes(**changes),
    )


def archive_project(**changes: Any) -> project.ArchiveProject:
    return project.ArchiveProject(**_filled({"project_id": PROJECT_ID}, changes))


def set_secret(**changes: Any) -> function.SetSecret:
    defaults = {"project_id": PROJECT_ID, "function_id": FUNCTION_ID, "name": "TOKEN", "value_id": id_of(60)}
    return function.SetSecret(**_filled(defaults, changes))


def remove_secret(**changes: Any) -> function.RemoveSecret:
    defaults = {"project_id": PROJECT_ID, "function_id": FUNCTION_ID, "name": "TOKEN"}
    return function.RemoveSecret(**_filled(defaults, changes))


def archive_function(**changes: Any) -> function.ArchiveFunction:
    return function.ArchiveFunction(**_filled({"project_id": PROJECT_ID, "function_id": FUNCTION_ID}, changes))


def queue_deployment(**changes: Any) -> deployment.QueueDeployment:
    defaults = {"function_id": FUNCTION_ID, "deployment_id": DEPLOYMENT_ID, "target": LocalTarget()}
    return deployment.QueueDeployment(**_filled({**_LOCAL, **defaults}, changes))


_DEPLOYMENT = {"project_id": PROJECT_ID, "deployment_id": DEPLOYMENT_ID}


_AGAIN = {"project_id": PROJECT_ID, "deployment_id": LATER_DEPLOYMENT_ID, "source_deployment_id": DEPLOYMENT_ID}


def retry_deployment(**changes: Any) -> deployment.RetryDeployment:
    return deployment.RetryDeployment(**_filled(_AGAIN, changes))


def redeploy_deployment(**changes: Any) -> deployment.RedeployDeployment:
    return deployment.RedeployDeployment(**_filled(_AGAIN, changes))


def rollback_deployment(**changes: Any) -> deployment.RollbackDeployment:
    return deployment.RollbackDeployment(**_filled(_AGAIN, changes))


def cancel_deployment(**changes: Any) -> deployment.CancelDeployment:
    return deployment.CancelDeployment(**_filled(_DEPLOYMENT, changes))


def undeploy_deployment(**changes: Any) -> deployment.UndeployDeployment:
    return deployment.UndeployDeployment(**_filled(_DEPLOYMENT, changes))


def report(of: type[Any], **changes: Any) -> progress.ProgressCommand:
    """What a runner reports of the deployment: `a.report(RecordBundled, epoch=2)`."""
    filled = _filled(
        {
            "deployment_id": DEPLOYMENT_ID,
            "function_id": FUNCTION_ID,
            "epoch": 1,
            "runner_id": "runner-1",
            "location": "bundles/1",
            "digest": DIGEST,
            "build_id": "build-1",
            "toolchain": TOOLCHAIN,
            "failure": FAILURE,
            "reference": "images/1",
            "url": "http://127.0.0.1/acme/shop/greet/",
            "revision": "1",
            "step": "build",
            "message": "Throttled.",
            "retry_in_seconds": 2.5,
            "differences": (),
        },
        changes,
    )
    made: progress.ProgressCommand = of(**{name: filled[name] for name in of.__struct_fields__ if name in filled})
    return made
