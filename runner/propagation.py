"""Looks again at integrations whose cloud had not made up its mind: a grant that was just given need not show everywhere yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from commands.basis import fold
from commands.execute import Context, execute
from commands.integration import RecordIdentityChecked, RecordResourcesChecked, RecordStorageChecked
from commands.spreading import judged
from domain.clouds import AwsIdentity
from domain.integration import INTEGRATION, Check, CheckStep
from domain.integration import Integration as State
from domain.refusal import Refusal
from eventstore.codec import EventOfNewerCode
from eventstore.meta import Actor
from projections.integrations import INTEGRATIONS_AWAITED, Integration
from projections.query import Found
from projections.reader import Reader
from providers.provider import ChecksNamed, ChecksResources, Finding, Provider, ProviderBusy, ProviderRefused, Step
from runner.perform import foreseen
from runner.world import World

LOOK_SECONDS = 15.0
LOOKS_AT_ONCE_MAX = 4
PAGE_ROWS = 100
# What a cloud put off itself, or shows as given, is awaited so long; a refusal, as long as that cloud says (`spreading`).
AWAITED_MAX = timedelta(minutes=30)

_GIVEN_UP = CheckStep(
    name="propagation",
    status="failed",
    code="STILL_PENDING",
    message=f"The cloud had not made up its mind within {AWAITED_MAX.seconds // 60} minutes.",
    remedy="See that what the steps before this one name is there, and look again.",
)

log = structlog.get_logger()


class Propagation:
    """A Duty. Only what is no longer pending is recorded; who disconnects or looks meanwhile has the last word."""

    name = "propagation"
    pause_seconds = LOOK_SECONDS

    def __init__(self, reader: Reader, world: World, *, runner_id: UUID) -> None:
        self._reader = reader
        self._world = world
        self._runner_id = runner_id

    def begin(self) -> None:
        """Nothing is remembered between rounds."""

    async def hand_over(self, seconds_max: float) -> None:
        """Nothing is under way between rounds."""

    async def round(self) -> None:
        """Everything that is awaited, once, a few at a time."""
        after: int | None = None
        while True:
            page = await self._reader.page(INTEGRATIONS_AWAITED, None, after=after, limit=PAGE_ROWS)
            await self._look_at(page.items)
            after = page.next_after
            if after is None:
                return

    async def _look_at(self, rows: Sequence[Found[Integration]]) -> None:
        for start in range(0, len(rows), LOOKS_AT_ONCE_MAX):
            await asyncio.gather(*map(self._look, rows[start : start + LOOKS_AT_ONCE_MAX]))

    async def _look(self, found: Found[Integration]) -> None:
        provider = self._world.providers.get(found.row.provider)
        try:
            state = await self._state(found)
            if provider is None or not state.connected:
                return
            assert state.updated_at is not None
            last = self._world.clock() - state.updated_at >= AWAITED_MAX
            if state.identity_status == "pending" and state.identity_steps:
                await self._look_at_identity(found, state, provider, last=last)
                state = await self._state(found)
            if state.storage_status == "pending" and state.storage_checked is not None:
                await self._look_at_storage(found, state, provider, last=last)
                state = await self._state(found)
            if state.resources_status == "pending" and state.resources is not None:
                await self._look_at_resources(found, state, provider, last=last)
        except (ProviderRefused, EventOfNewerCode) as error:
            log.info("integration_not_seen", integration_id=str(found.id), problem=str(error))

    async def _look_at_identity(
        self, found: Found[Integration], state: State, provider: Provider, *, last: bool
    ) -> None:
        assert state.identity is not None, "what is connected has an identity"
        finding = await _answer(_verification(found, state, provider), state.identity_steps)
        if (
            settled := _settled(finding, state.identity_check, self._world.clock(), last=last)
        ) is not None and await self._is_as_before(found, state):
            await self._record(
                found,
                RecordIdentityChecked(
                    tenant_id=found.tenant_id,
                    at=self._world.clock(),
                    project_id=found.row.project_id,
                    provider=found.row.provider,
                    identity=state.identity,
                    status=settled.status,
                    steps=_steps(settled),
                    spreads_seconds=settled.spreads_seconds,
                    named=state.identity_named,
                ),
            )

    async def _look_at_storage(
        self, found: Found[Integration], state: State, provider: Provider, *, last: bool
    ) -> None:
        assert state.identity is not None, "what is connected has an identity"
        assert state.storage_checked is not None, "it is looked at again"
        storage = state.storage_checked
        finding = await _answer(
            provider.check_storage(found.tenant_id, found.row.project_id, state.identity, storage), state.storage_steps
        )
        if (
            settled := _settled(finding, state.storage_check(storage), self._world.clock(), last=last)
        ) is not None and await self._is_as_before(found, state):
            await self._record(
                found,
                RecordStorageChecked(
                    tenant_id=found.tenant_id,
                    at=self._world.clock(),
                    project_id=found.row.project_id,
                    provider=found.row.provider,
                    identity=state.identity,
                    storage=storage,
                    status=settled.status,
                    steps=_steps(settled),
                    spreads_seconds=settled.spreads_seconds,
                ),
            )

    async def _look_at_resources(
        self, found: Found[Integration], state: State, provider: Provider, *, last: bool
    ) -> None:
        assert state.identity is not None, "what is connected has an identity"
        assert state.resources is not None, "they are looked at again"
        if not isinstance(provider, ChecksResources):
            return
        resources = state.resources
        finding = await _answer(
            provider.check_resources(found.tenant_id, found.row.project_id, state.identity, resources),
            state.resources_steps,
        )
        if (
            settled := _settled(finding, state.resources_check(resources), self._world.clock(), last=last)
        ) is not None and await self._is_as_before(found, state):
            await self._record(
                found,
                RecordResourcesChecked(
                    tenant_id=found.tenant_id,
                    at=self._world.clock(),
                    project_id=found.row.project_id,
                    provider=found.row.provider,
                    identity=state.identity,
                    resources=resources,
                    status=settled.status,
                    steps=_steps(settled),
                    spreads_seconds=settled.spreads_seconds,
                ),
            )

    async def _state(self, found: Found[Integration]) -> State:
        state: State = await fold(self._world.log, INTEGRATION, INTEGRATION.stream(found.tenant_id, found.id))
        return state

    async def _is_as_before(self, found: Found[Integration], state: State) -> bool:
        """Whether nobody has looked or connected anew while the cloud was asked."""
        return (await self._state(found)).version == state.version

    async def _record(
        self,
        found: Found[Integration],
        command: RecordIdentityChecked | RecordStorageChecked | RecordResourcesChecked,
    ) -> None:
        context = Context(
            actor=Actor("runner", str(self._runner_id)),
            command_id=self._world.new_id(),
            correlation_id=found.id,
            record_refusals=False,
        )
        try:
            await execute(self._world.log, command, context)
        except Refusal as refusal:
            # It was disconnected, or its project archived, in between.
            log.info("integration_not_recorded", integration_id=str(found.id), code=refusal.code)


def _verification(found: Found[Integration], state: State, provider: Provider) -> Awaitable[Finding]:
    """A look at the identity, and at what was named when it was looked at before."""
    tenant_id, project_id, identity, named = found.tenant_id, found.row.project_id, state.identity, state.identity_named
    if named is not None and isinstance(identity, AwsIdentity) and isinstance(provider, ChecksNamed):
        return provider.verify_named(tenant_id, project_id, identity, named)
    assert identity is not None, "what is connected has an identity"
    return provider.verify_identity(tenant_id, project_id, identity)


async def _answer(look: Awaitable[Finding], before: tuple[CheckStep, ...]) -> Finding:
    """What the cloud says; without an answer things are as they were."""
    try:
        async with foreseen("verify"):
            return await look
    except ProviderBusy:
        return Finding(status="pending", steps=tuple(Step(**msgspec.structs.asdict(step)) for step in before))


def _settled(finding: Finding, before: Check, at: datetime, *, last: bool) -> Finding | None:
    """What there is to record: nothing while it is as pending as before, unless this is the last look."""
    if finding.status != "pending":
        return finding
    if last:
        return msgspec.structs.replace(finding, status="failed")
    if not any(step.status == "failed" for step in finding.steps):
        return None
    now = judged("pending", _steps(finding), spreads_seconds=finding.spreads_seconds, before=before, at=at)
    return None if now == before else finding


def _steps(finding: Finding) -> tuple[CheckStep, ...]:
    steps = tuple(CheckStep(**msgspec.structs.asdict(step)) for step in finding.steps)
    gave_up = finding.status == "failed" and not any(step.status == "failed" for step in steps)
    return (*steps, _GIVEN_UP) if gave_up else steps
