"""What the plan keeps no longer: releases that go, decided when nothing can need them any more."""

from __future__ import annotations

from typing import assert_never
from uuid import UUID

from commands.command import Command, Decider, Reads, States, facts
from domain.clouds import target_key
from domain.deployment import DEPLOYMENT, DeploymentRetired, DeploymentUnknown
from domain.event import Decision
from domain.function import FUNCTION
from domain.refusal import Conflict


class ReleaseInUse(Conflict):
    """The release serves, or somebody is going back to it."""

    code = "release_in_use"


class ReleasesMoved(Conflict):
    """Another deployment of the function was asked for since the releases were counted."""

    code = "releases_moved"


class RetireDeployment(Command, frozen=True, kw_only=True, tag="RetireDeployment"):
    """Asked by a runner that counted more newer releases than the plan keeps, when `deployments_requested` had been asked for."""

    deployment_id: UUID
    function_id: UUID
    releases_kept: int
    deployments_requested: int


RetentionCommand = RetireDeployment


def reads(command: RetentionCommand) -> Reads:
    yield DEPLOYMENT, DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    yield FUNCTION, FUNCTION.stream(command.tenant_id, command.function_id)


def decide(command: RetentionCommand, states: States) -> Decision:
    match command:
        case RetireDeployment():
            return _retire(command, states)
        case _:
            assert_never(command)


def _retire(command: RetireDeployment, states: States) -> Decision:
    stream = DEPLOYMENT.stream(command.tenant_id, command.deployment_id)
    deployment = states.at(DEPLOYMENT, stream)
    release = deployment.release
    if release is None or release.function_id != command.function_id:
        raise DeploymentUnknown
    if deployment.retired:
        return Decision()
    function = states.of(FUNCTION, command.tenant_id, command.function_id)
    if function.deployments_requested != command.deployments_requested:
        raise ReleasesMoved
    key = target_key(release.target)
    active = function.active.get(key)
    pending = [id for id, pending_key in function.pending.items() if pending_key == key]
    wanted = any(_goes_back(states, command.tenant_id, id, deployment.image_reference) for id in pending)
    if deployment.status != "succeeded" or wanted or (active and active.deployment_id == command.deployment_id):
        raise ReleaseInUse
    return Decision(facts=facts(stream, DeploymentRetired(releases_kept=command.releases_kept)))


def _goes_back(states: States, tenant_id: UUID, deployment_id: UUID, image_reference: str) -> bool:
    release = states.of(DEPLOYMENT, tenant_id, deployment_id).release
    return release is not None and release.image is not None and release.image.reference == image_reference


RETENTION = Decider(commands=(RetireDeployment,), reads=reads, decide=decide)
