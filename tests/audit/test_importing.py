"""Exports: whole ones make the same installation again, anything else is refused and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from api.first_start import TENANT_ID
from audit import verification
from audit.export_folder import ExportFolder
from audit.export_format import PART_LINES_MAX, Damaged, Manifest
from audit.export_source import open_export
from audit.imported_webhooks import REASON
from audit.importing import Imported, ImportRefused, check_export, import_export
from audit.whole_export import export_whole, plan_whole
from commands.basis import CODEC
from domain.catalogue import AGGREGATES
from domain.event import Claim
from eventstore.database import connect
from eventstore.leases import PostgresLeases
from eventstore.meta import Meta, encode_meta
from eventstore.postgres import PostgresLog
from eventstore.wrapped_keys import PostgresWrappedKeys
from migrations.upgrade import migrate
from process.key_ring import KeyRing
from projections.catalogue import READ_MODELS
from projections.engine import Parts, engine
from projections.monitor import Monitor
from projections.views import PostgresViews
from tests.api.steps import a_function, a_project, ask, connected, the_files
from tests.api.world import World, world_on_postgres
from tests.support.key_service import MemoryKeyService

URL = "https://ci.example.com/dcf"
MADE_AT = "2026-03-01T12:00:00Z"


def _quietly(_: int) -> None:
    """Progress is told to nobody."""


@asynccontextmanager
async def _engine(url: str) -> AsyncIterator[PostgresLog]:
    """The read models of a database, kept up."""
    async with (
        connect(url, role="dcf_engine", size_max=4) as database,
        PostgresLog(database, url, role="dcf_engine") as log,
        engine(
            Parts(
                views=PostgresViews(database),
                log=log,
                leases=PostgresLeases(database),
                codec=CODEC,
                monitor=Monitor(CollectorRegistry()),
            )
        ),
    ):
        yield log


@pytest.fixture
async def there(database_url: str, tmp_path: Path) -> str:
    """A service that was used: a deployment was queued and canceled, requests were refused and repeated."""
    async with world_on_postgres(database_url, tmp_path / "there") as world, world.client() as client:
        await _use(world, client)
        assert await world.services.reader.wait_for(await world.log.head(), seconds_max=20)
    return database_url


async def _use(world: World, client: Any) -> None:
    project_id = await a_project(client)
    await connected(client, project_id)
    function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
    body = {"functionId": function_id, "provider": "local", "target": {}}
    queued = await ask(client, "POST", f"/projects/{project_id}/deployments", body, status=202)
    path = f"/projects/{project_id}/deployments/{queued['deploymentId']}/cancel"
    await ask(client, "POST", path, {}, status=202)
    assert (await client.post("/api/v1/projects", json={"name": "shop"})).status_code == 409
    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        assert (await client.post("/api/v1/projects", json={"name": "other"}, headers=key)).status_code == 201
    hooks = f"/projects/{project_id}/webhooks"
    kept, gone = [await ask(client, "POST", hooks, {"url": URL}, status=201) for _ in range(2)]
    await ask(client, "POST", f"{hooks}/{kept['webhookId']}/test", status=202)
    await ask(client, "DELETE", f"{hooks}/{gone['webhookId']}")
    other = await world.stranger_key()
    async with world.client(other) as stranger:
        await a_project(stranger)


@pytest.fixture
async def here(empty_database_url: str) -> str:
    """An installation in which nothing was done yet."""
    await migrate(empty_database_url)
    return empty_database_url


async def exported(
    url: str, path: Path, *, keys: bool = False, lines_max: int = PART_LINES_MAX, tell: Callable[[int], None] = _quietly
) -> Manifest:
    async with connect(url, role="dcf_engine", size_max=2) as database:
        folder = ExportFolder(path)
        progress = folder.begun() or folder.begin(await plan_whole(database, release="1"))
        return await export_whole(
            database,
            folder,
            progress,
            tell,
            made_at=MADE_AT,
            vault=(lambda: connect(url, role="dcf_owner", size_max=1)) if keys else None,
            master_key="fingerprint",
            lines_max=lines_max,
        )


async def imported(url: str, path: Path) -> Imported:
    with open_export(path) as source:
        return await import_export(url, source, AGGREGATES, _quietly)


# Of counters the highest change counts; how many there were before is nobody's business, and nobody misses a zero.
_TABLES = {
    "log.events": "SELECT * FROM log.events ORDER BY position",
    "log.streams": "SELECT * FROM log.streams ORDER BY tenant_id, stream_id, version",
    "log.claims": "SELECT * FROM log.claims ORDER BY key, tenant_id, scope",
    "log.counters": "SELECT tenant_id, scope, name, value FROM log.counters WHERE value <> 0 ORDER BY 1, 2, 3",
    "log.commands": "SELECT * FROM log.commands ORDER BY command_id, tenant_id",
    **{f"views.{model.kind}": f"SELECT * FROM views.{model.kind} ORDER BY tenant_id, id" for model in READ_MODELS},
    **{
        f"views.{model.kind}_versions": f"SELECT * FROM views.{model.kind}_versions ORDER BY 1, 2, 3"
        for model in READ_MODELS
        if model.keeps_history
    },
}


async def tables(url: str) -> dict[str, list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return {name: [tuple(row) for row in await connection.fetch(text)] for name, text in _TABLES.items()}
    finally:
        await connection.close()


async def is_empty(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        found = [
            await connection.fetchval(f"SELECT count(*) FROM {name}")
            for name in ("log.events", "log.streams", "log.claims", "log.counters", "log.commands", "vault.person_keys")
        ]
        return found == [0] * len(found) and await connection.fetchval("SELECT max(epoch) FROM log.epochs") == 1
    finally:
        await connection.close()


async def seen(url: str) -> None:
    """Let the read models see all there is."""
    async with _engine(url) as log, connect(url, role="dcf_engine", size_max=1) as database, asyncio.timeout(60):
        head = await log.head()
        while await database.fetchval(_LEAST) < head:
            await asyncio.sleep(0.05)


_LEAST = "SELECT coalesce(min(c.position), -1) FROM views.checkpoints c JOIN views.active_versions a USING (model, version, build)"


class TestImportOfAWholeExport:
    async def test_makes_the_same_tables_again(self, there: str, here: str, tmp_path: Path) -> None:
        manifest = await exported(there, tmp_path / "export", keys=True)

        done = await imported(here, tmp_path / "export")
        await seen(here)

        before, after = await tables(there), await tables(here)
        for name, rows in before.items():
            assert after[name] == rows, name
        assert before["log.claims"]
        assert before["log.counters"]
        assert len(before["log.events"]) == manifest.events == done.events
        assert done.epoch == 2
        # Whom the exporting installation told is not told all of it again, under other ids.
        assert done.webhooks_switched_off == 0
        assert [row[2:4] for row in await _rows(here, _PROGRESS)] == [(manifest.up_to, manifest.up_to)]

    async def test_goes_on_as_the_same_service(self, there: str, here: str, tmp_path: Path) -> None:
        """Goal: keys, idempotency keys, names that are taken and what is counted are what they were."""
        await exported(there, tmp_path / "export", keys=True)
        await imported(here, tmp_path / "export")
        owner_key = (tmp_path / "there" / "owner.key").read_text().strip()
        async with world_on_postgres(here, tmp_path / "there") as world, world.client(owner_key) as client:
            events = await world.log.head()
            repeated = await client.post(
                "/api/v1/projects", json={"name": "other"}, headers={"Idempotency-Key": "once"}
            )
            taken = await client.post("/api/v1/projects", json={"name": "SHOP"})
            made = await client.post("/api/v1/projects", json={"name": "third"})

        assert repeated.status_code == 201
        assert taken.json()["code"] == "project_name_taken"
        assert made.status_code == 201
        assert made.headers["event-position"].startswith("2:")
        assert events == (await tables(there))["log.events"][-1][0]

    async def test_keys_travel_only_when_asked_for(self, there: str, here: str, tmp_path: Path) -> None:
        without = await exported(there, tmp_path / "without")
        with_keys = await exported(there, tmp_path / "with", keys=True)

        done = await imported(here, tmp_path / "with")

        assert {part.kind for part in without.parts} == {"events", "commands"}
        assert without.master_key == ""
        assert {part.kind for part in with_keys.parts} == {"events", "commands", "person-keys", "secret-values"}
        assert with_keys.master_key == "fingerprint"
        assert done.person_keys == 1
        vault = "SELECT tenant_id, person_id, key FROM vault.person_keys"
        assert await _rows(here, vault) == await _rows(there, vault)

    async def test_keys_of_tenants_travel_with_what_they_wrap_and_name_their_service(
        self, there: str, here: str, tmp_path: Path
    ) -> None:
        async with connect(there, role="dcf_engine", size_max=1) as engine:
            await KeyRing(PostgresWrappedKeys(engine), current=MemoryKeyService()).key(UUID(int=1), "person-keys")

        manifest = await exported(there, tmp_path / "with", keys=True)
        await imported(here, tmp_path / "with")

        assert manifest.key_services == ("memory:one",)
        kept = "SELECT tenant_id, purpose, key_id, service, version, wrapped FROM vault.tenant_keys"
        assert await _rows(here, kept) == await _rows(there, kept) != []

    async def test_webhooks_without_their_secret_are_off_until_there_is_another(
        self, there: str, here: str, tmp_path: Path
    ) -> None:
        manifest = await exported(there, tmp_path / "export")

        done = await imported(here, tmp_path / "export")
        owner_key = (tmp_path / "there" / "owner.key").read_text().strip()
        async with world_on_postgres(here, tmp_path / "there") as world, world.client(owner_key) as client:
            shop = next(one for one in (await ask(client, "GET", "/projects"))["items"] if one["name"] == "shop")
            hooks = f"/projects/{shop['projectId']}/webhooks"
            removed, kept = (await ask(client, "GET", hooks))["items"]
            one = f"{hooks}/{kept['webhookId']}"
            made = await ask(client, "POST", f"{one}/rotate-secret", {}, status=201)
            on = await ask(client, "PATCH", one, {"status": "active"})
            history = (await ask(client, "GET", f"/audit/history/{kept['webhookId']}"))["items"]

        assert (kept["status"], kept["statusReason"]) == ("off", REASON)
        assert removed["status"] == "removed"
        assert (done.events, done.webhooks_switched_off) == (manifest.events, 1)
        # What follows the import is told, and nothing of before.
        assert [row[2:4] for row in await _rows(here, _PROGRESS)] == [(manifest.events + 1,) * 2]
        assert made["secret"].startswith("whsec_")
        assert (on["status"], on["statusReason"]) == ("active", "")
        assert [entry["reason"] for entry in history if entry["type"] == "webhook.switched_off"] == [REASON]
        async with connect(here, role="dcf_engine", size_max=2) as database:
            log = PostgresLog(database, here, role="dcf_engine")
            parts = verification.Parts(database=database, log=log, codec=CODEC, aggregates=AGGREGATES, models=())
            assert not (await verification.verify(parts, lambda _: None)).differences

    async def test_takes_a_tar_of_the_folder_too(self, there: str, here: str, tmp_path: Path) -> None:
        manifest = await exported(there, tmp_path / "export")
        with tarfile.open(tmp_path / "export.tar", "w") as tar:
            tar.add(tmp_path / "export", arcname="")

        assert (await imported(here, tmp_path / "export.tar")).events == manifest.events


class TestExport:
    async def test_can_be_checked_without_this_code(self, there: str, tmp_path: Path) -> None:
        """Goal: whoever has the files and the description can check them. Method: nothing but the standard library."""
        await exported(there, tmp_path / "export")

        manifest = json.loads((tmp_path / "export" / "manifest.json").read_bytes())
        over_all, count = hashlib.sha256(), 0
        for part in manifest["parts"]:
            content = (tmp_path / "export" / part["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == part["sha256"]
            lines = gzip.decompress(content).decode().splitlines()
            assert len(lines) == part["lines"]
            if part["kind"] == "events":
                digest = hashlib.sha256(b"".join(_canonical(json.loads(line)) for line in lines)).digest()
                assert digest.hex() == part["canonicalSha256"]
                over_all.update(digest)
                count += len(lines)
        assert over_all.hexdigest() == manifest["canonicalSha256"]
        assert count == manifest["events"] == manifest["upTo"]

    async def test_is_taken_up_where_it_stopped(self, there: str, tmp_path: Path) -> None:
        def stop(position: int) -> None:
            raise InterruptedError(position)

        whole = await exported(there, tmp_path / "whole", lines_max=5)
        with pytest.raises(InterruptedError):
            await exported(there, tmp_path / "export", lines_max=5, tell=stop)
        begun = sorted(path.name for path in (tmp_path / "export").iterdir())
        await _add_an_event(there)

        resumed = await exported(there, tmp_path / "export", lines_max=5)

        assert "progress.json" in begun
        assert "manifest.json" not in begun
        assert resumed == whole
        with open_export(tmp_path / "export") as source:
            check_export(source, _quietly)

    async def test_shows_no_name_and_no_secret(self, there: str, tmp_path: Path) -> None:
        await exported(there, tmp_path / "export", keys=True)
        key = (tmp_path / "there" / "owner.key").read_bytes().strip()

        contents = [path.read_bytes() for path in (tmp_path / "export").iterdir()]
        texts = [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for content in contents]

        assert not any(key in text or b"Local owner" in text for text in texts)

    async def test_is_for_its_user_alone(self, there: str, tmp_path: Path) -> None:
        await exported(there, tmp_path / "export")

        assert (tmp_path / "export").stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "export").iterdir())


def _canonical(line: dict[str, Any]) -> bytes:
    """As eventstore/canonical.py describes it, written a second time."""
    at = datetime.fromisoformat(line["recordedAt"]) - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (at.days * 86_400 + at.seconds) * 1_000_000 + at.microseconds
    meta, data, type_name = line["meta"].encode(), line["data"].encode(), line["type"].encode()
    return b"".join(
        (
            b"DCFE\x01",
            line["position"].to_bytes(8, "big"),
            bytes.fromhex(line["tenantId"].replace("-", "")),
            bytes.fromhex(line["streamId"].replace("-", "")),
            line["version"].to_bytes(4, "big"),
            len(type_name).to_bytes(2, "big"),
            type_name,
            line["schemaVersion"].to_bytes(2, "big"),
            micros.to_bytes(8, "big", signed=True),
            len(meta).to_bytes(4, "big"),
            meta,
            len(data).to_bytes(4, "big"),
            data,
        )
    )


async def _rows(url: str, text: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(text)]
    finally:
        await connection.close()


async def _add_an_event(url: str) -> None:
    """What is recorded after an export was begun is not in it."""
    await _rows(
        url,
        "INSERT INTO log.events SELECT position + 1, tenant_id, gen_random_uuid(), 1, type, schema_version,"
        " recorded_at, meta, data FROM log.events ORDER BY position DESC LIMIT 1 RETURNING position",
    )


_PROGRESS = "SELECT * FROM work.webhook_progress"


def _part(path: Path) -> Path:
    return sorted(path.glob("events-*"))[1]


def _rewrite(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the events of a part, and everything that is said about them, as a forger would."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    entry = next(part for part in manifest["parts"] if part["name"] == _part(path).name)
    lines = [json.loads(line) for line in gzip.decompress(_part(path).read_bytes()).splitlines()]
    change(lines)
    content = gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    _part(path).write_bytes(content)
    entry |= {
        "sha256": hashlib.sha256(content).hexdigest(),
        "lines": len(lines),
        "firstPosition": lines[0]["position"],
        "lastPosition": lines[-1]["position"],
        "canonicalSha256": hashlib.sha256(b"".join(map(_canonical, lines))).hexdigest(),
    }
    of_events = [part for part in manifest["parts"] if part["kind"] == "events"]
    manifest["events"] = sum(part["lines"] for part in of_events)
    digests = b"".join(bytes.fromhex(part["canonicalSha256"]) for part in of_events)
    manifest["canonicalSha256"] = hashlib.sha256(digests).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def _say(path: Path, **fields: object) -> None:
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(manifest | fields))


def _later(lines: list[dict[str, Any]]) -> None:
    lines[0]["recordedAt"] = "2999-01-01T00:00:00.000000Z"


# A claim that somebody else holds by then, as the metadata of an event has it.
_CLAIMS = (
    Claim(tenant_id=TENANT_ID, scope="project", key="shop", holder=UUID(int=1)),
    Claim(tenant_id=TENANT_ID, scope="project", key="shop", holder=UUID(int=2)),
)
_CLAIMING = encode_meta(Meta(claims=_CLAIMS)).decode()
# What is done to an export, and what the refusal says.
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (lambda path: _part(path).write_bytes(_part(path).read_bytes()[:-1] + b"x"), "its SHA-256 is another"),
    "cut short": (lambda path: _part(path).write_bytes(_part(path).read_bytes()[:-9]), "its SHA-256 is another"),
    "a part gone": (lambda path: _part(path).unlink(), "the manifest names it"),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "not whole"),
    "a manifest of something else": (lambda path: (path / "manifest.json").write_text("[]"), "cannot be read"),
    "a newer form": (lambda path: _say(path, version=2), "version 2"),
    "fewer events than it says": (lambda path: _say(path, events=3), "ought to have 3 events"),
    "a part that is not named": (lambda path: _say(path, parts=[]), "end at 0"),
    "a part somewhere else": (
        lambda path: _say(path, parts=[{"name": "../x", "kind": "events", "sha256": "", "sizeBytes": 1, "lines": 1}]),
        "no name of a part",
    ),
    "an event gone": (lambda path: _rewrite(path, lambda lines: lines.pop(2)), "there is a gap"),
    "an event twice": (lambda path: _rewrite(path, lambda lines: lines.insert(2, lines[2])), "there is a gap"),
    "time that runs back": (lambda path: _rewrite(path, _later), "recorded before"),
    "a version gone": (
        lambda path: _rewrite(path, lambda lines: lines[0].update(version=7)),
        "a gap in stream",
    ),
    "an event of another release": (
        lambda path: _rewrite(path, lambda lines: lines[0].update(type="robot.built")),
        "no event 'robot.built'",
    ),
    "a claim taken twice": (
        lambda path: _rewrite(path, lambda lines: lines[0].update(meta=_CLAIMING)),
        "taken while it was held",
    ),
}


class TestRefusals:
    async def test_nothing_is_left_of_an_export_that_is_not_what_was_written(
        self, there: str, here: str, tmp_path: Path
    ) -> None:
        """Goal: each damage is named, and the installation stays empty. Method: one after another, on one installation."""
        await exported(there, tmp_path / "whole", lines_max=8)
        for number, (what, (damage, said)) in enumerate(DAMAGES.items()):
            path = tmp_path / f"export-{number}"
            path.mkdir()
            for file in (tmp_path / "whole").iterdir():
                (path / file.name).write_bytes(file.read_bytes())
            damage(path)

            with pytest.raises((Damaged, ImportRefused)) as refused:
                await imported(here, path)
            assert said in str(refused.value), (what, str(refused.value))
            assert await is_empty(here), what

        assert (await imported(here, tmp_path / "whole")).events

    async def test_an_installation_with_anything_in_it_is_left_alone(self, there: str, tmp_path: Path) -> None:
        await exported(there, tmp_path / "export")
        before = await tables(there)

        with pytest.raises(ImportRefused, match="not empty"):
            await imported(there, tmp_path / "export")

        assert await tables(there) == before

    async def test_nothing_is_left_of_one_that_was_interrupted(self, there: str, here: str, tmp_path: Path) -> None:
        manifest = await exported(there, tmp_path / "export", lines_max=8)

        def die(position: int) -> None:
            if position > manifest.up_to // 2:
                raise InterruptedError

        with open_export(tmp_path / "export") as source, pytest.raises(InterruptedError):
            await import_export(here, source, AGGREGATES, die)

        assert await is_empty(here)
        assert (await imported(here, tmp_path / "export")).events == manifest.events
