"""A function: the saved authoring record, and which deployment of it is active where."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from domain.clouds import ProviderName
from domain.event import Aggregate, Event
from domain.refusal import Conflict, Invalid, LimitReached, NotFound
from domain.release import Access, ArtifactKind, Inputs, Trigger
from domain.release_diff import since

FunctionStatus = Literal["draft", "deployed", "undeployed", "archived"]


class ArtifactFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The artifacts last staged for the function. The field names are those of the customer's contract."""

    code_file: UUID | None = None
    docker_file: UUID | None = None
    yaml_file: UUID | None = None


class Authored(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the author decides about a function."""

    name: str
    description: str = ""
    trigger: Trigger
    runtime: str
    access: Access = "private"
    provider: ProviderName | None = None
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    artifact_files: ArtifactFiles = ArtifactFiles()

    @property
    def inputs(self) -> Inputs:
        """What of the record a running release depends on."""
        files = self.artifact_files
        named: dict[ArtifactKind, UUID | None] = {
            "code": files.code_file,
            "docker": files.docker_file,
            "yaml": files.yaml_file,
        }
        return Inputs(
            runtime=self.runtime,
            trigger=self.trigger,
            access=self.access,
            environment=self.environment,
            artifacts={kind: id for kind, id in named.items() if id is not None},
        )

    def differs_live(self, other: Authored) -> bool:
        """Whether a running release would notice the difference: whether the inputs are others."""
        return (
            self.runtime != other.runtime
            or self.access != other.access
            or self.trigger != other.trigger
            or self.environment != other.environment
            or self.artifact_files != other.artifact_files
        )


class FunctionCreated(Event, frozen=True, kw_only=True, tag="function.created"):
    project_id: UUID
    slug: str
    authored: Authored


class FunctionUpdated(Event, frozen=True, kw_only=True, tag="function.updated"):
    authored: Authored


class SecretSet(Event, frozen=True, kw_only=True, tag="function.secret_set"):
    """The value is kept elsewhere, closed, under `value_id`; nothing recorded tells anything of it."""

    name: str
    version: int
    value_id: UUID


class SecretRemoved(Event, frozen=True, kw_only=True, tag="function.secret_removed"):
    """Releases that pinned the value keep it; new ones do without."""

    name: str


class ArchiveRequested(Event, frozen=True, kw_only=True, tag="function.archive_requested"):
    """The function is archived as soon as nothing of it is live, unless it is deployed again before."""

    reason: str = ""


class FunctionArchived(Event, frozen=True, kw_only=True, tag="function.archived"):
    reason: str = ""


class DeploymentRequested(Event, frozen=True, kw_only=True, tag="function.deployment_requested"):
    """A deployment was queued; those of its target that still wait are overtaken by it."""

    deployment_id: UUID
    number: int
    target_key: str


class FunctionDeployed(Event, frozen=True, kw_only=True, tag="function.deployed"):
    """A deployment became the active one for its target. `inputs` are those of its release."""

    deployment_id: UUID
    number: int
    target_key: str
    function_revision: int
    replaced: UUID | None = None
    # Absent from what was stored before differences were shown.
    inputs: Inputs | None = None


class DeploymentEnded(Event, frozen=True, kw_only=True, tag="function.deployment_ended"):
    """A deployment has its outcome without becoming the active one; it no longer stands in the way of anything."""

    deployment_id: UUID


class FunctionUndeployed(Event, frozen=True, kw_only=True, tag="function.undeployed"):
    deployment_id: UUID
    target_key: str


FunctionEvent = (
    FunctionCreated
    | FunctionUpdated
    | SecretSet
    | SecretRemoved
    | ArchiveRequested
    | FunctionArchived
    | DeploymentRequested
    | FunctionDeployed
    | FunctionUndeployed
    | DeploymentEnded
)


class SecretValue(msgspec.Struct, frozen=True, kw_only=True):
    """Which value a secret has now."""

    version: int
    value_id: UUID
    set_at: datetime | None = None


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment that serves one target."""

    deployment_id: UUID
    number: int
    function_revision: int
    inputs: Inputs | None = None


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """`revision` counts what the author changed; `deploy_revision` is the last one that a running release would notice."""

    exists: bool = False
    project_id: UUID = UUID(int=0)
    slug: str = ""
    authored: Authored | None = None
    archived: bool = False
    # Why it is to be archived once nothing of it is live; None: it is not.
    archive_requested: str | None = None
    revision: int = 0
    deploy_revision: int = 0
    deployments_requested: int = 0
    secrets: dict[str, SecretValue] = msgspec.field(default_factory=dict)
    # The highest version each name ever had, also of those that were removed.
    secret_versions: dict[str, int] = msgspec.field(default_factory=dict)
    # Deployments without an outcome yet, each with its target.
    pending: dict[UUID, str] = msgspec.field(default_factory=dict)
    active: dict[str, Active] = msgspec.field(default_factory=dict)
    was_deployed: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def status(self) -> FunctionStatus:
        if self.archived:
            return "archived"
        if self.active:
            return "deployed"
        return "undeployed" if self.was_deployed else "draft"

    @property
    def inputs(self) -> Inputs | None:
        """What deploying it as it is saved would pin; None: nothing was ever saved."""
        if self.authored is None:
            return None
        versions = {name: value.version for name, value in self.secrets.items()}
        return msgspec.structs.replace(self.authored.inputs, secret_versions=versions)

    @property
    def active_newest(self) -> Active | None:
        """Of the deployments active on the function's targets, the one requested last."""
        return max(self.active.values(), key=lambda active: active.number, default=None)

    @property
    def changed_since_deploy(self) -> bool:
        """Whether deploying it as it is saved would change what is live."""
        active = self.active_newest
        if active is None or self.inputs is None:
            return False
        if active.inputs is None:
            return self.deploy_revision > active.function_revision
        return bool(since(active.inputs, self.inputs))


class FunctionUnknown(NotFound):
    """There is no such function in this project."""

    code = "function_not_found"
    remedy = "GET /api/v1/projects/{projectId}/functions lists those of the project."
    field = "functionId"


class FunctionNameTaken(Conflict):
    """Another function of the project has this name."""

    code = "function_name_taken"
    remedy = "Choose another name, or change the one that has it with PUT /api/v1/functions/update."
    field = "name"


class FunctionIsArchived(Conflict):
    """The function is archived; it can no longer be changed or deployed."""

    code = "function_archived"
    remedy = "Create another function; the name of an archived one is free again."


class FunctionIsLive(Conflict):
    """The function still has an active deployment, or one under way."""

    code = "function_is_live"
    remedy = "Cancel what is under way and undeploy what is active, or send undeployFirst for what is active."


class EnvironmentNameNotAllowed(Invalid):
    """An environment variable has a name it cannot have."""

    code = "environment_name_not_allowed"
    remedy = (
        "Use letters, digits and underscores, not beginning with a digit; PORT and names beginning with DCF_ are ours."
    )


class EnvironmentTooLarge(Invalid):
    """The environment variables are too many or too long."""

    code = "environment_too_large"
    remedy = "Keep large values elsewhere, and let the function read them."


class SecretUnknown(NotFound):
    """The function has no such secret."""

    code = "secret_not_found"
    remedy = "GET …/secrets lists the names that are set."


class NameOfBoth(Invalid):
    """A variable and a secret cannot have the same name: the function would see only one of them."""

    code = "name_of_both"
    remedy = "Give one of them another name, or remove it first."


class TooManySecrets(LimitReached):
    """The function has as many secrets as it may have."""

    code = "too_many_secrets"
    remedy = "Remove those that it no longer reads."


class EnvironmentValueNotAllowed(Invalid):
    """An environment variable has a value it cannot have."""

    code = "environment_value_not_allowed"
    remedy = "Leave the zero byte out: no process can be given one."


def evolve(function: Function, event: FunctionEvent) -> Function:
    replace = msgspec.structs.replace
    state = replace(function, updated_at=event.at)
    match event:
        case FunctionCreated():
            return Function(
                exists=True,
                project_id=event.project_id,
                slug=event.slug,
                authored=event.authored,
                revision=1,
                deploy_revision=1,
                created_at=event.at,
                updated_at=event.at,
            )
        case FunctionUpdated():
            revision = function.revision + 1
            noticed = function.authored is None or function.authored.differs_live(event.authored)
            return replace(
                state,
                authored=event.authored,
                revision=revision,
                deploy_revision=revision if noticed else function.deploy_revision,
            )
        case SecretSet():
            value = SecretValue(version=event.version, value_id=event.value_id, set_at=event.at)
            return replace(
                state,
                secrets={**function.secrets, event.name: value},
                secret_versions={**function.secret_versions, event.name: event.version},
            )
        case SecretRemoved():
            left = {name: value for name, value in function.secrets.items() if name != event.name}
            return replace(state, secrets=left)
        case ArchiveRequested():
            return replace(state, archive_requested=event.reason)
        case FunctionArchived():
            return replace(state, archived=True, archive_requested=None)
        case DeploymentRequested():
            pending = {**function.pending, event.deployment_id: event.target_key}
            return replace(function, pending=pending, deployments_requested=event.number, archive_requested=None)
        case FunctionDeployed():
            active = Active(
                deployment_id=event.deployment_id,
                number=event.number,
                function_revision=event.function_revision,
                inputs=event.inputs,
            )
            return replace(
                state,
                active={**function.active, event.target_key: active},
                pending=_without(function.pending, event.deployment_id),
                was_deployed=True,
            )
        case DeploymentEnded():
            return replace(function, pending=_without(function.pending, event.deployment_id))
        case FunctionUndeployed():
            others = {key: active for key, active in function.active.items() if key != event.target_key}
            return replace(state, active=others)
        case _:
            assert_never(event)


def _without(pending: dict[UUID, str], deployment_id: UUID) -> dict[UUID, str]:
    return {id: key for id, key in pending.items() if id != deployment_id}


FUNCTION = Aggregate(
    name="function",
    events=(
        FunctionCreated,
        FunctionUpdated,
        SecretSet,
        SecretRemoved,
        ArchiveRequested,
        FunctionArchived,
        DeploymentRequested,
        FunctionDeployed,
        FunctionUndeployed,
        DeploymentEnded,
    ),
    initial=Function(),
    evolve=evolve,
)


def require_open(function: Function, project_id: UUID | None = None) -> Authored:
    """What was authored, if the function exists (in the project, when one is named) and can be changed."""
    if not function.exists or function.authored is None or project_id not in (None, function.project_id):
        raise FunctionUnknown
    if function.archived:
        raise FunctionIsArchived
    return function.authored
