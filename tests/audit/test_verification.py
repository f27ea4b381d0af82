"""Verifications: nothing is found where all is well, and every corruption made by hand is."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from audit.changes import Change
from audit.findings import Findings, Progress
from audit.model_check import Check, check_model, wanted_by
from audit.model_tables import Table
from audit.verification import Parts, StreamUnknown, verify
from domain.catalogue import AGGREGATES
from domain.event import Claim, Counter
from domain.function import FUNCTION
from eventstore.folds import Folds
from eventstore.log import Append, Appended, Snapshot
from eventstore.meta import encode_meta
from projections.audit_trail import AUDIT_TRAIL, row_id
from projections.catalogue import READ_MODELS
from projections.deployments import DEPLOYMENTS
from projections.functions import FUNCTIONS
from projections.members import MEMBERS
from projections.projects import PROJECTS
from projections.read_model import AnyModel
from projections.row_changes import LINE
from tests.projections.conftest import Workshop
from tests.projections.history import CODEC, META, History
from tests.projections.stories import STORIES, about_others, mingle
from tests.support import a

_HELD = Claim(tenant_id=a.TENANT_ID, scope="project", key="other", holder=a.OTHER_PROJECT_ID)
_COUNTED = Counter(tenant_id=a.TENANT_ID, scope="projects", name="tenant", delta=1, limit=3)
_F, _D = FUNCTIONS.kind, DEPLOYMENTS.kind
_SPOILT = (
    *(f"views.{table}" for table in (_F, f"{_F}_history", _D, f"{_D}_history", MEMBERS.kind, AUDIT_TRAIL.kind)),
    *(f"log.{table}" for table in ("claims", "counters", "streams", "events")),
    "work.snapshots",
)


def _quietly(_: Progress) -> None:
    """Progress is told to nobody."""


class Examiner:
    """Verifies, and spoils things as nobody should."""

    def __init__(self, workshop: Workshop, owner: asyncpg.Connection[Any]) -> None:
        self.workshop, self.owner = workshop, owner

    async def verify(self, *models: AnyModel, **scope: Any) -> Findings:
        parts = Parts(
            database=self.workshop.database,
            log=self.workshop.log,
            codec=CODEC,
            aggregates=AGGREGATES,
            models=models or READ_MODELS,
        )
        return await verify(parts, _quietly, **scope)

    @asynccontextmanager
    async def mending(self) -> AsyncIterator[None]:
        """Puts every table that may be spoilt back in place when the block ends."""
        await self.owner.execute("CREATE SCHEMA kept")
        for table in _SPOILT:
            await self.owner.execute(f"CREATE TABLE kept.{table.replace('.', '_')} AS TABLE {table}")
        yield
        for table in _SPOILT:
            await self.owner.execute(f"TRUNCATE {table}; INSERT INTO {table} TABLE kept.{table.replace('.', '_')}")
        await self.owner.execute("DROP SCHEMA kept CASCADE")

    async def spoil(self, statement: str, *values: object) -> None:
        assert not (await self.owner.execute(statement, *values)).endswith(" 0"), "nothing was spoilt"

    async def spoil_field(self, table: str, id: UUID, **fields: object) -> None:
        """Change fields within a row that is stored, or within the first of its versions."""
        row = await self.owner.fetchrow(f"SELECT ctid, row FROM views.{table} WHERE id = $1 ORDER BY row LIMIT 1", id)
        assert row is not None
        changed = json.dumps(json.loads(row["row"]) | fields).encode()
        if row["row"].startswith(LINE):
            changed = LINE + changed
        await self.spoil(f"UPDATE views.{table} SET row = $2 WHERE ctid = $1", row["ctid"], changed)


@pytest.fixture
async def examiner(workshop: Workshop, database_url: str) -> AsyncIterator[Examiner]:
    owner = await asyncpg.connect(database_url)
    yield Examiner(workshop, owner)
    await owner.close()


@pytest.fixture
async def told(workshop: Workshop, history: History) -> None:
    """A history with everything in it, seen by every read model."""
    await history.record_together(STORIES["deployed and undeployed"])
    for number, name in enumerate(("members come and go", "replaced, with drift", "did not compile"), 1):
        await history.record_together(about_others(STORIES[name], number))
    event = history.event(a.project_created(a.OTHER_PROJECT_ID, "Other", "other"))
    meta = msgspec.structs.replace(META, claims=(_HELD,), counters=(_COUNTED,))
    append = Append(
        tenant_id=a.TENANT_ID,
        command_id=uuid4(),
        events=(msgspec.structs.replace(event, meta=encode_meta(meta)),),
        claims=(_HELD,),
        counters=(_COUNTED,),
    )
    assert isinstance(await history.log.append(append), Appended)
    await history.append(history.foreign())
    stream = FUNCTION.stream(a.TENANT_ID, a.FUNCTION_ID)
    (folded,) = await Folds(workshop.log).of(CODEC, [(FUNCTION, stream)])
    snapshot = Snapshot(stream, CODEC.code, folded.version, folded.position, msgspec.json.encode(folded.state))
    await workshop.log.keep_snapshot(snapshot, epoch=await workshop.log.epoch())
    await workshop.catch_up()


Spoil = Callable[[Examiner], Awaitable[None]]


def _sql(statement: str, *values: object) -> Spoil:
    async def spoil(examiner: Examiner) -> None:
        await examiner.spoil(statement, *values)

    return spoil


def _field(table: str, id: UUID, **fields: object) -> Spoil:
    async def spoil(examiner: Examiner) -> None:
        await examiner.spoil_field(table, id, **fields)

    return spoil


# What is spoilt, where it is found, what is said of it, and one of the fields that are named.
_COPY = "(tenant_id, id, first_position, position, {columns}row) SELECT tenant_id, $1, first_position, position, {columns}row"
CORRUPTIONS: dict[str, tuple[Spoil, str, str, str]] = {
    "a field": (_field(_F, a.FUNCTION_ID, description="hacked"), "functions", "differs", "/description"),
    "a nested field": (
        _field(_F, a.FUNCTION_ID, trigger={"type": "schedule", "settings": {"cron": "* * * * *"}}),
        "functions",
        "differs",
        "/trigger/type",
    ),
    "a field no code knows": (_field(_F, a.FUNCTION_ID, extra=1), "functions", "differs", "/extra"),
    "a column": (
        _sql(f"UPDATE views.{_F} SET status = 'draft' WHERE id = $1", a.FUNCTION_ID),
        "functions",
        "differs",
        "status",
    ),
    "a position": (
        _sql(f"UPDATE views.{_F} SET position = position - 1 WHERE id = $1", a.FUNCTION_ID),
        "functions",
        "differs",
        "position",
    ),
    "a row gone": (_sql(f"DELETE FROM views.{_D} WHERE id = $1", a.DEPLOYMENT_ID), "deployments", "missing", "/status"),
    "a row too many": (
        _sql(
            f"INSERT INTO views.{MEMBERS.kind} {_COPY.format(columns='')} FROM views.{MEMBERS.kind} LIMIT 1",
            uuid4(),
        ),
        "members",
        "surplus",
        "/role",
    ),
    "a version": (_field(f"{_F}_history", a.FUNCTION_ID, name="then"), "functions", "differs", "/name"),
    "a version gone": (
        _sql(
            f"DELETE FROM views.{_D}_history WHERE id = $1 AND valid_from = (SELECT min(valid_from)"
            f" FROM views.{_D}_history WHERE id = $1)",
            a.DEPLOYMENT_ID,
        ),
        "deployments",
        "missing",
        "/status",
    ),
    "when a version ended": (
        _sql(f"UPDATE views.{_F}_history SET valid_to = valid_to + 1 WHERE id = $1", a.FUNCTION_ID),
        "functions",
        "differs",
        "valid_to",
    ),
    "an audit entry": (_field(AUDIT_TRAIL.kind, row_id(12), command="Other"), "audit_trail", "differs", "/command"),
    "an audit entry gone": (
        _sql(f"DELETE FROM views.{AUDIT_TRAIL.kind} WHERE id = $1", row_id(12)),
        "audit_trail",
        "missing",
        "/type",
    ),
    "an audit entry too many": (
        _sql(
            f"INSERT INTO views.{AUDIT_TRAIL.kind}"
            f" {_COPY.format(columns='entity_id, correlation_id, actor_id, type, project_id, ')}"
            f" FROM views.{AUDIT_TRAIL.kind} LIMIT 1",
            uuid4(),
        ),
        "audit_trail",
        "surplus",
        "/type",
    ),
    "a claim": (_sql("UPDATE log.claims SET holder = $1", a.PROJECT_ID), "claims", "differs", "holder"),
    "a claim gone": (_sql("DELETE FROM log.claims"), "claims", "missing", "holder"),
    "a claim too many": (
        _sql("INSERT INTO log.claims VALUES ($1, 'project', 'free', $2)", a.TENANT_ID, a.PROJECT_ID),
        "claims",
        "surplus",
        "holder",
    ),
    "a counter": (_sql("UPDATE log.counters SET value = 2"), "counters", "differs", "value"),
    "where a stream stands": (
        _sql("UPDATE log.streams SET version = version + 1 WHERE stream_id = $1", a.FUNCTION_ID),
        "streams",
        "differs",
        "/version",
    ),
    "a stream that is not listed": (
        _sql("DELETE FROM log.streams WHERE stream_id = $1", a.OTHER_PROJECT_ID),
        "streams",
        "differs",
        "",
    ),
    "a snapshot": (
        _sql(
            "UPDATE work.snapshots SET state = convert_to(replace(convert_from(state, 'UTF8'), 'Greet', 'Bye'), 'UTF8')"
        ),
        "snapshots",
        "differs",
        "/state/authored/name",
    ),
    "a snapshot of what never was": (
        _sql("UPDATE work.snapshots SET version = 999"),
        "snapshots",
        "surplus",
        "/position",
    ),
    "an event that is no fact": (
        _sql("UPDATE log.events SET data = '{}' WHERE stream_id = $1 AND version = 1", a.OTHER_PROJECT_ID),
        "streams",
        "unreadable",
        "",
    ),
}


@pytest.mark.usefixtures("told")
class TestVerify:
    async def test_finds_nothing_where_all_is_well(self, examiner: Examiner) -> None:
        findings = await examiner.verify()

        assert findings.differences == []
        assert findings.skipped == {}
        assert findings.checked["functions rows"] == 3
        assert findings.checked["functions versions"] > 4
        assert findings.checked["members versions"] > 2
        assert findings.checked["audit_trail rows"] == await examiner.workshop.log.head() - 1
        assert [findings.checked[what] for what in ("claims", "counters", "snapshots")] == [1, 1, 1]
        assert findings.checked["streams"] == await examiner.owner.fetchval("SELECT count(*) FROM log.streams")

    async def test_finds_what_was_spoilt_by_hand(self, examiner: Examiner) -> None:
        """Goal: no corruption goes unnoticed, and none is taken for another. Method: one after another is made, looked
        for, and mended again."""
        for what, (spoil, where, problem, path) in CORRUPTIONS.items():
            async with examiner.mending():
                await spoil(examiner)
                findings = await examiner.verify()

            found = [one for one in findings.differences if (one.where, one.problem) == (where, problem)]
            assert found, (what, findings.differences)
            assert not path or path in {change.path for one in found for change in one.changes}, what
            if where != "streams":
                assert {one.where for one in findings.differences} == {where}, what
        assert (await examiner.verify()).are_good

    async def test_says_what_is_stored_and_what_the_log_says(self, examiner: Examiner) -> None:
        await examiner.spoil_field(_F, a.FUNCTION_ID, description="hacked")

        (found,) = (await examiner.verify(FUNCTIONS)).differences

        assert (found.tenant_id, found.id) == (a.TENANT_ID, str(a.FUNCTION_ID))
        assert found.changes == (Change("/description", "hacked", ""),)

    async def test_looks_at_one_tenant(self, examiner: Examiner) -> None:
        await examiner.spoil_field(_F, a.FUNCTION_ID, description="hacked")
        (other,) = {fact.stream.tenant_id for fact in about_others(STORIES["did not compile"], 3)} & {
            row[0] for row in await examiner.owner.fetch("SELECT DISTINCT tenant_id FROM log.streams")
        } - {UUID(int=0)}

        assert (await examiner.verify(tenant_id=other)).are_good
        assert not (await examiner.verify(tenant_id=a.TENANT_ID)).are_good

    async def test_looks_at_streams_with_all_that_is_shown_of_them(self, examiner: Examiner) -> None:
        whole = await examiner.verify(streams=[a.FUNCTION_ID])
        await examiner.spoil_field(_D, a.DEPLOYMENT_ID, active=True)
        of_function = await examiner.verify(streams=[a.FUNCTION_ID])
        of_project = await examiner.verify(streams=[a.PROJECT_ID])

        assert whole.are_good
        assert (whole.checked["functions rows"], whole.checked["deployments rows"]) == (1, 1)
        # The function says which of its deployments is active.
        assert [(one.where, one.id) for one in of_function.differences] == [("deployments", str(a.DEPLOYMENT_ID))]
        assert of_project.are_good
        with pytest.raises(StreamUnknown):
            await examiner.verify(streams=[uuid4()])

    async def test_in_lanes_it_finds_the_same(self, examiner: Examiner) -> None:
        await examiner.spoil_field(_F, a.FUNCTION_ID, description="hacked")
        await examiner.spoil(f"DELETE FROM views.{_F}_history WHERE id = $1", a.FUNCTION_ID)
        check = Check(
            model=FUNCTIONS,
            table=Table.of(FUNCTIONS, FUNCTIONS.kind, tenant_id=None, keys=None),
            wanted=wanted_by(FUNCTIONS),
        )
        found = []
        for lane_bytes in (1, 2**40):
            findings = Findings()
            await check_model(examiner.workshop.database, CODEC, check, findings, _quietly, lane_bytes=lane_bytes)
            found.append((findings.checked, sorted(findings.differences, key=repr)))

        assert found[0] == found[1]

    async def test_a_version_that_is_not_this_codes_is_left_out_and_named(self, examiner: Examiner) -> None:
        newer = msgspec.structs.replace(FUNCTIONS, version=FUNCTIONS.version + 1)

        findings = await examiner.verify(newer)

        assert findings.are_good
        assert "functions" in findings.skipped

    async def test_what_is_parked_is_told(self, examiner: Examiner, history: History, workshop: Workshop) -> None:
        await history.append(history.unreadable(a.project_renamed("Shop 2")))
        await workshop.catch_up()

        findings = await examiner.verify(PROJECTS)

        told = [(one.where, one.problem, one.id) for one in findings.differences]
        assert told == [("streams", "unreadable", str(a.PROJECT_ID)), ("projects", "parked", str(a.PROJECT_ID))]


class TestWhileItRuns:
    async def test_finds_nothing_while_much_is_written(
        self, examiner: Examiner, workshop: Workshop, history: History
    ) -> None:
        """Goal: no false alarm on a running service. Method: a worker feeds the read models in small batches and a writer
        records, while everything is verified again and again, in lanes."""
        chance = random.Random(7)
        worker = await workshop.worker()
        done = asyncio.Event()

        async def write() -> None:
            for _ in range(12):
                facts = mingle([about_others(STORIES[name], uuid4().int) for name in STORIES], chance)
                while facts:
                    await history.record_together(facts[:40])
                    del facts[:40]
            done.set()

        async def feed() -> None:
            while not done.is_set() or await worker.turn():
                await worker.turn(up_to=worker.position + chance.randint(1, 60))
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(write()), asyncio.create_task(feed())]
        times = 0
        try:
            async with asyncio.timeout(120):
                while not done.is_set() or times < 2:
                    findings = await examiner.verify()
                    assert findings.differences == []
                    times += 1
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        assert times >= 2
