"""An example of everything that is answered. They are values of the types themselves, so none of them can go stale."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from api.audit import LogEntry
from api.audit_causes import CausedCommand, CausedEvent, Causes
from api.audit_history import EntityAsOf, EntityDifference, HistoryEntry
from api.audit_tree import CheckpointShown, Consistency, Inclusion, RecordedEvent, VerifierKeys
from api.build_log import BuildLog
from api.catalogues import TRIGGERS, RuntimeGroups, runtime_entry
from api.deploy_lock import ProjectLock
from api.deployment_events import Event, ProjectEvent
from api.differences import FunctionDiff, ReleaseDiff
from api.example_ids import (
    ARTIFACT_ID,
    CLOUD_ID,
    COMMAND_ID,
    CORRELATION_ID,
    DEPLOYMENT_ID,
    FORMER_DEPLOYMENT_ID,
    FUNCTION_ID,
    INTEGRATION_ID,
    INVITATION_ID,
    JOB_ID,
    KEY_ID,
    PERSON_ID,
    PROJECT_ID,
    TENANT_ID,
    UPLOAD_ID,
    WEBHOOK_ID,
)
from api.functions import Revision
from api.integrations_azure import AzureRegistered
from api.invitations import Invitation, InvitationMade, Joined, Left, Withdrawn
from api.keys import Key, KeyMade
from api.listing import Listed
from api.me import Me
from api.onboarding import Verification
from api.operator_master_key import MasterKey
from api.operator_queue import QueueItem
from api.persons import PersonErased
from api.principal import ALLOWED
from api.read_models import Build, ParkedEvent, ProjectionJob, ReadModelStatus
from api.resumable_uploads import UploadState
from api.runtime_impact import DeploymentOnRuntime, FunctionOnRuntime, RuntimeImpact, TenantImpact
from api.secrets import Secret, Secrets
from api.sign_in_issuers import SignInIssuer, SignInIssuers
from api.tenant import LimitUse, MemberShown, TenantShown
from api.ticks import Tick
from api.webhooks import Delivering, WebhookDelivery, WebhookMade, WebhookShown
from api.well_known import IssuerConfiguration, KeySet
from audit.changes import Change
from domain.clouds import LocalIdentity, LocalStorage, LocalTarget
from domain.deployment import DeploymentStatus, Origin
from domain.function import ArtifactFiles
from domain.integration import CheckStep
from domain.plan import Limits
from domain.project import LockedBy
from domain.refusal import Refusal
from domain.release import SourceRef, Toolchain, Trigger
from domain.release_diff import Difference
from domain.rollback import RollbackActive, RollbackNotSucceeded, RollbackPending, RollbackUndeployed
from domain.runtime import Dates
from eventstore.meta import Actor
from eventstore.wrapping import Wrapped
from projections.artifacts import Artifact
from projections.deployments import Deployment, PinnedRelease, refused_rollback
from projections.functions import Function
from projections.integrations import Integration
from projections.members import Member
from projections.plans import Plan
from projections.projects import DeployLock, Project
from projections.tenants import Tenant
from projections.usage import Usage
from projections.webhooks import Webhook
from providers.aws.setup import AwsMade, AwsSetup, AwsSetupStep
from providers.azure.setup import ArmTemplate, AzureMade, AzureSetup, AzureSetupStep


def _at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 2, hour, minute, tzinfo=UTC)


_DIGEST = "sha256:" + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_ORIGIN = "dart-cloud-functions/0192d3a4-5b6c-4d8e-9f00-112233445566/1"
_VERIFIER_KEY = f"{_ORIGIN}+f2ac5c9d+AYqIaOLJ4nVi5vEPzKXpB8y3cSYXJBW2s6P/Q5Y/5vGk"
_HASH = bytes.fromhex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
_NOTE = f"{_ORIGIN}\n4711\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n\n— {_ORIGIN} 8qxcnQ…\n"
_KEY_ACTOR = Actor("key", str(KEY_ID))
_TRIGGER = Trigger(type="http", settings={})

_TENANT = Tenant(tenant_id=TENANT_ID, name="Acme", slug="acme", plan="standard", created_at=_at(8), updated_at=_at(8))
_TENANT_SHOWN = TenantShown(
    **msgspec.structs.asdict(_TENANT),
    limits=[
        LimitUse(name="projects", used=3, limit=20),
        LimitUse(name="functionsPerProject", used=7, limit=50),
        LimitUse(name="uploadBytes", used=None, limit=5_242_880),
    ],
)
_PROJECT = Project(
    project_id=PROJECT_ID,
    name="shop",
    slug="shop",
    status="active",
    deploy_lock=None,
    created_at=_at(9),
    updated_at=_at(9),
)
_LOCK = DeployLock(
    reason="Stocktaking",
    locked_by=LockedBy(type="key", id=str(KEY_ID)),
    locked_at=_at(10),
    expires_at=datetime(2026, 4, 1, 10, tzinfo=UTC),
)
_ARTIFACT = Artifact(
    artifact_id=ARTIFACT_ID,
    path=f"projects/{PROJECT_ID}/artifacts/{ARTIFACT_ID}/main.dart",
    file_name="main.dart",
    kind="code",
    digest=_DIGEST,
    size_bytes=412,
    provider="local",
    created_at=_at(9, 5),
)
_UPLOAD = UploadState(
    upload_id=UPLOAD_ID,
    project_id=PROJECT_ID,
    kind="code",
    offset=0,
    length=31,
    bytes_max=5_000_000,
    complete=False,
    digest=None,
    created_at=_at(9, 5),
    expires_at=datetime(2026, 3, 3, 9, 5, tzinfo=UTC),
)
_FUNCTION = Function(
    function_id=FUNCTION_ID,
    project_id=PROJECT_ID,
    name="hello",
    slug="hello",
    description="Says hello",
    trigger=_TRIGGER,
    runtime="3.11.0",
    access="public",
    provider="local",
    environment={"GREETING": "Hello"},
    artifact_files=ArtifactFiles(code_file=ARTIFACT_ID),
    status="draft",
    active_deployment_id=None,
    changed_since_deploy=False,
    revision=1,
    created_at=_at(9, 10),
    updated_at=_at(9, 10),
)
_KEY = Key(
    key_id=KEY_ID,
    name="ci",
    role="developer",
    scopes=("deployments:write",),
    expires_at=datetime(2031, 1, 1, tzinfo=UTC),
    created_at=_at(8, 30),
    revoked_at=None,
    last_used_at=_at(9, 20),
)
_WEBHOOK = Webhook(
    webhook_id=WEBHOOK_ID,
    project_id=PROJECT_ID,
    url="https://ci.example.com/dcf",
    types=("deployment.succeeded", "deployment.failed"),
    description="Tells our CI",
    status="active",
    status_reason="",
    created_at=_at(8, 40),
    updated_at=_at(8, 40),
)
_QUEUE_ITEM = QueueItem(
    tenant_id=TENANT_ID,
    project_id=PROJECT_ID,
    function_id=FUNCTION_ID,
    deployment_id=DEPLOYMENT_ID,
    provider="local",
    status="queued",
    asked_at=_at(9, 15),
    runner_id="",
    cancel_requested=False,
)
_INTEGRATION = Integration(
    integration_id=INTEGRATION_ID,
    project_id=PROJECT_ID,
    provider="local",
    status="verified",
    version=4,
    identity=LocalIdentity(),
    identity_status="verified",
    identity_steps=(CheckStep(name="engine", status="passed", message="dart 3.11.0 builds and runs"),),
    storage=LocalStorage(),
    storage_checked=LocalStorage(),
    storage_status="verified",
    storage_steps=(CheckStep(name="write", status="passed"),),
    resources=None,
    resources_status="pending",
    resources_steps=(),
    former_storages=(),
    created_at=_at(9, 1),
    updated_at=_at(9, 2),
)
_TEMPLATE = ArmTemplate(
    schema="https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    content_version="1.0.0.0",
    parameters={"location": {"type": "string", "defaultValue": "[resourceGroup().location]"}},
    resources=[{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2024-11-30"}],
    outputs={"clientId": {"type": "string", "value": "[reference('dcf').clientId]"}},
)
_QUEUED = Deployment(
    deployment_id=DEPLOYMENT_ID,
    function_id=FUNCTION_ID,
    project_id=PROJECT_ID,
    provider="local",
    target=LocalTarget(),
    number=2,
    origin="deploy",
    source_deployment_id=None,
    status="queued",
    release=PinnedRelease(
        function_id=FUNCTION_ID,
        function_revision=1,
        sources=(
            SourceRef(kind="code", artifact_id=ARTIFACT_ID, file_name="main.dart", digest=_DIGEST, size_bytes=412),
        ),
        runtime="3.11.0",
        trigger=_TRIGGER,
        access="public",
        environment={"GREETING": "Hello"},
        provider="local",
        target=LocalTarget(),
        integration_version=4,
        address=("acme", "shop", "hello"),
    ),
    queued_at=_at(9, 20),
    reason="new greeting",
    can_rollback=refused_rollback(RollbackPending()),
    queue_position=1,
)
_SUCCEEDED = msgspec.structs.replace(
    _QUEUED,
    status="succeeded",
    active=True,
    release=msgspec.structs.replace(
        _QUEUED.release,
        toolchain=Toolchain(engine="dart", version="3.11.0"),
        image_reference="local/0192d3a4",
        image_digest=_DIGEST,
    ),
    url="http://127.0.0.1:8001/acme/shop/hello/",
    started_at=_at(9, 20),
    finished_at=_at(9, 21),
    can_rollback=refused_rollback(RollbackActive()),
    queue_position=None,
)
_EVENT = Event(
    position="1:4711",
    type="deployment.queued",
    at=_at(9, 20),
    actor=_KEY_ACTOR,
    message="Queued as deployment 2.",
    data={"number": 2, "origin": "deploy", "reason": "new greeting", "runtime": "3.11.0"},
    correlation_id=CORRELATION_ID,
    causation_id=f"command/{COMMAND_ID}",
)
_SECRET = Secret(name="API_TOKEN", version=1, set_at=_at(9, 15))
_DATES = Dates(released_at=datetime(2026, 2, 11, tzinfo=UTC))
_MEMBER = Member(person_id=PERSON_ID, role="developer", added_at=_at(8, 10))
_LIMITS = Limits(projects=20, functions_per_project=50, members=20, concurrent_deployments=4, queued_deployments=50)
_DIFFERENCES = (Difference(field="runtime", before="3.10.0", after="3.11.0", needs="build"),)

_JOB = ProjectionJob(
    job_id=JOB_ID,
    name="deployments",
    purpose="rebuild",
    version=3,
    build=1,
    step="scanning",
    share=0.5,
    events=200_000,
    events_scanned=100_000,
    events_per_second=50_000.0,
    seconds_left=2.0,
    lanes=2,
    cancel_requested=False,
    findings=None,
    problem="",
    requested_by="operator",
    requested_at=_at(9, 40),
    ended_at=None,
)

EXAMPLES: tuple[msgspec.Struct, ...] = (
    _JOB,
    ReadModelStatus(
        name="deployments",
        served=Build(version=3, build=0),
        code_version=3,
        previous=None,
        position="1:4711",
        lag_events=0,
        lag_seconds=0.0,
        parked_streams=0,
        parked_events=0,
        job=_JOB,
    ),
    ParkedEvent(
        tenant_id=TENANT_ID,
        stream_id=PROJECT_ID,
        position="1:4700",
        error="RowMissing: no earlier event made the row this event changes",
        parked_at=_at(9, 30),
    ),
    _TENANT,
    _TENANT_SHOWN,
    _QUEUE_ITEM,
    _PROJECT,
    ProjectLock(project_id=PROJECT_ID, deploy_lock=_LOCK),
    _ARTIFACT,
    _UPLOAD,
    _FUNCTION,
    _INTEGRATION,
    _SUCCEEDED,
    _EVENT,
    _WEBHOOK,
    WebhookShown(
        **msgspec.structs.asdict(_WEBHOOK),
        delivering=Delivering(
            delivered_at=_at(9, 20), failures=0, failing_since=None, next_attempt_at=None, message=""
        ),
    ),
    WebhookMade(**msgspec.structs.asdict(_WEBHOOK), secret="whsec_c2hvd24gdGhpcyBvbmNlLCBhbmQgbmV2ZXIgYWdhaW4="),  # noqa: S106 - an example
    WebhookDelivery(
        position="1:4711",
        type="deployment.succeeded",
        deployment_id=DEPLOYMENT_ID,
        status="delivered",
        attempts=1,
        first_at=_at(9, 20),
        last_at=_at(9, 20),
        http_status=204,
        message="It answered 204.",
    ),
    _KEY,
    KeyMade(
        **msgspec.structs.asdict(msgspec.structs.replace(_KEY, last_used_at=None)),
        key="dcf_0192d3a45b6c7d8e9f00000000000006_once",
    ),
    Me(
        actor=_KEY_ACTOR,
        role="developer",
        permissions=sorted(ALLOWED["developer"]),
        tenant=_TENANT,
        projects=[],
        memberships=[],
        person=None,
    ),
    _MEMBER,
    MemberShown(**msgspec.structs.asdict(_MEMBER), name="Ada Lovelace", email="ada@example.com"),
    PersonErased(person_id=PERSON_ID),
    Plan(name="standard", limits=_LIMITS, entitlements=("gke",)),
    IssuerConfiguration(
        issuer="https://dcf.example",
        jwks_uri="https://dcf.example/.well-known/jwks.json",
        response_types_supported=["id_token"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=["RS256"],
        claims_supported=["iss", "sub", "aud"],
    ),
    AwsSetup(
        issuer="https://dcf.example",
        audience="sts.amazonaws.com",
        subject=f"tenant:{TENANT_ID}:project:{PROJECT_ID}",
        makes=AwsMade(
            role_arn="arn:aws:iam::123456789012:role/dcf-deployer-000000000002",
            region="eu-west-1",
            bucket="dcf-000000000002-123456789012",
            code_build_project="dcf-build-000000000002",
            ecr_repository="dcf-functions-000000000002",
            execution_role_arn="arn:aws:iam::123456789012:role/dcf-function-000000000002",
        ),
        steps=(
            AwsSetupStep(
                name="oidc_provider",
                title="Trust this service's tokens",
                commands=("aws iam create-open-id-connect-provider --url https://dcf.example …",),
            ),
        ),
        script="set -e\n# Trust this service's tokens\naws iam create-open-id-connect-provider …\n",
        cloud_formation_template='{"AWSTemplateFormatVersion": "2010-09-09", …}',
        cloud_formation_command="aws cloudformation deploy --template-file dcf-aws.json …",
    ),
    AzureRegistered(
        dcf_correlation_id=INTEGRATION_ID,
        portal_url="https://portal.azure.com/#create/Microsoft.Template/uri/https%3A%2F%2Fdcf.example%2Fapi%2Fv1%2Fazure",
    ),
    _TEMPLATE,
    AzureSetup(
        makes=AzureMade(
            subscription_id=str(CLOUD_ID),
            resource_group="functions",
            region="westeurope",
            account="acmefunctions",
            container="dcf",
            registry="acmefunctions",
            environment_name="functions",
            pull_identity=f"/subscriptions/{CLOUD_ID}/resourceGroups/functions/providers/Microsoft.ManagedIdentity/…",
        ),
        template=_TEMPLATE,
        template_url="https://dcf.example/api/v1/azure/templates/…/resources",
        portal_url="https://portal.azure.com/#create/Microsoft.Template/uri/https%3A%2F%2Fdcf.example%2Fapi%2Fv1%2Fazure",
        deploy_command="az deployment group create --resource-group functions --template-uri https://dcf.example/…",
        steps=(
            AzureSetupStep(
                name="resource_group",
                title="A group for everything",
                commands=("az group create --name functions --location westeurope",),
            ),
        ),
        script="set -e\n# A group for everything\naz group create --name functions --location westeurope\n",
    ),
    KeySet(keys=[{"kty": "RSA", "kid": "2026-03", "use": "sig", "alg": "RS256", "n": "0vx7…", "e": "AQAB"}]),
    Usage(tenant_id=TENANT_ID, name="Acme", plan="standard", projects=1, functions=1, members=1, deployments=2),
    runtime_entry("3.11.0", _DATES, _at(9)),
    RuntimeGroups(supported=[runtime_entry("3.11.0", _DATES, _at(9))], deprecating=[], disabled=[], default="3.11.0"),
    TRIGGERS,
    Revision(
        position="1:4700",
        revision=1,
        at=_at(9, 10),
        actor=_KEY_ACTOR,
        name="hello",
        description="Says hello",
        trigger=_TRIGGER,
        runtime="3.11.0",
        access="public",
        provider="local",
        environment={"GREETING": "Hello"},
        artifact_files=ArtifactFiles(code_file=ARTIFACT_ID),
    ),
    Verification(
        status="failed",
        steps=(
            CheckStep(name="token", status="passed"),
            CheckStep(
                name="impersonation",
                status="failed",
                code="WORKLOAD_IDENTITY_BINDING_MISSING",
                message="The pool may not act as the service account.",
                remedy="gcloud iam service-accounts add-iam-policy-binding dcf@acme-prod.iam.gserviceaccount.com …",
            ),
        ),
    ),
    ProjectEvent(**msgspec.structs.asdict(_EVENT), deployment_id=DEPLOYMENT_ID),
    Invitation(
        invitation_id=INVITATION_ID,
        email="ada@example.com",
        role="developer",
        status="open",
        invited_at=_at(8, 20),
        expires_at=datetime(2026, 3, 9, 8, 20, tzinfo=UTC),
        person_id=None,
    ),
    InvitationMade(
        invitation_id=INVITATION_ID,
        role="developer",
        invited_at=_at(8, 20),
        expires_at=datetime(2026, 3, 9, 8, 20, tzinfo=UTC),
        invitation=f"dcfi_{TENANT_ID.hex}_{INVITATION_ID.hex}_once",
    ),
    Withdrawn(invitation_id=INVITATION_ID),
    Joined(tenant_id=TENANT_ID, name="Acme", role="developer"),
    Left(tenant_id=TENANT_ID),
    RuntimeImpact(
        version="3.10.0",
        deprecation_announced_at=_at(9),
        block_new_deploys_after=_at(9) + timedelta(days=91),
        disable_execution_after=None,
        support_phase="deprecating",
        days_until_deprecating=0,
        days_until_blocked=90,
        days_until_disabled=None,
        functions=3,
        active_deployments=2,
        tenant_count=1,
        tenants=[TenantImpact(tenant_id=TENANT_ID, functions=3, active_deployments=2)],
    ),
    FunctionOnRuntime(
        tenant_id=TENANT_ID,
        project_id=PROJECT_ID,
        function_id=FUNCTION_ID,
        name="hello",
        status="deployed",
        active_deployment_id=DEPLOYMENT_ID,
    ),
    DeploymentOnRuntime(
        tenant_id=TENANT_ID,
        project_id=PROJECT_ID,
        function_id=FUNCTION_ID,
        deployment_id=DEPLOYMENT_ID,
        provider="local",
        url="http://127.0.0.1:8001/acme/shop/hello/",
        queued_at=_at(9, 20),
    ),
    MasterKey(
        service="aws-kms:arn:aws:kms:eu-central-1:111122223333:alias/dcf",
        person_keys=Wrapped(by_current_key=41, by_other_keys=0),
        function_secrets=Wrapped(by_current_key=12, by_other_keys=0),
        tenant_keys=Wrapped(by_current_key=3, by_other_keys=0),
        former_keys_needed=False,
    ),
    Tick(
        due_at=_at(3),
        deployment_id=DEPLOYMENT_ID,
        status="succeeded",
        taken_at=_at(3),
        ended_at=_at(3),
        http_status=200,
        message="",
    ),
    _SECRET,
    Secrets(items=[_SECRET]),
    SignInIssuers(items=[SignInIssuer(issuer="https://accounts.google.com", client_id="acme")]),
    BuildLog(text="Compiling main.dart\n", next_cursor="20", dropped_bytes=0),
    LogEntry(
        position="1:4711",
        tenant_id=TENANT_ID,
        type="project.renamed",
        at=_at(9, 30),
        entity_id=PROJECT_ID,
        version=1,
        actor=_KEY_ACTOR,
        command="RenameProject",
        command_id=COMMAND_ID,
        correlation_id=CORRELATION_ID,
        causation_id=f"command/{COMMAND_ID}",
        project_id=PROJECT_ID,
        data={"name": "store"},
    ),
    HistoryEntry(
        position="1:4711",
        at=_at(9, 30),
        type="project.renamed",
        entity_id=PROJECT_ID,
        actor=_KEY_ACTOR,
        command="RenameProject",
        command_id=COMMAND_ID,
        correlation_id=CORRELATION_ID,
        causation_id=f"command/{COMMAND_ID}",
        reason="",
        changes=(Change("/name", "shop", "store"),),
    ),
    EntityAsOf(
        entity_id=PROJECT_ID,
        kind="project",
        as_of="1:4711",
        position="1:4700",
        value=msgspec.to_builtins(_PROJECT),
    ),
    EntityDifference(
        entity_id=PROJECT_ID,
        kind="project",
        existed_before=True,
        exists_after=True,
        from_="1:4700",
        to="1:4711",
        changes=(Change("/name", "shop", "store"),),
    ),
    Causes(
        correlation_id=CORRELATION_ID,
        commands=(
            CausedCommand(
                command_id=COMMAND_ID,
                command="QueueDeployment",
                actor=_KEY_ACTOR,
                reason="new greeting",
                caused_by=None,
                depth=0,
                events=(
                    CausedEvent(position="1:4711", at=_at(9, 20), type="deployment.queued", entity_id=DEPLOYMENT_ID),
                ),
            ),
        ),
        complete=True,
    ),
    CheckpointShown(size=4711, note=_NOTE, verifier_keys=(_VERIFIER_KEY,), made_at=_at(9, 30)),
    VerifierKeys(origin=_ORIGIN, keys=(_VERIFIER_KEY,)),
    Inclusion(
        position="1:4711",
        leaf_index=4710,
        tree_size=4711,
        leaf_hash=_HASH,
        root_hash=_HASH,
        hashes=(_HASH,),
        checkpoint=_NOTE,
        verifier_keys=(_VERIFIER_KEY,),
        event=RecordedEvent(
            position=4711,
            tenant_id=TENANT_ID,
            stream_id=PROJECT_ID,
            version=1,
            type="project.renamed",
            schema_version=1,
            recorded_at="2026-03-02T09:30:00.000000Z",
            meta='{"actor":{"type":"system","id":""},"command":"RenameProject"}',
            data='{"name":"store"}',
            meta_base64=None,
            data_base64=None,
        ),
        withheld=None,
        tlog_proof=f"c2sp.org/tlog-proof@v1\nindex 4710\n\n{_NOTE}",
    ),
    Consistency(old_size=2045, new_size=4711, old_root=_HASH, new_root=_HASH, hashes=(_HASH,)),
    ReleaseDiff(deployment_id=DEPLOYMENT_ID, against=FORMER_DEPLOYMENT_ID, items=_DIFFERENCES, needs="build"),
    FunctionDiff(function_id=FUNCTION_ID, against=FORMER_DEPLOYMENT_ID, items=_DIFFERENCES, needs="build"),
)

_BY_TYPE: dict[Any, msgspec.Struct] = {type(example): example for example in EXAMPLES}


def _again(origin: Origin) -> Deployment:
    return msgspec.structs.replace(_QUEUED, number=3, origin=origin, source_deployment_id=FORMER_DEPLOYMENT_ID)


def _ended(status: DeploymentStatus, refusal: type[Refusal], **changes: Any) -> Deployment:
    return msgspec.structs.replace(
        _SUCCEEDED, status=status, can_rollback=refused_rollback(refusal()), active=False, **changes
    )


# Where an operation answers with a thing in another state than its usual one, or with no Struct at all.
BY_OPERATION: dict[tuple[str, int], object] = {
    ("createDeployment", 200): _QUEUED,
    ("createDeployment", 202): _QUEUED,
    ("retryDeployment", 202): _again("retry"),
    ("redeployDeployment", 202): _again("redeploy"),
    ("rollbackDeployment", 202): _again("rollback"),
    ("cancelDeployment", 202): _ended("canceled", RollbackNotSucceeded, url=None, cancel_requested=True),
    ("undeployDeployment", 202): _ended("undeploy_queued", RollbackUndeployed),
    ("archiveProject", 200): msgspec.structs.replace(_PROJECT, status="archived", updated_at=_at(10)),
    ("renameProject", 200): msgspec.structs.replace(_PROJECT, name="store", updated_at=_at(10)),
    ("unlockDeployments", 200): ProjectLock(project_id=PROJECT_ID, deploy_lock=None),
    ("archiveFunction", 200): msgspec.structs.replace(_FUNCTION, status="archived", updated_at=_at(10)),
    ("disconnectLocal", 200): msgspec.structs.replace(_INTEGRATION, status="disconnected", updated_at=_at(10)),
    ("revokeKey", 200): msgspec.structs.replace(_KEY, revoked_at=_at(10)),
    ("removeWebhook", 200): msgspec.structs.replace(_WEBHOOK, status="removed", updated_at=_at(10)),
    ("closeTenant", 200): msgspec.structs.replace(_TENANT, closed_at=_at(10), updated_at=_at(10)),
    ("changeMemberRole", 200): msgspec.structs.replace(_MEMBER, role="admin"),
    ("downloadArtifact", 200): "void main() => print('hello');\n",
    ("getDocs", 200): '<!DOCTYPE html><html lang="en">…</html>',
    ("getCheckpoint", 200): _NOTE,
    ("getTile", 200): "32 bytes a hash",
    ("exportLog", 200): "plan.json…events-000000000000001.ndjson.gz…manifest.json…",
    ("getOpenApi", 200): {"openapi": "3.1.0", "info": {"title": "Dart Cloud Functions", "version": "1"}, "paths": {}},
}


def example_of(operation: str, status: int, type: Any) -> Any:
    """The example of an answer, as JSON; UNSET when there is none."""
    example = BY_OPERATION.get((operation, status), UNSET)
    if isinstance(example, UnsetType):
        example = _of_type(type)
    return example if isinstance(example, UnsetType) else msgspec.to_builtins(example)


def _of_type(type: Any) -> Any:
    if get_origin(type) is Listed:
        item = _BY_TYPE.get(get_args(type)[0], UNSET)
        return UNSET if isinstance(item, UnsetType) else {"items": [item], "nextCursor": None}
    return _BY_TYPE.get(type, UNSET)
