"""An integration: one project's identity and storage at one provider, verified apart."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID, uuid5

import msgspec

from domain.clouds import AwsNamed, AzureResources, Identity, LocalStorage, ProviderName, Storage
from domain.event import Aggregate, Event
from domain.refusal import Conflict, NotFound

# Whoever changes storage more often than these are emptied has the oldest to themselves.
FORMER_STORAGES_MAX = 20

CheckStatus = Literal["pending", "verified", "failed"]
StepStatus = Literal["passed", "failed", "skipped"]
IntegrationStatus = Literal["absent", "pending", "verified", "failed", "disconnected"]


class CheckStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing a check looked at, and how to mend it when it failed."""

    name: str
    status: StepStatus
    code: str = ""
    message: str = ""
    remedy: str = ""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a look came to. `awaited_until`: a step that failed may only be a grant that spreads, and is looked at again
    until then; past it, and `failed`, it was looked at until then."""

    status: CheckStatus = "pending"
    steps: tuple[CheckStep, ...] = ()
    awaited_until: datetime | None = None


class FormerStorage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A storage that was the integration's before, with files of ours in it until they are swept. `files`: how many were
    left when it was looked at last, None before that. `code`, `message` and `remedy` say what kept us from sweeping it."""

    storage: Storage
    files: int | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""


class IntegrationConnected(Event, frozen=True, kw_only=True, tag="integration.connected"):
    project_id: UUID
    provider: ProviderName
    identity: Identity


class IdentityChecked(Event, frozen=True, kw_only=True, tag="integration.identity_checked"):
    """`named`: what was looked at beside the identity, and is again as long as the check is pending."""

    status: CheckStatus
    steps: tuple[CheckStep, ...]
    awaited_until: datetime | None = None
    named: AwsNamed | None = None


class StorageChecked(Event, frozen=True, kw_only=True, tag="integration.storage_checked"):
    """What was looked at stands beside what was found: only the storage that passed can be configured."""

    storage: Storage
    status: CheckStatus
    steps: tuple[CheckStep, ...]
    awaited_until: datetime | None = None


class StorageConfigured(Event, frozen=True, kw_only=True, tag="integration.storage_configured"):
    storage: Storage


class ResourcesChecked(Event, frozen=True, kw_only=True, tag="integration.resources_checked"):
    """What stands beside the storage for deployments to use; nothing depends on it but what is shown."""

    resources: AzureResources
    status: CheckStatus
    steps: tuple[CheckStep, ...]
    awaited_until: datetime | None = None


class FormerStorageSwept(Event, frozen=True, kw_only=True, tag="integration.former_storage_swept"):
    """What was found in a storage of before: how many files are left, or why it could not be swept. One that is empty is
    not looked at any more."""

    storage: Storage
    files: int | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""


class IntegrationDisconnected(Event, frozen=True, kw_only=True, tag="integration.disconnected"):
    reason: str = ""


IntegrationEvent = (
    IntegrationConnected
    | IdentityChecked
    | StorageChecked
    | StorageConfigured
    | ResourcesChecked
    | FormerStorageSwept
    | IntegrationDisconnected
)


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    project_id: UUID = UUID(int=0)
    provider: ProviderName = "local"
    version: int = 0
    connected: bool = False
    was_connected: bool = False
    identity: Identity | None = None
    identity_status: CheckStatus = "pending"
    identity_steps: tuple[CheckStep, ...] = ()
    identity_awaited_until: datetime | None = None
    identity_named: AwsNamed | None = None
    storage: Storage | None = None
    storage_checked: Storage | None = None
    storage_status: CheckStatus = "pending"
    storage_steps: tuple[CheckStep, ...] = ()
    storage_awaited_until: datetime | None = None
    resources: AzureResources | None = None
    resources_status: CheckStatus = "pending"
    resources_steps: tuple[CheckStep, ...] = ()
    resources_awaited_until: datetime | None = None
    former_storages: tuple[FormerStorage, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def status(self) -> IntegrationStatus:
        if not self.connected:
            return "disconnected" if self.was_connected else "absent"
        return self.identity_status

    @property
    def identity_check(self) -> Check:
        """What was seen of the identity last."""
        return Check(status=self.identity_status, steps=self.identity_steps, awaited_until=self.identity_awaited_until)

    def storage_check(self, storage: Storage) -> Check:
        """What was seen of this storage last."""
        if self.storage_checked != storage:
            return Check()
        return Check(status=self.storage_status, steps=self.storage_steps, awaited_until=self.storage_awaited_until)

    def resources_check(self, resources: AzureResources) -> Check:
        """What was seen of these resources last."""
        if self.resources != resources:
            return Check()
        return Check(
            status=self.resources_status, steps=self.resources_steps, awaited_until=self.resources_awaited_until
        )


class IntegrationUnknown(NotFound):
    """The project is not connected to this provider."""

    code = "integration_not_found"
    remedy = (
        "Connect the provider first: POST …/integrations/local/connect, …/gcp/wif/connect, …/azure/connect, or …/aws/oidc/verify "
        "with the role that …/aws/oidc/setup-commands makes."
    )


class ProviderNotConnected(Conflict):
    """The project is not connected to the provider that should run the function."""

    code = "provider_not_connected"
    remedy = "Connect the provider, verify its identity and configure its storage, then deploy again."
    field = "provider"


class IdentityNotVerified(Conflict):
    """The provider's identity is not verified."""

    code = "identity_not_verified"
    remedy = "Verify it: POST …/integrations/{provider}/verify, and mend the step that fails."
    field = "provider"


class IdentityChanged(Conflict):
    """Another identity was connected while this one was checked, so what was seen says nothing of it."""

    code = "identity_changed"
    remedy = "Verify again; to connect an identity once more, connect it first."


class StorageNotChecked(Conflict):
    """This storage has not passed its check."""

    code = "storage_not_checked"
    remedy = "Check it first: POST …/bucket/check, and mend the step that fails."


class StorageNotConfigured(Conflict):
    """The provider has no storage configured."""

    code = "storage_not_configured"
    remedy = "Check and save it: POST …/bucket/check, then POST …/bucket/config."
    field = "provider"


def evolve(integration: Integration, event: IntegrationEvent) -> Integration:
    state = msgspec.structs.replace(integration, version=integration.version + 1, updated_at=event.at)
    replace = msgspec.structs.replace
    match event:
        case IntegrationConnected():
            return Integration(
                project_id=event.project_id,
                provider=event.provider,
                version=state.version,
                connected=True,
                was_connected=True,
                identity=event.identity,
                storage=integration.storage if integration.connected else None,
                storage_checked=integration.storage_checked if integration.connected else None,
                storage_status=integration.storage_status if integration.connected else "pending",
                storage_steps=integration.storage_steps if integration.connected else (),
                storage_awaited_until=integration.storage_awaited_until if integration.connected else None,
                former_storages=integration.former_storages,
                created_at=integration.created_at or event.at,
                updated_at=event.at,
            )
        case IdentityChecked():
            return replace(
                state,
                identity_status=event.status,
                identity_steps=event.steps,
                identity_awaited_until=event.awaited_until,
                identity_named=event.named,
            )
        case StorageChecked():
            return replace(
                state,
                storage_checked=event.storage,
                storage_status=event.status,
                storage_steps=event.steps,
                storage_awaited_until=event.awaited_until,
            )
        case StorageConfigured():
            return replace(state, storage=event.storage, former_storages=_former(integration, without=event.storage))
        case ResourcesChecked():
            return replace(
                state,
                resources=event.resources,
                resources_status=event.status,
                resources_steps=event.steps,
                resources_awaited_until=event.awaited_until,
            )
        case FormerStorageSwept():
            now = FormerStorage(
                storage=event.storage, files=event.files, code=event.code, message=event.message, remedy=event.remedy
            )
            known = (now if one.storage == event.storage else one for one in state.former_storages)
            return replace(state, former_storages=tuple(one for one in known if one.files != 0))
        case IntegrationDisconnected():
            return Integration(
                project_id=state.project_id,
                provider=state.provider,
                version=state.version,
                was_connected=True,
                former_storages=_former(integration),
                created_at=state.created_at,
                updated_at=event.at,
            )
        case _:
            assert_never(event)


def _former(integration: Integration, *, without: Storage | None = None) -> tuple[FormerStorage, ...]:
    """The storages of before, the one that is configured now among them, the newest last. `local` is our own store, which
    is swept by itself."""
    left = [one for one in integration.former_storages if one.storage not in (integration.storage, without)]
    if integration.storage not in (None, without) and not isinstance(integration.storage, LocalStorage):
        assert integration.storage is not None
        left.append(FormerStorage(storage=integration.storage))
    return tuple(left[-FORMER_STORAGES_MAX:])


INTEGRATION = Aggregate(
    name="integration",
    events=(
        IntegrationConnected,
        IdentityChecked,
        StorageChecked,
        StorageConfigured,
        ResourcesChecked,
        FormerStorageSwept,
        IntegrationDisconnected,
    ),
    initial=Integration(),
    evolve=evolve,
)


def integration_id(project_id: UUID, provider: ProviderName) -> UUID:
    """There is one integration for each project and provider."""
    return uuid5(project_id, f"integration/{provider}")


def require_ready(integration: Integration) -> Integration:
    """The integration, if a deployment may use it. Raises what is missing first."""
    if not integration.connected:
        raise ProviderNotConnected
    if integration.identity_status != "verified":
        raise IdentityNotVerified
    if integration.storage is None:
        raise StorageNotConfigured
    return integration
