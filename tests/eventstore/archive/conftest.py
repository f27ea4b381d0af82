"""A log of small partitions with things that are over and things that are not, and the means to archive it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from commands.basis import CODEC
from domain.deployment import DEPLOYMENT, DeploymentFailed
from domain.event import Fact, StreamRef
from domain.project import PROJECT
from domain.refused import REFUSED, CommandRefused
from eventstore.archive.archiving import Archived, Archiving, archivable, archive_range
from eventstore.database import Pool, connect
from eventstore.log import StoredEvent
from eventstore.postgres import PostgresLog
from tests.commands.test_execute import record
from tests.eventstore.conftest import database, owner, postgres_log
from tests.eventstore.test_partitions import SIZE, small
from tests.support import a

__all__ = ["database", "owner", "postgres_log", "small"]

NOW = timedelta(0)
PROJECT_STREAM = PROJECT.stream(a.TENANT_ID, a.PROJECT_ID)


def deployment(number: int) -> StreamRef:
    return DEPLOYMENT.stream(a.TENANT_ID, a.id_of(1_000 + number))


def failed(number: int) -> list[Fact]:
    """A whole life: queued, claimed, over."""
    id = deployment(number).id
    over = DeploymentFailed(epoch=1, failure=a.FAILURE)
    return [a.deployment_queued(id), a.deployment_claimed(id), Fact(deployment(number), over)]


def refused(number: int) -> Fact:
    return Fact(REFUSED.stream(a.TENANT_ID, a.id_of(5_000 + number)), CommandRefused(command="X", code="y"))


class Place(msgspec.Struct, frozen=True):
    """`events` is the log as it was before anything was archived."""

    owner: Pool
    log: PostgresLog
    directory: Path
    events: list[StoredEvent]
    url: str

    def tools(self, tell: Callable[[str], None] = lambda _text: None, *obstacles: str) -> Archiving:
        async def in_the_way(_position: int) -> Sequence[str]:
            return obstacles

        return Archiving(
            owner=self.owner,
            log=self.log,
            codec=CODEC,
            directory=self.directory,
            obstacles=in_the_way,
            tell=tell,
        )

    async def archive(
        self, *, parts_max: int = 100, tell: Callable[[str], None] = lambda _text: None
    ) -> list[Archived]:
        """Everything that may be archived now."""
        parts = await archivable(self.owner, self.log, older_than=NOW)
        return [await archive_range(self.tools(tell), part) for part in parts[:parts_max]]

    def of(self, stream: StreamRef) -> list[StoredEvent]:
        return [event for event in self.events if event.stream_id == stream.id]


@pytest.fixture
async def place(small: Pool, database_url: str, postgres_log: PostgresLog, tmp_path: Path) -> AsyncIterator[Place]:
    """Five partitions: a project that every one of them has an event of, deployments that failed, one that still runs, and
    refused commands. The last partition is begun."""
    await record(postgres_log, a.project_created(), a.deployment_queued(deployment(99).id))
    for part in range(4):
        await record(postgres_log, a.project_renamed(f"Shop {part}"))
        for number in range(4):
            await record(postgres_log, *failed(10 * part + number), refused(10 * part + number))
        # One deployment begins in the first partition and ends in the second.
        across = failed(88)[:1] if part == 0 else failed(88)[1:] if part == 1 else []
        await record(postgres_log, *across)
        while (await postgres_log.head()) % SIZE:
            await record(postgres_log, refused(100 + await postgres_log.head()))
    await record(postgres_log, a.project_renamed("Store"))
    events = await postgres_log.read(0, limit=1_000)
    async with connect(database_url, role="dcf_owner", size_max=3) as pool:
        log = PostgresLog(pool, database_url, role="dcf_owner")
        yield Place(pool, log, tmp_path / "archive", events, database_url)


def ids(events: Sequence[StoredEvent]) -> set[UUID]:
    return {event.stream_id for event in events}
