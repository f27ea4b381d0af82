"""What runners report of deployments. Every report carries the epoch of its claim; an older epoch's is void."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from commands.function import archived
from commands.limits import limits_of
from commands.queueing import queue_counter
from domain.clouds import account_key, target_key
from domain.deployment import (
    DEPLOYMENT,
    IN_ACCOUNT,
    BuildFailed,
    BuildStarted,
    BuildSucceeded,
    CancelRequested,
    Deployment,
    DeploymentActivated,
    DeploymentBundled,
    DeploymentCanceled,
    DeploymentClaimed,
    DeploymentEvent,
    DeploymentFailed,
    DeploymentSucceeded,
    DeploymentUndeployed,
    DeploymentUnknown,
    DeploymentWaiting,
    DeploymentWithdrawn,
    DriftCleared,
    DriftFound,
    Failure,
    FailureFound,
    ImagePushed,
    NotClaimable,
    Notice,
    ReleaseApplied,
    ReleaseStarted,
    ReleaseVerified,
    ReportOutOfPlace,
    StaleEpoch,
    UndeployFailed,
    UndeployStarted,
)
from domain.event import Claim, Counter, Decision, Fact, StreamRef
from domain.function import FUNCTION, DeploymentEnded, FunctionDeployed, FunctionUndeployed
from domain.project import PROJECT, DeployLock, lock_of, locked
from domain.release import Release, Toolchain
from domain.tenant import TENANT


class _Report(Command, frozen=True, kw_only=True):
    deployment_id: UUID
    function_id: UUID
    epoch: int


class ClaimDeployment(_Report, frozen=True, kw_only=True, tag="ClaimDeployment"):
    runner_id: str


class RecordBundled(_Report, frozen=True, kw_only=True, tag="RecordBundled"):
    location: str
    digest: str


class RecordBuildStarted(_Report, frozen=True, kw_only=True, tag="RecordBuildStarted"):
    build_id: str


class RecordBuildSucceeded(_Report, frozen=True, kw_only=True, tag="RecordBuildSucceeded"):
    build_id: str
    toolchain: Toolchain | None = None


class RecordBuildFailed(_Report, frozen=True, kw_only=True, tag="RecordBuildFailed"):
    build_id: str
    failure: Failure


class RecordPushed(_Report, frozen=True, kw_only=True, tag="RecordPushed"):
    reference: str
    digest: str


class RecordReleaseStarted(_Report, frozen=True, kw_only=True, tag="RecordReleaseStarted"):
    pass


class RecordReleaseApplied(_Report, frozen=True, kw_only=True, tag="RecordReleaseApplied"):
    url: str
    revision: str


class RecordReleaseVerified(_Report, frozen=True, kw_only=True, tag="RecordReleaseVerified"):
    pass


class RecordActivated(_Report, frozen=True, kw_only=True, tag="RecordActivated"):
    """The release serves: the deployment has succeeded and becomes the active one, unless a newer one is."""


class RecordFailureFound(_Report, frozen=True, kw_only=True, tag="RecordFailureFound"):
    failure: Failure


class RecordFailed(_Report, frozen=True, kw_only=True, tag="RecordFailed"):
    failure: Failure
    remaining: tuple[str, ...] = ()


class RecordCanceled(_Report, frozen=True, kw_only=True, tag="RecordCanceled"):
    remaining: tuple[str, ...] = ()


class RecordWaiting(_Report, frozen=True, kw_only=True, tag="RecordWaiting"):
    step: str
    message: str
    retry_in_seconds: float


class RecordWithdrawn(_Report, frozen=True, kw_only=True, tag="RecordWithdrawn"):
    remaining: tuple[str, ...] = ()


class RecordUndeployed(_Report, frozen=True, kw_only=True, tag="RecordUndeployed"):
    pass


class RecordUndeployFailed(_Report, frozen=True, kw_only=True, tag="RecordUndeployFailed"):
    failure: Failure
    remaining: tuple[str, ...] = ()


class RecordDrift(_Report, frozen=True, kw_only=True, tag="RecordDrift"):
    """`differences` is empty when what the cloud shows is what was released."""

    differences: tuple[str, ...]


ProgressCommand = (
    ClaimDeployment
    | RecordBundled
    | RecordBuildStarted
    | RecordBuildSucceeded
    | RecordBuildFailed
    | RecordPushed
    | RecordReleaseStarted
    | RecordReleaseApplied
    | RecordReleaseVerified
    | RecordActivated
    | RecordFailureFound
    | RecordFailed
    | RecordCanceled
    | RecordWaiting
    | RecordWithdrawn
    | RecordUndeployed
    | RecordUndeployFailed
    | RecordDrift
)


def reads(command: ProgressCommand) -> Reads:
    yield DEPLOYMENT, DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    if isinstance(command, ClaimDeployment):
        yield TENANT, TENANT.stream(command.tenant_id, command.tenant_id)
    if isinstance(command, RecordActivated | RecordFailed | RecordCanceled | RecordUndeployed | RecordDrift):
        yield FUNCTION, FUNCTION.stream(command.tenant_id, command.function_id)


def decide(command: ProgressCommand, states: States) -> Decision:
    deployment = states.of(DEPLOYMENT, command.tenant_id, command.deployment_id)
    release = deployment.release
    if release is None or release.function_id != command.function_id:
        raise DeploymentUnknown
    if isinstance(command, ClaimDeployment):
        return _claim(command, deployment, release, states)
    if command.epoch != deployment.epoch:
        raise StaleEpoch
    match command:
        case RecordActivated():
            return _activate(command, deployment, release, states)
        case RecordFailed():
            _require_under_way(deployment)
            failed = DeploymentFailed(epoch=command.epoch, failure=command.failure, remaining=command.remaining)
            return _end(
                command,
                deployment,
                release,
                failed,
                fact_of_function=DeploymentEnded(deployment_id=command.deployment_id),
            )
        case RecordCanceled():
            _require_canceling(deployment)
            canceled = DeploymentCanceled(cause="requested", epoch=command.epoch, remaining=command.remaining)
            return _end(
                command,
                deployment,
                release,
                canceled,
                fact_of_function=DeploymentEnded(deployment_id=command.deployment_id),
            )
        case RecordUndeployed():
            return _undeployed(command, deployment, release, states)
        case RecordUndeployFailed():
            _require_undeploying(deployment)
            failed_again = UndeployFailed(epoch=command.epoch, failure=command.failure, remaining=command.remaining)
            return _end(command, deployment, release, failed_again)
        case RecordWithdrawn():
            _require_withdrawing(deployment)
            return _note(command, _withdrawn(command, deployment))
        case RecordDrift():
            return _note(command, _drift(command, deployment, release, states))
        case _:
            _require_in_order(command, deployment)
            return _note(command, _progress(command, deployment))


_Progress = (
    RecordBundled
    | RecordBuildStarted
    | RecordBuildSucceeded
    | RecordBuildFailed
    | RecordPushed
    | RecordReleaseStarted
    | RecordReleaseApplied
    | RecordReleaseVerified
    | RecordFailureFound
    | RecordWaiting
)


# What decides the outcome of a deployment that nobody asked to cancel.
_DECIDING = (RecordBuildFailed, RecordReleaseVerified, RecordFailureFound)


def _require_in_order(command: _Progress, deployment: Deployment) -> None:
    _require_under_way(deployment, undeploying=isinstance(command, RecordWaiting))
    if not _in_order(command, deployment):
        raise ReportOutOfPlace


def _in_order(command: _Progress, deployment: Deployment) -> bool:
    """Bundle, build, push, release, verify: no step is reported before the one it builds on; a rollback begins at release."""
    if isinstance(command, _DECIDING) and deployment.is_canceling:
        return False  # Whoever asked was told that it will be canceled: the runner did not know yet.
    built = deployment.build_succeeded or deployment.build_failure is not None or deployment.is_prebuilt
    match command:
        case RecordBundled(digest=digest):
            return not (deployment.build_id or built) or deployment.bundle_digest == digest
        case RecordBuildStarted(build_id=build_id):
            return deployment.build_id == build_id or (bool(deployment.bundle_digest) and not built)
        case RecordBuildSucceeded(build_id=build_id):
            return deployment.build_id == build_id and deployment.build_failure is None
        case RecordBuildFailed(build_id=build_id):
            return deployment.build_id == build_id and not deployment.build_succeeded
        case RecordPushed():
            return deployment.build_succeeded
        case RecordReleaseStarted():
            return bool(deployment.image_reference)  # A rollback has it from the beginning.
        case RecordReleaseApplied():
            return deployment.release_started
        case RecordReleaseVerified():
            return deployment.release_applied
        case RecordFailureFound() | RecordWaiting():
            return True
        case _:
            assert_never(command)


def _progress(command: _Progress, deployment: Deployment) -> list[DeploymentEvent]:
    """The step's event, or nothing when it is recorded already."""
    epoch = command.epoch
    match command:
        case RecordBundled():
            done = deployment.bundle_digest == command.digest
            return [] if done else [DeploymentBundled(epoch=epoch, location=command.location, digest=command.digest)]
        case RecordBuildStarted():
            done = deployment.build_id == command.build_id
            return [] if done else [BuildStarted(epoch=epoch, build_id=command.build_id)]
        case RecordBuildSucceeded():
            return [] if deployment.build_succeeded else [_build_succeeded(command, deployment)]
        case RecordBuildFailed():
            failed = BuildFailed(epoch=epoch, build_id=command.build_id, failure=command.failure)
            return [] if deployment.build_failure else [failed]
        case RecordPushed():
            done = deployment.image_reference == command.reference
            return [] if done else [ImagePushed(epoch=epoch, reference=command.reference, digest=command.digest)]
        case RecordReleaseStarted():
            return [] if deployment.release_started else [ReleaseStarted(epoch=epoch)]
        case RecordReleaseApplied():
            applied = ReleaseApplied(epoch=epoch, url=command.url, revision=command.revision)
            return [] if deployment.release_applied else [applied]
        case RecordReleaseVerified():
            return [] if deployment.release_verified else [ReleaseVerified(epoch=epoch)]
        case RecordFailureFound():
            found = FailureFound(epoch=epoch, failure=command.failure)
            return [] if deployment.failing else [found]
        case RecordWaiting():
            return [
                DeploymentWaiting(
                    epoch=epoch, step=command.step, message=command.message, retry_in_seconds=command.retry_in_seconds
                )
            ]
        case _:
            assert_never(command)


def _build_succeeded(command: RecordBuildSucceeded, deployment: Deployment) -> BuildSucceeded:
    toolchain, chosen = command.toolchain, deployment.release.runtime if deployment.release else ""
    notices: tuple[Notice, ...] = ()
    if toolchain is not None and toolchain.version != chosen:
        message = f"The function was built with Dart {toolchain.version}; the runtime chosen is {chosen}."
        notices = (Notice(code="toolchain_differs", message=message),)
    return BuildSucceeded(epoch=command.epoch, build_id=command.build_id, toolchain=toolchain, warnings=notices)


def _claim(command: ClaimDeployment, deployment: Deployment, release: Release, states: States) -> Decision:
    if not deployment.is_claimable:
        raise NotClaimable
    if command.epoch <= deployment.epoch:
        raise StaleEpoch
    stream = DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    if deployment.status == "queued" and states.of(TENANT, command.tenant_id, command.tenant_id).closed:
        return _of_closed_tenant(command, stream)
    if deployment.status == "queued":
        lock = lock_of(states.of(PROJECT, command.tenant_id, deployment.project_id), command.at)
        if lock is not None:
            return _held_back(command, deployment, lock, stream)
    if deployment.is_under_way:
        # Taken over from a runner that is gone; the place is held already.
        claimed = DeploymentClaimed(epoch=command.epoch, runner_id=command.runner_id)
        return Decision(facts=facts(stream, claimed))
    account, limits = account_key(release.target), limits_of(command.tenant_id, states)
    claimed = DeploymentClaimed(epoch=command.epoch, runner_id=command.runner_id, account=account)
    begun: tuple[Fact, ...] = facts(stream, claimed)
    counters = [
        running_counter(command.tenant_id, 1, limit=limits.concurrent_deployments),
        account_counter(command.tenant_id, account, 1, limit=limits.per_account),
    ]
    if deployment.status == "undeploy_queued":
        begun = facts(stream, claimed, UndeployStarted(epoch=command.epoch))
    else:
        counters.append(queue_counter(command.tenant_id, -1))
    return Decision(facts=begun, claims=(_slot(command, release),), counters=tuple(counters))


def _of_closed_tenant(command: ClaimDeployment, stream: StreamRef) -> Decision:
    """It was queued in the instant in which its tenant was closed: nobody is there any more to want it."""
    canceled = facts(stream, CancelRequested(reason="The tenant was closed."), DeploymentCanceled(cause="requested"))
    ended = facts(
        FUNCTION.stream(command.tenant_id, command.function_id), DeploymentEnded(deployment_id=command.deployment_id)
    )
    return Decision(facts=(*canceled, *ended), counters=(queue_counter(command.tenant_id, -1),))


def _held_back(command: ClaimDeployment, deployment: Deployment, lock: DeployLock, stream: StreamRef) -> Decision:
    """Nobody begins it while the project is locked; its timeline is told once for each lock. Raises
    ProjectDeploymentsLocked."""
    message = f"Deployments of the project are {lock}"
    if deployment.held_back_by == message:
        raise locked(lock)
    seconds = round((lock.expires_at - command.at).total_seconds(), 1)
    waiting = DeploymentWaiting(epoch=deployment.epoch, step="queue", message=message, retry_in_seconds=seconds)
    return Decision(facts=facts(stream, waiting))


def running_counter(tenant_id: UUID, delta: int, *, limit: int | None = None) -> Counter:
    """How many of the tenant's deployments are under way."""
    return Counter(tenant_id=tenant_id, scope="deployments", name="running", delta=delta, limit=limit)


def account_counter(tenant_id: UUID, account: str, delta: int, *, limit: int | None = None) -> Counter:
    """How many of the tenant's deployments are under way in one account and region."""
    return Counter(tenant_id=tenant_id, scope=IN_ACCOUNT, name=account, delta=delta, limit=limit)


def _slot(command: ProgressCommand, release: Release, *, release_it: bool = False) -> Claim:
    """The one place there is for a deployment under way of a function at a target."""
    return Claim(
        tenant_id=command.tenant_id,
        scope="slot",
        key=f"{release.function_id}/{target_key(release.target)}",
        holder=command.deployment_id,
        release=release_it,
    )


def _activate(command: RecordActivated, deployment: Deployment, release: Release, states: States) -> Decision:
    _require_under_way(deployment)
    # One that was going to fail may turn out to serve, until something of it was taken away.
    if not deployment.release_verified or (deployment.failing and deployment.withdrawals):
        raise ReportOutOfPlace
    key = target_key(release.target)
    before = states.of(FUNCTION, command.tenant_id, command.function_id).active.get(key)
    succeeded = DeploymentSucceeded(epoch=command.epoch, despite=deployment.failing)
    if before is not None and before.number > deployment.number:
        # A newer release serves already; this one worked, but never takes its place.
        return _end(
            command,
            deployment,
            release,
            succeeded,
            fact_of_function=DeploymentEnded(deployment_id=command.deployment_id),
        )
    replaced = before.deployment_id if before else None
    deployed = FunctionDeployed(
        deployment_id=command.deployment_id,
        number=deployment.number,
        target_key=key,
        function_revision=release.function_revision,
        replaced=replaced,
        inputs=release.inputs,
    )
    activated = DeploymentActivated(epoch=command.epoch, replaced=replaced)
    return _end(command, deployment, release, activated, succeeded, fact_of_function=deployed)


def _undeployed(command: RecordUndeployed, deployment: Deployment, release: Release, states: States) -> Decision:
    _require_undeploying(deployment)
    if deployment.remaining:
        raise ReportOutOfPlace
    key = target_key(release.target)
    stream = FUNCTION.stream(command.tenant_id, command.function_id)
    function = states.at(FUNCTION, stream)
    active = function.active.get(key)
    undeployed = DeploymentUndeployed(epoch=command.epoch)
    if active is None or active.deployment_id != command.deployment_id:
        return _end(command, deployment, release, undeployed)
    gone = FunctionUndeployed(deployment_id=command.deployment_id, target_key=key)
    ended = _end(command, deployment, release, undeployed, fact_of_function=gone)
    if function.archive_requested is None or len(function.active) > 1:
        return ended
    # Somebody asked to put the function away once nothing of it is live, and this was the last.
    away = archived(stream, function, function.archive_requested)
    return Decision(
        facts=ended.facts + away.facts, claims=ended.claims + away.claims, counters=ended.counters + away.counters
    )


def _end(
    command: ProgressCommand,
    deployment: Deployment,
    release: Release,
    *events: DeploymentEvent,
    fact_of_function: DeploymentEnded | FunctionDeployed | FunctionUndeployed | None = None,
) -> Decision:
    """The deployment is over: it gives its place at the target back."""
    of_function = (
        facts(FUNCTION.stream(command.tenant_id, command.function_id), fact_of_function) if fact_of_function else ()
    )
    return Decision(
        facts=(*facts(DEPLOYMENT.stream(command.tenant_id, command.deployment_id), *events), *of_function),
        claims=(_slot(command, release, release_it=True),),
        counters=_given_back(command, deployment),
    )


def _given_back(command: ProgressCommand, deployment: Deployment) -> tuple[Counter, ...]:
    """What it counted in when it was begun; in an account only if whoever began it knew of that."""
    running = running_counter(command.tenant_id, -1)
    if not deployment.counted_in:
        return (running,)
    return running, account_counter(command.tenant_id, deployment.counted_in, -1)


def _withdrawn(command: RecordWithdrawn, deployment: Deployment) -> list[DeploymentEvent]:
    """Every try counts while it is being ended; of what is kept no longer only a change is news."""
    told = (deployment.withdrawn, deployment.remaining) == (not command.remaining, command.remaining)
    if deployment.status == "succeeded" and deployment.withdrawals and told:
        return []
    return [DeploymentWithdrawn(epoch=command.epoch, remaining=command.remaining)]


def _drift(command: RecordDrift, deployment: Deployment, release: Release, states: States) -> list[DeploymentEvent]:
    """Only what serves can differ from what was released; what was found of one that does not any more is over."""
    active = states.of(FUNCTION, command.tenant_id, command.function_id).active.get(target_key(release.target))
    serves = active is not None and active.deployment_id == command.deployment_id and deployment.status == "succeeded"
    if not serves and (command.differences or not deployment.drift):
        raise ReportOutOfPlace
    if command.differences == deployment.drift:
        return []
    return [DriftFound(differences=command.differences)] if command.differences else [DriftCleared()]


def _note(command: ProgressCommand, events: list[DeploymentEvent]) -> Decision:
    return Decision(facts=facts(DEPLOYMENT.stream(command.tenant_id, command.deployment_id), *events))


def _require_under_way(deployment: Deployment, *, undeploying: bool = False) -> None:
    allowed = ("running", "deploying", "undeploying") if undeploying else ("running", "deploying")
    if deployment.status not in allowed:
        raise ReportOutOfPlace


def _require_canceling(deployment: Deployment) -> None:
    _require_under_way(deployment)
    if not deployment.cancel_requested:
        raise ReportOutOfPlace


def _require_withdrawing(deployment: Deployment) -> None:
    """What it made is taken away when it is undeployed, fails, is canceled or is kept no longer, and never otherwise."""
    ending = deployment.status in ("running", "deploying") and (deployment.failing or deployment.cancel_requested)
    retired = deployment.status == "succeeded" and deployment.retired
    if not ending and not retired and deployment.status != "undeploying":
        raise ReportOutOfPlace


def _require_undeploying(deployment: Deployment) -> None:
    if deployment.status != "undeploying":
        raise ReportOutOfPlace


PROGRESS = Decider(
    commands=(
        ClaimDeployment,
        RecordBundled,
        RecordBuildStarted,
        RecordBuildSucceeded,
        RecordBuildFailed,
        RecordPushed,
        RecordReleaseStarted,
        RecordReleaseApplied,
        RecordReleaseVerified,
        RecordActivated,
        RecordFailureFound,
        RecordFailed,
        RecordCanceled,
        RecordWaiting,
        RecordWithdrawn,
        RecordUndeployed,
        RecordUndeployFailed,
        RecordDrift,
    ),
    reads=reads,
    decide=decide,
)
