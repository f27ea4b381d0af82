"""Webhooks are told everything, in order, whatever becomes of their addresses and of the runners."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from commands.webhook import (
    ChangeWebhook,
    CreateWebhook,
    RemoveWebhook,
    ReplayWebhook,
    RequestWebhookTest,
    RotateWebhookSecret,
)
from domain.webhook import WEBHOOK, Webhook
from domain.webhook_signature import secret_text
from eventstore.secret_values import SecretLost
from process.secret import Secret
from projections.deployment_events import TIMELINE_OF_PROJECT
from runner.webhook_sender import Answered
from runner.webhooks import FAILING_MAX, REFUSALS_MAX, TEST_TYPE, Webhooks
from tests.runner.mailbox import GOOD
from tests.runner.test_loop import Working
from tests.runner.town import Town
from tests.support import a, virtual_time
from tests.support.mortal import Mortal

URL = "https://ci.example.com/dcf"
AWAY = Answered(message="It could not be reached.")
DAY = 24 * 3600.0

Scene = Callable[[Town, "Told"], Awaitable[None]]


class Told:
    """A webhook of the town's project."""

    def __init__(self, town: Town, url: str = URL) -> None:
        self.town, self.url = town, url
        self.tenant_id, self.id = town.tenants[0], town.new_id()

    async def create(self, *types: str) -> None:
        await self.ask(CreateWebhook, url=self.url, secret_id=await self.secret(), types=types)

    async def secret(self) -> UUID:
        id, key = self.town.new_id(), self.town.random.randbytes(32)
        await self.town.stores.secrets.close(self.tenant_id, self.id, id, Secret(secret_text(key)))
        return id

    async def ask(self, command: type[Any], **fields: Any) -> None:
        asked = command(
            tenant_id=self.tenant_id, at=self.town.now(), project_id=a.PROJECT_ID, webhook_id=self.id, **fields
        )
        await self.town.ask(asked)

    async def state(self) -> Webhook:
        state: Webhook = await self.town.fold(WEBHOOK, WEBHOOK.stream(self.tenant_id, self.id))
        return state

    def answers(self, answer: Answered) -> None:
        self.town.mailbox.answers[self.url] = answer

    @property
    def types(self) -> list[str]:
        return [got.type for got in self.town.mailbox.got[self.url]]

    def ids(self) -> list[str]:
        """The ids of what came in, each once."""
        return list(dict.fromkeys(got.id for got in self.town.mailbox.got[self.url]))

    def positions(self) -> list[str]:
        """The positions of what came in, each once."""
        got = self.town.mailbox.got[self.url]
        return list(dict.fromkeys(one.body["data"]["position"] for one in got if one.type != TEST_TYPE))


def play(scene: Scene, *types: str) -> None:
    async def played() -> None:
        town = Town()
        await town.found()
        await town.settle(1)
        told = Told(town)
        await told.create(*types)
        await scene(town, told)

    virtual_time.run(played())


async def happened(town: Town) -> list[Any]:
    """The project's timeline."""
    page = await town.stores.reader.page(TIMELINE_OF_PROJECT, town.tenants[0], a.PROJECT_ID, after=0, limit=500)
    return list(page.items)


async def deployed(town: Town, count: int = 1) -> None:
    for _ in range(count):
        await town.queue()
        assert await town.settled(seconds_max=DAY)


async def told_all(town: Town, told: Told) -> None:
    """Everything came in, in order."""
    assert told.positions() == [f"1:{one.position}" for one in await happened(town)]


class TestTelling:
    def test_says_everything_once_and_in_order(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            async with Working(town.runner()):
                await deployed(town, 2)
                await asyncio.sleep(10)

            assert told.types == [one.row.type for one in await happened(town)]
            await told_all(town, told)
            assert len(told.ids()) == len(told.types) > 10
            first = town.mailbox.got[URL][0].body
            assert first["type"] == "deployment.queued"
            assert first["data"]["projectId"] == str(a.PROJECT_ID)
            assert first["data"]["deploymentId"] == str(town.deployments[0][1])

        play(scene)

    def test_says_only_what_it_was_made_for_and_nothing_of_before(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            async with Working(town.runner()):
                await deployed(town)
                later = Told(town, "https://later.example.com/")
                await later.create()
                await asyncio.sleep(20)
                assert later.types == []
                await deployed(town)
                await asyncio.sleep(20)

            assert told.types == ["deployment.succeeded"] * 2
            assert later.types[0] == "deployment.queued"
            assert len(later.types) < len(await happened(town))

        play(scene, "deployment.succeeded", "deployment.failed")

    def test_tells_another_projects_webhook_nothing(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            await town.settle(1)
            stranger = Told(town, "https://other.example.com/")
            stranger.tenant_id = town.tenants[1]
            await stranger.create()
            async with Working(town.runner()):
                await deployed(town)
                await asyncio.sleep(20)

            assert stranger.types == []
            await told_all(town, told)

        play(scene)


class TestAnAddressThatDoesNotAnswer:
    def test_is_told_everything_once_it_does(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            told.answers(AWAY)
            async with Working(town.runner()):
                await deployed(town, 2)
            duty = _alone(town)
            await rounds(duty, hours=3)
            assert told.types == []
            # Ever more rarely.
            assert len(town.mailbox.tried[URL]) < 15
            told.answers(GOOD)
            await rounds(duty, hours=2)

            assert told.types == [one.row.type for one in await happened(town)]

        play(scene)

    def test_is_left_alone_for_as_long_as_it_asks(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            told.answers(Answered(status=503, message="It answered 503.", retry_after_seconds=1_800.0))
            async with Working(town.runner()):
                await deployed(town)
                await asyncio.sleep(1_700)
                assert len(town.mailbox.tried[URL]) == 1
                told.answers(GOOD)
                await asyncio.sleep(200)

            await told_all(town, told)

        play(scene)

    def test_is_switched_off_after_days_and_goes_on_where_it_was(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            told.answers(AWAY)
            async with Working(town.runner()):
                await deployed(town)
            duty = _alone(town)
            await rounds(duty, hours=FAILING_MAX.total_seconds() / 3600 - 2)
            assert (await told.state()).status == "active"
            await rounds(duty, hours=4)
            assert (await told.state()).status == "off"
            assert "72 hours" in (await told.state()).reason
            tries = len(town.mailbox.tried[URL])
            told.answers(GOOD)
            await rounds(duty, hours=24)
            assert len(town.mailbox.tried[URL]) == tries
            await told.ask(ChangeWebhook, status="active")
            await rounds(duty, hours=1)

            await told_all(town, told)

        play(scene)

    def test_that_is_gone_is_switched_off_at_once(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            told.answers(Answered(status=410, message="It answered 410."))
            async with Working(town.runner()):
                await deployed(town)
                await asyncio.sleep(60)

            assert (await told.state()).status == "off"
            assert len(town.mailbox.tried[URL]) == 1

        play(scene)

    def test_holds_up_no_other(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            told.answers(AWAY)
            other = Told(town, "https://other.example.com/")
            await other.create()
            async with Working(town.runner()):
                await deployed(town)
                await asyncio.sleep(10)

            await told_all(town, other)

        play(scene)


class TestAnAddressThatRefuses:
    def test_is_asked_some_times_and_then_told_what_follows(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            told.answers(Answered(status=422, message="It answered 422."))
            async with Working(town.runner()):
                await deployed(town)
                while len(town.mailbox.tried[URL]) < REFUSALS_MAX:
                    await asyncio.sleep(1)
                told.answers(GOOD)
                await asyncio.sleep(60)

            first, *rest = await happened(town)
            assert told.positions() == [f"1:{one.position}" for one in rest]
            deliveries = await town.stores.deliveries.read(told.tenant_id, told.id, before=10_000, limit=100)
            assert (deliveries[-1].position, deliveries[-1].status) == (first.position, "refused")
            assert (deliveries[-1].attempts, deliveries[-1].http_status) == (REFUSALS_MAX, 422)
            assert {one.status for one in deliveries[:-1]} == {"delivered"}

        play(scene)


class TestWishes:
    def test_for_a_test_are_met_at_once_whatever_waits(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            async with Working(town.runner()):
                told.answers(AWAY)
                await told.ask(RequestWebhookTest)
                await asyncio.sleep(10)
                told.answers(GOOD)
                await told.ask(RequestWebhookTest)
                await asyncio.sleep(10)

            assert told.types == [TEST_TYPE]
            deliveries = await town.stores.deliveries.read(told.tenant_id, told.id, before=10_000, limit=10)
            assert [one.status for one in deliveries] == ["delivered", "failed"]

        play(scene)

    def test_to_begin_anew_repeat_the_same_messages(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            async with Working(town.runner()):
                await deployed(town)
                await asyncio.sleep(10)
                once = [got.id for got in town.mailbox.got[URL]]
                await told.ask(ReplayWebhook, after=0)
                await asyncio.sleep(10)

            assert [got.id for got in town.mailbox.got[URL]] == once * 2

        play(scene)

    def test_for_another_secret_have_both_sign_for_a_while(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            async with Working(town.runner()):
                await told.ask(RotateWebhookSecret, secret_id=await told.secret(), overlap_seconds=3_600)
                await deployed(town)
                await asyncio.sleep(3_600)
                await deployed(town)
                await asyncio.sleep(10)

            signatures = [got.signatures for got in town.mailbox.got[URL]]
            assert signatures == [2] * (len(signatures) // 2) + [1] * (len(signatures) // 2)

        play(scene)

    def test_for_another_secret_need_not_have_the_lost_one(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            await town.stores.secrets.forget(told.tenant_id, told.id)
            async with Working(town.runner()):
                await deployed(town)
                await asyncio.sleep(10)
                assert told.types == []
                await told.ask(RotateWebhookSecret, secret_id=await told.secret())
                await asyncio.sleep(10)

            await told_all(town, told)
            assert {got.signatures for got in town.mailbox.got[URL]} == {1}

        play(scene)

    def test_to_be_removed_end_it_and_its_secret(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            async with Working(town.runner()):
                await asyncio.sleep(10)
                await told.ask(RemoveWebhook)
                await asyncio.sleep(10)
                await deployed(town)
                await asyncio.sleep(2 * 3600)

            assert told.types == []
            secret_id = (await told.state()).secret_id
            assert secret_id is not None
            with pytest.raises(SecretLost):
                await town.stores.secrets.open(told.tenant_id, told.id, secret_id)

        play(scene)


class TestRunners:
    @pytest.mark.parametrize("seed", range(3))
    def test_that_die_leave_nothing_out_and_nothing_out_of_order(self, seed: int) -> None:
        async def scene(town: Town, told: Told) -> None:
            town.random.seed(seed)
            for turn in range(6):
                told.answers(AWAY if turn % 2 else GOOD)
                await town.queue()
                process = Mortal(dies_at_step=town.random.randrange(20, 2_000))
                process.start(town.runner().run(asyncio.Event()))
                await asyncio.sleep(120)
                process.kill()
            told.answers(GOOD)
            async with Working(town.runner()):
                assert await town.settled(seconds_max=DAY)
                await asyncio.sleep(2 * 3600)

            await told_all(town, told)

        play(scene)

    def test_that_both_have_the_duty_leave_nothing_out(self) -> None:
        async def scene(town: Town, told: Told) -> None:
            first, second = _alone(town), _alone(town)
            async with Working(town.runner()):
                for _ in range(3):
                    await town.queue()
                    await asyncio.gather(first.round(), second.round())
                    assert await town.settled(seconds_max=DAY)
                for _ in range(20):
                    await asyncio.gather(first.round(), second.round())
                    await asyncio.sleep(1)

            await told_all(town, told)

        play(scene)


async def rounds(duty: Webhooks, *, hours: float) -> None:
    """So long, a round every two minutes."""
    for _ in range(int(hours * 30)):
        await duty.round()
        await asyncio.sleep(120)


def _alone(town: Town) -> Webhooks:
    """The duty, without a lease."""
    return Webhooks(town.stores.reader, town.stores.deliveries, town.mailbox, town.world(), runner_id=town.new_id())
