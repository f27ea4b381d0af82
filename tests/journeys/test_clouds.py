"""The whole journey on every cloud: connect, mend what is wrong, deploy, call, go back, stop a build, take all away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli import exits
from domain.clouds import ProviderName
from tests.emulators.aws.cloud import AwsCloud
from tests.emulators.catalogue import EMULATORS
from tests.emulators.cloud import Break, Cloud, KeepsTime, Spreads
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.workshop import workshop
from tests.journeys.this_machine import ThisMachine
from tests.support.service import HELLO, ROOT, Journey, Service, until

TOOLCHAIN_DIR = Path(os.environ.get("DCF_TOOLCHAIN_DIR") or ROOT / ".dcf" / "toolchain").absolute()
CHECKED_SECONDS_MAX = 240
CLOUDS: tuple[ProviderName, ...] = ("local", *EMULATORS)

# Real processes on a machine that may be busy with other tests.
pytestmark = pytest.mark.timeout(400)


class Customer(Journey):
    """Who has an account with the cloud, and a project to deploy there."""

    def __init__(self, api: httpx.Client, cloud: Cloud) -> None:
        super().__init__(api)
        self.cloud = cloud

    def make_project(self, name: str) -> None:
        self.project_id = self.ask("POST", "/projects", {"name": name}, status=201)["projectId"]
        names = {"code": "main.dart", "docker": "Dockerfile", "yaml": "pubspec.yaml"}
        self.files = {f"{k}_file": self.upload(k, n, (HELLO / n).read_bytes()) for k, n in names.items()}

    def connect(self) -> None:
        """Set the account up for this project, and tell the service of it."""
        tenant_id = self.ask("GET", "/me")["tenant"]["tenantId"]
        issuer = httpx.get(f"{self.api.base_url}/.well-known/openid-configuration").json()["issuer"]
        self.cloud.prepare(issuer, f"tenant:{tenant_id}:project:{self.project_id}")
        self.integrate(self.cloud.connect, self.cloud.identity)

    def integrate(self, step: str, body: Any) -> Any:
        return self.ask("POST", f"/projects/{self.project_id}/integrations/{step}", dict(body), status=(200, 201))

    def look(self, asked: str) -> Any:
        """One look at the identity, what deployments are to name, the bucket, or everything."""
        match asked:
            case "identity":
                return self.integrate(self.cloud.verify, {})
            case "named":
                assert isinstance(self.cloud, AwsCloud)
                return self.integrate(self.cloud.verify, {**self.cloud.identity, **self.cloud.named})
            case "bucket":
                return self.integrate(f"{self.cloud.bucket}/check", self.cloud.storage)
            case _:
                return self.integrate(self.cloud.diagnose, self.cloud.diagnosed)

    def settle(self, asked: str) -> Any:
        """What is seen once nothing is pending any more."""

        def look() -> Any:
            seen = self.look(asked)
            return None if seen["status"] == "pending" else seen

        return until(look, seconds=CHECKED_SECONDS_MAX, what=f"{asked} checked")

    def ready(self, name: str) -> None:
        """A project connected, verified, and with a bucket."""
        self.make_project(name)
        self.connect()
        for asked in ("identity", "bucket"):
            seen = self.settle(asked)
            assert seen["status"] == "verified", seen
        self.integrate(f"{self.cloud.bucket}/config", self.cloud.storage)

    def newest_file(self) -> tuple[Any, bytes]:
        """The artifact uploaded last, and its bytes from wherever they are."""
        path = f"/projects/{self.project_id}/artifacts"
        newest = self.ask("GET", f"{path}?limit=1")["items"][0]
        return newest, self.api.get(f"/api/v1{path}/{newest['digest']}/content").content

    def deploy_to(self, function_id: str, service: str, **changes: object) -> str:
        return self.deploy(function_id, provider=self.cloud.name, target=self.cloud.target(service), **changes)

    def path(self, deployment_id: str) -> str:
        return f"/projects/{self.project_id}/deployments/{deployment_id}"

    def undeploy(self, deployment_id: str) -> Any:
        self.ask("POST", f"{self.path(deployment_id)}/undeploy", {}, status=202)

        def look() -> Any:
            seen = self.deployment(deployment_id)
            return seen if seen["status"] in ("undeployed", "undeploy_failed") else None

        return until(look, seconds=120, what="undeployed")


@contextmanager
def _cloud(name: ProviderName, folder: Path) -> Iterator[Cloud]:
    cloud: Cloud = ThisMachine() if name == "local" else EMULATORS[name](workshop(folder, TOOLCHAIN_DIR, real=False))
    try:
        yield cloud
    finally:
        cloud.close()


# What this machine does is tried by other journeys too.
@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.proof) if name == "local" else name for name in CLOUDS]
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Cloud]]:
    """A cloud, and a service that meets it."""
    folder = tmp_path_factory.mktemp(request.param)
    with _cloud(request.param, folder / "cloud") as cloud:
        service = Service(folder / "service", **cloud.settings)
        try:
            service.start()
            yield service, cloud
        finally:
            service.stop()


@pytest.fixture
def customer(place: tuple[Service, Cloud]) -> Iterator[Customer]:
    service, cloud = place
    with service.client() as api:
        yield Customer(api, cloud)


def test_the_whole_journey(customer: Customer) -> None:
    """
    Goal: whoever follows what the service says gets from an account to a function that serves, and back, on every cloud.
    Method: one project; every step is broken, diagnosed and mended; then upload, deploy, call, change, fail, roll back,
    redeploy, cancel in mid-build, undeploy.
    """
    customer.ready("whole")
    _every_step_that_is_broken_is_named_and_its_remedy_mends_it(customer)
    serving = _a_function_is_deployed_changed_and_rolled_back(customer)
    _a_build_is_stopped_when_its_deployment_is_canceled(customer)
    _nothing_answers_once_it_is_taken_away(customer, serving)


def _every_step_that_is_broken_is_named_and_its_remedy_mends_it(customer: Customer) -> None:
    """Break one thing after another; each is asked about, done what the remedy says, and asked about again."""
    breaks = customer.cloud.breaks()
    for asked in {broken.asked for broken in breaks}:  # What worked before is refused at once, and not awaited.
        assert customer.settle(asked)["status"] == "verified"

    for broken in breaks:
        broken.act()
        seen = customer.settle(broken.asked)
        step = _failed(seen, broken)
        broken.mend(step["remedy"])
        mended = customer.settle(broken.asked)
        assert mended["status"] == "verified", (broken.what, step["remedy"], mended)

    if customer.cloud.diagnose:
        assert customer.settle("diagnosis")["status"] == "verified"


def test_a_grant_that_has_not_spread_is_awaited_and_seen_at_the_next_look(customer: Customer) -> None:
    """
    Goal: who did all that was asked is not told that it failed, and need not wait once it shows.
    Method: the account is set up; what lets one more project in shows only later.
    """
    cloud = customer.cloud
    if not isinstance(cloud, Spreads):
        pytest.skip("nothing is granted there")
    customer.ready("early")
    customer.make_project("late")

    with cloud.shell.spreading():
        customer.connect()
        seen = [customer.look("identity") for _ in range(2)]
        kept = customer.ask("GET", f"/projects/{customer.project_id}/integrations/{cloud.name}")
        diagnosed = customer.look("diagnosis") if cloud.diagnose else seen[0]
        typed = _typed(customer, "integrations", "verify", cloud.name, "--timeout", "1")
    after = customer.look("identity")

    [refused] = [step for step in seen[0]["steps"] if step["status"] == "failed"]
    assert seen[0]["status"] == kept["identityStatus"] == diagnosed["status"] == "pending"
    assert refused["code"] in ("WORKLOAD_IDENTITY_BINDING_MISSING", "AWS_TRUST_POLICY_REFUSED", "AZURE_SUBJECT_DIFFERS")
    assert "looked at again by itself until" in refused["message"]
    assert refused["remedy"]
    assert seen[0] == seen[1], "the time is that of the first look"
    assert typed.returncode == exits.TIMED_OUT
    assert typed.stdout.count(f"If it was not done yet: {refused['remedy']}") == 1, typed.stdout
    assert refused["remedy"] in typed.stderr
    assert after["status"] == "verified", after


def _typed(customer: Customer, *words: str) -> subprocess.CompletedProcess[str]:
    """What `dcf` says to that."""
    variables = {
        "DCF_URL": str(customer.api.base_url),
        "DCF_KEY": customer.api.headers["Authorization"].removeprefix("Bearer "),
        "DCF_PROJECT": customer.project_id,
        "PATH": os.environ["PATH"],
    }
    typed = [sys.executable, "-m", "cli", *words]
    return subprocess.run(typed, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False)


def _failed(seen: Any, broken: Break) -> Any:
    assert seen["status"] == "failed", (broken.what, seen)
    [step] = [step for step in seen["steps"] if step["status"] == "failed"]
    assert (step["name"], step["code"]) == (broken.step, broken.code), (broken.what, step)
    assert step["message"], broken.what
    return step


def _a_function_is_deployed_changed_and_rolled_back(customer: Customer) -> Any:
    """The deployment that serves in the end."""
    function_id = customer.draft("hello")

    first = customer.ended(customer.deploy_to(function_id, "hello", reason="first"))
    assert first["status"] == "succeeded", first["failure"]
    answer = httpx.get(first["url"], timeout=30)
    changed = (HELLO / "main.dart").read_text().replace("Hello", "Good morning").encode()
    files = {**customer.files, "code_file": customer.upload("code", "main.dart", changed)}
    kept, content = customer.newest_file()
    second = customer.ended(customer.deploy_to(function_id, "hello", artifactFiles=files))
    assert second["status"] == "succeeded", second["failure"]
    answer_changed = httpx.get(second["url"], timeout=30)
    broken = {**files, "code_file": customer.upload("code", "main.dart", b"void main() { this is not dart; }\n")}
    failed = customer.ended(customer.deploy_to(function_id, "hello", artifactFiles=broken))
    answer_after_failure = httpx.get(second["url"], timeout=30)
    back = customer.ask(
        "POST", f"{customer.path(first['deploymentId'])}/rollback", {"reason": "it was better"}, status=202
    )
    rolled_back = customer.ended(back["deploymentId"])
    answer_rolled_back = httpx.get(rolled_back["url"], timeout=30)
    again = customer.ask("POST", f"{customer.path(second['deploymentId'])}/redeploy", {}, status=202)
    redeployed = customer.ended(again["deploymentId"])
    answer_redeployed = httpx.get(redeployed["url"], timeout=30)

    assert (kept["provider"], content) == (customer.cloud.name, changed)
    # The storage of this machine is the service's own store, which is in no bucket.
    assert bool(kept["location"]) == (customer.cloud.name != "local")
    assert answer.text == "Hello, world!\n"
    assert answer_changed.text == "Good morning, world!\n"
    assert first["url"] == second["url"] == rolled_back["url"] == redeployed["url"]
    assert failed["status"] == "failed"
    assert "main.dart" in failed["failure"]["message"]
    assert answer_after_failure.text == "Good morning, world!\n"
    assert (rolled_back["status"], answer_rolled_back.text) == ("succeeded", "Hello, world!\n"), rolled_back
    types = [event["type"] for event in customer.events(rolled_back["deploymentId"])]
    assert "deployment.build_started" not in types
    assert (redeployed["status"], answer_redeployed.text) == ("succeeded", "Good morning, world!\n"), redeployed
    return redeployed


def _a_build_is_stopped_when_its_deployment_is_canceled(customer: Customer) -> None:
    function_id = customer.draft("slow")

    with customer.cloud.slowly() as code:
        files = {**customer.files, "code_file": customer.upload("code", "main.dart", code)}
        deployment_id = customer.deploy_to(function_id, "slow", artifactFiles=files)
        until(
            lambda: any(event["type"] == "deployment.build_started" for event in customer.events(deployment_id)),
            seconds=60,
            what="a build",
        )
        customer.ask("POST", f"{customer.path(deployment_id)}/cancel", {"reason": "too slow"}, status=202)
        canceled = customer.ended(deployment_id)
        running = customer.cloud.builds_running()

    assert canceled["status"] == "canceled", canceled
    assert running == 0
    assert [name for name in customer.cloud.remains() if deployment_id in name] == []


def _nothing_answers_once_it_is_taken_away(customer: Customer, serving: Any) -> None:
    assert httpx.get(serving["url"], timeout=30).text == "Good morning, world!\n"

    gone = customer.undeploy(serving["deploymentId"])

    assert gone["status"] == "undeployed", gone
    with pytest.raises(httpx.HTTPStatusError):
        httpx.get(serving["url"], timeout=30).raise_for_status()


# What AWS does of its own with schedules is tried in test_aws.py.
@pytest.mark.parametrize(
    "place",
    [pytest.param(name, marks=pytest.mark.proof) if name in ("local", "aws") else name for name in CLOUDS],
    indirect=True,
)
def test_a_function_with_a_schedule_is_called_by_the_cloud_until_it_is_taken_away(customer: Customer) -> None:
    cloud = customer.cloud
    if not isinstance(cloud, KeepsTime):
        pytest.skip("what calls functions on their schedule is not part of this emulator")
    customer.ready("punctual")
    trigger = {"type": "schedule", "settings": {"cron": "0 3 * * *", "timeZone": "Europe/Madrid"}}
    function_id = customer.draft("cuckoo", trigger=trigger, access="private")

    deployed = customer.ended(customer.deploy_to(function_id, "cuckoo"))
    assert deployed["status"] == "succeeded", deployed["failure"]
    answers = [cloud.tick(datetime(2026, 11, 27, hour, tzinfo=UTC)) for hour in (2, 3)]
    gone = customer.undeploy(deployed["deploymentId"])

    assert answers == [[200], []]
    assert gone["status"] == "undeployed", gone
    assert cloud.tick(datetime(2026, 11, 27, 2, tzinfo=UTC)) == []


def test_a_function_runs_in_a_cluster_of_kubernetes(customer: Customer) -> None:
    if not isinstance(customer.cloud, GcpCloud):
        pytest.skip("only Google Cloud runs functions in a cluster")
    customer.ready("clustered")
    function_id, target = customer.draft("hello"), customer.cloud.kubernetes_target("hello")
    [cluster] = customer.cloud.google.clusters.there

    first = customer.ended(customer.deploy(function_id, provider="gcp", target=target))
    assert first["status"] == "succeeded", first["failure"]
    answer = httpx.get(first["url"], timeout=30)
    broken = customer.upload("code", "main.dart", b"void main() => throw StateError('no reason to live');\n")
    files = {**customer.files, "code_file": broken}
    failed = customer.ended(customer.deploy(function_id, provider="gcp", target=target, artifactFiles=files))
    answer_after_failure = httpx.get(first["url"], timeout=30)
    second = customer.ended(customer.deploy(function_id, provider="gcp", target=target))
    assert second["status"] == "succeeded", second["failure"]
    back = customer.ask("POST", f"{customer.path(first['deploymentId'])}/rollback", {"reason": "again"}, status=202)
    again = customer.ended(back["deploymentId"])
    answer_again = httpx.get(again["url"], timeout=30)
    gone = customer.undeploy(again["deploymentId"])

    assert answer.text == answer_after_failure.text == answer_again.text == "Hello, world!\n"
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "release_unhealthy")
    assert "no reason to live" in failed["failure"]["message"]
    assert first["url"] == second["url"] == again["url"]
    assert gone["status"] == "undeployed", gone
    assert cluster.names() == []
