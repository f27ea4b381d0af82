"""What is GKE's own: which cluster is meant, what is made in it, why a release does not come up, and what comes back then."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio

from domain.release import Trigger
from domain.trigger import TICK_TYPE
from process.secret import Secret
from providers.gcp import cluster, kubernetes
from providers.gcp.gke import GkeReleases
from providers.gcp.kubernetes import Kubernetes
from providers.provider import Order, ProviderBusy, ProviderRefused, ProviderUnreachable
from tests.emulators.gcp.faults import Fault
from tests.emulators.gcp.kube_answers import KubeRefused
from tests.emulators.gcp.kube_cron import called as called_by
from tests.emulators.gcp.kube_schema import check_fields
from tests.emulators.gcp.names import EMAIL, REGION
from tests.providers.gke_place import Place, gke_place
from tests.providers.grounds import PROBE, settled, sources, until, withdrawn

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBER = f"serviceAccount:{EMAIL}"
SENTINEL = "sentinel-5e21-never-to-be-seen"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with gke_place(tmp_path_factory.mktemp("gke")) as ready:
        yield ready


async def _environment(url: str) -> dict[str, str]:
    async with httpx.AsyncClient() as client:
        found: dict[str, str] = (await client.get(f"{url}/environment", timeout=20)).json()
    return found


async def _dies_while_taking_over(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: type, step: str
) -> tuple[Order, Order]:
    """A release with a public address and a schedule, and one without either, whose runner dies at a step of promoting it."""
    first = place.order(1, trigger=Trigger(type="schedule", settings={"cron": "0 3 * * *"}))
    second = place.order(2, access="private")
    await place.served(first)
    await place.healthy(second)

    async def dies(*_: object) -> None:
        raise ProviderUnreachable("The runner is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(kind, step, dies)
        with pytest.raises(ProviderUnreachable):
            await place.provider.promote(second)
    return first, second


def _inside(shown: dict[str, Any]) -> dict[str, Any]:
    """A cluster that only its own network leads to, and that is reached all the same: this service is in there."""
    return {**shown, "controlPlaneEndpointsConfig": {"ipEndpointsConfig": {"enabled": True}}}


class TestARelease:
    async def test_becomes_the_deployment_that_the_target_names_behind_a_load_balancer(self, place: Place) -> None:
        wanted = place.order(
            environment={"GREETING": "Ahoy"}, secret_values={"PASSWORD": uuid4()}, start_seconds_max=45
        )

        service = await place.served(wanted, {"PASSWORD": Secret(SENTINEL)})
        told = await _environment(service.url)
        made, address = place.cluster.object("Deployment", "hello"), place.cluster.object("Service", "hello")
        pod = made["spec"]["template"]["spec"]
        [container] = pod["containers"]

        assert {name: told[name] for name in ("GREETING", "PASSWORD")} == {"GREETING": "Ahoy", "PASSWORD": SENTINEL}
        assert address["spec"]["type"] == "LoadBalancer"
        assert made["metadata"]["labels"]["dcf-deployment"] == str(wanted.deployment_id)
        assert (container["name"], container["image"]) == ("app", place.image.reference)
        assert {"name": "PORT", "value": "8080"} in container["env"]
        assert pod["terminationGracePeriodSeconds"] == 10
        assert container["startupProbe"]["failureThreshold"] == 45
        assert SENTINEL not in msgspec.json.encode(made).decode()
        await withdrawn(place.provider, wanted)
        assert place.cluster.names() == []

    async def test_that_is_private_has_an_address_inside_the_cluster_only(self, place: Place) -> None:
        """*Method:* public, private, public again; each time the other's address is gone."""
        orders = [
            place.order(number, access=access) for number, access in enumerate(("public", "private", "public"), 1)
        ]

        seen = []
        for wanted in orders:
            service = await place.served(wanted)
            services = [name for name in place.cluster.names() if name.startswith("Service")]
            seen.append((service.url.startswith("http://127."), services))
        for wanted in orders:
            await withdrawn(place.provider, wanted)

        assert seen == [(True, ["Service hello"]), (False, ["Service hello-internal"]), (True, ["Service hello"])]
        assert place.cluster.names() == []

    async def test_that_only_cannot_take_over_leaves_the_one_before_it(self, place: Place) -> None:
        """*Method:* the namespace's quota has room for the release's own pod, and none to replace the one that serves."""
        first, second = place.order(1), place.order(2, environment={"GREETING": "later"}, access="private")
        await place.served(first)
        place.cluster.pods_max = 2

        await place.healthy(second)
        failed = await place.provider.promote(second)
        await withdrawn(place.provider, second)
        services = [name for name in place.cluster.names() if name.startswith("Service")]
        service = await settled(place.provider, first)

        greeting = (await _environment(service.url)).get("GREETING")
        place.cloud.shell.obey(failed.remedy)
        third = place.order(3)
        await place.served(third)
        place.cluster.pods_max = None
        for wanted in (third, first):
            await withdrawn(place.provider, wanted)

        assert (failed.status, failed.serving) == ("unhealthy", False)
        assert "exceeded quota" in failed.message
        assert failed.remedy.startswith("gcloud container clusters get-credentials functions ")
        assert service.serving
        assert services == ["Service hello"]
        assert greeting is None

    async def test_that_is_private_is_called_on_its_schedule_from_inside_the_cluster(self, place: Place) -> None:
        """
        Goal: what is private has a schedule too, and is called by one thing only when it was public before.
        Method: public, then private; each is looked at with what calls it, and the second with that taken away.
        """
        trigger = Trigger(type="schedule", settings={"cron": "0 3 * * *", "timeZone": "Europe/Madrid"})
        orders = [
            place.order(number, access=access, trigger=trigger)
            for number, access in enumerate(("public", "private"), 1)
        ]
        due, scheduler = datetime(2026, 11, 27, 2, tzinfo=UTC), place.cloud.google.scheduler

        seen = []
        for wanted in orders:
            await place.served(wanted)
            jobs = [name for name in place.cluster.names() if name.startswith("CronJob")]
            called = await asyncio.to_thread(place.cloud.tick, due)
            seen.append((len(jobs), len(scheduler.jobs), called))
        cron_job = next(kept for key, kept in place.cluster.objects.items() if key[0] == "CronJob")
        call, repeated = (called_by(cron_job.body, due) for _ in range(2))
        later = called_by(cron_job.body, due + timedelta(days=1))
        cron_job.body["spec"]["suspend"] = True
        paused = await settled(place.provider, orders[-1])
        again = await place.provider.promote(orders[-1])
        for wanted in orders:
            await withdrawn(place.provider, wanted)

        assert seen == [(0, 1, [204]), (1, 0, [204])]
        assert call.headers["ce-type"] == TICK_TYPE
        assert call.headers["ce-id"] == repeated.headers["ce-id"] != later.headers["ce-id"]
        assert msgspec.json.decode(call.body) == {"cron": "0 3 * * *", "timeZone": "Europe/Madrid"}
        assert (paused.serving, again.serving) == (False, True)
        assert place.cluster.names() == []
        assert scheduler.jobs == {}

    async def test_with_a_schedule_is_called_by_it_and_one_that_cannot_take_over_leaves_the_schedule(
        self, place: Place
    ) -> None:
        trigger = Trigger(type="schedule", settings={"cron": "0 3 * * *"})
        first, second = place.order(1, trigger=trigger), place.order(2)
        due = datetime(2026, 11, 27, 3, tzinfo=UTC)
        await place.served(first)

        before = await asyncio.to_thread(place.cloud.tick, due)
        place.cluster.pods_max = 2
        await place.healthy(second)
        failed = await place.provider.promote(second)
        await withdrawn(place.provider, second)
        place.cluster.pods_max = None
        back = await settled(place.provider, first)
        after = await asyncio.to_thread(place.cloud.tick, due)
        place.cloud.google.scheduler.jobs.clear()
        gone = await settled(place.provider, first)
        mended = await place.provider.promote(first)
        await withdrawn(place.provider, first)

        assert (before, after) == ([204], [204])
        assert [failed.serving, back.serving, gone.serving, mended.serving] == [False, True, False, True]
        assert place.cloud.google.scheduler.jobs == {}

    async def test_that_is_given_up_in_the_midst_of_taking_over_leaves_all_of_the_one_before_it(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Goal: until it is noted that a release served, what the one before is called by stays, for it may have to come back.
        Method: public with a schedule, then private without; the runner dies where that would be noted.
        """
        first, second = await _dies_while_taking_over(place, monkeypatch, Kubernetes, "merge")
        between = [name for name in place.cluster.names() if name.startswith("Service")]
        await withdrawn(place.provider, second)
        back = await settled(place.provider, first)
        called = await asyncio.to_thread(place.cloud.tick, datetime(2026, 11, 27, 3, tzinfo=UTC))
        await withdrawn(place.provider, first)

        assert between == ["Service hello", "Service hello-internal"]
        assert (back.serving, called) == (True, [204])
        assert place.cluster.names() == []

    async def test_that_served_goes_on_closing_what_the_one_before_was_called_by(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """*Method:* public with a schedule, then private; the runner dies when the public address is to be closed."""
        first, second = await _dies_while_taking_over(place, monkeypatch, GkeReleases, "_close_other")
        open_still = await settled(place.provider, second)
        done = await place.provider.promote(second)

        assert (open_still.serving, done.serving) == (False, True)
        assert [name for name in place.cluster.names() if name.startswith("Service")] == ["Service hello-internal"]
        assert place.cloud.google.scheduler.jobs == {}
        for wanted in (first, second):
            await withdrawn(place.provider, wanted)

    async def test_that_may_not_be_pulled_says_who_must_be_let_in(self, place: Place) -> None:
        wanted, again = place.order(1), place.order(2)
        place.cloud.account.policy.remove("roles/artifactregistry.reader", place.cloud.account.nodes_agent)

        await place.provider.apply(wanted)
        service = await settled(place.provider, wanted)
        place.cloud.shell.obey(service.remedy)
        await place.healthy(again)
        for one in (wanted, again):
            await withdrawn(place.provider, one)

        assert service.status == "unhealthy"
        assert service.message.startswith("ImagePullBackOff: ")
        assert service.remedy.startswith("gcloud artifacts repositories add-iam-policy-binding ")

    async def test_is_healthy_when_its_health_path_answers_and_not_before(self, place: Place) -> None:
        wanted = place.order()
        failing, fine = (
            msgspec.structs.replace(wanted, release=msgspec.structs.replace(wanted.release, health_path=path))
            for path in ("/answer?n=503", "/answer?n=404")
        )
        await place.provider.apply(failing)

        await settled(place.provider, fine)
        seen = (await place.provider.observe(failing)).service
        await withdrawn(place.provider, wanted)

        assert seen is not None
        assert (seen.status, seen.message) == ("starting", "/answer?n=503 answers 503.")

    async def test_is_not_taken_for_healthy_where_the_cluster_would_not_ask_it(self, place: Place) -> None:
        wanted = place.order()
        await place.healthy(wanted)
        place.cloud.google.faults.add(Fault("throttle", "kubernetes.pods.proxy"))

        with pytest.raises(ProviderBusy, match="Quota exceeded"):
            await place.provider.observe(wanted)
        service = (await place.provider.observe(wanted)).service
        await withdrawn(place.provider, wanted)

        assert service is not None
        assert service.status == "healthy"

    async def test_leaves_what_is_somebody_elses_alone(self, place: Place) -> None:
        wanted = place.order()
        await place.served(wanted)
        mine = place.cluster.object("Deployment", "hello")["metadata"]["labels"]
        theirs = {**mine, "dcf-function": str(uuid4())}
        place.cluster.object("Deployment", "hello")["metadata"]["labels"] = theirs

        refused = await place.refused(place.order(2))
        place.cluster.object("Deployment", "hello")["metadata"]["labels"] = {}
        somebodys = await place.refused(place.order(2))
        await place.provider.withdraw(wanted)
        kept = place.cluster.object("Deployment", "hello")["metadata"]
        kept["labels"] = mine
        await withdrawn(place.provider, place.order(3))

        assert refused.code == somebodys.code == "service_taken"
        assert refused.message.endswith(f"is that of the function {theirs['dcf-function']}.")
        assert kept["name"] == "hello"
        place.cloud.shell.obey(somebodys.remedy)
        assert place.cluster.names() == []

    @pytest.mark.parametrize("what", ["scaled", "changed", "removed"])
    async def test_is_seen_to_be_another_when_somebody_changed_it(self, place: Place, what: str) -> None:
        wanted = place.order()
        await place.served(wanted)
        main = place.cluster.objects["Deployment", "default", "hello"]
        assert main.workload is not None
        match what:
            case "scaled":
                main.body["spec"]["replicas"] = 0
            case "changed":
                main.body["spec"]["template"]["spec"]["containers"][0]["image"] = "elsewhere@sha256:0"
            case _:
                del place.cluster.objects["Deployment", "default", "hello"]
                main.workload.stop()

        service = (await place.provider.observe(wanted)).service
        await withdrawn(place.provider, wanted)

        assert service is not None
        assert service.revision != place.image.digest if what == "changed" else not service.serving
        assert place.cluster.names() == []


class TestTheCluster:
    async def test_is_the_one_of_the_region_or_the_one_that_is_labelled(self, place: Place) -> None:
        there, wanted = place.cloud.google.clusters.there, place.order()
        [kept] = there
        there.clear()
        none = await place.refused(wanted)
        assert (await place.provider.observe(wanted)).service is None
        assert await place.provider.withdraw(wanted) == ()
        place.cloud.shell.obey(none.remedy)
        await place.provider.bundle(wanted, sources(PROBE))
        there[:] = [kept]
        others = [await asyncio.to_thread(place.cloud.make_cluster, "other", f"{REGION}-b")]
        others.append(await asyncio.to_thread(place.cloud.make_cluster, "abroad", "us-central1"))
        several = await place.refused(wanted)
        place.cloud.shell.obey(several.remedy)
        others[0].labels["dcf"] = "true"
        both = await place.refused(wanted)
        place.cloud.shell.obey(both.remedy)
        await place.provider.apply(wanted)
        await withdrawn(place.provider, wanted)
        for other in others:
            there.remove(other)
        kept.labels.clear()

        assert (none.code, several.code, both.code) == (
            "gke_cluster_missing",
            "gke_cluster_ambiguous",
            "gke_cluster_ambiguous",
        )
        assert "functions (europe-west1), other (europe-west1-b)" in several.message
        assert "abroad" not in several.message

    async def test_that_cannot_be_used_is_replaced_by_one_that_the_remedy_makes(self, place: Place) -> None:
        there, wanted = place.cloud.google.clusters.there, place.order()
        [kept] = there
        kept.labels["dcf"], kept.status = "true", "ERROR"

        refused = await place.refused(wanted)
        place.cloud.shell.obey(refused.remedy)
        await place.provider.bundle(wanted, sources(PROBE))
        made = [one.name for one in there]
        there[-1].status = "STOPPING"  # Which is as good as gone.
        alone = await place.refused(wanted)
        kept.status = "RUNNING"
        kept.labels.clear()
        await place.provider.bundle(wanted, sources(PROBE))
        there[:] = [kept]
        await withdrawn(place.provider, wanted)

        assert (refused.code, alone.code) == ("gke_cluster_unusable", "gke_cluster_unusable")
        assert made == ["functions", "functions-2"]
        assert "functions-3" in alone.remedy

    async def test_says_as_whom_its_nodes_pull_images(self) -> None:
        shown = {
            "name": "c",
            "location": REGION,
            "nodePools": [{"config": {"serviceAccount": name}} for name in ("default", "a@shop", "a@shop")],
            "autoscaling": {"autoprovisioningNodePoolDefaults": {"serviceAccount": "b@shop"}},
        }

        assert msgspec.convert(shown, cluster.Cluster).nodes_accounts == ["", "a@shop", "b@shop"]
        assert msgspec.convert({"name": "c", "location": REGION}, cluster.Cluster).nodes_accounts == [""]

    async def test_that_was_meant_before_is_looked_into_when_a_release_is_taken_away(self, place: Place) -> None:
        """
        Goal: a label that moves leaves nothing running that is recorded as gone, and takes nothing from what came after.
        Method: a release in each of two clusters, both called by the one job; the first is taken away, then the second.
        """
        there, jobs = place.cloud.google.clusters.there, place.cloud.google.scheduler.jobs
        kept, other = there[0], await asyncio.to_thread(place.cloud.make_cluster, "other", f"{REGION}-b")
        trigger = Trigger(type="schedule", settings={"cron": "0 3 * * *"})
        first, second = place.order(1, trigger=trigger), place.order(2, trigger=trigger)
        kept.labels["dcf"] = "true"
        await place.served(first)
        other.labels["dcf"] = kept.labels.pop("dcf")
        await place.served(second)
        assert (bool(kept.names()), bool(other.names()), len(jobs)) == (True, True, 1)

        await withdrawn(place.provider, first)
        assert (kept.names(), bool(other.names()), len(jobs)) == ([], True, 1)
        assert (await settled(place.provider, second)).serving
        await withdrawn(place.provider, second)
        there.remove(other)

        assert (other.names(), jobs) == ([], {})

    async def test_that_is_gone_leaves_nothing_that_calls_into_it(self, place: Place) -> None:
        there, jobs = place.cloud.google.clusters.there, place.cloud.google.scheduler.jobs
        wanted = place.order(trigger=Trigger(type="schedule", settings={"cron": "0 3 * * *"}))
        await place.served(wanted)
        [kept] = there
        there.clear()

        try:
            assert len(jobs) == 1
            assert await place.provider.withdraw(wanted) == ()
            assert jobs == {}
        finally:
            there.append(kept)
            await withdrawn(place.provider, wanted)

    async def test_that_does_not_answer_once_is_not_refused(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kubernetes, "_TRY_AGAIN_SECONDS", 0.01)
        silent, exchange = [2], Kubernetes._exchange

        async def flaky(self: Kubernetes, method: str, path: str, **rest: Any) -> bytes:
            if path == "/version" and silent[0]:
                silent[0] -= 1
                raise ProviderUnreachable("It does not answer.")
            return await exchange(self, method, path, **rest)

        monkeypatch.setattr(Kubernetes, "_exchange", flaky)
        shown = place.cluster.shown
        monkeypatch.setattr(place.cluster, "shown", lambda: _inside(shown()))

        await place.provider.bundle(place.order(), sources(PROBE))

        assert silent == [0]

    async def test_is_not_blamed_for_a_token_that_is_not_given(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = place.cluster.shown
        monkeypatch.setattr(place.cluster, "shown", lambda: _inside(shown()))
        renewed = Kubernetes.renewed

        async def then_no_token(self: Kubernetes) -> cluster.Cluster:
            found = await renewed(self)

            async def token() -> str:
                raise ProviderUnreachable("No token is given.")

            monkeypatch.setattr(self._account, "token", token)
            return found

        monkeypatch.setattr(Kubernetes, "renewed", then_no_token)

        with pytest.raises(ProviderUnreachable, match="No token"):
            await place.provider.bundle(place.order(), sources(PROBE))

    async def test_is_asked_for_once_and_anew_where_it_does_not_answer_any_more(self, place: Place) -> None:
        wanted, faults = place.order(), place.cloud.google.faults
        await place.provider.observe(wanted)
        faults.add(Fault("delay", "container.projects.locations.clusters.list", seconds=0.0))

        await place.provider.observe(wanted)
        assert not faults.are_over, "it is known"
        await asyncio.to_thread(place.cloud.move_cluster, place.cluster)
        await place.provider.observe(wanted)
        assert faults.are_over

    async def test_that_only_its_own_network_leads_to_is_refused_and_then_reached_by_its_name(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The certificate of the name is one that everybody trusts: here the authority is added to those."""
        trusted = tmp_path / "authorities.pem"
        trusted.write_bytes(base64.b64decode(place.cluster.authority))
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        wanted, place.cluster.is_inside = place.order(), True

        with pytest.raises(ProviderRefused) as refusal:
            await place.provider.bundle(wanted, sources(PROBE))
        place.cloud.shell.obey(refusal.value.remedy)
        await place.provider.bundle(wanted, sources(PROBE))
        served = await place.served(wanted)
        await withdrawn(place.provider, wanted)
        place.cluster.is_inside = place.cluster.has_name = False

        assert refusal.value.code == "gke_cluster_unreachable"
        assert refusal.value.remedy.endswith("--enable-dns-access")
        assert served.serving

    async def test_is_trusted_by_its_own_authority_alone(self, place: Place) -> None:
        other = await asyncio.to_thread(place.cloud.make_cluster, "forged", "us-central1")
        shown, authority = place.cluster.shown, other.shown()["masterAuth"]
        place.cluster.shown = lambda: {**shown(), "masterAuth": authority}  # type: ignore[method-assign] # as if the address were taken over

        with pytest.raises(ProviderUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await place.provider.observe(place.order())
        place.cluster.shown = shown  # type: ignore[method-assign]
        place.cloud.google.clusters.there.remove(other)

    async def test_without_the_namespace_says_what_makes_it(self, place: Place) -> None:
        wanted = place.order()
        place.cluster.namespaces.clear()

        refused = await place.refused(wanted)
        place.cloud.shell.obey(refused.remedy)
        await place.provider.apply(wanted)
        place.cluster.namespaces.clear()
        for name in place.cluster.names():
            if not name.startswith("pod"):
                place.cluster.discard(name.split()[0], "default", name.split()[1])
        await withdrawn(place.provider, wanted)
        place.cluster.namespaces.add("default")

        assert refused.code == "gke_namespace_missing"

    async def test_whose_namespace_is_going_or_whose_policy_refuses_is_not_told_to_lack_a_right(
        self, place: Place
    ) -> None:
        wanted = place.order()
        place.cluster.terminating.add("default")
        with pytest.raises(ProviderBusy, match="is being taken away"):
            await place.provider.apply(wanted)
        place.cluster.terminating.clear()
        place.cluster.policy = 'services "hello" is forbidden: admission webhook "policy.example" denied the request'

        refused = await place.refused(wanted)
        place.cluster.policy = ""
        await withdrawn(place.provider, wanted)

        assert refused.code == "gcp_rejected"
        assert "admission webhook" in refused.message
        assert "roles/" not in refused.remedy

    @pytest.mark.parametrize("lacking", ["the role", "the API"])
    async def test_that_may_not_be_used_is_named_before_anything_is_built(self, place: Place, lacking: str) -> None:
        wanted = place.order()
        if lacking == "the role":
            place.cloud.account.policy.remove("roles/container.developer", MEMBER)
        else:
            place.cloud.account.apis.discard("container")

        with pytest.raises(ProviderRefused) as refusal:
            await place.provider.bundle(wanted, sources(PROBE))
        told = await place.provider.diagnose(
            wanted.tenant_id, wanted.project_id, place.ground.identity, place.ground.storage
        )
        place.cloud.shell.obey(refusal.value.remedy)
        await place.provider.bundle(wanted, sources(PROBE))
        await withdrawn(place.provider, wanted)

        codes = {"the role": "GCP_PERMISSION_DENIED", "the API": "GCP_SERVICE_DISABLED"}
        [step] = [step for step in told.steps if step.code]
        assert refusal.value.code == step.code == codes[lacking]
        assert (step.name, step.status, step.remedy) == ("kubernetes", "skipped", refusal.value.remedy)


async def test_an_answer_that_is_lost_after_its_effect_doubles_nothing(place: Place) -> None:
    wanted = place.order(secret_values={"PASSWORD": uuid4()})
    for what in ("services.update", "secrets.update", "deployments.update", "deployments.update", "deployments.update"):
        place.cloud.google.faults.add(Fault("lose", f"kubernetes.{what}"))
    for what in ("services.delete", "deployments.delete", "secrets.delete"):
        place.cloud.google.faults.add(Fault("lose", f"kubernetes.{what}"))

    async def attempt() -> bool:
        with suppress(ProviderBusy):
            return (await place.served(wanted, {"PASSWORD": Secret(SENTINEL)})).serving
        return False

    async def removed() -> bool:
        with suppress(ProviderBusy):
            return await place.provider.withdraw(wanted) == ()
        return False

    await until(attempt, bool)
    names = sorted(name.partition(" ")[0] for name in place.cluster.names())
    await until(removed, bool)

    assert names == ["Deployment", "Deployment", "Secret", "Service", "pod"]
    assert place.cloud.google.faults.are_over
    assert place.cluster.names() == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"spec": {"template": {"spec": {"container": []}}}}, 'unknown field "spec.template.spec.container"'),
        ({"spec": {"replicas": "1"}}, "cannot unmarshal str into field spec.replicas"),
        ({"spec": {"selector": {"matchLabels": {"a": 1}}}}, "cannot unmarshal int"),
    ],
)
async def test_the_emulator_refuses_what_kubernetes_does_not_know(body: dict[str, Any], said: str) -> None:
    with pytest.raises(KubeRefused) as refusal:
        check_fields("Deployment", body)

    assert said in refusal.value.message
