"""What Azure's way of building and running asks for beside the contract: operations that go on, revisions, secrets, lost answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import pytest_asyncio

from domain.release import PinnedImage
from process.secret import Secret
from providers.azure import naming
from providers.azure.account import storage_of, target_of
from providers.azure.build import Builds
from providers.azure.provider import AzureProvider
from providers.azure.storage import Container
from providers.issuer import Issuer
from providers.provider import Order, ProviderBusy, ProviderRefused, Service
from tests.emulators.azure.apps import App
from tests.emulators.azure.cloud import AzureCloud
from tests.emulators.azure.customer import CONTAINER, IDENTITY_TYPE, REGISTRY, path_of
from tests.emulators.azure.faults import Fault
from tests.providers.grounds import (
    HELLO,
    PROBE,
    Ground,
    applied,
    azure_place,
    built,
    deployed,
    gone_back,
    order,
    settled,
    sources,
    until,
    withdrawn,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place:
    """The provider before the emulator, and what the emulator knows."""

    def __init__(self, cloud: AzureCloud, ground: Ground, issuer: Issuer) -> None:
        self.cloud, self.ground, self._issuer = cloud, ground, issuer
        self.provider = ground.provider

    @property
    def app(self) -> App:
        [found] = self.cloud.azure.apps.apps.values()
        return found

    @property
    def container(self) -> Any:
        return self.app.given["properties"]["template"]["containers"][0]

    def restarted(self) -> AzureProvider:
        """The provider of a process that knows nothing of what another has begun."""
        return AzureProvider(self._issuer, self.cloud.azure.endpoints)

    def lose(self, method: str, words: str) -> None:
        self.cloud.customer.faults.append(Fault(method, words))

    async def again(self, verb: Any, wanted: Order) -> Any:
        """What the verb returns once it is not busy any more."""

        async def attempt() -> Any:
            try:
                return await verb(wanted)
            except ProviderBusy:
                return None

        return await until(attempt, bool)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with azure_place(tmp_path_factory.mktemp("azure")) as found:
        yield Place(*found)


async def _answer(service: Service) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(service.url, timeout=20)


async def test_every_answer_may_be_lost_once_and_nothing_is_made_twice(place: Place) -> None:
    """
    Goal: an effect whose answer is lost is found by our own ids, never repeated.
    Method: lose the answer of each call that makes or changes something, repeat the verb, and count what there is.
    """
    provider, wanted = place.provider, order(ground=place.ground)
    await provider.bundle(wanted, sources(HELLO))
    place.lose("PUT", "/tasks/")
    place.lose("POST", "/scheduleRun")
    await place.again(provider.start_build, wanted)
    await built(provider, wanted, sources(HELLO))
    place.lose("PUT", "/containerApps/")
    await place.again(provider.apply, wanted)
    assert (await settled(provider, wanted)).status == "healthy"
    place.lose("PATCH", "/containerApps/")
    served = await place.again(provider.promote, wanted)
    served = served if served.serving else await place.again(provider.promote, wanted)

    assert served.serving
    assert len(place.cloud.azure.tasks.runs) == 1
    assert list(place.app.revisions) == [f"hello--d{wanted.deployment_id.hex[-12:]}"]
    assert not [fault for fault in place.cloud.customer.faults if fault.times]
    place.lose("DELETE", "/containerApps/")
    await until(lambda: _tried(provider, wanted), lambda left: left == ())
    assert [name for name in place.cloud.remains() if str(wanted.deployment_id) in name] == []


@pytest.mark.parametrize("verb", ["stop_build", "withdraw"])
async def test_two_runs_that_a_lost_answer_led_to_both_end(place: Place, verb: str) -> None:
    """
    Goal: a run that was begun twice, since a list did not show the first at once, pushes no image after it was stopped.
    Method: begin the run of one deployment twice while builds are held, stop it, and let builds go on.
    """
    wanted, provider = order(ground=place.ground), place.restarted()
    with place.cloud.slowly() as code:
        await provider.bundle(wanted, sources(code))
        await _begun(provider, wanted)
        await _begun(provider, wanted)

        await until(lambda: _tried_as(getattr(provider, verb), wanted), bool)

    mine = [run for run in place.cloud.azure.tasks.runs.values() if wanted.deployment_id.hex in str(run.shown)]
    assert [run.properties["status"] for run in mine] == ["Canceled", "Canceled"]
    await withdrawn(provider, wanted)
    assert [name for name in place.cloud.remains() if str(wanted.deployment_id) in name] == []
    await provider.close()


async def _begun(provider: AzureProvider, wanted: Order) -> None:
    """A run, whether there is one or not."""
    account, _, _ = provider.work(wanted)
    container = Container(account, storage_of(wanted))
    staged = await container.staged(naming.bundle_name(wanted))
    assert staged is not None
    await Builds(account, container).start(wanted, staged)


async def _tried_as(verb: Callable[[Order], Awaitable[object]], wanted: Order) -> bool:
    try:
        await verb(wanted)
    except ProviderBusy:
        return False
    return True


async def _tried(provider: Any, wanted: Order) -> Any:
    try:
        return await provider.withdraw(wanted)
    except ProviderBusy:
        return None


async def test_nothing_is_taken_away_while_azure_is_still_changing_what_serves(place: Place) -> None:
    """A call to let a release serve may go on after its answer was lost; what is taken away then might be what serves."""
    wanted = order(ground=place.ground)
    await deployed(place.provider, wanted, sources(HELLO))
    state, place.app.state = place.app.state, "InProgress"
    try:
        with pytest.raises(ProviderBusy):
            await place.provider.withdraw(wanted)
    finally:
        place.app.state = state

    assert (await settled(place.provider, wanted)).serving
    await withdrawn(place.provider, wanted)


async def test_a_release_has_what_it_asks_for_and_a_private_one_is_open_to_its_own_network_alone(place: Place) -> None:
    asked: dict[str, Any] = {
        "environment": {"GREETING": "hi", "PORT": "1"},
        "memory_mb_max": 700,
        "start_seconds_max": 45,
    }
    wanted = order(ground=place.ground, access="private", **asked)

    service = await deployed(place.provider, wanted, sources(HELLO))

    template = place.app.given["properties"]["template"]
    [probe] = place.container["probes"]
    assert place.container["env"] == [{"name": "PORT", "value": "8080"}, {"name": "GREETING", "value": "hi"}]
    assert place.container["resources"] == {"cpu": 0.5, "memory": "1Gi"}
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 45
    assert template["scale"]["rules"][0]["http"]["metadata"] == {"concurrentRequests": "80"}
    assert place.app.given["tags"]["dcf-deployment"] == str(wanted.deployment_id)
    assert service.serving
    assert ".internal." in service.url
    assert (await _answer(service)).status_code == 404
    public = order(ground=place.ground, number=2, function_id=wanted.release.function_id)
    opened = await applied(place.provider, public, sources(HELLO))
    assert (await _answer(opened)).status_code == 404, "nobody is let in before it is promoted"
    served = await place.provider.promote(public)
    assert opened.url == served.url
    assert (await _answer(served)).text == "Hello, world!\n"
    await withdrawn(place.provider, wanted)
    await withdrawn(place.provider, public)


async def test_secrets_reach_the_program_and_go_with_the_revisions_that_used_them(place: Place) -> None:
    first = order(ground=place.ground, secret_values={"KEY": UUID(int=1)})
    orders = [
        first,
        *(order(ground=place.ground, number=n, function_id=first.release.function_id) for n in range(2, 5)),
    ]

    await deployed(place.provider, first, sources(PROBE), {"KEY": Secret("value 1")})
    image = await place.provider.push(first)
    for wanted in orders[1:]:
        again = gone_back(wanted, PinnedImage(reference=image.reference, digest=image.digest))
        await place.provider.apply(again, {"KEY": Secret(f"value {wanted.number}")})
        await settled(place.provider, again)
        await place.again(place.provider.promote, again)
    async with httpx.AsyncClient() as client:
        url = (await settled(place.provider, orders[-1])).url
        shown = await client.get(f"{url}/environment")
    assert shown.json()["KEY"] == "value 4"
    assert sorted(place.app.secrets.values()) == [f"value {number}" for number in (2, 3, 4)]
    assert "value 4" not in str(place.app.given)
    for wanted in orders:
        await withdrawn(place.provider, wanted)


async def test_one_that_nobody_calls_has_no_replica_and_is_well(place: Place) -> None:
    wanted = order(ground=place.ground)
    await deployed(place.provider, wanted, sources(HELLO))
    [revision] = place.app.revisions.values()

    revision.rest()
    seen = (await place.provider.observe(wanted)).service

    assert seen is not None
    assert (seen.status, seen.serving) == ("healthy", True)
    await withdrawn(place.provider, wanted)


async def test_what_azure_said_is_told_after_the_process_that_heard_it_has_died(place: Place) -> None:
    wanted, restarted = order(ground=place.ground), place.restarted()
    build = await built(place.provider, wanted, sources(HELLO))
    assert build.status == "succeeded"
    before = set(place.cloud.customer.assignments)
    place.cloud.customer.take("AcrPull")

    await place.provider.apply(wanted)
    failed = await settled(restarted, wanted)

    place.cloud.customer.assignments = before
    await restarted.close()
    assert failed.status == "unhealthy"
    assert "UNAUTHORIZED" in failed.message
    assert "AcrPull" in failed.remedy
    await withdrawn(place.provider, wanted)


@pytest.mark.parametrize(
    ("fault", "busy"),
    [(Fault("POST", "/scheduleRun", 429), True), (Fault("POST", "/scheduleRun", 403, "AuthorizationFailed"), False)],
)
async def test_throttling_is_waited_out_and_a_denial_is_final(place: Place, fault: Fault, busy: bool) -> None:
    wanted = order(ground=place.ground)
    await place.provider.bundle(wanted, sources(HELLO))
    place.cloud.customer.faults.append(fault)

    with pytest.raises(ProviderBusy if busy else ProviderRefused) as told:
        await place.provider.start_build(wanted)

    if isinstance(told.value, ProviderRefused):
        assert "Container Registry Tasks Contributor" in told.value.remedy
    await withdrawn(place.provider, wanted)


async def test_a_pass_that_is_over_is_made_anew_and_a_right_that_lacks_is_named(place: Place) -> None:
    """
    Goal: a registry that takes a kept pass no longer costs no try, and one that lets the application not remove says so.
    Method: refuse the pass once, then take the role while a deployment's image is taken away.
    """
    wanted = order(ground=place.ground)
    await built(place.provider, wanted, sources(HELLO))
    place.cloud.customer.faults.append(Fault("HEAD", "/manifests/", 401, "UNAUTHORIZED"))
    pushed = await place.again(place.provider.push, wanted)
    before = set(place.cloud.customer.assignments)
    place.cloud.customer.take("AcrDelete")
    provider = place.restarted()

    with pytest.raises(ProviderRefused) as refused:
        await provider.withdraw(wanted)

    place.cloud.customer.assignments = before
    assert pushed.digest
    assert not [fault for fault in place.cloud.customer.faults if fault.times]
    assert refused.value.code == "AZURE_PERMISSION_DENIED"
    assert "--role AcrDelete --scope /subscriptions/" in refused.value.remedy
    await withdrawn(provider, wanted)
    await provider.close()


async def test_a_slow_answer_is_waited_for(place: Place) -> None:
    wanted = order(ground=place.ground)
    await place.provider.bundle(wanted, sources(HELLO))
    place.cloud.customer.faults.append(Fault("PUT", "/tasks/", seconds=0.3))

    with place.cloud.slowly():
        build = await place.provider.start_build(wanted)
        await place.provider.stop_build(wanted)

    assert build.status == "running"
    await withdrawn(place.provider, wanted)


async def test_a_subscription_that_may_not_build_is_told_so(place: Place) -> None:
    wanted = order(ground=place.ground)
    await place.provider.bundle(wanted, sources(HELLO))
    place.cloud.azure.tasks.allowed = False

    with pytest.raises(ProviderRefused) as refused:
        await place.provider.start_build(wanted)

    place.cloud.azure.tasks.allowed = True
    assert refused.value.code == "AZURE_TASKS_NOT_ALLOWED"
    await withdrawn(place.provider, wanted)


async def test_a_later_target_is_pulled_for_as_it_says_and_cannot_name_another_environment(place: Place) -> None:
    """
    Goal: what an app was first made with is not taken for what a later release asks for.
    Method: have the app pull from another registry as another identity, and deploy to it again; then name another environment.
    """
    first = order(ground=place.ground)
    await deployed(place.provider, first, sources(HELLO))
    other = place.cloud.customer.make(IDENTITY_TYPE, "other-pull")["id"]
    place.app.given["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {other: {}}}
    before = {"server": "other.azurecr.io", "identity": other}
    place.app.given["properties"]["configuration"]["registries"] = [before]
    again = order(ground=place.ground, number=2, function_id=first.release.function_id)

    await applied(place.provider, again, sources(HELLO))
    target = msgspec.structs.replace(target_of(again), environment_name="elsewhere")
    release = msgspec.structs.replace(again.release, target=target)
    with pytest.raises(ProviderRefused) as refused:
        await place.provider.apply(msgspec.structs.replace(again, release=release))

    pull = naming.pull_identity(target_of(again))
    server = naming.login_server(target_of(again))
    assert place.app.given["properties"]["configuration"]["registries"] == [
        before,
        {"server": server, "identity": pull},
    ]
    assert set(place.app.given["identity"]["userAssignedIdentities"]) == {other, pull}
    assert refused.value.code == "service_elsewhere"
    await withdrawn(place.provider, again)
    await withdrawn(place.provider, first)


async def test_what_the_customer_removed_before_keeps_nothing_from_being_taken_away(place: Place) -> None:
    """The registry, at whose name nothing answers then, and the storage's container."""
    wanted, customer = order(ground=place.ground), place.cloud.customer
    await deployed(place.provider, wanted, sources(HELLO))
    registry = path_of("Microsoft.ContainerRegistry/registries", REGISTRY).lower()
    removed = customer.resources.pop(registry)
    customer.containers.clear()
    try:
        await withdrawn(place.provider, wanted)
        assert place.cloud.azure.apps.names() == []
    finally:
        customer.resources[registry] = removed
        customer.containers.add(CONTAINER)
    await withdrawn(place.provider, wanted)
    assert [name for name in place.cloud.remains() if str(wanted.deployment_id) in name] == []


async def test_an_app_of_somebody_else_is_left_alone(place: Place) -> None:
    theirs, ours = order(ground=place.ground), order(ground=place.ground)
    served = await deployed(place.provider, theirs, sources(HELLO))
    build = await built(place.provider, ours, sources(HELLO))

    with pytest.raises(ProviderRefused) as refused:
        await place.provider.apply(ours)

    assert build.status == "succeeded"
    assert refused.value.code == "service_taken"
    await withdrawn(place.provider, ours)
    assert (await _answer(served)).text == "Hello, world!\n"
    await withdrawn(place.provider, theirs)
    assert place.cloud.azure.images.names() == [], f"nothing is left in {REGISTRY}"
