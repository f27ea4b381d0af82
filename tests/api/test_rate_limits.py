"""How many requests a tenant may make, and how it is told."""

from __future__ import annotations

import asyncio
from typing import cast

import httpx
import pytest

from api.first_start import TENANT_ID
from api.principal import Principal, permissions_of
from api.rate_limits import QUOTA_SECONDS, WINDOW_SECONDS, RateLimits, TooManyRequests
from commands.plan import DefinePlan
from commands.tenant import ChoosePlan
from domain.event import SYSTEM_TENANT
from domain.plan import Limits
from eventstore.meta import Actor
from projections.reader import Reader, ReadModelNotReady
from tests.api.world import World

OWNER = Principal(
    tenant_id=TENANT_ID, actor=Actor("key", str(TENANT_ID)), role="owner", permissions=permissions_of("owner", ())
)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Unready:
    """A reader whose read models are still being made."""

    async def one(self, *_: object) -> None:
        raise ReadModelNotReady


async def _allow(world: World, requests_per_minute: int) -> None:
    limits = Limits(
        projects=9,
        functions_per_project=9,
        members=9,
        concurrent_deployments=9,
        queued_deployments=9,
        requests_per_minute=requests_per_minute,
    )
    at = world.services.clock()
    await world.record(DefinePlan(tenant_id=SYSTEM_TENANT, at=at, name="narrow", limits=limits, entitlements=()))
    await world.record(ChoosePlan(tenant_id=TENANT_ID, at=at, plan="narrow"))


class TestATenant:
    async def test_is_told_what_it_may_and_what_is_left(self, world: World) -> None:
        await _allow(world, 6)

        async with world.client() as client:
            first, second = await client.get("/api/v1/projects"), await client.get("/api/v1/projects")

            limits = {one["name"]: one for one in (await client.get("/api/v1/tenant")).json()["limits"]}

        assert limits["requestsPerMinute"] == {"name": "requestsPerMinute", "used": None, "limit": 6}
        assert first.headers["ratelimit-policy"] == f'"tenant";q=6;w={WINDOW_SECONDS}'
        assert (first.headers["ratelimit"], second.headers["ratelimit"]) == ('"tenant";r=5;t=0', '"tenant";r=4;t=0')

    async def test_is_refused_beyond_it_and_told_when_to_come_back(self, world: World) -> None:
        await _allow(world, 3)

        async with world.client() as client:
            answers = [await client.get("/api/v1/projects") for _ in range(4)]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].json()["code"] == "too_many_requests"
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        assert answers[3].headers["ratelimit"].startswith('"tenant";r=0;t=')

    async def test_takes_nothing_from_another(self, world: World) -> None:
        await _allow(world, 1)
        stranger = await world.stranger_key()

        async with world.client() as client, world.client(stranger) as other:
            statuses = [(await client.get("/api/v1/projects")).status_code for _ in range(2)]
            assert (await other.get("/api/v1/projects")).status_code == 200

        assert statuses == [200, 429]

    async def test_gets_back_at_an_even_rate_what_it_spent_and_never_more_than_its_plan(self, world: World) -> None:
        await _allow(world, 6)
        clock = Clock()
        limits = RateLimits(world.services.reader, clock)

        assert await _spent(limits) == 6
        clock.seconds += 21
        assert await _spent(limits) == 2
        clock.seconds += 3600
        assert await _spent(limits) == 6

    async def test_lets_through_all_that_fit_of_a_thousand_at_once_and_no_more(self, world: World) -> None:
        await _allow(world, 900)

        async with world.client() as client:
            answers = await asyncio.gather(*(client.get("/api/v1/runtimes") for _ in range(1000)))

        # What comes while the first are answered is given back at an even rate: fifteen a second.
        passed = [answer.status_code for answer in answers].count(200)
        assert 900 <= passed < 1000
        assert {answer.json()["code"] for answer in answers if answer.status_code != 200} == {"too_many_requests"}

    async def test_has_what_a_changed_plan_gives_a_moment_later(self, world: World) -> None:
        await _allow(world, 2)
        clock = Clock()
        limits = RateLimits(world.services.reader, clock)
        assert await _spent(limits) == 2

        await _allow(world, 120)
        clock.seconds += QUOTA_SECONDS

        assert await _spent(limits) == QUOTA_SECONDS * 120 / WINDOW_SECONDS

    async def test_is_not_turned_away_while_nobody_knows_its_plan(self) -> None:
        limits = RateLimits(cast("Reader", Unready()))

        assert await limits.spend(OWNER) == ()


class TestAKey:
    async def test_has_a_limit_of_its_own_beside_the_tenants(self, world: World) -> None:
        await _allow(world, 60)
        async with world.client() as owner:
            made = await owner.post("/api/v1/keys", json={"name": "ci", "role": "viewer", "requestsPerMinute": 2})

        async with world.client(made.json()["key"]) as narrow, world.client() as owner:
            answers = [await narrow.get("/api/v1/projects") for _ in range(3)]
            other = await owner.get("/api/v1/projects")

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        policy = f'"tenant";q=60;w={WINDOW_SECONDS}, "key";q=2;w={WINDOW_SECONDS}'
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {policy}
        assert answers[1].headers["ratelimit"].endswith('"key";r=0;t=30')
        assert 1 <= int(answers[2].headers["retry-after"]) <= 30
        # What was refused for the key's own limit takes nothing from the tenant.
        assert other.headers["ratelimit"] == '"tenant";r=56;t=0'

    async def test_never_gets_more_than_its_tenant(self, world: World) -> None:
        await _allow(world, 2)
        async with world.client() as owner:
            made = await owner.post("/api/v1/keys", json={"name": "ci", "role": "viewer", "requestsPerMinute": 100})

        async with world.client(made.json()["key"]) as narrow:
            answers = [await narrow.get("/api/v1/projects") for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 429]
        assert answers[1].headers["ratelimit"].startswith('"tenant";r=0;t=')


async def test_operators_have_no_limit(world: World) -> None:
    async with world.client(world.operator_key) as client:
        answer: httpx.Response = await client.get("/api/v1/me")

    assert answer.status_code == 200
    assert "ratelimit" not in answer.headers


async def _spent(limits: RateLimits) -> int:
    """How many requests go through now."""
    for count in range(1000):
        try:
            await limits.spend(OWNER)
        except TooManyRequests:
            return count
    pytest.fail("there is no end to them")
