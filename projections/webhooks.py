"""Webhooks, each as the API shows it and as the runner sends to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from domain.webhook import (
    WEBHOOK,
    WebhookChanged,
    WebhookCreated,
    WebhookRemoved,
    WebhookReplayRequested,
    WebhookSecretRotated,
    WebhookStatus,
    WebhookSwitchedOff,
    WebhookSwitchedOn,
    WebhookTestRequested,
)
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Column, Index, ReadModel, own_stream, present
from projections.recorded import Recorded


class Webhook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """No types: every event of a deployment. `statusReason` says why it is off or was removed."""

    webhook_id: UUID
    project_id: UUID
    url: str
    types: tuple[str, ...]
    description: str
    status: WebhookStatus
    status_reason: str
    created_at: datetime
    updated_at: datetime


class WebhookRow(Webhook, frozen=True, kw_only=True, rename="camel"):
    """With what the runner needs: ids of secrets, and the positions of what was last asked of it.

    From `resumed_at` on it is tried again at once; `replay_after` is where it begins anew, as asked at `replayed_at`.
    """

    secret_id: UUID
    former_secret_id: UUID | None = None
    former_ends_at: datetime | None = None
    resumed_at: int = 0
    tested_at: int = 0
    replayed_at: int = 0
    replay_after: int = 0


def project(row: WebhookRow | None, recorded: Recorded) -> WebhookRow | None:
    event = recorded.event
    if isinstance(event, WebhookCreated):
        return WebhookRow(
            webhook_id=recorded.stream_id,
            project_id=event.project_id,
            url=event.url,
            types=event.types,
            description=event.description,
            status="active",
            status_reason="",
            created_at=recorded.at,
            updated_at=recorded.at,
            secret_id=event.secret_id,
        )
    return msgspec.structs.replace(_changed(present(row), recorded), updated_at=recorded.at)


def _changed(row: WebhookRow, recorded: Recorded) -> WebhookRow:
    position = recorded.position
    match recorded.event:
        case WebhookChanged() as event:
            return msgspec.structs.replace(
                row, url=event.url, types=event.types, description=event.description, resumed_at=position
            )
        case WebhookSecretRotated() as event:
            return msgspec.structs.replace(
                row,
                secret_id=event.secret_id,
                former_secret_id=row.secret_id,
                former_ends_at=event.former_ends_at,
                resumed_at=position,
            )
        case WebhookSwitchedOff() as event:
            return msgspec.structs.replace(row, status="off", status_reason=event.reason)
        case WebhookSwitchedOn():
            return msgspec.structs.replace(row, status="active", status_reason="", resumed_at=position)
        case WebhookTestRequested():
            return msgspec.structs.replace(row, tested_at=position)
        case WebhookReplayRequested() as event:
            return msgspec.structs.replace(row, replayed_at=position, replay_after=event.after)
        case WebhookRemoved() as event:
            return msgspec.structs.replace(row, status="removed", status_reason=event.reason)
        case _:
            return row


WEBHOOKS = ReadModel(
    name="webhooks",
    version=2,
    row=WebhookRow,
    interests=WEBHOOK.events,
    keys=own_stream,
    project=project,
    columns=(
        Column("project_id", "uuid", lambda row: row.project_id),
        Column("active", "boolean", lambda row: row.status == "active"),
    ),
    indexes=(
        Index("in_order", "tenant_id, project_id, first_position"),
        Index("active_in_order", "first_position", where="active"),
    ),
)


def _one(rows: Iterable[Found[WebhookRow]], webhook_id: UUID) -> list[Found[WebhookRow]]:
    return [found for found in rows if found.id == webhook_id]


def _page(rows: Iterable[Found[WebhookRow]], project_id: UUID, after: int, limit: int) -> list[Found[WebhookRow]]:
    return page_of((found for found in rows if found.row.project_id == project_id), "newest_first", after, limit)


def _active(rows: Iterable[Found[WebhookRow]], after: int, limit: int) -> list[Found[WebhookRow]]:
    return page_of((found for found in rows if found.row.status == "active"), "oldest_first", after, limit)


# One of the tenant's. Arguments: its id.
WEBHOOK_GET = Query(
    name="webhook_get",
    model=WEBHOOKS,
    answer=Webhook,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# Those of a project, removed ones too. Arguments: project id.
WEBHOOKS_LIST = Query(
    name="webhooks_list",
    model=WEBHOOKS,
    answer=Webhook,
    parameters=("uuid", "bigint", "integer"),
    sql=ROWS
    + """
      WHERE t.tenant_id = $1 AND t.project_id = $2 AND t.first_position < $3
      ORDER BY t.first_position DESC
      LIMIT $4""",
    select=_page,
    order="newest_first",
)

# Those that are sent to now, of every tenant.
WEBHOOKS_ACTIVE = Query(
    name="webhooks_active",
    model=WEBHOOKS,
    answer=WebhookRow,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.active AND t.first_position > $1 ORDER BY t.first_position LIMIT $2",
    select=_active,
    audience="engine",
    order="oldest_first",
)
