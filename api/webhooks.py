"""Webhooks: make, change, test, replay and remove them, and see what was delivered."""

from __future__ import annotations

import secrets as random_bytes
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.params import FromPath

from api.answer import Answer, Header, encoded, etag
from api.as_of import AS_OF, reached_as_of
from api.body import read
from api.listing import PAGE_PARAMETERS, Listed, PositionText, asked, listed
from api.operation import Operation
from api.reading import found_or, reached, require_project, tenant_of
from api.services import Services, services_of
from api.writing import SHOWN_ONCE, Reply, Writing, recorded_time
from commands.basis import fold
from commands.command import States
from commands.webhook import (
    OVERLAP,
    TYPES,
    ChangeWebhook,
    CreateWebhook,
    RemoveWebhook,
    ReplayWebhook,
    RequestWebhookTest,
    RotateWebhookSecret,
    WebhookCommand,
)
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.refusal import FieldError, LimitReached
from domain.webhook import (
    URL_CHARS_MAX,
    WEBHOOK,
    ReplayFromTheFuture,
    WebhookIsOff,
    WebhookIsRemoved,
    WebhookTypeUnknown,
    WebhookUnknown,
    WebhookUrlNotAllowed,
    check_url,
)
from domain.webhook import Webhook as State
from domain.webhook_signature import KEY_BYTES, secret_text
from eventstore.positions import MalformedPosition, PositionOfAnotherEpoch
from eventstore.webhook_deliveries import Delivery, DeliveryStatus, Progress
from process.secret import Secret
from projections.query import Found
from projections.webhooks import WEBHOOK_GET, WEBHOOKS_LIST, Webhook

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=URL_CHARS_MAX, examples=["https://ci.example.com/dcf"])]
Types = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=60, extra_json_schema={"pattern": r"^deployment\.[a-z_]+$"})], ...],
    msgspec.Meta(max_length=len(TYPES), examples=[["deployment.succeeded", "deployment.failed"]]),
]
Description = Annotated[str, msgspec.Meta(max_length=200, examples=["Tells our CI"])]
OverlapSeconds = Annotated[int, msgspec.Meta(ge=0, le=30 * 24 * 3600)]
WebhookSwitch = Literal["active", "off"]
_BEYOND = 2**63 - 1


class WebhookRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """`url` takes a POST of each event, with one of these types when there are any."""

    url: Url
    types: Types = ()
    description: Description = ""


class WebhookChangeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is left out stays. Switched off, nothing is sent; switched on, it is told what happened meanwhile."""

    url: Url | None = None
    types: Types | None = None
    description: Description | None = None
    status: WebhookSwitch | None = None


class SecretRotationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Both secrets sign for so long."""

    overlap_seconds: OverlapSeconds = int(OVERLAP.total_seconds())


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Everything behind this position is told again, each event under the id it had."""

    after: PositionText


class Delivering(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the telling goes. `failures`: the tries since one succeeded; `message` is of the last of them."""

    delivered_at: datetime | None
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    message: str


class WebhookShown(Webhook, frozen=True, kw_only=True, rename="camel"):
    """`delivering` is null as long as nothing was tried, and as of a moment of the past: it is not in the log."""

    delivering: Delivering | None


class WebhookMade(Webhook, frozen=True, kw_only=True, rename="camel"):
    """`secret` signs what is sent. Only the first answer has it; the same request repeated finds null in its place."""

    secret: str | None


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event and what came of telling it. `position` is the event's place in the log, and a cursor.

    `waiting`: it is tried again. `refused`: the address would not have it, and what follows is told. `failed`: a test that
    nobody took.
    """

    position: str
    type: str
    deployment_id: UUID | None
    status: DeliveryStatus
    attempts: int
    first_at: datetime
    last_at: datetime
    http_status: int | None
    message: str


_PLACE = "/projects/{project_id:uuid}/webhooks"
_ONE = _PLACE + "/{webhook_id:uuid}"
_OF_ONE = (ProjectUnknown, WebhookUnknown, WebhookIsRemoved)
_CREATE = Operation(
    name="createWebhook",
    permission="webhooks:write",
    summary="Have an address told, signed, what happens to the project's deployments; the secret is shown this once",
    tag="Webhooks",
    takes=WebhookRequest,
    answers={201: WebhookMade},
    example={"url": "https://ci.example.com/dcf", "types": ["deployment.succeeded", "deployment.failed"]},
    writes=True,
    refusals=(ProjectUnknown, ProjectIsArchived, WebhookUrlNotAllowed, WebhookTypeUnknown, LimitReached),
)


@post(_PLACE, status_code=201, opt=_CREATE.as_opt())
async def create_webhook(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    asked_for, content = await read(request, WebhookRequest)
    services, writing = services_of(request), Writing(request, content)
    _check_url(services, asked_for.url)
    await require_project(services, writing.principal.tenant_id, project_id)
    webhook_id = writing.new_id()
    secret_id, secret = await _new_secret(services, writing, webhook_id)
    command = CreateWebhook(
        **writing.asked,
        project_id=project_id,
        webhook_id=webhook_id,
        url=asked_for.url,
        secret_id=secret_id,
        types=tuple(dict.fromkeys(asked_for.types)),
        description=asked_for.description,
    )
    location = f"/api/v1/projects/{project_id}/webhooks/{webhook_id}"

    def answer(states: States) -> Reply:
        body = WebhookMade(**msgspec.structs.asdict(_webhook(command, states)), secret=SHOWN_ONCE)
        return Reply(status=201, location=location, body=body)

    return await writing.do(command, answer, secret=secret)


_GET = Operation(
    name="getWebhook",
    permission="webhooks:read",
    summary="Get a webhook, and how telling it goes",
    tag="Webhooks",
    answers={200: WebhookShown},
    query=(AS_OF,),
    refusals=(WebhookUnknown,),
)


@get(_ONE, opt=_GET.as_opt())
async def get_webhook(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    services = await reached_as_of(request)
    found = await _found(services, tenant_of(request), project_id, webhook_id)
    (shown,) = await _shown(request, services, [found])
    # How it goes moves without an event, so there is no 304 for it.
    headers: tuple[Header, ...] = ((b"etag", etag(found.position)), (b"cache-control", b"private, no-cache"))
    return Answer(shown, headers=headers)


_LIST = Operation(
    name="listWebhooks",
    permission="webhooks:read",
    summary="List the project's webhooks, newest first, removed ones too",
    tag="Webhooks",
    answers={200: Listed[WebhookShown]},
    query=(*PAGE_PARAMETERS, AS_OF),
    refusals=(ProjectUnknown,),
)


@get(_PLACE, opt=_LIST.as_opt())
async def list_webhooks(request: Request[Any, Any, Any], project_id: FromPath[UUID]) -> Answer:
    services, tenant_id = await reached_as_of(request), tenant_of(request)
    await require_project(services, tenant_id, project_id)
    wanted = await asked(request, services, (AS_OF,))
    found = await services.reader.page(WEBHOOKS_LIST, tenant_id, project_id, after=wanted.after, limit=wanted.limit)
    cursor = None if found.next_after is None else await services.tokens.of(found.next_after)
    return listed(await _shown(request, services, found.items), cursor)


_CHANGE = Operation(
    name="changeWebhook",
    permission="webhooks:write",
    summary="Change a webhook, or switch it off or on",
    tag="Webhooks",
    takes=WebhookChangeRequest,
    answers={200: Webhook},
    example={"types": ["deployment.failed"]},
    writes=True,
    if_match=True,
    refusals=(*_OF_ONE, WebhookUrlNotAllowed, WebhookTypeUnknown),
)


@patch(_ONE, opt=_CHANGE.as_opt())
async def change_webhook(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    asked_for, content = await read(request, WebhookChangeRequest)
    writing = Writing(request, content)
    if asked_for.url is not None:
        _check_url(services_of(request), asked_for.url)
    command = ChangeWebhook(
        **writing.asked,
        project_id=project_id,
        webhook_id=webhook_id,
        url=asked_for.url,
        types=None if asked_for.types is None else tuple(dict.fromkeys(asked_for.types)),
        description=asked_for.description,
        status=asked_for.status,
    )
    return await _asked_of(writing, command)


_ROTATE = Operation(
    name="rotateWebhookSecret",
    permission="webhooks:write",
    summary="Give a webhook another secret; both sign for a while",
    tag="Webhooks",
    takes=SecretRotationRequest,
    answers={201: WebhookMade},
    example={"overlapSeconds": 86400},
    writes=True,
    if_match=True,
    refusals=_OF_ONE,
)


@post(_ONE + "/rotate-secret", status_code=201, opt=_ROTATE.as_opt())
async def rotate_webhook_secret(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    asked_for, content = await read(request, SecretRotationRequest)
    services, writing = services_of(request), Writing(request, content)
    tenant_id = writing.principal.tenant_id
    stream = WEBHOOK.stream(tenant_id, webhook_id)
    # Only for a webhook there is; the decision looks again. The secret is kept before anything names it.
    state: State = await fold(services.log, WEBHOOK, stream)
    if not state.exists or state.project_id != project_id:
        raise WebhookUnknown
    secret_id, secret = await _new_secret(services, writing, webhook_id)
    command = RotateWebhookSecret(
        **writing.asked,
        project_id=project_id,
        webhook_id=webhook_id,
        secret_id=secret_id,
        overlap_seconds=asked_for.overlap_seconds,
    )

    def answer(states: States) -> Reply:
        body = WebhookMade(**msgspec.structs.asdict(_webhook(command, states)), secret=SHOWN_ONCE)
        return Reply(status=201, body=body)

    return await writing.do(command, answer, entity=stream, secret=secret)


_TEST = Operation(
    name="testWebhook",
    permission="webhooks:write",
    summary="Have a webhook.test sent; what came of it stands among the deliveries",
    tag="Webhooks",
    answers={202: Webhook},
    writes=True,
    refusals=(*_OF_ONE, WebhookIsOff),
)


@post(_ONE + "/test", status_code=202, opt=_TEST.as_opt())
async def test_webhook(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    writing = Writing(request, b"")
    command = RequestWebhookTest(**writing.asked, project_id=project_id, webhook_id=webhook_id)
    return await _asked_of(writing, command, status=202)


_REPLAY = Operation(
    name="replayWebhook",
    permission="webhooks:write",
    summary="Have a webhook told again everything behind a position",
    tag="Webhooks",
    takes=ReplayRequest,
    answers={202: Webhook},
    example={"after": "1:4711"},
    writes=True,
    refusals=(*_OF_ONE, WebhookIsOff, MalformedPosition, PositionOfAnotherEpoch, ReplayFromTheFuture),
)


@post(_ONE + "/replay", status_code=202, opt=_REPLAY.as_opt())
async def replay_webhook(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    asked_for, content = await read(request, ReplayRequest)
    services, writing = services_of(request), Writing(request, content)
    after = await services.tokens.read(asked_for.after, "after")
    if after > await services.log.head():
        raise ReplayFromTheFuture(errors=(FieldError(field="after", message="not reached yet"),))
    command = ReplayWebhook(**writing.asked, project_id=project_id, webhook_id=webhook_id, after=after)
    return await _asked_of(writing, command, status=202)


_REMOVE = Operation(
    name="removeWebhook",
    permission="webhooks:write",
    summary="Have a webhook told nothing any more; its secret is forgotten",
    tag="Webhooks",
    answers={200: Webhook},
    writes=True,
    if_match=True,
    refusals=(ProjectUnknown, WebhookUnknown),
)


@delete(_ONE, status_code=200, opt=_REMOVE.as_opt())
async def remove_webhook(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    writing = Writing(request, b"")
    return await _asked_of(writing, RemoveWebhook(**writing.asked, project_id=project_id, webhook_id=webhook_id))


_DELIVERIES = Operation(
    name="listWebhookDeliveries",
    permission="webhooks:read",
    summary="What was told a webhook, and what it answered, newest first",
    tag="Webhooks",
    answers={200: Listed[WebhookDelivery]},
    query=PAGE_PARAMETERS,
    refusals=(WebhookUnknown,),
)


@get(_ONE + "/deliveries", opt=_DELIVERIES.as_opt())
async def list_webhook_deliveries(
    request: Request[Any, Any, Any], project_id: FromPath[UUID], webhook_id: FromPath[UUID]
) -> Answer:
    services, tenant_id = await reached(request), tenant_of(request)
    await _found(services, tenant_id, project_id, webhook_id)
    wanted = await asked(request, services)
    before, limit = _BEYOND if wanted.after is None else wanted.after, wanted.limit
    found = await services.deliveries.read(tenant_id, webhook_id, before=before, limit=limit + 1)
    cursor = await services.tokens.of(found[limit - 1].position) if len(found) > limit else None
    return listed([encoded(await _delivery(services, one)) for one in found[:limit]], cursor)


async def _asked_of(writing: Writing, command: WebhookCommand, *, status: int = 200) -> Answer:
    """Record it; the answer is the webhook as it stands then."""
    stream = WEBHOOK.stream(command.tenant_id, command.webhook_id)

    def answer(states: States) -> Reply:
        changed = states.at(WEBHOOK, stream).updated_at is None
        return Reply(status=status, body=_webhook(command, states), position="last" if changed else "unchanged")

    return await writing.do(command, answer, entity=stream)


def _check_url(services: Services, url: str) -> None:
    parts = check_url(url, plain=services.reachable.has_own)
    if services.reachable.literal(parts.hostname or "") is False:
        why = "not an address of the public network"
        raise WebhookUrlNotAllowed(
            f"Webhooks cannot be sent to this address: {why}.", errors=(FieldError(field="url", message=why),)
        )


async def _new_secret(services: Services, writing: Writing, webhook_id: UUID) -> tuple[UUID, str]:
    """Kept under an id of its own: one whose request is repeated is another one, and the former is named by nothing."""
    secret_id, text = writing.new_id(), secret_text(random_bytes.token_bytes(KEY_BYTES))
    await services.secrets.close(writing.principal.tenant_id, webhook_id, secret_id, Secret(text))
    return secret_id, text


async def _found(services: Services, tenant_id: UUID, project_id: UUID, webhook_id: UUID) -> Found[Webhook]:
    found = found_or(WebhookUnknown, await services.reader.one(WEBHOOK_GET, tenant_id, webhook_id))
    if found.row.project_id != project_id:
        raise WebhookUnknown
    return found


async def _shown(request: Request[Any, Any, Any], services: Services, found: list[Found[Webhook]]) -> list[bytes]:
    of_now = services.reader is services_of(request).reader
    ids = [one.id for one in found] if of_now else []
    progress = await services.deliveries.find(tenant_of(request), ids) if ids else {}
    return [
        encoded(WebhookShown(**msgspec.structs.asdict(one.row), delivering=_delivering(progress.get(one.id))))
        for one in found
    ]


def _delivering(progress: Progress | None) -> Delivering | None:
    if progress is None:
        return None
    return Delivering(
        delivered_at=progress.delivered_at,
        failures=progress.failures,
        failing_since=progress.failing_since,
        next_attempt_at=progress.next_at,
        message=progress.message,
    )


async def _delivery(services: Services, one: Delivery) -> WebhookDelivery:
    shown = {name: getattr(one, name) for name in WebhookDelivery.__struct_fields__ if name != "position"}
    return WebhookDelivery(position=await services.tokens.of(one.position), **shown)


def _webhook(command: WebhookCommand, states: States) -> Webhook:
    state = states.of(WEBHOOK, command.tenant_id, command.webhook_id)
    return Webhook(
        webhook_id=command.webhook_id,
        project_id=command.project_id,
        url=state.url,
        types=state.types,
        description=state.description,
        status=state.status,
        status_reason=state.reason,
        created_at=recorded_time(state.created_at),
        updated_at=recorded_time(state.updated_at),
    )


WEBHOOK_ROUTES = (
    create_webhook,
    get_webhook,
    list_webhooks,
    change_webhook,
    rotate_webhook_secret,
    test_webhook,
    replay_webhook,
    remove_webhook,
    list_webhook_deliveries,
)
