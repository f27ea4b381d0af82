"""Integrations: each project's identity and storage at each provider, and what the last checks found."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain import integration as aggregate
from domain.clouds import AzureResources, Identity, ProviderName, Storage
from domain.integration import (
    INTEGRATION,
    CheckStatus,
    CheckStep,
    FormerStorage,
    IntegrationConnected,
    IntegrationStatus,
)
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream
from projections.recorded import Recorded


class Integration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Identity and storage are verified apart; `status` is that of the identity while the project is connected."""

    integration_id: UUID
    project_id: UUID
    provider: ProviderName
    status: IntegrationStatus
    version: int
    identity: Identity | None
    identity_status: CheckStatus
    identity_steps: tuple[CheckStep, ...]
    storage: Storage | None
    # What the last check of a storage looked at, configured or not.
    storage_checked: Storage | None
    storage_status: CheckStatus
    storage_steps: tuple[CheckStep, ...]
    # What the last check of a cloud's other resources looked at, where there is one.
    resources: AzureResources | None
    resources_status: CheckStatus
    resources_steps: tuple[CheckStep, ...]
    # Those of before in which files of ours are left.
    former_storages: tuple[FormerStorage, ...]
    created_at: datetime
    updated_at: datetime

    @property
    def awaited(self) -> bool:
        """Whether the cloud was asked and has not made up its mind."""
        if self.status == "disconnected":
            return False
        identity = self.identity_status == "pending" and bool(self.identity_steps)
        storage = self.storage_status == "pending" and self.storage_checked is not None
        return identity or storage or (self.resources_status == "pending" and self.resources is not None)


def project(row: Integration | None, recorded: Recorded) -> Integration | None:
    """The aggregate's own `evolve` does the work, so that the row can never say anything else."""
    event: Any = recorded.event
    if row is None and not isinstance(event, IntegrationConnected):
        # Storage may be checked before anything is connected; there is nothing to show then.
        return None
    before = INTEGRATION.initial if row is None else _state(row)
    after = INTEGRATION.evolve(before, event)
    # The stream's version, since the row may have begun after it.
    return _row(recorded.stream_id, msgspec.structs.replace(after, version=recorded.version))


def _state(row: Integration) -> aggregate.Integration:
    return aggregate.Integration(
        project_id=row.project_id,
        provider=row.provider,
        version=row.version,
        connected=row.status != "disconnected",
        was_connected=True,
        identity=row.identity,
        identity_status=row.identity_status,
        identity_steps=row.identity_steps,
        storage=row.storage,
        storage_checked=row.storage_checked,
        storage_status=row.storage_status,
        storage_steps=row.storage_steps,
        resources=row.resources,
        resources_status=row.resources_status,
        resources_steps=row.resources_steps,
        former_storages=row.former_storages,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _row(integration_id: UUID, state: aggregate.Integration) -> Integration:
    assert state.created_at is not None
    assert state.updated_at is not None
    return Integration(
        integration_id=integration_id,
        project_id=state.project_id,
        provider=state.provider,
        status=state.status,
        version=state.version,
        identity=state.identity,
        identity_status=state.identity_status,
        identity_steps=state.identity_steps,
        storage=state.storage,
        storage_checked=state.storage_checked,
        storage_status=state.storage_status,
        storage_steps=state.storage_steps,
        resources=state.resources,
        resources_status=state.resources_status,
        resources_steps=state.resources_steps,
        former_storages=state.former_storages,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


INTEGRATIONS = ReadModel(
    name="integrations",
    version=4,
    row=Integration,
    interests=INTEGRATION.events,
    keys=own_stream,
    project=project,
    columns=(
        Column("project_id", "uuid", lambda row: row.project_id),
        Column("provider", "text", lambda row: row.provider),
        Column("status", "text", lambda row: row.status),
        Column("awaited", "boolean", lambda row: row.awaited),
    ),
    indexes=(
        Index("in_order", "tenant_id, project_id, first_position"),
        # What the runner looks at again while a cloud is still propagating a grant.
        Index("awaited_in_order", "first_position", where="awaited"),
    ),
)


def _one(rows: Iterable[Found[Integration]], project_id: UUID, provider: str) -> list[Found[Integration]]:
    return [found for found in rows if found.row.project_id == project_id and found.row.provider == provider]


def _page(rows: Iterable[Found[Integration]], project_id: UUID, after: int, limit: int) -> list[Found[Integration]]:
    return page_of((found for found in rows if found.row.project_id == project_id), "oldest_first", after, limit)


def _awaited(rows: Iterable[Found[Integration]], after: int, limit: int) -> list[Found[Integration]]:
    return page_of((found for found in rows if found.row.awaited), "oldest_first", after, limit)


# One integration. Arguments: project id, provider.
INTEGRATION_GET = Query(
    name="integration_get",
    model=INTEGRATIONS,
    answer=Integration,
    parameters=("uuid", "text"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.provider = $3",
    select=_one,
)

# The integrations of a project, disconnected ones too. Arguments: project id.
INTEGRATIONS_LIST = Query(
    name="integrations_list",
    model=INTEGRATIONS,
    answer=Integration,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.first_position > $3
      ORDER BY t.first_position
      LIMIT $4""",
    select=_page,
    order="oldest_first",
)

# What the runner looks at again, of every tenant.
INTEGRATIONS_AWAITED = Query(
    name="integrations_awaited",
    model=INTEGRATIONS,
    answer=Integration,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.awaited AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_awaited,
    audience="engine",
    order="oldest_first",
)
