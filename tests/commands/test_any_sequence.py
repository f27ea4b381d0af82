"""Any sequence of commands, sensible or not, leaves a world that is true."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET

from commands.catalogue import DECIDERS
from commands.command import Command
from commands.progress import (
    PROGRESS,
    ClaimDeployment,
    RecordActivated,
    RecordBuildStarted,
    RecordBuildSucceeded,
    RecordBundled,
    RecordCanceled,
    RecordFailed,
    RecordPushed,
    RecordReleaseApplied,
    RecordReleaseStarted,
    RecordReleaseVerified,
    RecordUndeployed,
    RecordUndeployFailed,
    RecordWithdrawn,
)
from commands.runtime import DateChanges
from domain.clouds import LocalIdentity, LocalTarget
from domain.deployment import DEPLOYMENT, Deployment, DeploymentStatus
from domain.event import SYSTEM_TENANT, Decision, StreamRef
from domain.function import FUNCTION, ArtifactFiles
from domain.integration import CheckStep
from domain.refusal import Refusal
from domain.release import Toolchain, Trigger
from domain.runtime import Dates
from tests.support import a
from tests.support.world import World, reclaimed, recounted, refolded

SETTINGS = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# What may follow what. Terminal statuses are left for the undeploy phase only.
NEXT: dict[DeploymentStatus, tuple[DeploymentStatus, ...]] = {
    "queued": ("running", "canceled"),
    "running": ("deploying", "failed", "canceled"),
    "deploying": ("succeeded", "failed", "canceled"),
    "succeeded": ("undeploy_queued",),
    "failed": ("undeploy_queued",),
    "canceled": ("undeploy_queued",),
    "undeploy_queued": ("undeploying",),
    "undeploying": ("undeployed", "undeploy_failed"),
    "undeploy_failed": ("undeploy_queued",),
    "undeployed": (),
}

NONSENSE = [a.TENANT_ID, a.FUNCTION_ID, a.DEPLOYMENT_ID, a.staged_id("yaml")]
DEPLOYMENT_IDS = [a.id_of(10 + number) for number in range(6)]


def mostly(*sensible: Any, often: int = 4) -> st.SearchStrategy[Any]:
    """Ids that make sense, and now and then one that does not."""
    return st.sampled_from([*sensible * often, *NONSENSE])


TENANTS = st.sampled_from([*[a.TENANT_ID] * 12, a.OTHER_TENANT_ID, SYSTEM_TENANT])
FUNCTIONS = st.sampled_from([a.FUNCTION_ID, a.FUNCTION_ID, a.OTHER_FUNCTION_ID])
NAMES = st.sampled_from(["Shop", "shop", "Store", "Market", "a b", "a-b", "?"])
VERSIONS = st.sampled_from(["3.11.0", "3.11.0", "3.11.0", "3.10.0", "three"])
TIMES = st.sampled_from([a.AT + timedelta(days=days) for days in (-400, 0, 0, 0, 1, 400)])
DATES = st.builds(
    Dates,
    released_at=TIMES,
    deprecation_announced_at=st.none() | TIMES,
    block_new_deploys_after=st.none() | TIMES,
    disable_execution_after=st.none() | TIMES,
)
READY_FILES = ArtifactFiles(code_file=a.staged_id("code"), yaml_file=a.staged_id("yaml"))
FILE_IDS = st.none() | st.sampled_from([a.staged_id("code"), a.staged_id("yaml"), a.id_of(99)])
FILES = st.just(READY_FILES) | st.builds(ArtifactFiles, code_file=FILE_IDS, docker_file=FILE_IDS, yaml_file=FILE_IDS)
TRIGGERS = st.sampled_from([Trigger(), Trigger(), Trigger(type="event", settings={"source": "q"}), Trigger(type="x")])
STATUSES = st.sampled_from(["verified", "verified", "pending", "failed"])
STEPS = st.sampled_from([(), (CheckStep(name="agent", status="passed"),)])
PROVIDERS = st.sampled_from(["local", "local", "local", "aws"])
REMAINING = st.sampled_from([(), (), ("image:1",)])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "tenant_id": TENANTS,
    "at": TIMES,
    "name": NAMES,
    "project_id": mostly(a.PROJECT_ID, a.PROJECT_ID, a.OTHER_PROJECT_ID),
    "function_id": mostly(a.FUNCTION_ID, a.OTHER_FUNCTION_ID),
    "function_ids": st.sampled_from([(), (a.FUNCTION_ID,), (a.FUNCTION_ID, a.OTHER_FUNCTION_ID)]),
    "undeploy_first": st.booleans(),
    "asked_by": st.sampled_from([None, "owner", "admin", "viewer"]),
    "deployment_id": mostly(*DEPLOYMENT_IDS, often=1),
    "source_deployment_id": mostly(*DEPLOYMENT_IDS, often=1),
    "person_id": st.sampled_from([a.PERSON_ID, a.id_of(70), a.id_of(71), a.id_of(72)]),
    "invitation_id": st.sampled_from([a.id_of(90), a.id_of(91)]),
    "secret_hash": st.sampled_from(["ab" * 32, "ab" * 32, "cd" * 32]),
    "expires_at": TIMES,
    "signs_in_as": st.sampled_from(["ada", "eve"]),
    "workspace_id": st.sampled_from([None, a.TENANT_ID, a.OTHER_TENANT_ID]),
    "workspace": NAMES,
    "key_id": st.sampled_from([a.KEY_ID, a.id_of(80)]),
    "plan": st.sampled_from(["sandbox", "standard", "gold"]),
    "version": VERSIONS,
    "dates": DATES,
    "date_changes": st.builds(
        DateChanges,
        released_at=st.just(UNSET) | TIMES,
        deprecation_announced_at=st.just(UNSET) | st.none() | TIMES,
        block_new_deploys_after=st.just(UNSET) | st.none() | TIMES,
        disable_execution_after=st.just(UNSET) | st.none() | TIMES,
    ),
    "identity": st.just(LocalIdentity()),
    "status": STATUSES,
    "steps": STEPS,
    "provider": PROVIDERS,
    "target": st.just(LocalTarget()),
    "artifact_files": FILES,
    "kind": st.sampled_from(["code", "docker", "yaml"]),
    "file_name": st.sampled_from(["main.dart", "pubspec.yaml"]),
    "sdk_constraint": st.sampled_from([None, "^3.5.0", "<3.0.0", "nonsense"]),
    "digest": st.sampled_from([a.DIGEST, "sha256:" + "1" * 64]),
    "epoch": st.integers(1, 3),
    "build_id": st.sampled_from(["build-1", "build-2"]),
    "toolchain": st.sampled_from([None, a.TOOLCHAIN, Toolchain(engine="stand-in", version="3.7.3")]),
    "remaining": REMAINING,
    "differences": st.sampled_from([(), ("memory",)]),
    "role": st.sampled_from(["owner", "developer", "viewer"]),
    "artifact_id": st.sampled_from([a.staged_id("code"), a.staged_id("yaml"), a.id_of(99)]),
    "retention_days": st.just(30),
    "releases_kept": st.just(5),
    "deployments_requested": st.integers(0, 6),
    "limits": st.sampled_from([a.limits(), a.limits(projects=1, concurrent_deployments=1, queued_deployments=1)]),
    "authored": st.builds(a.authored, name=NAMES, trigger=TRIGGERS, runtime=VERSIONS, artifact_files=FILES),
    "changes": st.builds(
        lambda **named: a.update_function(**named).changes,
        name=NAMES,
        description=st.sampled_from(["", "Greets."]),
        access=st.sampled_from(["private", "public"]),
        environment=st.sampled_from([{}, {"A": "1"}, {"PORT": "1"}]),
    ),
}


def any_of(command: type[Command], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Command]:
    """Commands of one type, each field drawn from what such a field may hold."""
    drawn = {**FIELDS, **known}
    return st.builds(command, **{name: drawn[name] for name in command.__struct_fields__ if name in drawn})


class Holding(RuleBasedStateMachine):
    """What holds after every command, whatever it was."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.before: dict[StreamRef, Deployment] = {}

    def ask(self, command: Command) -> None:
        """Only a decision or a refusal may come of it, and only what the lifecycle allows may follow from that."""
        outcome = self.world.ask(command)
        assert outcome is None or isinstance(outcome, Decision | Refusal)
        self.statuses_follow_the_lifecycle_and_an_outcome_is_written_once()

    @invariant()
    def states_are_what_their_events_say(self) -> None:
        assert refolded(self.world) == self.world.states

    @invariant()
    def counts_are_what_a_recount_says(self) -> None:
        assert {key: value for key, value in self.world.counts.items() if value} == recounted(self.world)
        assert all(value >= 0 for value in self.world.counts.values())

    @invariant()
    def claims_are_held_by_what_needs_them_and_nothing_else(self) -> None:
        assert self.world.claims == reclaimed(self.world)

    def statuses_follow_the_lifecycle_and_an_outcome_is_written_once(self) -> None:
        now = self.world.of(DEPLOYMENT)
        for stream, deployment in now.items():
            before = self.before.get(stream)
            if before is None:
                assert deployment.status == "queued"
                continue
            assert deployment.status == before.status or deployment.status in NEXT[before.status]
            assert before.outcome in (None, deployment.outcome)
            assert deployment.epoch >= before.epoch
        self.before = now

    @invariant()
    def what_is_active_succeeded_and_what_is_pending_has_no_outcome(self) -> None:
        deployments = {stream.id: state for stream, state in self.world.of(DEPLOYMENT).items()}
        pending = {id for id, deployment in deployments.items() if deployment.outcome is None}
        functions = self.world.of(FUNCTION).values()
        assert {id for function in functions for id in function.pending} == pending
        for function in functions:
            assert not function.archived or not (function.active or function.pending)
            for active in function.active.values():
                assert deployments[active.deployment_id].outcome == "succeeded"
                assert deployments[active.deployment_id].status != "undeployed"
                assert active.number <= function.deployments_requested


READY: tuple[Command, ...] = (
    a.create_tenant(),
    a.create_project(),
    a.add_runtime(),
    a.stage_artifact("code"),
    a.stage_artifact("yaml"),
    a.connect_provider(),
    a.record_identity_checked(),
    a.record_storage_checked(),
    a.configure_storage(),
    a.create_function(a.FUNCTION_ID, name="one", artifact_files=READY_FILES),
    a.create_function(a.OTHER_FUNCTION_ID, name="two", artifact_files=READY_FILES),
)
ASKED = [command for decider in DECIDERS if decider is not PROGRESS for command in decider.commands]
BUILD_AND_RELEASE = (
    RecordBundled,
    RecordBuildStarted,
    RecordBuildSucceeded,
    RecordPushed,
    RecordReleaseStarted,
    RecordReleaseApplied,
    RecordReleaseVerified,
    RecordActivated,
)
AGAIN = (a.retry_deployment, a.redeploy_deployment, a.rollback_deployment, a.rollback_deployment)
ENDS = (RecordFailed, RecordFailed, RecordCanceled)
WITHDRAW = (RecordWithdrawn, RecordUndeployed, RecordUndeployFailed)


class AnyCommand(Holding):
    """Every command there is, about things that exist and things that do not."""

    @initialize(done=st.sampled_from([len(READY), len(READY), len(READY), 9, 5, 2, 0]))
    def begin(self, done: int) -> None:
        for command in (a.define_plan(), *READY[:done]):
            self.ask(command)

    @rule(commands=st.lists(st.sampled_from(ASKED).flatmap(any_of), min_size=1, max_size=4))
    def ask_what_people_ask(self, commands: list[Command]) -> None:
        for command in commands:
            self.ask(command)

    @rule(commands=st.lists(st.sampled_from(PROGRESS.commands).flatmap(any_of), min_size=1, max_size=4))
    def report_what_runners_report(self, commands: list[Command]) -> None:
        for command in commands:
            self.ask(command)


class LifeOfDeployments(Holding):
    """Deployments of two ready functions, with runners that mostly, but not always, report what is next."""

    @initialize(limits=FIELDS["limits"])
    def begin(self, limits: Any) -> None:
        for command in (a.define_plan(limits=limits), *READY):
            assert isinstance(self.world.ask(command), Decision)

    @rule(function_id=FUNCTIONS, deployment_id=st.sampled_from(DEPLOYMENT_IDS))
    def queue(self, function_id: Any, deployment_id: Any) -> None:
        self.ask(a.queue_deployment(function_id=function_id, deployment_id=deployment_id))

    @precondition(lambda self: self.world.of(DEPLOYMENT))
    @rule(data=st.data(), again=st.sampled_from(AGAIN), deployment_id=st.sampled_from(DEPLOYMENT_IDS))
    def do_one_again(self, data: st.DataObject, again: Any, deployment_id: Any) -> None:
        stream, _ = self.pick(data)
        self.ask(again(source_deployment_id=stream.id, deployment_id=deployment_id))

    @precondition(lambda self: self.world.of(DEPLOYMENT))
    @rule(data=st.data(), newer=st.sampled_from([1, 1, 1, 0, -1]))
    def claim(self, data: st.DataObject, newer: int) -> None:
        stream, deployment = self.pick(data)
        self.report(ClaimDeployment, stream, deployment, epoch=deployment.epoch + newer)

    @precondition(lambda self: self.world.of(DEPLOYMENT))
    @rule(data=st.data(), steps=st.sampled_from([*range(1, 9), 8, 8, 8, 8]))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        stream, deployment = self.pick(data)
        self.report(ClaimDeployment, stream, deployment, epoch=deployment.epoch + 1)
        for step in BUILD_AND_RELEASE[:steps]:
            self.report(step, stream, self.world.states[stream])

    @precondition(lambda self: self.world.of(DEPLOYMENT))
    @rule(data=st.data(), steps=st.sets(st.sampled_from(WITHDRAW), min_size=1), remaining=REMAINING)
    def take_away(self, data: st.DataObject, steps: set[type[Command]], remaining: tuple[str, ...]) -> None:
        stream, deployment = self.pick(data)
        self.ask(a.undeploy_deployment(deployment_id=stream.id))
        self.report(ClaimDeployment, stream, deployment, epoch=deployment.epoch + 1)
        for step in (step for step in WITHDRAW if step in steps):
            self.report(step, stream, self.world.states[stream], remaining=remaining)

    @precondition(lambda self: self.world.of(DEPLOYMENT))
    @rule(data=st.data(), command=st.sampled_from([*PROGRESS.commands, *ENDS]), older=st.sampled_from([0, 0, 0, 0, 1]))
    def report_anything(self, data: st.DataObject, command: type[Command], older: int) -> None:
        stream, deployment = self.pick(data)
        drawn = {name: data.draw(FIELDS[name]) for name in ("build_id", "toolchain", "remaining", "differences")}
        self.report(command, stream, deployment, epoch=deployment.epoch - older, **drawn)

    @precondition(lambda self: self.world.of(DEPLOYMENT))
    @rule(data=st.data(), ask=st.sampled_from([a.cancel_deployment, a.undeploy_deployment, a.undeploy_deployment]))
    def ask_about_one(self, data: st.DataObject, ask: Any) -> None:
        stream, _ = self.pick(data)
        self.ask(ask(deployment_id=stream.id))

    @rule(function_id=FUNCTIONS, archive=st.sampled_from([*[False] * 11, True]))
    def change_a_function(self, function_id: Any, archive: bool) -> None:
        if archive:
            self.ask(a.archive_function(function_id=function_id))
        else:
            self.ask(a.update_function(access="public"))

    def pick(self, data: st.DataObject) -> tuple[StreamRef, Deployment]:
        """One of the deployments there are."""
        deployments = self.world.of(DEPLOYMENT)
        stream = data.draw(st.sampled_from(sorted(deployments, key=lambda ref: ref.id)))
        return stream, deployments[stream]

    def report(self, of: type[Any], stream: StreamRef, deployment: Deployment, **changes: Any) -> None:
        """A report that names the right function and, unless told otherwise, the newest epoch."""
        assert deployment.release is not None
        named = {"deployment_id": stream.id, "function_id": deployment.release.function_id}
        self.ask(a.report(of, **{**named, "epoch": deployment.epoch, **changes}))


TestAnyCommand = AnyCommand.TestCase
TestAnyCommand.settings = SETTINGS
TestLifeOfDeployments = LifeOfDeployments.TestCase
TestLifeOfDeployments.settings = SETTINGS
