"""Somebody is erased on a real PostgreSQL: all that leaves it is ciphertext nobody can open, and the log is still true."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from eventsourcing.utils import Environment

from api.first_start import OWNER_ID, TENANT_ID
from cli import exits
from commands.ids import new_id
from commands.person import RegisterPerson
from commands.tenant import AddMember
from domain.event import SYSTEM_TENANT
from eventstore.bridge.factory import Factory
from tests.api.steps import a_project, ask
from tests.api.world import world_on_postgres
from tests.cli.test_audit_export import _typed
from tests.eventstore.bridge.environments import environment

NAME, EMAIL = "Zelda Quxington", "zelda@quxington.example"


@pytest.fixture
async def erased(database_url: str, tmp_path: Path) -> UUID:
    """Somebody who was a member, did things, and was erased; the service has stopped."""
    person_id = new_id()
    async with world_on_postgres(database_url, tmp_path / "there") as world:
        seal, at = world.services.sealing.seal, world.services.clock()
        name = await seal(SYSTEM_TENANT, person_id, "name", NAME)
        email = await seal(SYSTEM_TENANT, person_id, "email", EMAIL)
        await world.record(RegisterPerson(tenant_id=SYSTEM_TENANT, at=at, person_id=person_id, name=name, email=email))
        await world.record(AddMember(tenant_id=TENANT_ID, at=at, person_id=person_id, role="developer"))
        async with world.client() as owner, world.client(world.operator_key) as operator:
            await a_project(owner)
            shown = await ask(owner, "GET", f"/tenant/members/{person_id}")
            assert (shown["name"], shown["email"]) == (NAME, EMAIL)

            await ask(operator, "DELETE", f"/operations/persons/{person_id}")

            listed = (await ask(owner, "GET", "/tenant/members"))["items"]
            assert [item["personId"] for item in listed] == [str(OWNER_ID)]
            assert await world.services.reader.wait_for(await world.log.head(), seconds_max=20)
    (tmp_path / "there" / "master.key").write_text("m" * 40 + "\n")
    return person_id


async def test_an_erased_person_is_named_nowhere_and_the_log_verifies_and_replays(
    erased: UUID, database_url: str, tmp_path: Path
) -> None:
    there, folder = tmp_path / "there", tmp_path / "export"

    code, out, err = _typed(there, database_url, "verify", "--json")
    assert (code, json.loads(out)["verified"]) == (exits.OK, True), err
    code, _, err = _typed(there, database_url, "replay", "--all", "--json")
    assert code == exits.OK, err
    code, _, err = _typed(there, database_url, "export", str(folder))
    assert code == exits.OK, err
    code, out, _ = _typed(there, database_url, "log", "--json")

    exported = b"".join(_content(path) for path in folder.rglob("*") if path.is_file())
    assert str(erased).encode() in exported
    for text in (NAME, EMAIL, "Quxington", "quxington"):
        assert text.encode() not in exported
        assert text not in out
    with Factory(Environment(env=environment(database_url, None))) as bridge:
        notifications = bridge.application_recorder().select_notifications(1, 1_000)
    states = b"".join(one.state for one in notifications)
    assert b"person.erased" in b"".join(one.topic.encode() for one in notifications)
    assert b"uxington" not in states
    assert await _key(database_url, erased) == (None, True)


def _content(path: Path) -> bytes:
    """What a file of an export says."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


async def _key(url: str, person_id: UUID) -> tuple[bytes | None, bool]:
    """The person's key, and whether it is known to be destroyed."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            "SELECT key, destroyed_at FROM vault.person_keys WHERE person_id = $1", person_id
        )
        assert row is not None
        return row["key"], row["destroyed_at"] is not None
    finally:
        await connection.close()
