"""Propagation: what a cloud had not made up its mind about is looked at again, and recorded once it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from commands.basis import fold
from commands.integration import (
    ConnectProvider,
    DisconnectProvider,
    RecordIdentityChecked,
    RecordResourcesChecked,
    RecordStorageChecked,
)
from domain.clouds import (
    AwsIdentity,
    AwsNamed,
    AzureIdentity,
    AzureResources,
    Identity,
    LocalIdentity,
    LocalStorage,
    Storage,
)
from domain.integration import INTEGRATION, CheckStatus, CheckStep, Integration, integration_id
from providers.provider import Finding, ProviderUnreachable, Step
from providers.simulated.provider import SimulatedProvider
from runner.propagation import AWAITED_MAX, LOOK_SECONDS
from tests.runner.test_loop import Working
from tests.runner.town import Town
from tests.support import a, virtual_time

PENDING = (CheckStep(name="service_account", status="skipped", code="SPREADING", message="Not spread yet."),)

Scene = Callable[[Town, UUID], Awaitable[None]]


REFUSED = Step(name="binding", status="failed", code="BINDING_MISSING", message="No binding.", remedy="gcloud …")


class Slow(SimulatedProvider):
    """Makes up its mind at a given time."""

    knows_at = 100.0
    says: CheckStatus = "verified"
    # Asked before that, it does not even answer.
    is_away = False
    looks = 0

    async def verify_identity(self, tenant_id: UUID, project_id: UUID, identity: Identity) -> Finding:
        return self._found("identity")

    async def check_storage(self, tenant_id: UUID, project_id: UUID, identity: Identity, storage: Storage) -> Finding:
        return self._found("storage")

    def _found(self, what: str) -> Finding:
        self.looks += 1
        if virtual_time.seconds() < self.knows_at:
            if self.is_away:
                raise ProviderUnreachable("nobody answers")
            return Finding(status="pending", steps=(Step(name=what, status="skipped", code="SPREADING"),))
        passed: Any = {"verified": "passed", "failed": "failed"}[self.says]
        return Finding(status=self.says, steps=(Step(name=what, status=passed, message="seen", remedy="mend it"),))


def play(scene: Scene, cloud: type[Slow] = Slow) -> None:
    """Play it in a town whose one project was connected anew, and verified with no result yet, with two runners at work."""

    async def played() -> None:
        town = Town(cloud=cloud)
        await town.found()
        await town.settle(1)
        tenant_id, at = town.tenants[-1], town.now()
        of_local: Any = {"tenant_id": tenant_id, "at": at, "project_id": a.PROJECT_ID, "provider": "local"}
        checked: Any = {**of_local, "identity": LocalIdentity(), "status": "pending", "steps": PENDING}
        await town.ask(DisconnectProvider(**of_local))
        await town.ask(ConnectProvider(**of_local, identity=LocalIdentity()))
        await town.ask(RecordIdentityChecked(**checked))
        await town.ask(RecordStorageChecked(**checked, storage=LocalStorage()))
        async with Working(town.runner()), Working(town.runner()):
            await scene(town, tenant_id)

    virtual_time.run(played())


async def _integration(town: Town, tenant_id: UUID) -> Integration:
    state: Integration = await fold(
        town.log, INTEGRATION, INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "local"))
    )
    return state


def _cloud(town: Town) -> Slow:
    assert isinstance(town.cloud, Slow)
    return town.cloud


@pytest.mark.parametrize("says", ["verified", "failed"])
@pytest.mark.parametrize("is_away", [False, True])
def test_is_recorded_once_the_cloud_says_something_and_not_before(says: CheckStatus, is_away: bool) -> None:
    async def scene(town: Town, tenant_id: UUID) -> None:
        cloud = _cloud(town)
        cloud.says, cloud.is_away, cloud.knows_at = says, is_away, virtual_time.seconds() + 100
        before = await _integration(town, tenant_id)
        await asyncio.sleep(90)
        meanwhile = await _integration(town, tenant_id)
        await asyncio.sleep(10 + 3 * LOOK_SECONDS)
        after = await _integration(town, tenant_id)
        looks = cloud.looks
        await asyncio.sleep(300)

        assert meanwhile == before
        assert (after.identity_status, after.storage_status) == (says, says)
        assert after.version == before.version + 2
        assert (await _integration(town, tenant_id), cloud.looks) == (after, looks), "then it is left alone"

    play(scene)


@pytest.mark.parametrize("is_away", [False, True])
def test_is_given_up_with_a_reason_when_it_takes_for_ever(is_away: bool) -> None:
    async def scene(town: Town, tenant_id: UUID) -> None:
        _cloud(town).knows_at, _cloud(town).is_away = float("inf"), is_away
        await asyncio.sleep(2 * AWAITED_MAX.total_seconds())
        after = await _integration(town, tenant_id)

        assert (after.identity_status, after.storage_status) == ("failed", "failed")
        assert after.identity_steps[-1].code == after.storage_steps[-1].code == "STILL_PENDING"
        assert after.identity_steps[-1].remedy

    play(scene)


def test_is_left_alone_when_the_project_was_disconnected() -> None:
    async def scene(town: Town, tenant_id: UUID) -> None:
        _cloud(town).knows_at = virtual_time.seconds() + 100
        await town.ask(
            DisconnectProvider(tenant_id=tenant_id, at=town.now(), project_id=a.PROJECT_ID, provider="local")
        )
        before, looks = await _integration(town, tenant_id), _cloud(town).looks
        await asyncio.sleep(300)

        assert await _integration(town, tenant_id) == before
        assert _cloud(town).looks <= looks + 2, "but for a look that was under way"

    play(scene)


class Refusing(Slow):
    """Refuses, as a cloud does what was never given and what has not spread, until a given time."""

    def _found(self, what: str) -> Finding:
        self.looks += 1
        if virtual_time.seconds() < self.knows_at:
            return Finding(status="pending", steps=(REFUSED,), spreads_seconds=420)
        return Finding(status="verified", steps=(Step(name=what, status="passed", message="seen"),))


@pytest.mark.parametrize(("shows_after", "ends"), [(300.0, "verified"), (float("inf"), "failed")])
def test_a_refusal_is_looked_at_for_as_long_as_a_grant_may_spread(shows_after: float, ends: CheckStatus) -> None:
    async def scene(town: Town, tenant_id: UUID) -> None:
        _cloud(town).knows_at = virtual_time.seconds() + shows_after
        await asyncio.sleep(2 * LOOK_SECONDS)
        awaited = await _integration(town, tenant_id)
        await asyncio.sleep(200)
        still = await _integration(town, tenant_id)
        await asyncio.sleep(420)
        after = await _integration(town, tenant_id)
        looks = _cloud(town).looks
        await asyncio.sleep(300)

        assert (awaited.identity_status, awaited.storage_status) == ("pending", "pending")
        assert awaited.identity_awaited_until is not None
        [step] = awaited.identity_steps
        assert (step.code, step.remedy) == ("BINDING_MISSING", "gcloud …")
        assert still == awaited, "a look that sees the same records nothing"
        assert (after.identity_status, after.storage_status) == (ends, ends)
        if ends == "failed":
            [step] = after.identity_steps
            assert step.code, "its own code, not that it was given up"
            assert (step.code, step.message, step.remedy) == ("BINDING_MISSING", "No binding.", "gcloud …")
        assert (await _integration(town, tenant_id), _cloud(town).looks) == (after, looks), "then it is left alone"

    play(scene, cloud=Refusing)


class SlowAzure(Slow):
    """One that can be asked for resources too."""

    async def check_resources(
        self, tenant_id: UUID, project_id: UUID, identity: Identity, resources: AzureResources
    ) -> Finding:
        return self._found("resources")


def test_looks_again_at_resources_too() -> None:
    async def played() -> None:
        town = Town(cloud=SlowAzure)
        await town.found()
        await town.settle(1)
        tenant_id = town.tenants[-1]
        stream = INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "azure"))
        identity = AzureIdentity(azure_tenant_id="d", client_id="c", subscription_id="s")
        of_azure: Any = {"tenant_id": tenant_id, "at": town.now(), "project_id": a.PROJECT_ID, "provider": "azure"}
        await town.ask(ConnectProvider(**of_azure, identity=identity))
        await town.ask(
            RecordResourcesChecked(
                **of_azure, identity=identity, resources=a.azure_resources(), status="pending", steps=PENDING
            )
        )
        _cloud(town).knows_at = virtual_time.seconds() + 100
        town.providers["azure"] = town.cloud
        async with Working(town.runner()):
            before: Integration = await fold(town.log, INTEGRATION, stream)
            await asyncio.sleep(90)
            meanwhile = await fold(town.log, INTEGRATION, stream)
            await asyncio.sleep(10 + 3 * LOOK_SECONDS)
            after: Integration = await fold(town.log, INTEGRATION, stream)

        assert meanwhile == before
        assert (after.resources_status, after.resources) == ("verified", a.azure_resources())

    virtual_time.run(played())


class SlowAmazon(Slow):
    """One that can be asked for what deployments are going to name too."""

    named: AwsNamed | None = None

    async def verify_named(self, tenant_id: UUID, project_id: UUID, identity: AwsIdentity, named: AwsNamed) -> Finding:
        self.named = named
        return self._found("code_build_project")


def test_looks_again_at_what_was_named_with_the_identity() -> None:
    """Looked at alone, the identity would be called verified although what was named failed."""

    async def played() -> None:
        town = Town(cloud=SlowAmazon)
        await town.found()
        await town.settle(1)
        tenant_id = town.tenants[-1]
        stream = INTEGRATION.stream(tenant_id, integration_id(a.PROJECT_ID, "aws"))
        identity, named = AwsIdentity(role_arn="arn", region="eu-west-1"), AwsNamed(code_build_project="builds")
        of_aws: Any = {"tenant_id": tenant_id, "at": town.now(), "project_id": a.PROJECT_ID, "provider": "aws"}
        checked: Any = {**of_aws, "identity": identity, "status": "pending", "steps": PENDING, "connects": True}
        await town.ask(RecordIdentityChecked(**checked, named=named))
        _cloud(town).knows_at, _cloud(town).says = virtual_time.seconds() + 100, "failed"
        town.providers["aws"] = town.cloud
        async with Working(town.runner()):
            await asyncio.sleep(100 + 3 * LOOK_SECONDS)
            after: Integration = await fold(town.log, INTEGRATION, stream)

        assert isinstance(town.cloud, SlowAmazon)
        assert town.cloud.named == named
        assert (after.identity_status, after.identity_steps[0].name) == ("failed", "code_build_project")

    virtual_time.run(played())
