"""API keys: create, get, list, rotate, revoke."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath

from api.answer import Answer, Header, encoded, etag
from api.api_keys import new_key
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.example_ids import PROJECT_ID
from api.instant import in_utc
from api.listing import PAGE_PARAMETERS, Listed, asked, listed
from api.operation import Operation
from api.patterns import whole
from api.principal import Permission, Principal, permissions_of
from api.reading import found_or, tenant_of
from api.services import Services, services_of
from api.writing import SHOWN_ONCE, Reply, Writing, recorded_time
from commands.api_key import CreateApiKey, RevokeApiKey, RotateApiKey
from commands.basis import fold
from commands.command import States
from domain.api_key import API_KEY, ApiKeyEnded, ApiKeyUnknown, ExpiryPassed, KeyRole, RoleOutOfPlace
from domain.api_key import ApiKey as State
from domain.project import ProjectUnknown
from domain.refusal import FieldError, Forbidden, Invalid
from domain.runtime import Instant
from domain.tenant import RoleAboveOwn
from projections.api_keys import API_KEY_GET, API_KEYS_LIST, ApiKey
from projections.query import Found

Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, pattern=whole(r"^[^\x00-\x1f\x7f]+$"), examples=["ci"])
]
SCOPES_MAX = 50
Scopes = Annotated[tuple[Permission, ...], msgspec.Meta(max_length=SCOPES_MAX, examples=[["deployments:write"]])]

PROJECTS_MAX = 20
Projects = Annotated[tuple[UUID, ...], msgspec.Meta(max_length=PROJECTS_MAX, examples=[[str(PROJECT_ID)]])]
PerMinute = Annotated[int, msgspec.Meta(ge=1, le=1_000_000, examples=[120])]


class ScopeAboveOwn(Forbidden):
    """A key cannot be given more than the one it is made with allows."""

    code = "scope_above_own"
    remedy = "Name scopes that GET /api/v1/me lists under `permissions`."


class ScopeOutsideRole(Invalid):
    """The role of the key does not allow a scope that is named."""

    code = "scope_outside_role"
    remedy = "Leave the scope out, or choose a role that allows it."


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Without `scopes` the key may do all that its role allows; without `expiresAt` it does not expire.

    With `projects` it sees and does nothing outside of these, and of the tenant itself nothing: no members, keys or audit. With
    `requestsPerMinute` it may ask no more often, of what all of the tenant may together.
    """

    name: Name
    role: KeyRole
    scopes: Scopes = ()
    expires_at: Instant | None = None
    projects: Projects = ()
    requests_per_minute: PerMinute | None = None


class RotationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The key as it is works until `overlapUntil`, for a day when that is left out; without `expiresAt` the new one lives
    as long as the other was given to live."""

    overlap_until: Instant | None = None
    expires_at: Instant | None = None


class Key(ApiKey, frozen=True, kw_only=True, rename="camel"):
    """`lastUsedAt` is true to the minute, and null as of a moment of the past: uses are not in the log."""

    last_used_at: datetime | None


class KeyMade(Key, frozen=True, kw_only=True, rename="camel"):
    """`key` is the bearer token. Only the first answer has it; the same request repeated finds null in its place."""

    key: str | None


_CREATE = Operation(
    name="createKey",
    permission="keys:write",
    summary="Create an API key; it is shown this once",
    tag="API keys",
    takes=KeyRequest,
    answers={201: KeyMade},
    example={"name": "ci", "role": "developer", "expiresAt": "2031-01-01T00:00:00Z"},
    writes=True,
    refusals=(
        ScopeAboveOwn,
        ScopeOutsideRole,
        RoleAboveOwn,
        RoleOutOfPlace,
        ExpiryPassed,
        ProjectUnknown,
    ),
)


@post("/keys", status_code=201, opt=_CREATE.as_opt())
async def create_key(request: Request[Any, Any, Any]) -> Answer:
    asked_for, content = await read(request, KeyRequest)
    writing = Writing(request, content)
    _require_own(asked_for, writing.principal)
    expires_at = None if asked_for.expires_at is None else in_utc(asked_for.expires_at, "expiresAt")
    made = new_key(writing.new_id())
    command = CreateApiKey(
        **writing.asked,
        key_id=made.key_id,
        name=asked_for.name,
        secret_hash=made.secret_hash,
        role=asked_for.role,
        scopes=asked_for.scopes,
        expires_at=expires_at,
        asked_by=writing.principal.role,
        projects=tuple(dict.fromkeys(asked_for.projects)),
        requests_per_minute=asked_for.requests_per_minute,
    )
    body = KeyMade(
        key_id=made.key_id,
        name=asked_for.name,
        role=asked_for.role,
        scopes=asked_for.scopes,
        expires_at=expires_at,
        created_at=recorded_time(None),
        revoked_at=None,
        last_used_at=None,
        key=SHOWN_ONCE,
        projects=command.projects,
        requests_per_minute=command.requests_per_minute,
    )
    reply = Reply(status=201, location=f"/api/v1/keys/{made.key_id}", body=body)
    return await writing.do(command, lambda _: reply, secret=made.text)


_GET = Operation(
    name="getKey",
    permission="keys:read",
    summary="Get an API key, without its secret",
    tag="API keys",
    answers={200: Key},
    query=(AS_OF,),
    refusals=(ApiKeyUnknown,),
)


@get("/keys/{key_id:uuid}", opt=_GET.as_opt())
async def get_key(request: Request[Any, Any, Any], key_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    found = found_or(ApiKeyUnknown, await services.reader.one(API_KEY_GET, tenant_id, key_id))
    (shown,) = await _with_uses(services, tenant_id, [found])
    # Its last use moves without an event, so there is no 304 for it.
    headers: tuple[Header, ...] = ((b"etag", etag(found.position)), (b"cache-control", b"private, no-cache"))
    return Answer(shown, headers=headers)


_LIST = Operation(
    name="listKeys",
    permission="keys:read",
    summary="List the API keys, newest first, revoked ones too",
    tag="API keys",
    answers={200: Listed[Key]},
    query=(*PAGE_PARAMETERS, AS_OF),
)


@get("/keys", opt=_LIST.as_opt())
async def list_keys(request: Request[Any, Any, Any]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(API_KEYS_LIST, tenant_id, after=wanted.after, limit=wanted.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed(await _with_uses(services, tenant_id, found.items), cursor)


_ROTATE = Operation(
    name="rotateKey",
    permission="keys:write",
    summary="Make a key that takes another's place; both work until the former ends",
    tag="API keys",
    takes=RotationRequest,
    answers={201: KeyMade},
    example={"overlapUntil": "2030-06-01T00:00:00Z"},
    writes=True,
    refusals=(ApiKeyUnknown, ApiKeyEnded, ScopeAboveOwn, RoleAboveOwn, ExpiryPassed),
)


@post("/keys/{key_id:uuid}/rotate", status_code=201, opt=_ROTATE.as_opt())
async def rotate_key(request: Request[Any, Any, Any], key_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, RotationRequest)
    writing = Writing(request, content)
    tenant_id = writing.principal.tenant_id
    # Its role and scopes never change, so what is looked at here is what the decision sees.
    former: State = await fold(services_of(request).log, API_KEY, API_KEY.stream(tenant_id, key_id))
    if former.exists:
        _require_no_more(former.role, former.scopes, writing.principal)
    made = new_key(writing.new_id())
    command = RotateApiKey(
        **writing.asked,
        key_id=made.key_id,
        replaces=key_id,
        secret_hash=made.secret_hash,
        overlap_until=_moment(asked_for.overlap_until, "overlapUntil"),
        expires_at=_moment(asked_for.expires_at, "expiresAt"),
        asked_by=writing.principal.role,
    )
    stream = API_KEY.stream(tenant_id, made.key_id)

    def answer(states: States) -> Reply:
        state = states.at(API_KEY, stream)
        body = KeyMade(
            key_id=made.key_id,
            name=state.name,
            role=state.role,
            scopes=state.scopes,
            expires_at=state.expires_at,
            created_at=recorded_time(None),
            revoked_at=None,
            replaces=key_id,
            last_used_at=None,
            key=SHOWN_ONCE,
            projects=state.projects,
            requests_per_minute=state.requests_per_minute,
        )
        return Reply(status=201, location=f"/api/v1/keys/{made.key_id}", body=body, position="first")

    return await writing.do(command, answer, secret=made.text)


def _moment(given: datetime | None, field: str) -> datetime | None:
    return None if given is None else in_utc(given, field)


_REVOKE = Operation(
    name="revokeKey",
    permission="keys:write",
    summary="Make an API key useless, at once and for ever",
    tag="API keys",
    answers={200: Key},
    writes=True,
    if_match=True,
    refusals=(
        ApiKeyUnknown,
        RoleAboveOwn,
    ),
)


@delete("/keys/{key_id:uuid}", status_code=200, opt=_REVOKE.as_opt())
async def revoke_key(request: Request[Any, Any, Any], key_id: FromPath[UUID]) -> Answer:
    writing = Writing(request, b"")
    command = RevokeApiKey(**writing.asked, key_id=key_id, asked_by=writing.principal.role)
    stream = API_KEY.stream(command.tenant_id, key_id)
    uses = await services_of(request).key_uses.of(command.tenant_id, [key_id])

    def answer(states: States) -> Reply:
        state = states.at(API_KEY, stream)
        body = Key(
            key_id=key_id,
            name=state.name,
            role=state.role,
            scopes=state.scopes,
            expires_at=state.expires_at,
            created_at=recorded_time(state.created_at),
            revoked_at=recorded_time(state.revoked_at),
            replaces=state.replaces,
            replaced_by=state.replaced_by,
            last_used_at=uses.get(key_id),
            projects=state.projects,
            requests_per_minute=state.requests_per_minute,
        )
        return Reply(body=body, position="last" if state.revoked_at is None else "unchanged")

    answered = await writing.do(command, answer, entity=stream)
    services_of(request).authenticator.forget(key_id)
    return answered


def _require_own(asked_for: KeyRequest, principal: Principal) -> None:
    """A key that could do more than its maker would be a way around the maker's scopes."""
    given = permissions_of(asked_for.role, asked_for.scopes, projects=asked_for.projects)
    outside = [scope for scope in asked_for.scopes if scope not in given]
    if outside:
        raise ScopeOutsideRole(
            f"The role {asked_for.role} does not allow {outside[0]}{' within projects' if asked_for.projects else ''}.",
            errors=(FieldError(field="scopes", message=f"{outside[0]} is not the role's"),),
        )
    _require_no_more(asked_for.role, asked_for.scopes, principal)


def _require_no_more(role: KeyRole, scopes: tuple[str, ...], principal: Principal) -> None:
    """Without scopes of its own the maker is held to its role by the decision itself."""
    above = sorted(permissions_of(role, scopes) - principal.permissions)
    if above and principal.is_narrowed:
        raise ScopeAboveOwn(f"Your own key does not allow {', '.join(above)}.")


async def _with_uses(services: Services, tenant_id: UUID, found: Iterable[Found[ApiKey]]) -> list[bytes]:
    keys = [item.row for item in found]
    uses = await services.key_uses.of(tenant_id, [key.key_id for key in keys])
    shown = (Key(**msgspec.structs.asdict(key), last_used_at=uses.get(key.key_id)) for key in keys)
    return [encoded(key) for key in shown]


KEY_ROUTES = (create_key, get_key, list_keys, rotate_key, revoke_key)
