"""One tenant's export makes an installation of its own: everything is there, at other positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from api.first_start import TENANT_ID
from audit.export_source import open_export
from audit.imported_webhooks import REASON
from audit.importing import import_export
from audit.renumbering import ELSEWHERE, Renumbering
from domain.catalogue import AGGREGATES
from eventstore.log import StoredEvent
from eventstore.meta import Meta, decode_meta, encode_meta
from migrations.upgrade import migrate
from tests.api.steps import a_function, a_project, ask, connected, the_files
from tests.api.world import world_on_postgres
from tests.projections.history import stored
from tests.projections.stories import STORIES


def _quietly(_: int) -> None:
    """Progress is told to nobody."""


async def _shown(client: httpx.AsyncClient, paths: list[str]) -> list[Any]:
    answers = [await client.get(f"/api/v1{path}") for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return [_lasting(answer.json()) for answer in answers]


def _lasting(body: Any) -> Any:
    """Without what is no fact of the log."""
    match body:
        case dict():
            return {
                name: _lasting(value) for name, value in body.items() if name not in ("queuePosition", "lastUsedAt")
            }
        case list():
            return [_lasting(item) for item in body]
        case _:
            return body


class TestImportOfATenant:
    async def test_everything_is_shown_as_it_was_and_goes_on(
        self, database_url: str, empty_database_url: str, tmp_path: Path
    ) -> None:
        data_dir = tmp_path / "service"
        async with world_on_postgres(database_url, data_dir) as world, world.client() as client:
            async with world.client(await world.stranger_key()) as stranger:
                await a_project(stranger)
            project_id = await a_project(client)
            await connected(client, project_id)
            function_id = await a_function(client, project_id, artifactFiles=await the_files(client, project_id))
            body = {"functionId": function_id, "provider": "local", "target": {}}
            local = f"/projects/{project_id}"
            queued = await ask(client, "POST", f"{local}/deployments", body, status=202)
            hook = await ask(client, "POST", f"{local}/webhooks", {"url": "https://ci.example.com/dcf"}, status=201)
            paths = ["/tenant", "/tenant/members", "/keys", "/projects", local, f"{local}/functions"]
            paths += [f"{local}/integrations", f"{local}/artifacts", f"{local}/deployments"]
            before = await _shown(client, paths)
            (tmp_path / "export.tar").write_bytes((await client.get("/api/v1/audit/export")).content)

        await migrate(empty_database_url)
        with open_export(tmp_path / "export.tar") as source:
            events = source.manifest.events
            done = await import_export(empty_database_url, source, AGGREGATES, _quietly)
        async with world_on_postgres(empty_database_url, data_dir) as world, world.client() as client:
            after = await _shown(client, paths)
            taken = await client.post("/api/v1/projects", json={"name": "shop"})
            canceled = await client.post(f"/api/v1{local}/deployments/{queued['deploymentId']}/cancel", json={})
            history = await ask(client, "GET", f"/audit/history/{queued['deploymentId']}")
            silent = await ask(client, "GET", f"{local}/webhooks/{hook['webhookId']}")

        assert after == before
        assert done.events == events
        assert done.commands > 5
        assert taken.json()["code"] == "project_name_taken"
        assert canceled.status_code == 202
        assert history["items"][-1]["type"] == "deployment.canceled"
        assert (silent["status"], silent["statusReason"]) == ("off", REASON)


class TestRenumbering:
    async def test_causes_follow_their_events(self) -> None:
        events = await _apart(await stored(*STORIES["did not compile"]))
        caused = [
            msgspec.structs.replace(event, meta=encode_meta(Meta(command_id=uuid4(), causation_id=str(cause))))
            for event, cause in zip(events, (1, events[0].position, events[1].position), strict=False)
        ]

        moved = Renumbering().moved(caused)

        assert [event.position for event in moved] == [1, 2, 3]
        assert [decode_meta(event.meta).causation_id for event in moved] == [f"{ELSEWHERE}1", "1", "2"]
        assert [event.data for event in moved] == [event.data for event in caused]

    async def test_each_command_is_known_once_with_all_its_events(self) -> None:
        ids = [uuid4(), uuid4()]
        events = await _apart(await stored(*STORIES["did not compile"]))
        named = [
            msgspec.structs.replace(event, meta=encode_meta(Meta(command_id=id)))
            for event, id in zip(events, (ids[0], ids[0], ids[1]), strict=False)
        ]
        renumbering = Renumbering()

        renumbering.moved(named)
        commands = [*renumbering.commands(), *renumbering.rest()]

        assert [(one.command_id, one.first_position, one.last_position) for one in commands] == [
            (ids[0], 1, 2),
            (ids[1], 3, 3),
        ]


async def _apart(events: list[StoredEvent]) -> list[StoredEvent]:
    """With gaps between them, where other tenants' stood."""
    return [msgspec.structs.replace(event, tenant_id=TENANT_ID, position=event.position * 3) for event in events]
