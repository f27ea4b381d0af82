"""Webhooks are decided about."""

from __future__ import annotations

from typing import Any

import pytest

from commands import webhook
from domain.event import Fact
from domain.project import ProjectIsArchived, ProjectUnknown
from domain.refusal import Refusal
from domain.webhook import (
    WebhookChanged,
    WebhookIsOff,
    WebhookIsRemoved,
    WebhookRemoved,
    WebhookReplayRequested,
    WebhookSecretRotated,
    WebhookSwitchedOff,
    WebhookSwitchedOn,
    WebhookTestRequested,
    WebhookTypeUnknown,
    WebhookUnknown,
    WebhookUrlNotAllowed,
    check_url,
)
from tests.support import a
from tests.support.scenario import given

THERE = (*a.tenant_with_plan(), a.project_created(), a.webhook_created())
OFF = (*THERE, a.webhook(WebhookSwitchedOff(reason="gone")))
REMOVED = (*THERE, a.webhook(WebhookRemoved()))


def of(command: type[Any], **changes: Any) -> Any:
    filled = {"tenant_id": a.TENANT_ID, "at": a.AT, "project_id": a.PROJECT_ID, "webhook_id": a.WEBHOOK_ID, **changes}
    return command(**filled)


def create(**changes: Any) -> Any:
    return of(webhook.CreateWebhook, **{"url": a.WEBHOOK_URL, "secret_id": a.id_of(80), **changes})


class TestCreateWebhook:
    def test_creates_and_counts_it(self) -> None:
        before = given(*a.tenant_with_plan(webhooks_per_project=3), a.project_created())
        before.when(create(types=("deployment.failed",))).then(
            a.webhook_created(types=("deployment.failed",)),
            counters=(a.count("webhooks", str(a.PROJECT_ID), 1, 3),),
        )

    def test_refuses_a_type_there_is_none_of(self) -> None:
        before = given(*a.tenant_with_plan(), a.project_created())
        before.when(create(types=("deployment.failed", "deployment.eaten"))).then_refused(
            WebhookTypeUnknown, fields=("types[1]",)
        )

    def test_refuses_a_project_that_cannot_be_changed(self) -> None:
        given(*a.tenant_with_plan()).when(create()).then_refused(ProjectUnknown)
        given(*a.tenant_with_plan(), a.project_created(), a.project_archived()).when(create()).then_refused(
            ProjectIsArchived
        )


class TestChangeWebhook:
    def test_changes_what_is_named_and_nothing_else(self) -> None:
        given(*THERE).when(of(webhook.ChangeWebhook, description="Tells it")).then(
            a.webhook(WebhookChanged(url=a.WEBHOOK_URL, description="Tells it"))
        )
        given(*THERE).when(of(webhook.ChangeWebhook, url=a.WEBHOOK_URL, status="active")).then_nothing()

    def test_switches_off_and_on(self) -> None:
        given(*THERE).when(of(webhook.ChangeWebhook, status="off", reason="enough")).then(
            a.webhook(WebhookSwitchedOff(reason="enough"))
        )
        given(*OFF).when(of(webhook.ChangeWebhook, status="active")).then(a.webhook(WebhookSwitchedOn()))

    def test_the_runner_switches_off_once(self) -> None:
        given(*THERE).when(of(webhook.SwitchWebhookOff, reason="gone")).then(
            a.webhook(WebhookSwitchedOff(reason="gone"))
        )
        given(*OFF).when(of(webhook.SwitchWebhookOff, reason="gone")).then_nothing()


class TestWishes:
    def test_are_recorded(self) -> None:
        given(*THERE).when(of(webhook.RequestWebhookTest)).then(a.webhook(WebhookTestRequested()))
        given(*THERE).when(of(webhook.ReplayWebhook, after=7)).then(a.webhook(WebhookReplayRequested(after=7)))
        rotated = WebhookSecretRotated(secret_id=a.id_of(81), former_ends_at=a.AT + webhook.OVERLAP)
        given(*OFF).when(of(webhook.RotateWebhookSecret, secret_id=a.id_of(81))).then(a.webhook(rotated))

    @pytest.mark.parametrize("wish", [of(webhook.RequestWebhookTest), of(webhook.ReplayWebhook, after=7)])
    def test_are_refused_while_nothing_is_sent(self, wish: Any) -> None:
        given(*OFF).when(wish).then_refused(WebhookIsOff)


class TestRemoveWebhook:
    def test_gives_its_place_back_once(self) -> None:
        given(*OFF).when(of(webhook.RemoveWebhook, reason="moved")).then(
            a.webhook(WebhookRemoved(reason="moved")), counters=(a.count("webhooks", str(a.PROJECT_ID), -1),)
        )
        given(*REMOVED).when(of(webhook.RemoveWebhook)).then_nothing()

    @pytest.mark.parametrize(
        ("facts", "changes", "refusal"),
        [
            (REMOVED, {}, WebhookIsRemoved),
            ((*a.tenant_with_plan(), a.project_created()), {}, WebhookUnknown),
            (THERE, {"project_id": a.OTHER_PROJECT_ID}, WebhookUnknown),
        ],
    )
    def test_one_that_is_not_there_cannot_be_changed(
        self, facts: tuple[Fact, ...], changes: dict[str, Any], refusal: type[Refusal]
    ) -> None:
        given(*facts).when(of(webhook.ChangeWebhook, status="off", **changes)).then_refused(refusal)


class TestCheckUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "ci.example.com",
            "ftp://ci.example.com/",
            "http://ci.example.com/",
            "https://",
            "https:///path",
            "https://ada:secret@ci.example.com/",
            "https://ci.example.com/#part",
            "https://ci.example.com/#",
            "https://ci.example.com:0/",
            "https://ci.example.com:65536/",
            "https://ci.example.com:x/",
            "https://[::1/",
            "https://ci.example.com/a b",
            "https://ci.example.com/\r\nHost: x",
            "https://bücher.example/",
            "https://ci.example.com/" + "x" * 2_000,
        ],
    )
    def test_refuses_what_is_no_public_https_address(self, url: str) -> None:
        with pytest.raises(WebhookUrlNotAllowed) as caught:
            check_url(url, plain=False)
        assert [error.field for error in caught.value.errors] == ["url"]

    def test_takes_http_only_where_that_is_allowed(self) -> None:
        assert check_url("http://10.0.0.1:8080/dcf", plain=True).hostname == "10.0.0.1"
        assert check_url("https://ci.example.com/dcf?token=1", plain=False).hostname == "ci.example.com"
