"""One event of every type with every field filled: what the stored samples decode to."""

from __future__ import annotations

import msgspec

from domain import (
    api_key,
    artifact,
    deployment,
    function,
    integration,
    person,
    plan,
    project,
    refused,
    runtime,
    tenant,
    webhook,
)
from domain.clouds import (
    AwsIdentity,
    AwsNamed,
    AwsStorage,
    AwsTarget,
    AzureIdentity,
    AzureResources,
    AzureStorage,
    AzureTarget,
    GcpIdentity,
    GcpStorage,
    GcpTarget,
    Identity,
    LocalIdentity,
    LocalStorage,
    LocalTarget,
    ProviderName,
    Storage,
    Target,
)
from domain.event import Event
from domain.integration import CheckStep
from domain.release import PinnedImage, Release, SourceRef, Toolchain, Trigger
from domain.runtime import Dates
from domain.sealed import Sealed
from tests.support.a import AT, DIGEST, LONG_AGO, id_of

_DATES = Dates(
    released_at=LONG_AGO, deprecation_announced_at=LONG_AGO, block_new_deploys_after=AT, disable_execution_after=AT
)
_RESOURCES = AzureResources(
    resource_group="functions",
    registry="acmefunctions",
    environment_name="acme",
    pull_identity="/subscriptions/s/resourceGroups/functions/providers/Microsoft.ManagedIdentity/userAssignedIdentities/p",
    account="acmefunctions",
    container="staging",
)
_STEP = CheckStep(name="agent", status="failed", code="agent_unreachable", message="No answer.", remedy="Start it.")
_TRIGGER = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
_AUTHORED = function.Authored(
    name="Greet",
    description="Greets.",
    trigger=_TRIGGER,
    runtime="3.11.0",
    access="public",
    provider="local",
    environment={"GREETING": "Grüße"},
    artifact_files=function.ArtifactFiles(code_file=id_of(31), docker_file=id_of(32), yaml_file=id_of(33)),
)
_RELEASE = Release(
    function_id=id_of(5),
    function_revision=3,
    sources=(
        SourceRef(kind="code", artifact_id=id_of(31), file_name="main.dart", digest=DIGEST, size_bytes=120),
        SourceRef(kind="yaml", artifact_id=id_of(33), file_name="pubspec.yaml", digest=DIGEST, size_bytes=60),
    ),
    runtime="3.11.0",
    trigger=_TRIGGER,
    access="public",
    environment={"GREETING": "Grüße"},
    secret_versions={"TOKEN": 2},
    provider="local",
    target=LocalTarget(),
    integration_version=4,
    address=("acme", "shop", "greet"),
    health_path="/health",
    start_seconds_max=20,
    memory_mb_max=512,
    request_seconds_max=30,
)
_FAILURE = deployment.Failure(code="build_failed", step="build", message="main.dart:1: Error", remedy="Mend it.")
_NOTICE = deployment.Notice(code="runtime_deprecating", message="Until 2026-03-13.", days_remaining=12)
_TOOLCHAIN = Toolchain(engine="stand-in", version="3.7.3", stand_in=True)
_IMAGE = PinnedImage(reference="images/1", digest=DIGEST, toolchain=_TOOLCHAIN)

# Before releases pinned secrets.
_INPUTS = msgspec.structs.replace(_RELEASE.inputs, secret_versions={})

_ALL: tuple[Event, ...] = (
    tenant.TenantCreated(name="Acme", slug="acme", plan="sandbox"),
    tenant.MemberAdded(person_id=id_of(7), role="developer"),
    tenant.MemberRoleChanged(person_id=id_of(7), role="admin"),
    tenant.MemberRemoved(person_id=id_of(7)),
    tenant.TenantSuspended(reason="unpaid"),
    tenant.TenantResumed(),
    tenant.TenantClosed(reason="moved"),
    tenant.MemberInvited(
        invitation_id=id_of(8),
        email=Sealed("c2VhbGVk"),
        role="viewer",
        secret_hash="ab" * 32,
        expires_at=AT,
    ),
    tenant.InvitationAccepted(invitation_id=id_of(8), person_id=id_of(7)),
    tenant.InvitationWithdrawn(invitation_id=id_of(8)),
    tenant.PlanChosen(plan="standard"),
    plan.PlanDefined(
        name="sandbox",
        limits=plan.Limits(
            projects=3, functions_per_project=5, members=2, concurrent_deployments=2, queued_deployments=4
        ),
        entitlements=("gke",),
    ),
    person.PersonRegistered(name=Sealed("c2VhbGVk"), email=Sealed("c2VhbGVkIHRvbw==")),
    person.PersonErased(),
    api_key.ApiKeyCreated(
        name="CI",
        secret_hash="ab" * 32,
        role="developer",
        scopes=("functions:read",),
        expires_at=AT,
    ),
    api_key.ApiKeyReplaced(replaced_by=id_of(9), ends_at=AT),
    api_key.ApiKeyRevoked(reason="leaked"),
    webhook.WebhookCreated(
        project_id=id_of(3),
        url="https://ci.example.com/dcf",
        secret_id=id_of(41),
        types=("deployment.succeeded",),
        description="Tells our CI",
    ),
    webhook.WebhookChanged(url="https://ci.example.com/2", types=("deployment.failed",), description="Tells it"),
    webhook.WebhookSecretRotated(secret_id=id_of(42), former_ends_at=AT),
    webhook.WebhookSwitchedOff(reason="It answered 410: it is gone."),
    webhook.WebhookSwitchedOn(),
    webhook.WebhookTestRequested(),
    webhook.WebhookReplayRequested(after=4711),
    webhook.WebhookRemoved(reason="moved"),
    project.ProjectCreated(name="Shop", slug="shop"),
    project.ProjectRenamed(name="Store"),
    project.ProjectArchived(reason="closed"),
    project.DeploymentsLocked(
        reason="stocktaking", expires_at=AT, locked_by=project.LockedBy(type="person", id=str(id_of(7)))
    ),
    project.DeploymentsUnlocked(),
    runtime.RuntimeAdded(version="3.11.0", dates=_DATES),
    runtime.RuntimeDatesSet(version="3.11.0", dates=_DATES),
    runtime.RuntimeDefaultSet(version="3.11.0"),
    artifact.ArtifactStaged(
        project_id=id_of(3),
        kind="yaml",
        file_name="pubspec.yaml",
        digest=DIGEST,
        size_bytes=60,
        provider="local",
        sdk_constraint="^3.5.0",
    ),
    artifact.ArtifactDiscarded(retention_days=30, size_bytes=60),
    integration.IntegrationConnected(project_id=id_of(3), provider="local", identity=LocalIdentity()),
    integration.IdentityChecked(status="failed", steps=(_STEP,)),
    integration.StorageChecked(storage=LocalStorage(), status="failed", steps=(_STEP,)),
    integration.StorageConfigured(storage=LocalStorage()),
    integration.ResourcesChecked(resources=_RESOURCES, status="failed", steps=(_STEP,)),
    integration.FormerStorageSwept(
        storage=LocalStorage(), files=3, code="GCP_BUCKET_PERMISSION_DENIED", message="Denied.", remedy="gcloud …"
    ),
    integration.IntegrationDisconnected(reason="moving"),
    function.FunctionCreated(project_id=id_of(3), slug="greet", authored=_AUTHORED),
    function.FunctionUpdated(authored=_AUTHORED),
    function.SecretSet(name="API_TOKEN", version=2, value_id=id_of(12)),
    function.SecretRemoved(name="API_TOKEN"),
    function.ArchiveRequested(reason="unused"),
    function.FunctionArchived(reason="unused"),
    function.DeploymentRequested(deployment_id=id_of(10), number=2, target_key="local"),
    function.FunctionDeployed(
        deployment_id=id_of(10), number=2, target_key="local", function_revision=3, replaced=id_of(9)
    ),
    function.DeploymentEnded(deployment_id=id_of(10)),
    function.FunctionUndeployed(deployment_id=id_of(10), target_key="local"),
    deployment.DeploymentQueued(
        project_id=id_of(3),
        number=2,
        release=_RELEASE,
        reason="first",
        warnings=(_NOTICE,),
        origin="redeploy",
        source_deployment_id=id_of(9),
    ),
    deployment.DeploymentClaimed(epoch=7, runner_id="runner-1"),
    deployment.DeploymentBundled(epoch=7, location="bundles/1", digest=DIGEST),
    deployment.BuildStarted(epoch=7, build_id="build-1"),
    deployment.BuildSucceeded(epoch=7, build_id="build-1", toolchain=_TOOLCHAIN, warnings=(_NOTICE,)),
    deployment.BuildFailed(epoch=7, build_id="build-1", failure=_FAILURE),
    deployment.ImagePushed(epoch=7, reference="images/1", digest=DIGEST),
    deployment.ReleaseStarted(epoch=7),
    deployment.ReleaseApplied(epoch=7, url="http://127.0.0.1:8001/acme/shop/greet/", revision="1"),
    deployment.ReleaseVerified(epoch=7),
    deployment.DeploymentActivated(epoch=7, replaced=id_of(9)),
    deployment.DeploymentSucceeded(epoch=7),
    deployment.FailureFound(epoch=7, failure=_FAILURE),
    deployment.DeploymentFailed(epoch=7, failure=_FAILURE, remaining=("image:1",)),
    deployment.CancelRequested(reason="typo"),
    deployment.DeploymentCanceled(cause="superseded", epoch=7, remaining=("image:1",)),
    deployment.DeploymentSuperseded(by_deployment_id=id_of(11)),
    deployment.DeploymentWaiting(epoch=7, step="push", message="Throttled.", retry_in_seconds=2.5),
    deployment.UndeployRequested(reason="cost"),
    deployment.UndeployStarted(epoch=8),
    deployment.DeploymentWithdrawn(epoch=8, remaining=("image:1",)),
    deployment.DeploymentUndeployed(epoch=8),
    deployment.UndeployFailed(epoch=8, failure=_FAILURE, remaining=("image:1",)),
    deployment.DeploymentRetired(releases_kept=5),
    deployment.DriftFound(differences=("memory",)),
    deployment.DriftCleared(),
    refused.CommandRefused(
        command="CreateProject", code="project_name_taken", fields=("name",), about={"projectId": str(id_of(3))}
    ),
)
SAMPLES: dict[type[Event], Event] = {type(event): event for event in _ALL}

_AWS_ROLE = "arn:aws:iam::123456789012:role/"
_CLOUDS: dict[str, tuple[ProviderName, Identity, Storage, Target]] = {
    "aws": (
        "aws",
        AwsIdentity(role_arn=f"{_AWS_ROLE}dcf", region="eu-west-1"),
        AwsStorage(bucket="acme-functions", region="eu-west-1"),
        AwsTarget(
            region="eu-west-1",
            function_name="greet",
            role_arn=f"{_AWS_ROLE}dcf",
            code_build_project="dcf-build",
            ecr_repository="dcf-functions",
            execution_role_arn=f"{_AWS_ROLE}dcf-function",
            memory_mb=512,
            timeout_seconds=30,
        ),
    ),
    "azure": (
        "azure",
        AzureIdentity(azure_tenant_id=str(id_of(41)), client_id=str(id_of(42)), subscription_id=str(id_of(43))),
        AzureStorage(account="acmefunctions", container="staging"),
        AzureTarget(
            subscription_id=str(id_of(43)),
            resource_group="functions",
            region="westeurope",
            registry="acmefunctions",
            environment_name="functions",
            app_name="greet",
            pull_identity="/subscriptions/s/resourceGroups/g/providers/p/pull",
        ),
    ),
    "gcp": (
        "gcp",
        GcpIdentity(
            gcp_project_id="acme-prod",
            service_account_email="dcf@acme-prod.iam.gserviceaccount.com",
            workload_identity_project_number="123456789",
            workload_identity_pool="dcf-pool",
            workload_identity_provider="dcf-provider",
        ),
        GcpStorage(bucket="acme-functions"),
        GcpTarget(
            project_id="acme-prod",
            region="europe-west1",
            artifact_repository="functions",
            runtime_target="cloud_run",
            service_name="greet",
        ),
    ),
    "gcp_gke": (
        "gcp",
        GcpIdentity(
            gcp_project_id="acme-prod",
            service_account_email="dcf@acme-prod.iam.gserviceaccount.com",
            workload_identity_project_number="123456789",
            workload_identity_pool="dcf-pool",
            workload_identity_provider="dcf-provider",
        ),
        GcpStorage(bucket="acme-functions"),
        GcpTarget(
            project_id="acme-prod",
            region="europe-west1",
            artifact_repository="functions",
            runtime_target="gke",
            namespace="default",
            deployment_name="greet",
            container_name="app",
        ),
    ),
}


def _of_cloud(provider: ProviderName, identity: Identity, storage: Storage, target: Target) -> tuple[Event, ...]:
    release = msgspec.structs.replace(_RELEASE, provider=provider, target=target)
    return (
        integration.IntegrationConnected(project_id=id_of(3), provider=provider, identity=identity),
        integration.StorageChecked(storage=storage, status="failed", steps=(_STEP,)),
        integration.StorageConfigured(storage=storage),
        deployment.DeploymentQueued(project_id=id_of(3), number=2, release=release),
    )


# What further samples of the same type hold, by the last part of their names: one for each cloud,
VARIANTS: dict[tuple[type[Event], str], Event] = {
    (type(event), name): event for name, parts in _CLOUDS.items() for event in _of_cloud(*parts)
}
# and one for each field that came later.
VARIANTS |= {
    (deployment.DeploymentClaimed, "account"): deployment.DeploymentClaimed(
        epoch=7, runner_id="runner-1", account="aws/123456789012/eu-west-1"
    ),
    (deployment.DeploymentSucceeded, "despite"): deployment.DeploymentSucceeded(epoch=7, despite=_FAILURE),
    (function.FunctionDeployed, "secrets"): function.FunctionDeployed(
        deployment_id=id_of(10), number=2, target_key="local", function_revision=3, inputs=_RELEASE.inputs
    ),
    (function.FunctionDeployed, "inputs"): function.FunctionDeployed(
        deployment_id=id_of(10), number=2, target_key="local", function_revision=3, inputs=_INPUTS
    ),
    (integration.IdentityChecked, "awaited"): integration.IdentityChecked(
        status="pending", steps=(_STEP,), awaited_until=AT
    ),
    (integration.IdentityChecked, "named"): integration.IdentityChecked(
        status="pending",
        steps=(_STEP,),
        awaited_until=AT,
        named=AwsNamed(code_build_project="dcf-build", bucket="acme"),
    ),
    (integration.StorageChecked, "awaited"): integration.StorageChecked(
        storage=LocalStorage(), status="pending", steps=(_STEP,), awaited_until=AT
    ),
    (integration.ResourcesChecked, "awaited"): integration.ResourcesChecked(
        resources=_RESOURCES, status="pending", steps=(_STEP,), awaited_until=AT
    ),
    (api_key.ApiKeyCreated, "rotated"): api_key.ApiKeyCreated(
        name="CI", secret_hash="ab" * 32, role="developer", replaces=id_of(9)
    ),
    (api_key.ApiKeyCreated, "projects"): api_key.ApiKeyCreated(
        name="CI", secret_hash="ab" * 32, role="developer", projects=(id_of(3), id_of(4)), requests_per_minute=60
    ),
    (person.PersonRegistered, "identity"): person.PersonRegistered(
        name=Sealed("c2VhbGVk"),
        identity="0f343b0931126a20f133d67c2b018a3b1f0e0ab2a3dd5ae3f1d2e1a4ba1fbe9d",
    ),
    (artifact.ArtifactStaged, "kept"): artifact.ArtifactStaged(
        project_id=id_of(3),
        kind="code",
        file_name="main.dart",
        digest=DIGEST,
        size_bytes=90,
        provider="gcp",
        has_main=True,
        kept=artifact.Kept(storage=GcpStorage(bucket="acme-functions"), name="dcf/files/a/b/0"),
    ),
    (artifact.ArtifactStaged, "facts"): artifact.ArtifactStaged(
        project_id=id_of(3),
        kind="docker",
        file_name="Dockerfile",
        digest=DIGEST,
        size_bytes=90,
        has_main=True,
        dockerfile=artifact.DockerfileFacts(
            bases=("dart:3.11",),
            final_base="scratch",
            user="app",
            ports=("8080",),
            start="exec",
            adds_from_afar=True,
            secret_names=("TOKEN",),
        ),
    ),
    (deployment.DeploymentQueued, "image"): deployment.DeploymentQueued(
        project_id=id_of(3),
        number=3,
        release=msgspec.structs.replace(_RELEASE, image=_IMAGE),
        origin="rollback",
        source_deployment_id=id_of(9),
    ),
}
