"""Takes away what plans keep no longer: releases, files, build logs, ticks, secrets of functions that were put away.

The active release of a place and the newest others that succeeded are never touched, nor what they were made from or
what their builds said. Every step is small and looks again, so a round that is broken off is simply begun anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog

from commands.artifact import DiscardArtifact
from commands.basis import fold
from commands.command import Command
from commands.execute import Context, execute
from commands.integration import RecordFormerStorageSwept
from commands.progress import RecordWithdrawn
from commands.retention import RetireDeployment
from domain.artifact import Kept
from domain.clouds import Identity, LocalStorage, Storage
from domain.deployment import DeploymentStatus
from domain.event import SYSTEM_TENANT
from domain.function import FUNCTION, Function
from domain.plan import Limits, plan_stream
from domain.refusal import Refusal
from eventstore.codec import EventOfNewerCode
from eventstore.meta import Actor
from eventstore.ticks import Ticks
from eventstore.webhook_deliveries import Deliveries
from projections.artifacts import ARTIFACTS_KEPT
from projections.deployment_lists import (
    DEPLOYMENT_FATES,
    DEPLOYMENTS_BY_STATUS,
    RELEASES_KEPT,
    RELEASES_LEFTOVER,
    KeptRelease,
    Watched,
)
from projections.functions import FUNCTION_GET, FUNCTIONS_LIST
from projections.integrations import INTEGRATIONS_LIST, Integration
from projections.plans import PLAN
from projections.projects import PROJECTS_LIST
from projections.query import Found, Query
from projections.reader import Reader
from projections.tenants import TENANTS_LIST
from projections.webhooks import WEBHOOK_GET
from providers import files
from providers.provider import KeepsFiles, Place, ProviderBusy, ProviderRefused
from runner.access import access_of
from runner.discretion import Discretion
from runner.perform import foreseen, provider_of
from runner.rewrapping import wrap_anew
from runner.seen import Seen, look, order_of
from runner.world import Held, World

PAGE_ROWS = 100
STEP_ROWS_MAX = 500
CAUGHT_UP_SECONDS_MAX = 30.0
# Bytes that nothing names may be about to be named.
BYTES_SECONDS = 24 * 3600.0

_NO_OUTCOME: tuple[DeploymentStatus, ...] = ("queued", "running", "deploying")
_NOBODY = UUID(int=0)
A = TypeVar("A")

log = structlog.get_logger()


class _Needed(msgspec.Struct, frozen=True):
    """The files a tenant still needs: those its functions name, and those that releases were made from."""

    artifact_ids: set[UUID]
    digests: set[str]


class _Swept(msgspec.Struct, frozen=True, kw_only=True):
    """How many files are left in a storage; or None, and why it could not be swept."""

    files: int | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""


class Retention:
    """A Duty."""

    name = "retention"

    def __init__(
        self,
        reader: Reader,
        ticks: Ticks,
        deliveries: Deliveries,
        world: World,
        *,
        runner_id: UUID,
        pause_seconds: float,
    ) -> None:
        self.pause_seconds = pause_seconds
        self._reader = reader
        self._ticks = ticks
        self._deliveries = deliveries
        self._world = world
        self._runner_id = runner_id

    def begin(self) -> None:
        """Nothing is remembered between rounds."""

    async def hand_over(self, seconds_max: float) -> None:
        """Nothing is under way between rounds."""

    async def round(self) -> None:
        """Once through everything. Read models that are behind are left for the next round: what they do not show yet
        may be needed."""
        head = await self._world.log.head()
        if not await self._reader.wait_for(head, seconds_max=CAUGHT_UP_SECONDS_MAX):
            return
        async for found in self._pages(RELEASES_LEFTOVER, None):
            with suppress(EventOfNewerCode):
                await self._withdraw(found)
        plans: dict[UUID, Limits] = {}
        async for tenant in self._pages(TENANTS_LIST, None):
            plan = await self._reader.one(PLAN, SYSTEM_TENANT, plan_stream(tenant.row.plan).id)
            if plan is not None:
                plans[tenant.tenant_id] = plan.row.limits
        for tenant_id, limits in plans.items():
            await self._retire(tenant_id, limits)
            await self._discard(tenant_id, limits)
            before = self._before(limits.log_retention_days)
            await self._ticks.prune(tenant_id, before, limit=STEP_ROWS_MAX)
            await self._deliveries.prune(tenant_id, before, limit=STEP_ROWS_MAX)
        await self._expire_logs(plans)
        await self._expire_secrets(plans)

    def _before(self, days: int) -> Any:
        return self._world.clock() - timedelta(days=days)

    async def _pages(self, query: Query[A], tenant_id: UUID | None, *args: Any) -> AsyncIterator[Found[A]]:
        after: int | None = None
        while True:
            page = await self._reader.page(query, tenant_id, *args, after=after, limit=PAGE_ROWS)
            for found in page.items:
                yield found
            after = page.next_after
            if after is None:
                return

    # Releases.

    async def _kept(self, tenant_id: UUID) -> AsyncIterator[tuple[str, Found[KeptRelease]]]:
        """The tenant's kept releases, each with the name of its place."""
        slot, number = "", 0
        while True:
            rows = await self._reader.rows(RELEASES_KEPT, None, tenant_id, slot, number, PAGE_ROWS)
            for found in rows:
                slot, number = found.row.slot, found.row.number
                yield slot, found
            if len(rows) < PAGE_ROWS:
                return

    async def _retire(self, tenant_id: UUID, limits: Limits) -> None:
        kept = [(slot, found.row) async for slot, found in self._kept(tenant_id)]
        for _, place in groupby(kept, key=lambda one: one[0]):
            former = [row for _, row in place if not row.active]
            beyond = former[: max(0, len(former) - limits.releases_kept)]
            for row in beyond:
                with suppress(EventOfNewerCode):  # Newer code knows what has become of it, and does this too.
                    await self._retire_one(tenant_id, row, limits)

    async def _retire_one(self, tenant_id: UUID, row: KeptRelease, limits: Limits) -> None:
        stream = FUNCTION.stream(tenant_id, row.function_id)
        function: Function = await fold(self._world.log, FUNCTION, stream)
        await self._ask(
            RetireDeployment(
                tenant_id=tenant_id,
                at=self._world.clock(),
                deployment_id=row.deployment_id,
                function_id=row.function_id,
                releases_kept=limits.releases_kept,
                deployments_requested=function.deployments_requested,
            ),
            row.deployment_id,
        )

    async def _withdraw(self, found: Found[Watched]) -> None:
        """Take away what a retired release had made. What remains is tried again in the next round."""
        held = Held(
            tenant_id=found.tenant_id,
            deployment_id=found.id,
            function_id=found.row.function_id,
            epoch=0,
            runner_id=str(self._runner_id),
        )
        recorded = (await look(self._world.log, held, Seen())).deployment
        if recorded.status != "succeeded" or not recorded.retired:
            return  # It is being undeployed, which takes the same away.
        order = order_of(held, recorded, await access_of(self._world.log, held, recorded))
        if order is None:
            return
        try:
            async with foreseen("withdraw", Discretion(order, self._world)):
                remaining = await provider_of(order, self._world).withdraw(order)
        except (ProviderBusy, ProviderRefused) as problem:
            log.warning("release_not_withdrawn", deployment_id=str(found.id), problem=str(problem))
            return
        await self._ask(
            RecordWithdrawn(
                tenant_id=found.tenant_id,
                at=self._world.clock(),
                deployment_id=found.id,
                function_id=found.row.function_id,
                epoch=recorded.epoch,
                remaining=remaining,
            ),
            found.id,
        )

    # Files.

    async def _discard(self, tenant_id: UUID, limits: Limits) -> None:
        """Files first, and their bytes a round later at the earliest: whatever was queued with one before is seen then."""
        needed = await self._needed(tenant_id)
        digests, locations = set(needed.digests), set[str]()
        before = self._before(limits.artifact_retention_days)
        async for found in self._pages(ARTIFACTS_KEPT, None, tenant_id):
            if found.row.location is None:
                digests.add(found.row.digest)
            else:
                locations.add(found.row.location)
            if found.row.created_at < before and found.id not in needed.artifact_ids:
                await self._ask(
                    DiscardArtifact(
                        tenant_id=tenant_id,
                        at=self._world.clock(),
                        artifact_id=found.id,
                        retention_days=limits.artifact_retention_days,
                    ),
                    found.id,
                )
        await self._world.contents.sweep(tenant_id, digests, older_than_seconds=BYTES_SECONDS, limit=STEP_ROWS_MAX)
        async for project in self._pages(PROJECTS_LIST, tenant_id):
            async for integration in self._pages(INTEGRATIONS_LIST, tenant_id, project.id):
                await self._sweep(integration, locations)

    async def _sweep(self, found: Found[Integration], locations: set[str]) -> None:
        """Take away from the project's storage, and from those of before, what no artifact names and nobody is about to
        name. One of before is given up once nothing is left in it; what keeps us from it is recorded."""
        row, keeper = found.row, self._world.providers.get(found.row.provider)
        if row.identity is None or keeper is None or not isinstance(keeper, KeepsFiles):
            return  # It is not connected, or there is nothing of ours.
        if row.storage is not None and not isinstance(row.storage, LocalStorage):  # That is our own store.
            await self._swept(keeper, _place_of(found, row.identity, row.storage), locations)
        for former in row.former_storages:
            swept = await self._swept(keeper, _place_of(found, row.identity, former.storage), locations)
            if swept is not None:
                await self._ask(
                    RecordFormerStorageSwept(
                        tenant_id=found.tenant_id,
                        at=self._world.clock(),
                        project_id=row.project_id,
                        provider=row.provider,
                        storage=former.storage,
                        files=swept.files,
                        code=swept.code,
                        message=swept.message,
                        remedy=swept.remedy,
                    ),
                    found.id,
                )

    async def _swept(self, keeper: KeepsFiles, place: Place, locations: set[str]) -> _Swept | None:
        """How many files are left, or the refusal; None: the storage does not answer now."""
        about = log.bind(project_id=str(place.project_id), storage=Kept(storage=place.storage, name="").location)
        try:
            async with foreseen("sweep"):
                removed, left = await self._removed(keeper, place, locations)
        except ProviderBusy as problem:
            about.info("storage_not_swept", problem=str(problem))
            return None
        except ProviderRefused as refused:
            about.info("storage_not_swept", problem=str(refused))
            return _Swept(code=refused.code, message=refused.message, remedy=refused.remedy)
        if removed:
            about.info("storage_swept", count=removed, left=left)
        return _Swept(files=left)

    async def _removed(self, keeper: KeepsFiles, place: Place, locations: set[str]) -> tuple[int, int]:
        """How many files were taken away, and how many are left, as far as was looked."""
        before = self._world.clock() - timedelta(seconds=BYTES_SECONDS)
        removed, left, cursor, folder = 0, 0, "", files.folder(place.tenant_id, place.project_id)
        while removed < STEP_ROWS_MAX:
            page = await keeper.list_files(place, folder, cursor)
            for file in page.items:
                if file.at < before and Kept(storage=place.storage, name=file.name).location not in locations:
                    await keeper.remove_file(place, file.name)
                    removed += 1
                else:
                    left += 1
            cursor = page.next_cursor
            if not cursor:
                return removed, left
        return removed, left + 1  # The rest is for the next round.

    async def _needed(self, tenant_id: UUID) -> _Needed:
        needed = _Needed(set(), set())
        async for _, kept in self._kept(tenant_id):
            for source in kept.row.release.sources:
                needed.artifact_ids.add(source.artifact_id)
                needed.digests.add(source.digest)
        async for project in self._pages(PROJECTS_LIST, tenant_id):
            await self._needed_in(tenant_id, project.id, needed)
        return needed

    async def _needed_in(self, tenant_id: UUID, project_id: UUID, needed: _Needed) -> None:
        async for function in self._pages(FUNCTIONS_LIST, tenant_id, project_id):
            files = function.row.artifact_files
            named = (files.code_file, files.docker_file, files.yaml_file)
            if function.row.status != "archived":
                needed.artifact_ids.update(id for id in named if id is not None)
        for status in _NO_OUTCOME:
            asked = (project_id, None, None, None, status)
            async for deployment in self._pages(DEPLOYMENTS_BY_STATUS, tenant_id, *asked):
                for source in deployment.row.release.sources:
                    needed.artifact_ids.add(source.artifact_id)
                    needed.digests.add(source.digest)

    # Logs.

    async def _expire_logs(self, plans: dict[UUID, Limits]) -> None:
        """What a build said is kept as long as its release, and otherwise for as many days as the plan says."""
        after = (_NOBODY, _NOBODY)
        while rows := await self._world.build_logs.kept(after=after, limit=PAGE_ROWS):
            for tenant_id, mine in groupby(rows, key=lambda row: row.tenant_id):
                limits = plans.get(tenant_id)
                if limits is None:
                    continue
                before = self._before(limits.log_retention_days)
                old = [row.deployment_id for row in mine if row.written_at < before]
                await self._expire(tenant_id, old, limits.log_retention_days)
            after = (rows[-1].tenant_id, rows[-1].deployment_id)

    async def _expire(self, tenant_id: UUID, deployment_ids: list[UUID], days: int) -> None:
        if not deployment_ids:
            return
        for found in await self._reader.rows(DEPLOYMENT_FATES, None, tenant_id, deployment_ids):
            fate = found.row
            kept = fate.active or (fate.status == "succeeded" and not fate.retired)
            if not kept and fate.status not in _NO_OUTCOME:
                note = f"What the build said was kept for {days} days, as the plan says.\n"
                await self._world.build_logs.expire(tenant_id, found.id, note)

    # Secrets.

    async def _expire_secrets(self, plans: dict[UUID, Limits]) -> None:
        """Values of functions that were archived longer ago than their files are kept, and of webhooks that are removed; and whatever a former master key still
        wraps, as what an API closed that was not restarted yet, is wrapped anew."""
        after = (_NOBODY, _NOBODY)
        while keys := await self._world.secrets.functions(after=after, limit=PAGE_ROWS):
            for tenant_id, function_id in keys:
                limits = plans.get(tenant_id)
                found = await self._reader.one(FUNCTION_GET, tenant_id, function_id)
                if found is None:
                    await self._expire_webhook(tenant_id, function_id)
                    continue
                if limits is None or found.row.status != "archived":
                    continue
                if found.row.updated_at < self._before(limits.artifact_retention_days):
                    count = await self._world.secrets.forget(tenant_id, function_id)
                    log.info("secrets_forgotten", function_id=str(function_id), count=count)
            after = keys[-1]
        world = self._world
        await wrap_anew(world.secrets, world.sealing, world.ring, now=world.clock())

    async def _expire_webhook(self, tenant_id: UUID, webhook_id: UUID) -> None:
        found = await self._reader.one(WEBHOOK_GET, tenant_id, webhook_id)
        if found is not None and found.row.status == "removed":
            await self._world.secrets.forget(tenant_id, webhook_id)

    async def _ask(self, command: Command, correlation_id: UUID) -> None:
        context = Context(
            actor=Actor("runner", str(self._runner_id)),
            command_id=self._world.new_id(),
            correlation_id=correlation_id,
            record_refusals=False,
        )
        try:
            await execute(self._world.log, command, context)
        except Refusal as refusal:
            # Something has happened meanwhile; the next round sees what.
            log.info("retention_put_off", about=str(correlation_id), code=refusal.code)


def _place_of(found: Found[Integration], identity: Identity, storage: Storage) -> Place:
    return Place(tenant_id=found.tenant_id, project_id=found.row.project_id, identity=identity, storage=storage)
