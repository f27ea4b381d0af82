"""The one write path: decided again when overtaken, refused on the record, done once however often it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from commands import execute as execution
from commands.basis import fold
from commands.command import Command, States
from commands.deployment import QueueDeployment
from commands.execute import (
    Context,
    Done,
    KeyReused,
    RefusedBefore,
    TooMuchContention,
    decide_only,
    execute,
)
from commands.progress import (
    ClaimDeployment,
    RecordCanceled,
    RecordFailed,
    RecordUndeployed,
    RecordUndeployFailed,
    RecordWithdrawn,
)
from domain.catalogue import AGGREGATES
from domain.event import SYSTEM_TENANT, Fact, StreamRef
from domain.function import FUNCTION, ArtifactFiles
from domain.project import PROJECT, ProjectIsArchived, ProjectNameTaken, ProjectUnknown
from domain.refusal import Busy, LimitReached, PreconditionFailed, Refusal
from domain.refused import CommandRefused
from eventstore.codec import Codec
from eventstore.log import NO_STREAM, Append, Appended, Log, LogBusy, News, Outcome, Since, StoredEvent
from eventstore.memory import MemoryLog
from eventstore.meta import Actor, Meta, decode_meta
from tests.support import a

CODEC = Codec(AGGREGATES)
ACTOR = Actor("key", str(a.KEY_ID))
CORRELATION_ID = a.id_of(900)
STREAM = PROJECT.stream(a.TENANT_ID, a.PROJECT_ID)
SENTINEL = "s3ntinel"


def clock() -> datetime:
    """It is always noon."""
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


class RivalLog(MemoryLog):
    """A log on which a rival is quicker, for as many appends as it is told."""

    def __init__(self, rival: Callable[[], Awaitable[None]] | None = None, times: int = 0) -> None:
        super().__init__(clock)
        self.rival, self.times = rival, times
        self.events_loaded = 0

    async def load_since(self, known: Sequence[Since], *, epoch: int, worth: int) -> list[News]:
        news = await super().load_since(known, epoch=epoch, worth=worth)
        self.events_loaded += sum(len(new.events) for new in news)
        return news

    def lose_last(self, stream: StreamRef) -> None:
        """Undo the log's last append, of one event."""
        assert self._streams[stream.tenant_id, stream.id].pop() is self._events.pop()

    async def append(self, append: Append) -> Outcome:
        if self.rival is not None and self.times > 0:
            self.times -= 1
            rival, self.rival = self.rival, None
            await rival()
            self.rival = rival
        return await super().append(append)


class FullLog(MemoryLog):
    """A log that has too much to write at the moment."""

    async def append(self, append: Append) -> Outcome:
        raise LogBusy


@pytest.fixture
async def log() -> RivalLog:
    """A log that knows a tenant, its plan and a runtime."""
    log = RivalLog()
    await record(log, *a.tenant_with_plan(), a.runtime_added())
    return log


async def record(log: Log, *facts: Fact) -> None:
    """Store the facts as they are, whoever decided them."""
    for fact in facts:
        [events] = await log.load([fact.stream])
        version = events[-1].version + 1 if events else NO_STREAM + 1
        event = CODEC.new_event(fact.stream, version, fact.event, Meta())
        command_id = a.id_of(100_000 + await log.head())
        appended = await log.append(Append(tenant_id=fact.stream.tenant_id, command_id=command_id, events=(event,)))
        assert isinstance(appended, Appended)


def command_id_of(number: int) -> UUID:
    return a.id_of(10_000 + number)


def context(command_id: int = 1, **changes: Any) -> Context:
    """Who asks, filled in."""
    defaults: dict[str, Any] = {
        "actor": ACTOR,
        "command_id": command_id_of(command_id),
        "correlation_id": CORRELATION_ID,
    }
    return Context(**{**defaults, **changes})


async def last(log: MemoryLog) -> StoredEvent:
    """The event recorded last."""
    [event] = await log.read(await log.head() - 1, limit=1)
    return event


async def do(log: MemoryLog, command: Command, command_id: int) -> Done:
    """Execute with nothing special about the context."""
    return await execute(log, command, context(command_id))


class TestExecute:
    async def test_records_the_decision_and_answers_where_it_stands(self, log: RivalLog) -> None:
        before = await log.head()

        done = await execute(log, a.create_project(), context())

        assert (done.first_position, done.last_position) == (before + 1, before + 1)
        assert (done.recorded_at, done.repeated) == (clock(), False)
        assert CODEC.decode_data((await last(log)).type, 1, (await last(log)).data) == a.project_created().event

    async def test_says_with_each_event_who_asked_and_because_of_what(self, log: RivalLog) -> None:
        await execute(log, a.create_project(), context(causation_id="1:7"))

        meta = decode_meta((await last(log)).meta)
        assert (meta.actor, meta.command, meta.command_id) == (ACTOR, "CreateProject", command_id_of(1))
        assert (meta.correlation_id, meta.causation_id) == (CORRELATION_ID, "1:7")

    async def test_keeps_claims_and_counters_with_the_first_event_only(self, log: RivalLog) -> None:
        await ready_function(log)
        done = await do(log, a.queue_deployment(), 50)

        metas = [decode_meta(event.meta) for event in await log.read(done.first_position - 1, limit=10)]
        assert metas[0].counters == (a.count("deployments", "queued", 1, 4),)
        assert [(meta.claims, meta.counters) for meta in metas[1:]] == [((), ())]

    async def test_loads_what_a_decision_finds_out_it_needs(self, log: RivalLog) -> None:
        await ready_function(log, docker=True)
        await do(log, a.queue_deployment(), 50)
        await record(log, a.deployment_claimed())
        await do(log, a.queue_deployment(deployment_id=a.id_of(12)), 51)

        # Three artifacts, a deployment under way, one that waits, and the plan: none of them named by the command.
        done = await do(log, a.queue_deployment(deployment_id=a.id_of(13)), 52)

        assert (await fold(log, FUNCTION, FUNCTION.stream(a.TENANT_ID, a.FUNCTION_ID))).deployments_requested == 3
        assert done.last_position - done.first_position + 1 == 5

    async def test_records_nothing_when_nothing_changes_but_keeps_the_answer(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        head = await log.head()

        done = await execute(log, a.rename_project(name="Shop"), context(2, on_recorded=lambda _states: b"unchanged"))

        assert (done.last_position, done.reply, await log.head()) == (head, b"unchanged", head)

    async def test_renders_the_answer_from_the_states_after_the_decision(self, log: RivalLog) -> None:
        def render(states: States) -> bytes:
            return str(states.at(PROJECT, STREAM).name).encode()

        done = await execute(log, a.create_project(name="Corner Shop"), context(on_recorded=render))

        assert done.reply == b"Corner Shop"


class TestOvertaken:
    async def test_decides_again_on_what_is_true_by_then(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        log.rival, log.times = (lambda: record(log, a.project_renamed("Store"))), 1

        await do(log, a.rename_project(name="Market"), 2)

        # The name it had in between is given back, which only the second decision can know.
        assert a.claim("project", "store", a.PROJECT_ID, release=True) in decode_meta((await last(log)).meta).claims

    async def test_gives_up_when_the_time_for_it_is_over(self, log: RivalLog, monkeypatch: pytest.MonkeyPatch) -> None:
        await do(log, a.create_project(), 1)
        monkeypatch.setattr(execution, "WAIT_SECONDS_MAX", 0.05)
        names = (f"name {n}" for n in range(1_000_000))
        log.rival, log.times = (lambda: record(log, a.project_renamed(next(names)))), 1_000_000

        with pytest.raises(TooMuchContention):
            await do(log, a.rename_project(name="Market"), 2)

        assert log.times < 1_000_000 - 3
        assert await log.find(a.TENANT_ID, command_id_of(2)) is None

    async def test_is_not_told_so_while_there_is_time(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        names = (f"name {n}" for n in range(20))
        log.rival, log.times = (lambda: record(log, a.project_renamed(next(names)))), 20

        await do(log, a.rename_project(name="Market"), 2)

        assert (await fold(log, PROJECT, STREAM)).name == "Market"

    async def test_by_a_stream_that_is_only_read_decides_again_too(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        log.rival, log.times = (lambda: record(log, a.project_archived())), 1

        with pytest.raises(ProjectIsArchived):
            await do(log, a.create_function(), 2)

        assert (await last(log)).type == "command.refused"


class TestRemembered:
    """Streams are read once; then only what came since."""

    async def test_a_hot_stream_is_not_read_again(self, log: RivalLog) -> None:
        await ready_function(log)
        for number in range(1, 6):
            await do(log, a.update_function(description=f"number {number}"), number)
        log.events_loaded = 0

        await do(log, a.update_function(description="the last"), 6)

        assert log.events_loaded == 0
        assert (await fold(log, FUNCTION, FUNCTION.stream(a.TENANT_ID, a.FUNCTION_ID))).revision == 7

    async def test_what_a_rival_recorded_is_seen(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        await fold(log, PROJECT, STREAM)

        await record(log, a.project_archived())

        with pytest.raises(ProjectIsArchived):
            await do(log, a.rename_project(name="Market"), 2)

    async def test_what_the_log_has_lost_is_forgotten(self, log: RivalLog) -> None:
        """A replica without the last commits took over, and nobody has raised the epoch yet."""
        await do(log, a.create_project(), 1)
        await do(log, a.rename_project(name="Store"), 2)
        await fold(log, PROJECT, STREAM)
        log.lose_last(STREAM)

        await do(log, a.rename_project(name="Market"), 3)

        assert (await fold(log, PROJECT, STREAM)).name == "Market"
        assert [event.version for [*events] in await log.load([STREAM]) for event in events] == [1, 2]


class TestRefused:
    async def test_is_recorded_with_the_reason_and_the_ids_but_nothing_the_command_carried(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        wrong = a.create_function(
            name="Greet",
            description=SENTINEL,
            environment={"TOKEN": SENTINEL, "PORT": SENTINEL},
        )

        with pytest.raises(Refusal):
            await do(log, wrong, 2)

        event = await last(log)
        assert event.stream_id == command_id_of(2)
        assert CODEC.decode_data(event.type, 1, event.data) == CommandRefused(
            command="CreateFunction",
            code="environment_name_not_allowed",
            fields=("environment.PORT",),
            about={"projectId": str(a.PROJECT_ID), "functionId": str(a.FUNCTION_ID)},
        )
        assert SENTINEL.encode() not in event.data + event.meta

    @pytest.mark.parametrize(
        "command",
        [
            a.create_project(name=f"{SENTINEL}/"),
            a.rename_project(name=SENTINEL),
            a.create_function(name=SENTINEL, runtime=SENTINEL),
            a.queue_deployment(reason=SENTINEL),
            a.cancel_deployment(reason=SENTINEL),
            a.stage_artifact(file_name=SENTINEL, digest=SENTINEL),
            a.create_api_key(tenant_id=a.OTHER_TENANT_ID, name=SENTINEL, secret_hash=SENTINEL),
        ],
        ids=lambda command: type(command).__name__,
    )
    async def test_never_holds_a_value(self, log: RivalLog, command: Command) -> None:
        with pytest.raises(Refusal):
            await do(log, command, 2)

        event = await last(log)
        assert event.type == "command.refused"
        assert SENTINEL.encode() not in event.data + event.meta

    async def test_holds_no_claim_and_no_count(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        with pytest.raises(ProjectNameTaken):
            await do(log, a.create_project(project_id=a.OTHER_PROJECT_ID), 2)
        for number in (3, 4):
            await do(log, a.create_project(project_id=a.id_of(20 + number), name=f"p{number}"), number)

        with pytest.raises(LimitReached):
            await do(log, a.create_project(project_id=a.id_of(30), name="One too many"), 5)

        meta = decode_meta((await last(log)).meta)
        assert (meta.claims, meta.counters) == ((), ())

    async def test_is_not_recorded_when_the_caller_says_so(self, log: RivalLog) -> None:
        head = await log.head()

        with pytest.raises(ProjectUnknown):
            await execute(log, a.rename_project(), context(record_refusals=False))

        assert await log.head() == head

    async def test_for_now_is_not_kept_as_the_answer(self, log: RivalLog) -> None:
        await ready_function(log)
        await record(log, a.plan_defined(queued_deployments=0))
        head = await log.head()

        with pytest.raises(Busy):
            await do(log, a.queue_deployment(), 50)

        assert await log.head() == head
        await record(log, a.plan_defined())
        assert not (await do(log, a.queue_deployment(), 50)).repeated

    async def test_by_a_log_that_is_busy_is_passed_on(self) -> None:
        log = FullLog(clock)

        with pytest.raises(LogBusy):
            await do(log, a.define_plan(), 1)
        with pytest.raises(ProjectUnknown):
            await do(log, a.rename_project(), 2)


class TestRepeated:
    async def test_answers_the_first_result(self, log: RivalLog) -> None:
        first = await execute(log, a.create_project(), context(request_hash=b"1", on_recorded=lambda _states: b"first"))
        head = await log.head()

        again = await execute(
            log, a.create_project(), context(request_hash=b"1", on_recorded=lambda _states: b"second")
        )

        assert (again.reply, again.repeated, again.last_position) == (b"first", True, first.last_position)
        assert await log.head() == head

    async def test_answers_the_first_refusal_although_it_would_be_granted_now(self, log: RivalLog) -> None:
        asked = context(request_hash=b"1", on_refused=lambda refusal: refusal.code.encode())
        with pytest.raises(ProjectUnknown):
            await execute(log, a.rename_project(), asked)
        await do(log, a.create_project(), 2)

        with pytest.raises(RefusedBefore) as refused:
            await execute(log, a.rename_project(), asked)

        assert refused.value.reply == b"project_not_found"
        assert refused.value.position > 0

    async def test_with_another_request_is_refused(self, log: RivalLog) -> None:
        await execute(log, a.create_project(), context(request_hash=b"1"))
        head = await log.head()

        with pytest.raises(KeyReused):
            await execute(log, a.create_project(project_id=a.OTHER_PROJECT_ID, name="B"), context(request_hash=b"2"))
        with pytest.raises(KeyReused):
            await execute(log, a.rename_project(name="?"), context(request_hash=b"3"))

        assert await log.head() == head

    async def test_is_the_same_request_where_the_caller_says_so(self, log: RivalLog) -> None:
        await execute(log, a.create_project(), context(request_hash=b"as it was sent"))

        again = await execute(
            log,
            a.create_project(),
            context(request_hash=b"in order", was_asked=lambda found: found == b"as it was sent"),
        )

        assert again.repeated

    async def test_in_another_tenant_is_another_command(self, log: RivalLog) -> None:
        await execute(log, a.create_project(), context())

        done = await execute(log, a.define_plan(name="gold"), context())

        assert not done.repeated
        assert a.define_plan().tenant_id == SYSTEM_TENANT

    async def test_answers_the_first_result_although_the_thing_has_moved_on(self, log: RivalLog) -> None:
        await do(log, a.create_project(), 1)
        position = await log.head()
        asked = context(2, if_position=(STREAM, (position,)))
        first = await execute(log, a.rename_project(), asked)

        again = await execute(log, a.rename_project(), asked)

        assert (again.repeated, again.last_position) == (True, first.last_position)


class TestIfPosition:
    async def test_lets_through_what_was_read_last(self, log: RivalLog) -> None:
        done = await do(log, a.create_project(), 1)

        await execute(log, a.rename_project(name="Store"), context(2, if_position=(STREAM, (done.last_position,))))

        assert (await fold(log, PROJECT, STREAM)).name == "Store"

    @pytest.mark.parametrize("off", [-1, 1])
    async def test_refuses_what_has_changed_since(self, log: RivalLog, off: int) -> None:
        done = await do(log, a.create_project(), 1)

        with pytest.raises(PreconditionFailed):
            await execute(log, a.rename_project(), context(2, if_position=(STREAM, (done.last_position + off,))))

    async def test_refuses_what_changes_while_it_is_decided(self, log: RivalLog) -> None:
        done = await do(log, a.create_project(), 1)
        log.rival, log.times = (lambda: record(log, a.project_renamed("Quick"))), 1

        with pytest.raises(PreconditionFailed):
            await execute(log, a.rename_project(), context(2, if_position=(STREAM, (done.last_position,))))


class TestDecideOnly:
    async def test_says_what_would_be_and_records_nothing(self, log: RivalLog) -> None:
        head = await log.head()

        states = await decide_only(log, a.create_project(name="Shop"))

        assert states.at(PROJECT, STREAM).name == "Shop"
        assert await log.head() == head

    async def test_refuses_what_would_be_refused_and_records_nothing(self, log: RivalLog) -> None:
        head = await log.head()

        with pytest.raises(ProjectUnknown):
            await decide_only(log, a.rename_project())

        assert await log.head() == head


class TestPlaces:
    """Claims and counters over a whole life: what a deployment took, it gives back."""

    async def test_are_free_again_after_every_end(self, log: RivalLog) -> None:
        await ready_function(log)
        places: list[tuple[str, str, int]] = []

        for number, (deployment_id, end) in enumerate(_ends()):
            queued: QueueDeployment = a.queue_deployment(deployment_id=deployment_id)
            await do(log, queued, 1000 + 20 * number)
            for step, command in enumerate(end):
                await do(log, command, 1001 + 20 * number + step)
        for event in await log.read(0, limit=1000):
            places += [(c.scope, c.name, c.delta) for c in decode_meta(event.meta).counters]

        assert sum(delta for scope, name, delta in places if (scope, name) == ("deployments", "queued")) == 0
        assert sum(delta for scope, name, delta in places if (scope, name) == ("deployments", "running")) == 0


def _report(of: type[Any], deployment_id: UUID, **changes: Any) -> Command:
    return a.report(of, deployment_id=deployment_id, **changes)


def _ends() -> list[tuple[UUID, list[Command]]]:
    """Ways a deployment can end once it is queued, each with its id."""
    claim, fail, cancel, canceled = ClaimDeployment, RecordFailed, a.cancel_deployment, RecordCanceled
    undeploy, undeploy_failed = a.undeploy_deployment, RecordUndeployFailed
    one, two, three, four, five = (a.id_of(40 + number) for number in range(5))
    return [
        (one, [cancel(deployment_id=one)]),
        (two, []),  # Superseded by the next.
        (three, [_report(claim, three), _report(fail, three)]),
        (four, [_report(claim, four), cancel(deployment_id=four), _report(canceled, four)]),
        (
            five,
            [
                _report(claim, five),
                _report(claim, five, epoch=2),
                _report(fail, five, epoch=2, remaining=("image:1",)),
                undeploy(deployment_id=five),
                _report(claim, five, epoch=3),
                _report(undeploy_failed, five, epoch=3, remaining=("image:1",)),
                undeploy(deployment_id=five),
                _report(claim, five, epoch=4),
                _report(RecordWithdrawn, five, epoch=4),
                _report(RecordUndeployed, five, epoch=4),
            ],
        ),
    ]


async def ready_function(log: RivalLog, *, docker: bool = False) -> None:
    """A project with a function that can be deployed as it is."""
    files = ArtifactFiles(code_file=a.staged_id("code"), yaml_file=a.staged_id("yaml"))
    if docker:
        files = ArtifactFiles(
            code_file=a.staged_id("code"), docker_file=a.staged_id("docker"), yaml_file=a.staged_id("yaml")
        )
    staged = (a.artifact_staged("code"), a.artifact_staged("docker"), a.artifact_staged("yaml"))
    await record(log, a.project_created(), *staged, *a.integration_ready(), a.function_created(artifact_files=files))
