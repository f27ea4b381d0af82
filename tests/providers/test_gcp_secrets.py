"""Secrets on Google Cloud: the function has them, Secret Manager keeps them, and they go with the last that opens them."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import httpx
import pytest

from process.secret import Secret
from providers.provider import Order, ProviderRefused, ProviderUnreachable
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.faults import Fault
from tests.emulators.gcp.names import EMAIL
from tests.providers.grounds import PROBE, Ground, applied, deployed, order, sources, withdrawn

SENTINEL = "sentinel-7c11-never-to-be-seen"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _password(url: str) -> str:
    async with httpx.AsyncClient() as client:
        found: str = (await client.get(f"{url}/environment", timeout=20)).json()["PASSWORD"]
    return found


async def test_reach_the_function_and_go_with_the_last_release_that_opens_them(ground: Ground, cloud: GcpCloud) -> None:
    """
    Goal: a value is there for every release that pins it, and for no longer.
    Method: three releases, of which two pin the same value; they are taken away one after another.
    """
    provider, old, new = ground.provider, uuid4(), uuid4()
    first = order(ground=ground, number=1, secret_values={"PASSWORD": old})
    function = first.release.function_id
    second = order(ground=ground, number=2, function_id=function, secret_values={"PASSWORD": old})
    third = order(ground=ground, number=3, function_id=function, secret_values={"PASSWORD": new})

    seen = []
    for wanted, value in ((first, "one"), (second, "one"), (third, "another")):
        served = await deployed(provider, wanted, sources(PROBE), {"PASSWORD": Secret(value)})
        await provider.apply(wanted, {"PASSWORD": Secret(value)})
        seen.append(await _password(served.url))
    kept = [len(cloud.google.vault.secrets)]
    for wanted in (first, second, third):
        await withdrawn(provider, wanted)
        kept.append(len(cloud.google.vault.secrets))

    assert seen == ["one", "one", "another"]
    assert kept == [2, 2, 1, 0]


async def test_a_value_that_may_not_be_kept_is_refused_before_anything_is_built_with_what_lets_it_be(
    ground: Ground, cloud: GcpCloud
) -> None:
    wanted, builds = order(ground=ground, secret_values={"PASSWORD": uuid4()}), len(cloud.google.builds.made)
    cloud.account.policy.remove("roles/secretmanager.admin", f"serviceAccount:{EMAIL}")

    with pytest.raises(ProviderRefused) as refusal:
        await _applied(ground, wanted)
    assert len(cloud.google.builds.made) == builds
    await withdrawn(ground.provider, wanted)
    cloud.shell.obey(refusal.value.remedy)
    again = order(ground=ground, secret_values={"PASSWORD": uuid4()})
    await _applied(ground, again)
    shown = await ground.provider.observe(again)
    await withdrawn(ground.provider, again)

    assert refusal.value.code == "GCP_PERMISSION_DENIED"
    assert SENTINEL not in f"{refusal.value} {refusal.value.remedy} {shown}"
    assert cloud.google.vault.secrets == {}


async def test_an_answer_that_is_lost_after_its_effect_doubles_nothing(ground: Ground, cloud: GcpCloud) -> None:
    """*Method:* the answers to making the secret and to giving it its value are lost; the runner's next try goes on."""
    wanted = order(ground=ground, secret_values={"PASSWORD": uuid4()})
    for method in ("secretmanager.projects.secrets.create", "secretmanager.projects.secrets.addVersion"):
        cloud.google.faults.add(Fault("lose", method))

    tries = 0
    while not cloud.google.faults.are_over:
        tries += 1
        with suppress(ProviderUnreachable):
            await _applied(ground, wanted)
    await _applied(ground, wanted)
    [kept] = cloud.google.vault.secrets.values()
    await withdrawn(ground.provider, wanted)

    assert tries >= 2
    assert len(kept.versions) == 1


async def _applied(ground: Ground, wanted: Order) -> None:
    await applied(ground.provider, wanted, sources(PROBE), {"PASSWORD": Secret(SENTINEL)})
