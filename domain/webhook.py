"""A webhook: an address of the tenant's that is told, signed and in order, what happens to a project's deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import msgspec

from domain.event import Aggregate, Event
from domain.refusal import Conflict, FieldError, Invalid, NotFound

WebhookStatus = Literal["active", "off", "removed"]

URL_CHARS_MAX = 2_000
_PORT_MAX = 65_535


class WebhookCreated(Event, frozen=True, kw_only=True, tag="webhook.created"):
    project_id: UUID
    url: str
    # Of the value in the vault that signs.
    secret_id: UUID
    # Empty: every event of a deployment.
    types: tuple[str, ...] = ()
    description: str = ""


class WebhookChanged(Event, frozen=True, kw_only=True, tag="webhook.changed"):
    """What it is from here on, all of it."""

    url: str
    types: tuple[str, ...] = ()
    description: str = ""


class WebhookSecretRotated(Event, frozen=True, kw_only=True, tag="webhook.secret_rotated"):
    """The former secret signs beside the new one until `former_ends_at`."""

    secret_id: UUID
    former_ends_at: datetime


class WebhookSwitchedOff(Event, frozen=True, kw_only=True, tag="webhook.switched_off"):
    """Nothing is sent; what happens meanwhile is told once it is switched on again."""

    reason: str = ""


class WebhookSwitchedOn(Event, frozen=True, kw_only=True, tag="webhook.switched_on"):
    pass


class WebhookTestRequested(Event, frozen=True, kw_only=True, tag="webhook.test_requested"):
    pass


class WebhookReplayRequested(Event, frozen=True, kw_only=True, tag="webhook.replay_requested"):
    """Everything behind a position of the log is told again."""

    after: int


class WebhookRemoved(Event, frozen=True, kw_only=True, tag="webhook.removed"):
    reason: str = ""


WebhookEvent = (
    WebhookCreated
    | WebhookChanged
    | WebhookSecretRotated
    | WebhookSwitchedOff
    | WebhookSwitchedOn
    | WebhookTestRequested
    | WebhookReplayRequested
    | WebhookRemoved
)


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool = False
    project_id: UUID | None = None
    url: str = ""
    types: tuple[str, ...] = ()
    description: str = ""
    status: WebhookStatus = "active"
    # Why it was switched off.
    reason: str = ""
    secret_id: UUID | None = None
    former_secret_id: UUID | None = None
    former_ends_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class WebhookUnknown(NotFound):
    """There is no such webhook."""

    code = "webhook_not_found"
    remedy = "GET /api/v1/projects/{projectId}/webhooks lists those of the project."


class WebhookExists(Conflict):
    """The webhook was created before."""

    code = "webhook_exists"


class WebhookIsRemoved(Conflict):
    """The webhook was removed; it cannot be changed any more."""

    code = "webhook_removed"
    remedy = "Create another one."


class WebhookIsOff(Conflict):
    """The webhook is switched off, so nothing is sent to it."""

    code = "webhook_off"
    remedy = "Switch it on: PATCH it with status active."


class WebhookUrlNotAllowed(Invalid):
    """Webhooks cannot be sent to this address."""

    code = "webhook_url_not_allowed"
    remedy = "Give the https address of a public host, without user, password or fragment."


class WebhookTypeUnknown(Invalid):
    """There is no event of a deployment that has this type."""

    code = "webhook_type_unknown"
    remedy = "Name types such as deployment.succeeded, or none for all of them."


class ReplayFromTheFuture(Invalid):
    """The log has not reached the position that is to be replayed from."""

    code = "replay_from_the_future"
    remedy = "Send a position as an event of the project gives it."


def evolve(webhook: Webhook, event: WebhookEvent) -> Webhook:
    match event:
        case WebhookCreated():
            return Webhook(
                exists=True,
                project_id=event.project_id,
                url=event.url,
                types=event.types,
                description=event.description,
                secret_id=event.secret_id,
                created_at=event.at,
                updated_at=event.at,
            )
        case WebhookChanged():
            return msgspec.structs.replace(
                webhook, url=event.url, types=event.types, description=event.description, updated_at=event.at
            )
        case WebhookSecretRotated():
            return msgspec.structs.replace(
                webhook,
                secret_id=event.secret_id,
                former_secret_id=webhook.secret_id,
                former_ends_at=event.former_ends_at,
                updated_at=event.at,
            )
        case WebhookSwitchedOff():
            return msgspec.structs.replace(webhook, status="off", reason=event.reason, updated_at=event.at)
        case WebhookSwitchedOn():
            return msgspec.structs.replace(webhook, status="active", reason="", updated_at=event.at)
        case WebhookTestRequested() | WebhookReplayRequested():
            return msgspec.structs.replace(webhook, updated_at=event.at)
        case WebhookRemoved():
            return msgspec.structs.replace(webhook, status="removed", reason=event.reason, updated_at=event.at)
        case _:
            assert_never(event)


WEBHOOK = Aggregate(
    name="webhook",
    events=(
        WebhookCreated,
        WebhookChanged,
        WebhookSecretRotated,
        WebhookSwitchedOff,
        WebhookSwitchedOn,
        WebhookTestRequested,
        WebhookReplayRequested,
        WebhookRemoved,
    ),
    initial=Webhook(),
    evolve=evolve,
)


def check_url(url: str, *, plain: bool) -> SplitResult:
    """The address in its parts. `plain` allows http. Raises WebhookUrlNotAllowed, which says what is wrong.

    Whether the host may be reached is known only when it is: names mean other hosts tomorrow.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _not_allowed("it cannot be read") from None
    if len(url) > URL_CHARS_MAX:
        raise _not_allowed(f"at most {URL_CHARS_MAX} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _not_allowed("only printable ASCII, without spaces")
    if parts.scheme not in (("https", "http") if plain else ("https",)):
        raise _not_allowed("https only" if not plain else "https or http only")
    if "@" in parts.netloc:
        raise _not_allowed("no user or password: whoever reads the webhook would read them")
    if parts.fragment or url.endswith("#"):
        raise _not_allowed("no fragment")
    if not parts.hostname or port == 0 or (port or 1) > _PORT_MAX:
        raise _not_allowed("a host, and a port from 1 to 65535 if any")
    return parts


def _not_allowed(why: str) -> WebhookUrlNotAllowed:
    return WebhookUrlNotAllowed(
        f"Webhooks cannot be sent to this address: {why}.", errors=(FieldError(field="url", message=why),)
    )
