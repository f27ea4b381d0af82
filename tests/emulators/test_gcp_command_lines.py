"""The customer's own command lines before the emulator of Google Cloud: `gcloud` and `kubectl`, where they are installed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from domain.clouds import GcpTarget
from domain.release import Trigger
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.names import EMAIL, PROJECT, REGION
from tests.providers.grounds import HELLO, Ground, deployed, gcp, order, settled, sources, withdrawn

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
SECONDS_MAX = 240


class Terminal:
    """Where the customer types, signed in as the service account."""

    def __init__(self, folder: Path, ground: Ground) -> None:
        assert isinstance(ground.cloud, GcpCloud)
        self.ground, self.cloud, self._folder = ground, ground.cloud, folder

    async def gcloud(self, *words: str) -> str:
        endpoints = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}": f"{self.cloud.google.endpoints}/".replace(
                "{service}", service
            )
            for service in ("cloudscheduler", "container")
        }
        variables = {
            "CLOUDSDK_CONFIG": str(self._folder / "gcloud"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN": self._token(),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        }
        done = await self._run(["gcloud", *words], {**endpoints, **variables})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    async def kubectl(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        shown = self.cloud.google.clusters.there[0].shown()
        authority = self._folder / "authority.pem"
        authority.write_bytes(base64.b64decode(shown["masterAuth"]["clusterCaCertificate"]))
        access = ["--server", f"https://{shown['endpoint']}", "--certificate-authority", str(authority)]
        return await self._run(["kubectl", *access, "--token", self._token(), *words], {}, typed)

    def _token(self) -> str:
        return self.cloud.account.new_token(f"serviceAccount:{EMAIL}")

    async def _run(
        self, words: list[str], variables: dict[str, str], typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), **variables}
        return await asyncio.to_thread(
            subprocess.run,
            words,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def terminal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Terminal]:
    folder = tmp_path_factory.mktemp("gcp")
    async with gcp(folder) as ground:
        yield Terminal(folder, ground)


@pytest.mark.proof  # Each of its commands takes seconds to start.
async def test_gcloud_finds_the_cluster_and_pauses_a_job_that_is_then_made_good(terminal: Terminal) -> None:
    clusters = await terminal.gcloud("container", "clusters", "list", "--format=value(name,location,status)")
    ground = terminal.ground
    wanted = order(ground=ground, trigger=Trigger(type="schedule", settings={"cron": "0 3 * * *"}))
    await deployed(ground.provider, wanted, sources(HELLO))
    [name] = terminal.cloud.google.scheduler.jobs

    await terminal.gcloud("scheduler", "jobs", "pause", name.rpartition("/")[2], f"--location={REGION}")
    paused = await settled(ground.provider, wanted)
    mended = await ground.provider.promote(wanted)
    told = await terminal.gcloud("scheduler", "jobs", "describe", name, "--format=value(schedule,timeZone,state)")
    await withdrawn(ground.provider, wanted)

    assert clusters.split() == ["functions", REGION, "RUNNING"]
    assert (paused.serving, mended.serving) == (False, True)
    assert told.split("\t") == ["0 3 * * *", "Etc/UTC", "ENABLED"]


async def test_kubectl_sees_the_release_rolled_out_and_may_not_take_its_fields_unasked(terminal: Terminal) -> None:
    target = msgspec.convert({"provider": "gcp", **terminal.cloud.kubernetes_target("hello")}, GcpTarget)
    ground = msgspec.structs.replace(terminal.ground, target=target)
    wanted = order(ground=ground)
    await terminal.kubectl("version", "--client")
    await deployed(ground.provider, wanted, sources(HELLO))

    rolled = await terminal.kubectl("rollout", "status", "deployment/hello", "--watch=false")
    label = f"dcf-deployment={wanted.deployment_id}"
    pods = await terminal.kubectl("get", "pods", "-l", label, "-o", "name")
    log = await terminal.kubectl("logs", *pods.stdout.split())
    body = terminal.cloud.google.clusters.there[0].object("Deployment", "hello")
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hello", "namespace": "default", "annotations": {"theirs": "yes"}},
        "spec": {"selector": body["spec"]["selector"], "template": {"spec": {"terminationGracePeriodSeconds": 30}}},
    }
    apply = ("apply", "--server-side", "--validate=false", "-f", "-")
    refused = await terminal.kubectl(*apply, typed=json.dumps(theirs))
    del theirs["spec"]["template"]  # type: ignore[attr-defined] # it is a dictionary
    taken = await terminal.kubectl(*apply, typed=json.dumps(theirs))
    again = await ground.provider.promote(wanted)
    kept = terminal.cloud.google.clusters.there[0].object("Deployment", "hello")["metadata"]["annotations"]
    await withdrawn(ground.provider, wanted)

    assert rolled.stdout.strip() == 'deployment "hello" successfully rolled out', rolled.stderr
    assert len(pods.stdout.split()) == 1
    assert "listening" in log.stdout, log.stderr
    assert "dart-cloud-functions" in refused.stderr, refused
    assert taken.returncode == 0, taken.stderr
    assert (again.serving, kept) == (True, {"theirs": "yes"})
