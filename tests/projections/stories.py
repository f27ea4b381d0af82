"""Histories that could have happened: stretches of the flow, each about things of its own, mingled in any way."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from uuid import UUID, uuid5

import msgspec

from domain.event import SYSTEM_TENANT, Fact, StreamRef
from domain.release import Trigger
from domain.webhook import (
    WebhookChanged,
    WebhookRemoved,
    WebhookReplayRequested,
    WebhookSecretRotated,
    WebhookSwitchedOff,
    WebhookSwitchedOn,
    WebhookTestRequested,
)
from tests.support import a

Story = tuple[Fact, ...]

_NIGHTLY = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
_BUILT = (a.deployment_bundled(), a.build_started(), a.build_succeeded(), a.image_pushed(), a.release_started())

STORIES: dict[str, Story] = {
    "deployed and undeployed": (
        *a.deployment_undeploying(),
        a.deployment_withdrawn(),
        a.deployment_undeployed(),
        a.function_undeployed(),
        a.function_archived(),
    ),
    "undeployed at the second try": (
        *a.deployment_undeploying(),
        a.deployment_withdrawn(remaining=("image",)),
        a.undeploy_failed(remaining=("image",)),
        a.undeploy_requested(),
        a.deployment_claimed(epoch=3),
        a.undeploy_started(epoch=3),
        a.deployment_withdrawn(epoch=3),
        a.deployment_undeployed(epoch=3),
    ),
    "did not compile": (
        *a.deployment_under_way(),
        a.deployment_bundled(),
        a.build_started(),
        a.build_failed(),
        a.failure_found(),
        a.deployment_failed(remaining=("bundle",)),
        a.deployment_ended(),
    ),
    "failed and left nothing": (*a.deployment_under_way(), a.deployment_failed(), a.deployment_ended()),
    "canceled": (
        *a.deployment_under_way(),
        *_BUILT,
        a.cancel_requested(),
        a.deployment_canceled(epoch=1),
        a.deployment_ended(),
    ),
    "overtaken": (
        *a.function_ready(),
        a.deployment_requested(),
        a.deployment_queued(),
        a.deployment_requested(a.LATER_DEPLOYMENT_ID, 2),
        a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2),
        a.deployment_superseded(),
        a.deployment_canceled(cause="superseded"),
        a.deployment_ended(),
    ),
    "replaced, with drift": (
        *a.deployment_active(),
        a.drift_found("memory"),
        a.drift_cleared(),
        a.deployment_waiting(),
        a.function_updated(name="Greet 2", environment={"A": "1"}),
        a.deployment_requested(a.LATER_DEPLOYMENT_ID, 2),
        a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2),
        a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID, function_revision=2),
    ),
    "replaced, and kept no longer": (
        *a.deployment_active(),
        a.deployment_requested(a.LATER_DEPLOYMENT_ID, 2),
        a.deployment_queued(a.LATER_DEPLOYMENT_ID, 2, release=a.release(image=a.pinned_image()), origin="rollback"),
        a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID),
        a.deployment_retired(),
        a.deployment_withdrawn(remaining=("image",), epoch=0),
        a.deployment_withdrawn(epoch=0),
    ),
    "called by a schedule": (
        *a.function_ready(trigger=_NIGHTLY),
        *(
            fact
            for number, id in enumerate((a.DEPLOYMENT_ID, a.LATER_DEPLOYMENT_ID, a.id_of(12)), 1)
            for fact in (
                a.deployment_requested(id, number),
                a.deployment_queued(id, number, release=a.release(trigger=_NIGHTLY)),
            )
        ),
        a.function_deployed(),
        a.deployment_canceled(a.id_of(12)),
        a.function_deployed(a.LATER_DEPLOYMENT_ID, 2, replaced=a.DEPLOYMENT_ID),
        a.function_undeployed(a.LATER_DEPLOYMENT_ID),
    ),
    "kept no longer, and uploaded again": (
        *a.function_ready(),
        a.artifact_discarded("code"),
        a.artifact_discarded("yaml"),
        a.artifact_staged("code"),
    ),
    "about the rest": (
        *a.tenant_with_plan(),
        a.plan_chosen(),
        a.tenant_suspended(),
        a.tenant_resumed(),
        a.tenant_suspended("again"),
        a.member_added(),
        a.person_registered(),
        a.person_erased(),
        a.api_key_created(),
        a.api_key_revoked(),
        a.project_created(),
        a.project_renamed("Shop 2"),
        a.project_archived(),
        a.runtime_added("3.11.0"),
        a.runtime_dates_set("3.11.0", deprecation_announced_at=a.AT),
        a.runtime_default_set("3.11.0"),
        *a.integration_ready(),
        a.identity_checked("failed"),
        a.integration_disconnected(),
        a.integration_connected(),
    ),
    "somebody is invited": (
        *a.tenant_with_plan(),
        a.person_registered(identity="ada"),
        a.member_invited(),
        a.invitation_accepted(),
        a.member_added(),
        a.member_invited(invitation_id=a.id_of(91)),
        a.invitation_withdrawn(a.id_of(91)),
        a.member_invited(invitation_id=a.id_of(92)),
    ),
    "with secrets": (
        *a.function_ready(),
        a.secret_set("TOKEN"),
        a.secret_set("PASSWORD"),
        a.secret_removed("TOKEN"),
        a.secret_set("TOKEN", version=2, value_id=a.id_of(61)),
    ),
    "told to webhooks": (
        *a.deployment_active(),
        a.webhook_created(types=("deployment.failed",)),
        a.webhook(WebhookChanged(url=a.WEBHOOK_URL, description="Tells our CI")),
        a.webhook(WebhookTestRequested()),
        a.webhook(WebhookSecretRotated(secret_id=a.id_of(81), former_ends_at=a.AT)),
        a.webhook(WebhookSwitchedOff(reason="gone")),
        a.webhook(WebhookSwitchedOn()),
        a.webhook(WebhookReplayRequested(after=3)),
        a.drift_found("memory"),
        a.webhook(WebhookRemoved(reason="moved")),
    ),
    "members come and go": (
        *a.tenant_with_plan(),
        a.member_added(),
        a.member_added(a.id_of(70)),
        a.member_role_changed("admin"),
        a.member_removed(),
        a.member_role_changed("viewer", a.id_of(70)),
        a.member_added(role="viewer"),
        a.member_removed(a.id_of(70)),
    ),
}

_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def about_others(story: Story, number: int) -> Story:
    """The same story about other things: every id is another one, but for what belongs to the service itself."""
    return tuple(_about_others(fact, UUID(int=number)) for fact in story)


def _about_others(fact: Fact, space: UUID) -> Fact:
    if fact.stream.tenant_id == SYSTEM_TENANT:
        return fact
    stream = StreamRef(_other(fact.stream.tenant_id, space), fact.stream.category, _other(fact.stream.id, space))
    data = _UUID.sub(
        lambda found: str(_other(UUID(found[0].decode()), space)).encode(), msgspec.json.encode(fact.event)
    )
    return Fact(stream, msgspec.json.decode(data, type=type(fact.event)))


def _other(id: UUID, space: UUID) -> UUID:
    return uuid5(space, str(id))


def mingle(stories: Sequence[Story], chance: random.Random) -> list[Fact]:
    """All facts, each story's in its own order."""
    left = [list(story) for story in stories]
    mingled: list[Fact] = []
    while any(left):
        mingled.append(chance.choice([story for story in left if story]).pop(0))
    return mingled
