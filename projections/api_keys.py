"""API keys: who may ask, found by the key's id before anything else is known of the caller."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from domain.api_key import ApiKeyCreated, ApiKeyReplaced, ApiKeyRevoked, KeyRole
from projections.query import ROWS, Found, Query, page_of
from projections.read_model import Index, ReadModel, own_stream, present
from projections.recorded import Recorded


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What may be shown of a key. No scopes: all that the role allows. No projects: all of the tenant's. One that another took the place of goes on until
    `expiresAt`."""

    key_id: UUID
    name: str
    role: KeyRole
    scopes: tuple[str, ...]
    expires_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None
    replaces: UUID | None = None
    replaced_by: UUID | None = None
    projects: tuple[UUID, ...] = ()
    requests_per_minute: int | None = None


class ApiKeyRow(ApiKey, frozen=True, kw_only=True, rename="camel"):
    """With the SHA-256 of the secret part, hexadecimal: for checking, never for answering."""

    secret_hash: str


def project(row: ApiKeyRow | None, recorded: Recorded) -> ApiKeyRow | None:
    match recorded.event:
        case ApiKeyCreated() as event:
            return ApiKeyRow(
                key_id=recorded.stream_id,
                name=event.name,
                role=event.role,
                scopes=event.scopes,
                expires_at=event.expires_at,
                created_at=recorded.at,
                revoked_at=None,
                secret_hash=event.secret_hash,
                replaces=event.replaces,
                projects=event.projects,
                requests_per_minute=event.requests_per_minute,
            )
        case ApiKeyReplaced() as event:
            return msgspec.structs.replace(present(row), replaced_by=event.replaced_by, expires_at=event.ends_at)
        case ApiKeyRevoked():
            return msgspec.structs.replace(present(row), revoked_at=recorded.at)
        case _:
            return row


API_KEYS = ReadModel(
    name="api_keys",
    version=4,
    row=ApiKeyRow,
    interests=(ApiKeyCreated, ApiKeyReplaced, ApiKeyRevoked),
    keys=own_stream,
    project=project,
    indexes=(Index("by_id", "id"), Index("in_order", "tenant_id, first_position")),
)


def _one(rows: Iterable[Found[ApiKeyRow]], key_id: UUID) -> list[Found[ApiKeyRow]]:
    return [found for found in rows if found.id == key_id]


def _page(rows: Iterable[Found[ApiKeyRow]], after: int, limit: int) -> list[Found[ApiKeyRow]]:
    return page_of(rows, "newest_first", after, limit)


# The key a caller names, of whichever tenant: how a request lands in one. Arguments: the key's id.
API_KEY_NAMED = Query(
    name="api_key_named",
    model=API_KEYS,
    answer=ApiKeyRow,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.id = $1",
    select=_one,
    audience="anyone",
)

# One of the tenant's keys, without its secret's hash. Arguments: the key's id.
API_KEY_GET = Query(
    name="api_key_get",
    model=API_KEYS,
    answer=ApiKey,
    parameters=("uuid",),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.id = $2",
    select=_one,
)

# The tenant's keys, revoked ones too.
API_KEYS_LIST = Query(
    name="api_keys_list",
    model=API_KEYS,
    answer=ApiKey,
    parameters=("bigint", "integer"),
    sql=ROWS + " WHERE t.tenant_id = $1 AND t.first_position < $2 ORDER BY t.first_position DESC LIMIT $3",
    select=_page,
    order="newest_first",
)
