"""A project: owns functions, integrations and deployments."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, FieldError, Invalid, NotFound

# No lock is for ever: one that nobody takes away ends by itself after so long.
LOCK_DAYS_MAX = 30


class ProjectCreated(Event, frozen=True, kw_only=True, tag="project.created"):
    name: str
    # The project's segment in its functions' addresses; it stays when the project is renamed.
    slug: str


class ProjectRenamed(Event, frozen=True, kw_only=True, tag="project.renamed"):
    name: str


class ProjectArchived(Event, frozen=True, kw_only=True, tag="project.archived"):
    reason: str = ""


class LockedBy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whoever locked: the type and id of the actor."""

    type: str
    id: str


class DeploymentsLocked(Event, frozen=True, kw_only=True, tag="project.deployments_locked"):
    """Nothing new is deployed until `expires_at`, or until somebody unlocks. Of two locks the later one counts."""

    reason: str
    expires_at: datetime
    locked_by: LockedBy


class DeploymentsUnlocked(Event, frozen=True, kw_only=True, tag="project.deployments_unlocked"):
    pass


ProjectEvent = ProjectCreated | ProjectRenamed | ProjectArchived | DeploymentsLocked | DeploymentsUnlocked


class DeployLock(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why nothing is deployed, who said so, and when that ends by itself."""

    reason: str
    locked_by: LockedBy
    locked_at: datetime | None
    expires_at: datetime

    def __str__(self) -> str:
        by, until = f"{self.locked_by.type} {self.locked_by.id}", f"{self.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return f"locked by {by} until {until}: {self.reason}"


class Project(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    name: str = ""
    slug: str = ""
    archived: bool = False
    # As it was recorded; `lock_of` tells whether it still counts.
    lock: DeployLock | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ProjectUnknown(NotFound):
    """There is no such project."""

    code = "project_not_found"
    remedy = "GET /api/v1/projects lists those of the tenant."
    field = "projectId"


class ProjectNameTaken(Conflict):
    """Another project of the tenant has this name, or was made under it."""

    code = "project_name_taken"
    remedy = (
        "Choose another name, or use the project that has it: its `slug` is the name it was made under, at which its "
        "functions go on to answer. Upper and lower case make no difference."
    )
    field = "name"


class ProjectIsArchived(Conflict):
    """The project is archived; nothing in it can be changed."""

    code = "project_archived"
    remedy = "Create another project; the name of an archived one is free again."


class ProjectDeploymentsLocked(Conflict):
    """Deployments of the project are locked.

    `until` is when that ends by itself.
    """

    code = "project_deployments_locked"
    remedy = (
        "Wait until then, or unlock: DELETE /api/v1/projects/{projectId}/deploy-lock (dcf projects unlock). "
        "What is queued can be canceled, and what is active undeployed, meanwhile."
    )
    until: datetime | None = None


class LockExpiryNotAllowed(Invalid):
    """A deploy lock ends at another time than it may."""

    code = "lock_expiry_not_allowed"
    remedy = f"Give a time to come, at most {LOCK_DAYS_MAX} days from now, or none: it ends after {LOCK_DAYS_MAX} days."


class ProjectIsLive(Conflict):
    """Functions of the project are live."""

    code = "project_is_live"
    remedy = "Cancel what is under way and undeploy what is active, then archive the project."


def evolve(project: Project, event: ProjectEvent) -> Project:
    match event:
        case ProjectCreated():
            return Project(exists=True, name=event.name, slug=event.slug, created_at=event.at, updated_at=event.at)
        case ProjectRenamed():
            return msgspec.structs.replace(project, name=event.name, updated_at=event.at)
        case ProjectArchived():
            return msgspec.structs.replace(project, archived=True, updated_at=event.at)
        case DeploymentsLocked():
            lock = DeployLock(
                reason=event.reason, locked_by=event.locked_by, locked_at=event.at, expires_at=event.expires_at
            )
            return msgspec.structs.replace(project, lock=lock, updated_at=event.at)
        case DeploymentsUnlocked():
            return msgspec.structs.replace(project, lock=None, updated_at=event.at)
        case _:
            assert_never(event)


PROJECT = Aggregate(
    name="project",
    events=(ProjectCreated, ProjectRenamed, ProjectArchived, DeploymentsLocked, DeploymentsUnlocked),
    initial=Project(),
    evolve=evolve,
)


def require_open(project: Project) -> Project:
    """The project itself, if it exists and can be changed. Raises ProjectUnknown or ProjectIsArchived."""
    if not project.exists:
        raise ProjectUnknown
    if project.archived:
        raise ProjectIsArchived
    return project


def lock_of(project: Project, at: datetime) -> DeployLock | None:
    """The lock that counts at an instant. It ends by itself: nothing is recorded of that."""
    return project.lock if project.lock is not None and project.lock.expires_at > at else None


def require_unlocked(project: Project, at: datetime) -> Project:
    """The project itself, if something may be deployed in it. Raises ProjectDeploymentsLocked."""
    lock = lock_of(project, at)
    if lock is not None:
        raise locked(lock)
    return project


def locked(lock: DeployLock) -> ProjectDeploymentsLocked:
    """The refusal that names who locked, until when, and why."""
    refusal = ProjectDeploymentsLocked(f"Deployments of the project are {lock}")
    refusal.until = lock.expires_at
    return refusal


def lock_end(expires_at: datetime | None, at: datetime) -> datetime:
    """When a lock made at an instant ends. Raises LockExpiryNotAllowed."""
    latest = at + timedelta(days=LOCK_DAYS_MAX)
    if expires_at is None:
        return latest
    if not at < expires_at <= latest:
        message = f"not after now and at most {LOCK_DAYS_MAX} days from now"
        raise LockExpiryNotAllowed(errors=(FieldError(field="expiresAt", message=message),))
    return expires_at
