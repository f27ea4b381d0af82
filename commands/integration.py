"""Commands about integrations."""

from __future__ import annotations

from typing import Any, assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.spreading import judged
from domain.clouds import AwsNamed, AzureResources, Identity, ProviderName, Storage, check_provider
from domain.event import Decision
from domain.integration import (
    INTEGRATION,
    Check,
    CheckStatus,
    CheckStep,
    FormerStorageSwept,
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


class _RecordChecked(_OfProvider, frozen=True, kw_only=True):
    """`identity` is the one that was looked at; another may have been connected while the cloud was asked.

    `spreads_seconds`: how long what failed in a look that is `pending` may only be spreading; how it is recorded then is
    decided by what was seen before.
    """

    identity: Identity
    status: CheckStatus
    steps: tuple[CheckStep, ...]
    spreads_seconds: float = 0.0


class RecordIdentityChecked(_RecordChecked, frozen=True, kw_only=True, tag="RecordIdentityChecked"):
    """`connects`: the project is connected as this identity from here on, if it was not yet. `named` was looked at too."""

    connects: bool = False
    named: AwsNamed | None = None


class RecordStorageChecked(_RecordChecked, frozen=True, kw_only=True, tag="RecordStorageChecked"):
    storage: Storage


class RecordResourcesChecked(_RecordChecked, frozen=True, kw_only=True, tag="RecordResourcesChecked"):
    resources: AzureResources


class ConfigureStorage(_OfProvider, frozen=True, kw_only=True, tag="ConfigureStorage"):
    storage: Storage


class RecordFormerStorageSwept(_OfProvider, frozen=True, kw_only=True, tag="RecordFormerStorageSwept"):
    """What was found in a storage of before, or why it could not be swept (`code`)."""

    storage: Storage
    files: int | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""


class DisconnectProvider(_OfProvider, frozen=True, kw_only=True, tag="DisconnectProvider"):
    reason: str = ""


IntegrationCommand = (
    ConnectProvider
    | RecordIdentityChecked
    | RecordStorageChecked
    | RecordResourcesChecked
    | ConfigureStorage
    | RecordFormerStorageSwept
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
    if isinstance(command, _RecordChecked) and command.identity != integration.identity:
        raise IdentityChanged
    return _recorded(command, integration)


def _connected_and_checked(command: RecordIdentityChecked, integration: Integration) -> list[IntegrationEvent]:
    check_provider(command.identity, command.provider, field="provider")
    if integration.connected and integration.identity == command.identity:
        return _recorded(command, integration)
    return [
        IntegrationConnected(project_id=command.project_id, provider=command.provider, identity=command.identity),
        IdentityChecked(named=command.named, **_as_fields(_judged(command, Check()))),
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
        case RecordIdentityChecked() | RecordStorageChecked() | RecordResourcesChecked():
            return _checked(command, integration)
        case ConfigureStorage():
            if integration.storage_status != "verified" or integration.storage_checked != command.storage:
                raise StorageNotChecked
            return [] if integration.storage == command.storage else [StorageConfigured(storage=command.storage)]
        case RecordFormerStorageSwept():
            return _swept(command, integration)
        case DisconnectProvider():
            return [IntegrationDisconnected(reason=command.reason)]
        case _:
            assert_never(command)


def _checked(
    command: RecordIdentityChecked | RecordStorageChecked | RecordResourcesChecked, integration: Integration
) -> list[IntegrationEvent]:
    match command:
        case RecordIdentityChecked():
            before = integration.identity_check
            if (now := _judged(command, before)) == before and integration.identity_named == command.named:
                return []
            return [IdentityChecked(named=command.named, **_as_fields(now))]
        case RecordStorageChecked():
            check_provider(command.storage, command.provider, field="provider")
            before = integration.storage_check(command.storage)
            if (now := _judged(command, before)) == before and integration.storage_checked == command.storage:
                return []
            return [StorageChecked(storage=command.storage, **_as_fields(now))]
        case RecordResourcesChecked():
            check_provider(command.resources, command.provider, field="provider")
            before = integration.resources_check(command.resources)
            if (now := _judged(command, before)) == before and integration.resources == command.resources:
                return []
            return [ResourcesChecked(resources=command.resources, **_as_fields(now))]
        case _:
            assert_never(command)


def _swept(command: RecordFormerStorageSwept, integration: Integration) -> list[IntegrationEvent]:
    """Only what is news: the words of one and the same problem differ from time to time."""
    known = next((one for one in integration.former_storages if one.storage == command.storage), None)
    if known is None or (known.files, known.code) == (command.files, command.code):
        return []
    return [
        FormerStorageSwept(
            storage=command.storage,
            files=command.files,
            code=command.code,
            message=command.message,
            remedy=command.remedy,
        )
    ]


def _judged(command: _RecordChecked, before: Check) -> Check:
    return judged(command.status, command.steps, spreads_seconds=command.spreads_seconds, before=before, at=command.at)


def _as_fields(check: Check) -> dict[str, Any]:
    return {"status": check.status, "steps": check.steps, "awaited_until": check.awaited_until}


INTEGRATIONS = Decider(
    commands=(
        ConnectProvider,
        RecordIdentityChecked,
        RecordStorageChecked,
        RecordResourcesChecked,
        ConfigureStorage,
        RecordFormerStorageSwept,
        DisconnectProvider,
    ),
    reads=reads,
    decide=decide,
)
