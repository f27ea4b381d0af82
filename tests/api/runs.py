"""What a runner reports, recorded without one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from api.first_start import TENANT_ID
from commands.command import Command
from commands.execute import Context, execute
from commands.ids import new_id
from commands.progress import (
    ClaimDeployment,
    RecordActivated,
    RecordBuildStarted,
    RecordBuildSucceeded,
    RecordBundled,
    RecordPushed,
    RecordReleaseApplied,
    RecordReleaseStarted,
    RecordReleaseVerified,
    RecordUndeployed,
)
from eventstore.meta import Actor
from tests.api.world import World


async def succeeded(world: World, deployment: Any, *, tenant_id: UUID = TENANT_ID) -> None:
    """The deployment, an answer of the API, becomes the active one."""
    common = _common(world, deployment, tenant_id, epoch=1)
    await _record(
        world,
        ClaimDeployment(**common, runner_id="a runner"),
        RecordBundled(**common, location="here", digest="sha256:0"),
        RecordBuildStarted(**common, build_id="build"),
        RecordBuildSucceeded(**common, build_id="build"),
        RecordPushed(**common, reference="image", digest="sha256:0"),
        RecordReleaseStarted(**common),
        RecordReleaseApplied(**common, url="http://functions.test/", revision="1"),
        RecordReleaseVerified(**common),
        RecordActivated(**common),
    )


async def undeployed(world: World, deployment: Any) -> None:
    """The undeployment that was asked for is done."""
    common = _common(world, deployment, TENANT_ID, epoch=2)
    await _record(world, ClaimDeployment(**common, runner_id="a runner"), RecordUndeployed(**common))


def _common(world: World, deployment: Any, tenant_id: UUID, *, epoch: int) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "at": world.services.clock(),
        "deployment_id": UUID(deployment["deploymentId"]),
        "function_id": UUID(deployment["functionId"]),
        "epoch": epoch,
    }


async def _record(world: World, *commands: Command) -> None:
    for command in commands:
        context = Context(actor=Actor("runner", "a runner"), command_id=new_id(), correlation_id=new_id())
        done = await execute(world.log, command, context)
        await world.services.reader.wait_for(done.last_position, seconds_max=10)
