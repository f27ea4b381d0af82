"""Somebody who was erased: unreadable wherever the log goes, and the log as true as it was."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from eventsourcing.utils import Environment

from api.first_start import TENANT_ID
from audit.findings import Findings, Progress
from audit.tree_check import check_tree
from audit.verification import Parts, verify
from commands.basis import CODEC
from commands.ids import new_id
from commands.person import ErasePerson, RegisterPerson
from commands.tenant import AddMember
from domain.catalogue import AGGREGATES
from domain.event import SYSTEM_TENANT
from domain.sealed import Sealed
from eventstore.archive.whole import Shelf
from eventstore.bridge import Factory
from eventstore.database import connect
from eventstore.postgres import PostgresLog
from eventstore.sealing import Erased, SealedField
from eventstore.tree.keeping import sign_when_due, take_in
from eventstore.tree.proofs import EventProof
from projections.catalogue import READ_MODELS
from tests.api.steps import ask
from tests.api.world import World, world_on_postgres
from tests.audit.test_importing import exported
from tests.eventstore.bridge.environments import environment
from tests.eventstore.tree import textbook
from tests.eventstore.tree.conftest import a_keeper

NAME = "Ada Lovelace the unmistakable"


def _quietly(_: Progress) -> None:
    """Progress is told to nobody."""


async def _erased(world: World) -> tuple[UUID, Sealed]:
    """A member who came and was erased, and their name as the log has it."""
    person_id, at = new_id(), world.services.clock()
    name = await world.services.sealing.seal(SYSTEM_TENANT, person_id, "name", NAME)
    await world.record(RegisterPerson(tenant_id=SYSTEM_TENANT, at=at, person_id=person_id, name=name))
    await world.record(AddMember(tenant_id=TENANT_ID, at=at, person_id=person_id, role="developer"))
    command = ErasePerson(tenant_id=SYSTEM_TENANT, at=at, person_id=person_id, tenant_ids=(TENANT_ID,))
    await world.record(command)
    await world.services.sealing.erase(SYSTEM_TENANT, person_id)
    return person_id, name


def _read_by_the_library(url: str) -> bytes:
    """All that an application on the eventsourcing library gets of the log."""
    factory: Any = Factory(Environment("audit", environment(url, None)))
    try:
        found = factory.application_recorder().select_notifications(1, 1_000)
        return b"\n".join(notification.state for notification in found)
    finally:
        factory.close()


def _files(folder: Path) -> bytes:
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return b"".join(gzip.decompress(one) if one.startswith(b"\x1f\x8b") else one for one in contents)


async def test_is_ciphertext_for_ever_in_the_log_its_exports_and_the_bridge_and_all_of_it_verifies(
    database_url: str, tmp_path: Path
) -> None:
    async with world_on_postgres(database_url, tmp_path / "there") as world:
        person_id, name = await _erased(world)
        opened = await world.services.sealing.open_all(SYSTEM_TENANT, [SealedField(person_id, "name", name)])
        bridged = await asyncio.to_thread(_read_by_the_library, database_url)
        async with (
            connect(database_url, role="dcf_engine", size_max=2) as database,
            PostgresLog(database, database_url, role="dcf_engine") as log,
        ):
            parts = Parts(database=database, log=log, codec=CODEC, aggregates=AGGREGATES, models=READ_MODELS)
            findings = await verify(parts, _quietly)
    for keys in (False, True):
        await exported(database_url, tmp_path / f"keys-{keys}", keys=keys)
    connection = await asyncpg.connect(database_url)
    try:
        key = await connection.fetchval("SELECT key FROM vault.person_keys WHERE person_id = $1", person_id)
    finally:
        await connection.close()

    assert opened == [Erased(person_id)]
    assert key is None
    assert findings.differences == []
    for told in (bridged, _files(tmp_path / "keys-False"), _files(tmp_path / "keys-True")):
        assert name.encode() in told, "what is sealed goes along, sealed"
        assert NAME.encode() not in told


async def test_keeps_every_proof_good(database_url: str, tmp_path: Path) -> None:
    """*Method:* the same over HTTP before and after, by the API as it runs; and the whole tree is hashed again."""
    async with world_on_postgres(database_url, tmp_path / "there") as world:
        person_id, at = new_id(), world.services.clock()
        name = await world.services.sealing.seal(SYSTEM_TENANT, person_id, "name", NAME)
        await world.record(RegisterPerson(tenant_id=SYSTEM_TENANT, at=at, person_id=person_id, name=name))
        path = f"/audit/events/1:{await world.log.head()}/proof"
        async with (
            connect(database_url, role="dcf_engine", size_max=2) as database,
            PostgresLog(database, database_url, role="dcf_engine") as log,
            world.client(world.operator_key) as operator,
        ):
            keeper = a_keeper(log, database, tmp_path)
            await take_in(keeper)
            await sign_when_due(keeper, now=at)
            before = await ask(operator, "GET", path)

            await world.services.sealing.erase(SYSTEM_TENANT, person_id)
            after = await ask(operator, "GET", path)
            findings = Findings()
            await check_tree(database, log, Shelf(None), findings, _quietly)

    assert before == after
    assert textbook.leaf(textbook.entry(json.dumps(after["event"]))) == base64.b64decode(after["leafHash"])
    assert name.encode() in EventProof.parse(after["tlogProof"]).event
    assert findings.differences == []
    assert findings.checked["tree"] == after["treeSize"]
