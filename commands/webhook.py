"""Commands about webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.limits import limits_of
from domain.deployment import DEPLOYMENT
from domain.event import Counter, Decision, StreamRef
from domain.project import PROJECT, require_open
from domain.refusal import FieldError
from domain.tenant import TENANT
from domain.webhook import (
    WEBHOOK,
    Webhook,
    WebhookChanged,
    WebhookCreated,
    WebhookEvent,
    WebhookExists,
    WebhookIsOff,
    WebhookIsRemoved,
    WebhookRemoved,
    WebhookReplayRequested,
    WebhookSecretRotated,
    WebhookStatus,
    WebhookSwitchedOff,
    WebhookSwitchedOn,
    WebhookTestRequested,
    WebhookTypeUnknown,
    WebhookUnknown,
)

# How long the former secret signs beside the new one when nothing else is said.
OVERLAP = timedelta(hours=24)

TYPES = tuple(sorted(str(event.__struct_config__.tag) for event in DEPLOYMENT.events))


class CreateWebhook(Command, frozen=True, kw_only=True, tag="CreateWebhook"):
    """The secret of `secret_id` is kept before this is asked. Without `types` every event of a deployment is told."""

    project_id: UUID
    webhook_id: UUID
    url: str
    secret_id: UUID
    types: tuple[str, ...] = ()
    description: str = ""


class ChangeWebhook(Command, frozen=True, kw_only=True, tag="ChangeWebhook"):
    """What is None stays."""

    project_id: UUID
    webhook_id: UUID
    url: str | None = None
    types: tuple[str, ...] | None = None
    description: str | None = None
    status: WebhookStatus | None = None
    reason: str = ""


class SwitchWebhookOff(Command, frozen=True, kw_only=True, tag="SwitchWebhookOff"):
    """By the runner, when nobody has answered at its address for too long."""

    project_id: UUID
    webhook_id: UUID
    reason: str


class RotateWebhookSecret(Command, frozen=True, kw_only=True, tag="RotateWebhookSecret"):
    project_id: UUID
    webhook_id: UUID
    secret_id: UUID
    overlap_seconds: int = int(OVERLAP.total_seconds())


class RequestWebhookTest(Command, frozen=True, kw_only=True, tag="RequestWebhookTest"):
    project_id: UUID
    webhook_id: UUID


class ReplayWebhook(Command, frozen=True, kw_only=True, tag="ReplayWebhook"):
    project_id: UUID
    webhook_id: UUID
    after: int


class RemoveWebhook(Command, frozen=True, kw_only=True, tag="RemoveWebhook"):
    project_id: UUID
    webhook_id: UUID
    reason: str = ""


WebhookCommand = (
    CreateWebhook
    | ChangeWebhook
    | SwitchWebhookOff
    | RotateWebhookSecret
    | RequestWebhookTest
    | ReplayWebhook
    | RemoveWebhook
)


def reads(command: WebhookCommand) -> Reads:
    yield WEBHOOK, WEBHOOK.stream(command.tenant_id, command.webhook_id)
    yield PROJECT, PROJECT.stream(command.tenant_id, command.project_id)
    if isinstance(command, CreateWebhook):
        yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)


def decide(command: WebhookCommand, states: States) -> Decision:
    stream = WEBHOOK.stream(command.tenant_id, command.webhook_id)
    project = states.of(PROJECT, command.tenant_id, command.project_id)
    if isinstance(command, CreateWebhook):
        require_open(project)
        return _create(command, states, stream)
    webhook: Webhook = states.at(WEBHOOK, stream)
    if not webhook.exists or webhook.project_id != command.project_id:
        raise WebhookUnknown
    if isinstance(command, RemoveWebhook):
        if webhook.status == "removed":
            return Decision()
        return Decision(
            facts=facts(stream, WebhookRemoved(reason=command.reason)), counters=(_counter(command, delta=-1),)
        )
    if webhook.status == "removed":
        raise WebhookIsRemoved
    return Decision(facts=facts(stream, *_changes(command, webhook)))


def _create(command: CreateWebhook, states: States, stream: StreamRef) -> Decision:
    if states.at(WEBHOOK, stream).exists:
        raise WebhookExists
    _check_types(command.types)
    created = WebhookCreated(
        project_id=command.project_id,
        url=command.url,
        secret_id=command.secret_id,
        types=command.types,
        description=command.description,
    )
    limit = limits_of(command.tenant_id, states).webhooks_per_project
    return Decision(facts=facts(stream, created), counters=(_counter(command, delta=1, limit=limit),))


def _changes(
    command: ChangeWebhook | SwitchWebhookOff | RotateWebhookSecret | RequestWebhookTest | ReplayWebhook,
    webhook: Webhook,
) -> Iterator[WebhookEvent]:
    match command:
        case ChangeWebhook():
            yield from _changed(command, webhook)
        case SwitchWebhookOff():
            if webhook.status == "active":
                yield WebhookSwitchedOff(reason=command.reason)
        case RotateWebhookSecret():
            former_ends_at: datetime = command.at + timedelta(seconds=command.overlap_seconds)
            yield WebhookSecretRotated(secret_id=command.secret_id, former_ends_at=former_ends_at)
        case RequestWebhookTest():
            _require_on(webhook)
            yield WebhookTestRequested()
        case ReplayWebhook():
            _require_on(webhook)
            yield WebhookReplayRequested(after=command.after)
        case _:
            assert_never(command)


def _changed(command: ChangeWebhook, webhook: Webhook) -> Iterator[WebhookEvent]:
    _check_types(command.types or ())
    after = WebhookChanged(
        url=webhook.url if command.url is None else command.url,
        types=webhook.types if command.types is None else command.types,
        description=webhook.description if command.description is None else command.description,
    )
    if (after.url, after.types, after.description) != (webhook.url, webhook.types, webhook.description):
        yield after
    if command.status == "off" and webhook.status == "active":
        yield WebhookSwitchedOff(reason=command.reason)
    if command.status == "active" and webhook.status == "off":
        yield WebhookSwitchedOn()


def _require_on(webhook: Webhook) -> None:
    if webhook.status != "active":
        raise WebhookIsOff


def _check_types(types: tuple[str, ...]) -> None:
    for number, type in enumerate(types):
        if type not in TYPES:
            raise WebhookTypeUnknown(errors=(FieldError(field=f"types[{number}]", message="no such type"),))


def _counter(command: CreateWebhook | RemoveWebhook, *, delta: int, limit: int | None = None) -> Counter:
    return Counter(
        tenant_id=command.tenant_id,
        scope="webhooks",
        name=str(command.project_id),
        delta=delta,
        limit=limit,
    )


WEBHOOKS = Decider(
    commands=(
        CreateWebhook,
        ChangeWebhook,
        SwitchWebhookOff,
        RotateWebhookSecret,
        RequestWebhookTest,
        ReplayWebhook,
        RemoveWebhook,
    ),
    reads=reads,
    decide=decide,
)
