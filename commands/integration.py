"""Commands about integrations."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.clouds import AzureResources, Identity, ProviderName, Storage, check_provider
from domain.event import Decision
from domain.integration import (
    INTEGRATION,
    CheckStatus,
    CheckStep,
    IdentityChanged,
    IdentityChecked,
    Integration,
    IntegrationConnected,
    IntegrationDisconnected,
    IntegrationEvent,
    IntegrationUnknown,
    ResourcesChecked,
    StorageChecked,
    StorageConfigured,
    StorageNotChecked,
    integration_id,
)
from domain.project import PROJECT, require_open


class _OfProvider(Command, frozen=True, kw_only=True):
    project_id: UUID
    provider: ProviderName


class ConnectProvider(_OfProvider, frozen=True, kw_only=True, tag="ConnectProvider"):
    identity: Identity


class RecordIdentityChecked(_OfProvider, frozen=True, kw_only=True, tag="RecordIdentityChecked"):
    """`identity` is the one that was looked at; another may have been connected while the cloud was asked.

    `connects`: the project is connected as this identity from here on, if it was not yet.
    """

    identity: Identity
    status: CheckStatus
    steps: tuple[CheckStep, ...]
    connects: bool = False


class RecordStorageChecked(_OfProvider, frozen=True, kw_only=True, tag="RecordStorageChecked"):
    """`identity` is the one it was looked at with."""

    identity: Identity
    storage: Storage
    status: CheckStatus
    steps: tuple[CheckStep, ...]


class RecordResourcesChecked(_OfProvider, frozen=True, kw_only=True, tag="RecordResourcesChecked"):
    """`identity` is the one they were looked at with."""

    identity: Identity
    resources: AzureResources
    status: CheckStatus
    steps: tuple[CheckStep, ...]


class ConfigureStorage(_OfProvider, frozen=True, kw_only=True, tag="ConfigureStorage"):
    storage: Storage


class DisconnectProvider(_OfProvider, frozen=True, kw_only=True, tag="DisconnectProvider"):
    reason: str = ""


_Looked = RecordIdentityChecked | RecordStorageChecked | RecordResourcesChecked
IntegrationCommand = (
    ConnectProvider
    | RecordIdentityChecked
    | RecordStorageChecked
    | RecordResourcesChecked
    | ConfigureStorage
    | DisconnectProvider
)


def reads(command: IntegrationCommand) -> Reads:
    yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
    yield INTEGRATION, INTEGRATION.stream(command.tenant_id, integration_id(command.project_id, command.provider))


def decide(command: IntegrationCommand, states: States) -> Decision:
    require_open(states.of(PROJECT, command.tenant_id, command.project_id))
    stream = INTEGRATION.stream(command.tenant_id, integration_id(command.project_id, command.provider))
    integration = states.at(INTEGRATION, stream)
    return Decision(facts=facts(stream, *_events(command, integration)))


def _events(command: IntegrationCommand, integration: Integration) -> list[IntegrationEvent]:
    if isinstance(command, DisconnectProvider) and integration.status == "disconnected":
        return []  # Asking twice is not an error.
    if isinstance(command, RecordIdentityChecked) and command.connects:
        return _connected_and_checked(command, integration)
    if not isinstance(command, ConnectProvider) and not integration.connected:
        raise IntegrationUnknown
    if isinstance(command, _Looked) and command.identity != integration.identity:
        raise IdentityChanged
    return _recorded(command, integration)


def _connected_and_checked(command: RecordIdentityChecked, integration: Integration) -> list[IntegrationEvent]:
    check_provider(command.identity, command.provider, field="provider")
    if integration.connected and integration.identity == command.identity:
        return _recorded(command, integration)
    return [
        IntegrationConnected(project_id=command.project_id, provider=command.provider, identity=command.identity),
        IdentityChecked(status=command.status, steps=command.steps),
    ]


def _recorded(command: IntegrationCommand, integration: Integration) -> list[IntegrationEvent]:
    match command:
        case ConnectProvider():
            check_provider(command.identity, command.provider, field="provider")
            if integration.connected and integration.identity == command.identity:
                return []
            return [
                IntegrationConnected(
                    project_id=command.project_id, provider=command.provider, identity=command.identity
                )
            ]
        case RecordIdentityChecked():
            if (integration.identity_status, integration.identity_steps) == (command.status, command.steps):
                return []
            return [IdentityChecked(status=command.status, steps=command.steps)]
        case RecordStorageChecked():
            check_provider(command.storage, command.provider, field="provider")
            before = (integration.storage_checked, integration.storage_status, integration.storage_steps)
            if before == (command.storage, command.status, command.steps):
                return []
            return [StorageChecked(storage=command.storage, status=command.status, steps=command.steps)]
        case RecordResourcesChecked():
            check_provider(command.resources, command.provider, field="provider")
            known = (integration.resources, integration.resources_status, integration.resources_steps)
            if known == (command.resources, command.status, command.steps):
                return []
            return [ResourcesChecked(resources=command.resources, status=command.status, steps=command.steps)]
        case ConfigureStorage():
            if integration.storage_status != "verified" or integration.storage_checked != command.storage:
                raise StorageNotChecked
            return [] if integration.storage == command.storage else [StorageConfigured(storage=command.storage)]
        case DisconnectProvider():
            return [IntegrationDisconnected(reason=command.reason)]
        case _:
            assert_never(command)


INTEGRATIONS = Decider(
    commands=(
        ConnectProvider,
        RecordIdentityChecked,
        RecordStorageChecked,
        RecordResourcesChecked,
        ConfigureStorage,
        DisconnectProvider,
    ),
    reads=reads,
    decide=decide,
)
