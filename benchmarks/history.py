"""What has happened before HTTP is measured: a project with functions, each of which serves, served, or waits to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from benchmarks.served import Served
from commands.artifact import StageArtifact
from commands.command import Command
from commands.deployment import QueueDeployment
from commands.execute import Context, execute
from commands.function import CreateFunction
from commands.ids import new_id
from commands.integration import ConfigureStorage, ConnectProvider, RecordIdentityChecked, RecordStorageChecked
from commands.plan import DefinePlan
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
)
from commands.project import CreateProject
from domain.clouds import LocalIdentity, LocalStorage, LocalTarget
from domain.event import SYSTEM_TENANT
from domain.function import ArtifactFiles, Authored
from domain.plan import Limits
from domain.release import Toolchain, Trigger
from eventstore.database import connect
from eventstore.log import Log
from eventstore.meta import Actor
from eventstore.postgres import PostgresLog

_RUNTIME = "3.11.0"
_DIGEST = "sha256:" + "0" * 64

Standing = Literal["serves", "served", "waits"]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """`deployments` has those of each standing; `functions` all functions, in the order they were made."""

    project_id: UUID
    functions: list[UUID]
    deployments: dict[Standing, list[UUID]]


async def make_history(place: Served, *, functions: int, of_each: int) -> History:
    """So many functions, and so many deployments of each standing."""
    url = place.ground.url
    async with connect(url, role="dcf_app", size_max=2) as database, PostgresLog(database, url, role="dcf_app") as log:
        author = _Author(log, place.tenant_id)
        await author.begin()
        made = [await author.function(n) for n in range(functions)]
        serving = [await author.deploy(function) for function in made[:of_each]]
        served = [await author.deploy(function) for function in made[of_each : 2 * of_each]]
        for function in made[of_each : 2 * of_each]:
            await author.deploy(function)  # The one before served until now.
        waiting = [await author.queue(function) for function in made[2 * of_each : 3 * of_each]]
        return History(
            project_id=author.project_id,
            functions=made,
            deployments={"serves": serving, "served": served, "waits": waiting},
        )


class _Author:
    """Records what people and runners would, by the same commands."""

    def __init__(self, log: Log, tenant_id: UUID) -> None:
        self._log = log
        self._asked: dict[str, Any] = {"tenant_id": tenant_id, "at": datetime.now(UTC)}
        self._files = ArtifactFiles()
        self.project_id = new_id()

    async def begin(self) -> None:
        """A plan without a limit of requests, a project that can deploy to this machine, and its files."""
        unlimited = DefinePlan(
            tenant_id=SYSTEM_TENANT,
            at=self._asked["at"],
            name="enterprise",
            limits=Limits(
                projects=10,
                functions_per_project=1_000,
                members=10,
                concurrent_deployments=1_000,
                queued_deployments=1_000,
                requests_per_minute=1_000_000_000,
            ),
        )
        await self._record(unlimited)
        of_project: dict[str, Any] = {**self._asked, "project_id": self.project_id}
        await self._record(CreateProject(**of_project, name="benchmark"))
        of_local: dict[str, Any] = {**of_project, "provider": "local"}
        await self._record(ConnectProvider(**of_local, identity=LocalIdentity()))
        await self._record(RecordIdentityChecked(**of_local, identity=LocalIdentity(), status="verified", steps=()))
        await self._record(
            RecordStorageChecked(
                **of_local, identity=LocalIdentity(), storage=LocalStorage(), status="verified", steps=()
            )
        )
        await self._record(ConfigureStorage(**of_local, storage=LocalStorage()))
        file: dict[str, Any] = {**of_project, "digest": _DIGEST, "size_bytes": 400}
        code = StageArtifact(**file, kind="code", file_name="main.dart", has_main=True)
        pubspec = StageArtifact(**file, kind="yaml", file_name="pubspec.yaml", sdk_constraint="^3.5.0")
        for command in (code, pubspec):
            await self._record(command)
        self._files = ArtifactFiles(code_file=code.artifact_id, yaml_file=pubspec.artifact_id)

    async def function(self, number: int) -> UUID:
        function_id = new_id()
        authored = Authored(
            name=f"greeter-{number}",
            description="greets whoever calls it",
            trigger=Trigger(),
            runtime=_RUNTIME,
            environment={"GREETING": "hello"},
            artifact_files=self._files,
        )
        command = CreateFunction(**self._asked, project_id=self.project_id, function_id=function_id, authored=authored)
        await self._record(command)
        return function_id

    async def queue(self, function_id: UUID) -> UUID:
        deployment_id = new_id()
        command = QueueDeployment(
            **self._asked,
            project_id=self.project_id,
            function_id=function_id,
            deployment_id=deployment_id,
            provider="local",
            target=LocalTarget(),
        )
        await self._record(command)
        return deployment_id

    async def deploy(self, function_id: UUID) -> UUID:
        deployment_id = await self.queue(function_id)
        of_it: dict[str, Any] = {**self._asked, "deployment_id": deployment_id, "function_id": function_id, "epoch": 1}
        toolchain = Toolchain(engine="dart-sdk", version=_RUNTIME)
        for command in (
            ClaimDeployment(**of_it, runner_id="runner-1"),
            RecordBundled(**of_it, location="bundles/1", digest=_DIGEST),
            RecordBuildStarted(**of_it, build_id="build-1"),
            RecordBuildSucceeded(**of_it, build_id="build-1", toolchain=toolchain),
            RecordPushed(**of_it, reference="images/1", digest=_DIGEST),
            RecordReleaseStarted(**of_it),
            RecordReleaseApplied(**of_it, url="http://127.0.0.1:8001/default/benchmark/greeter/", revision="1"),
            RecordReleaseVerified(**of_it),
            RecordActivated(**of_it),
        ):
            await self._record(command)
        return deployment_id

    async def _record(self, command: Command) -> None:
        await execute(self._log, command, Context(actor=Actor("system"), command_id=new_id(), correlation_id=new_id()))
