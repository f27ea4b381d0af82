"""Processes killed, paused and cut off while people deploy for real: what the simulation shows must hold here too."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from commands.basis import fold
from commands.execute import Context, execute
from commands.plan import DefinePlan
from domain.event import SYSTEM_TENANT
from domain.plan import PLAN, plan_stream
from eventstore import embedded
from eventstore.embedded import Place
from eventstore.meta import Actor
from tests.support.crew import Crew, functions_running
from tests.support.limits import Replay, replay
from tests.support.service import ROOT, Journey, until

RUNNERS = 3
FUNCTIONS = 4
CONCURRENT = 3
# That of the tenant a service begins with.
PLAN_NAME = "enterprise"
# Whoever asks while processes are killed asks again and again; once nothing is killed any more, for so long.
PATIENCE_SECONDS = 90
# Once nothing is killed any more, everything has its outcome within so many seconds.
SETTLED_SECONDS_MAX = 180
# How often all ask at once, until as many are served at a time as may be.
CROWDS_MAX = 5
PAUSE_SECONDS = 8.0
VICTIMS = ("runner", "runner", "runner", "runner", "agent", "api", "projections")


pytestmark = pytest.mark.timeout(900)


class Storm(msgspec.Struct, frozen=True, kw_only=True):
    """How bad it gets, in an order that the seed gives. `pauses` are runners stopped for longer than their leases,
    `replacements` runners asked to end."""

    seed: int
    kills: int
    crashes: int
    cuts: int
    pauses: int
    replacements: int
    seconds_between_max: float


STORM = Storm(seed=200, kills=200, crashes=6, cuts=10, pauses=4, replacements=6, seconds_between_max=1.0)


@pytest.fixture
def crew() -> Iterator[Crew]:
    with tempfile.TemporaryDirectory(prefix="dcf-kills-", ignore_cleanup_errors=True) as directory:
        # What was promised must outlive a crash of the server too.
        running = Crew(Path(directory), runners=RUNNERS, DCF_DATABASE_DURABLE="true")
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.mark.proof
def test_nothing_is_lost_doubled_or_stuck_in_two_hundred_kills(crew: Crew) -> None:
    Trial(crew, STORM).play()


class Customer(Journey):
    """Asks for one thing after another of one function, each until there is an answer."""

    def __init__(self, api: httpx.Client, project: Journey, broken: str, function_id: str, random: Random) -> None:
        super().__init__(api)
        self.project_id, self.files, self._broken = project.project_id, project.files, broken
        self._function_id, self._random = function_id, random
        self._calm = Event()
        # Every deployment that was promised, and how often it was.
        self.promised: Counter[str] = Counter()
        self._newest: list[str] = []

    def live(self, calm: Event) -> None:
        """Until it is calm."""
        self._calm = calm
        while not calm.is_set():
            self._ask(self._random.random())
            calm.wait(self._random.uniform(0.3, 3.0))

    def _ask(self, chance: float) -> None:
        if chance < 0.5 or not self._newest:
            is_broken = self._random.random() < 0.1
            self._deploy({**self.files, "code_file": self._broken} if is_broken else self.files)
        elif chance < 0.7:
            self._begin(
                f"/{self._random.choice(self._newest)}/{self._random.choice(('retry', 'redeploy', 'rollback'))}"
            )
        elif chance < 0.9:
            self._send(f"/{self._newest[-1]}/cancel", {})
        else:
            self._send(f"/{self._random.choice(self._newest)}/undeploy", {})

    def deploy_own(self) -> None:
        self._deploy(self.files)

    def _deploy(self, files: dict[str, str]) -> None:
        body = {"functionId": self._function_id, "provider": "local", "artifactFiles": files, "target": {}}
        self._begin("", body)

    def _begin(self, path: str, body: dict[str, Any] | None = None) -> None:
        answer = self._send(path, body or {})
        if answer.status_code == 202:
            self.promised[answer.json()["deploymentId"]] += 1
            self._newest = [*self._newest[-3:], answer.json()["deploymentId"]]

    def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """The answer, whether it says yes or no; the same key is sent again while there is none."""
        headers = {"Idempotency-Key": str(UUID(int=self._random.getrandbits(128)))}
        end = time.monotonic() + PATIENCE_SECONDS
        url = f"/api/v1/projects/{self.project_id}/deployments{path}"
        while True:
            try:
                answer = self.api.post(url, json=body, headers=headers, timeout=15)
            except httpx.TransportError as away:
                said = repr(away)
            else:
                said = f"{answer.status_code} {answer.text}"
                assert answer.status_code in (202, 200, 404, 409, 422, 429, 503), said
                if answer.status_code not in (429, 503):
                    return answer
            if not self._calm.is_set():
                end = time.monotonic() + PATIENCE_SECONDS
            assert time.monotonic() < end, said
            time.sleep(0.1)


class Trial:
    """One storm over one service, and what must hold at its end."""

    def __init__(self, crew: Crew, storm: Storm) -> None:
        self._crew, self._storm, self._random = crew, storm, Random(storm.seed)
        self._place = Place.of(crew.data_dir)

    def play(self) -> None:
        asyncio.run(self._set_limits())
        with self._crew.client() as api:
            project = Journey(api)
            project.prepare("storm")
            broken = project.upload("code", "main.dart", b"void main() { this is not dart; }\n")
            customers = [
                Customer(api, project, broken, project.draft(f"f{n}"), Random(f"{self._storm.seed} {n}"))
                for n in range(FUNCTIONS)
            ]
            self._blow(customers)
            found = self._settled(api, project)
            for _ in range(CROWDS_MAX):
                if found.most["tenant"] == CONCURRENT:
                    break
                # Whether people ask for enough at a time is a matter of luck, and of how soon each is served.
                for customer in customers:
                    customer.deploy_own()
                found = self._settled(api, project)
            assert found.most["tenant"] == CONCURRENT, "the limit was reached"
            self._check(api, project, customers)

    def _settled(self, api: httpx.Client, project: Journey) -> Replay:
        """What the log says once everything has ended: in the read models, which may be behind, and then in the log."""
        began = time.monotonic()
        until(lambda: not self._unsettled(api, project), seconds=SETTLED_SECONDS_MAX, what="everything has ended")
        found = until(self._over, seconds=SETTLED_SECONDS_MAX, what="everything has ended in the log")
        sys.stdout.write(f"settled after {time.monotonic() - began:.1f} s\n")
        found.check_end()
        return found

    async def _set_limits(self) -> None:
        """So few at a time that some have to wait."""
        async with self._crew.opened() as log:
            plan = await fold(log, PLAN, plan_stream(PLAN_NAME))
            limits = msgspec.structs.replace(plan.limits, concurrent_deployments=CONCURRENT)
            command = DefinePlan(tenant_id=SYSTEM_TENANT, at=datetime.now(UTC), name=PLAN_NAME, limits=limits)
            await execute(log, command, Context(actor=Actor("operator"), command_id=uuid4(), correlation_id=uuid4()))

    def _over(self) -> Replay | None:
        """What the log says, when by that nothing is under way or waits."""
        found = asyncio.run(self._replayed())
        return found if found.is_quiet else None

    async def _replayed(self) -> Replay:
        async with self._crew.opened() as log:
            return await replay(log)

    # The storm.

    def _blow(self, customers: list[Customer]) -> None:
        storm, calm = self._storm, Event()
        numbers = {
            "kill": storm.kills,
            "crash": storm.crashes,
            "cut": storm.cuts,
            "pause": storm.pauses,
            "replace": storm.replacements,
        }
        blows = [blow for blow, number in numbers.items() for _ in range(number)]
        self._random.shuffle(blows)
        with ThreadPoolExecutor(len(customers)) as people:
            living = [people.submit(customer.live, calm) for customer in customers]
            try:
                for blow in blows:
                    time.sleep(self._random.uniform(0.1, storm.seconds_between_max))
                    self._crew.must_run()
                    self._strike(blow)
            finally:
                calm.set()
            for life in living:
                life.result(timeout=2 * PATIENCE_SECONDS)

    def _strike(self, blow: str) -> None:
        # Who is killed over and over before it is there shows nothing, and a busy machine would never have it back.
        kind = self._random.choice(VICTIMS if self._crew.answers() else ("runner",))
        victim = self._random.choice(self._crew.runners) if kind == "runner" else kind
        match blow:
            case "kill":
                self._crew.kill(victim)
            case "crash":
                server = embedded.running(self._place)
                if server is not None:
                    server.send_signal(self._random.choice((signal.SIGQUIT, signal.SIGINT)))
            case "cut":
                asyncio.run(_cut(self._place.url()))
            case "replace":
                self._crew.replace(self._random.choice(self._crew.runners))
            case "pause":
                paused = self._crew.runners[0]
                self._crew.send(paused, signal.SIGSTOP)
                time.sleep(PAUSE_SECONDS)
                self._crew.send(paused, signal.SIGCONT)
            case _:
                raise AssertionError(blow)

    # What must hold.

    def _unsettled(self, api: httpx.Client, project: Journey) -> bool:
        try:
            listed = [
                api.get(f"/api/v1/projects/{project.project_id}/deployments?status={status}&limit=1").json()["items"]
                for status in ("queued", "running", "deploying", "undeploy_queued", "undeploying")
            ]
        except (httpx.TransportError, KeyError, ValueError):
            return True
        return any(listed)

    def _check(self, api: httpx.Client, project: Journey, customers: list[Customer]) -> None:
        promised = sum((customer.promised for customer in customers), Counter[str]())
        path = f"/api/v1/projects/{project.project_id}/deployments"
        until(
            lambda: {one["deploymentId"] for one in _all(api, path)} == set(promised),
            seconds=30,
            what="what was promised is recorded, and nothing else",
        )
        assert set(promised.values()) == {1}, "each key made one deployment"
        self._check_functions(api, project)
        verified = subprocess.run(
            [sys.executable, "-m", "cli", "audit", "verify", "--json"],
            cwd=ROOT,
            env=self._crew.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-2000:]

    def _check_functions(self, api: httpx.Client, project: Journey) -> None:
        """What the log calls active runs and answers, once; nothing else runs."""
        deployments = _all(api, f"/api/v1/projects/{project.project_id}/deployments")
        active = {one["deploymentId"]: one["url"] for one in deployments if one["active"]}
        until(
            lambda: set(functions_running(self._crew.data_dir / "agent")) == set(active),
            seconds=30,
            what=f"only {set(active)} run",
        )
        groups = functions_running(self._crew.data_dir / "agent")
        assert all(len(ids) == 1 for ids in groups.values()), groups
        for url in active.values():
            until(partial(_answers, url), seconds=30, what=f"{url} answers")
        for one in deployments:
            events = Counter(event["type"] for event in project.events(one["deploymentId"]))
            assert events["deployment.build_started"] <= 1, events
        assert len({one["functionId"] for one in deployments if one["active"]}) == len(active), "one active a function"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=15).status_code == 200
    except httpx.TransportError:
        return False


def _all(api: httpx.Client, path: str) -> list[Any]:
    items: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(path, params={"limit": 100, **({"cursor": cursor} if cursor else {})}).json()
        items += page["items"]
        cursor = page["nextCursor"]
    return items


async def _cut(url: str) -> None:
    """Every connection to the database ends."""
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return  # The server is away: they are cut already.
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
