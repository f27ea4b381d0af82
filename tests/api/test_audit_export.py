"""A tenant's export over HTTP: whole, only the tenant's, and for those alone who may have it."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from litestar import Request

from api.event_stream import Streams, StreamsFull
from api.first_start import TENANT_ID
from api.permit import Permit
from audit.export_format import Damaged
from audit.export_source import open_export
from audit.importing import check_export
from tests.api.steps import a_function, a_project, is_problem
from tests.api.world import World


def _quietly(_: int) -> None:
    """Progress is told to nobody."""


async def _download(client: httpx.AsyncClient, path: Path, **params: str) -> Path:
    answer = await client.get("/api/v1/audit/export", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    path.write_bytes(answer.content)
    return path


def _events(path: Path) -> list[Any]:
    """The events of an export, which is checked from end to end."""
    with open_export(path) as source:
        check_export(source, _quietly)
        contents = [gzip.decompress(source.content(part)) for part in source.manifest.parts]
    return [json.loads(line) for content in contents for line in content.splitlines()]


async def _is_the_tenants_own(world: World, path: Path) -> None:
    async with world.client() as client, world.client(await world.stranger_key()) as stranger:
        project_id = await a_project(client)
        await a_project(stranger)
        await a_function(client, project_id)
        listed = (await client.get("/api/v1/audit/events", params={"limit": "200"})).json()["items"]

        events = _events(await _download(client, path))

    assert [f"1:{event['position']}" for event in events] == [item["position"] for item in listed]
    assert {event["tenantId"] for event in events} == {str(TENANT_ID)}


class TestExportLog:
    async def test_holds_all_that_is_the_tenants_and_nothing_else(self, world: World, tmp_path: Path) -> None:
        await _is_the_tenants_own(world, tmp_path / "export.tar")

    async def test_so_it_is_on_postgres(self, postgres_world: World, tmp_path: Path) -> None:
        await _is_the_tenants_own(postgres_world, tmp_path / "export.tar")

    async def test_begins_and_ends_where_asked(self, client: httpx.AsyncClient, tmp_path: Path) -> None:
        for name in ("one", "two", "three"):
            await a_project(client, name)
        whole = _events(await _download(client, tmp_path / "whole.tar"))

        span = {"from": f"1:{whole[-3]['position']}", "to": f"1:{whole[-2]['position']}"}
        part = _events(await _download(client, tmp_path / "part.tar", **span))

        assert part == whole[-2:-1]

    async def test_an_operator_names_the_tenant(self, world: World, client: httpx.AsyncClient, tmp_path: Path) -> None:
        await a_project(client)
        own = _events(await _download(client, tmp_path / "own.tar"))
        async with world.client(world.operator_key) as operator:
            named = _events(await _download(operator, tmp_path / "named.tar", tenantId=str(TENANT_ID)))
            unknown = await operator.get("/api/v1/audit/export", params={"tenantId": str(uuid4())})

        assert named == own
        assert is_problem(unknown, 404, "tenant_not_found")

    async def test_is_for_owners_and_admins(self, world: World, client: httpx.AsyncClient) -> None:
        for role, status in (("viewer", 403), ("developer", 403), ("admin", 200), ("owner", 200)):
            async with world.client(await world.key(TENANT_ID, role)) as caller:  # type: ignore[arg-type]
                assert (await caller.get("/api/v1/audit/export")).status_code == status
        async with world.client(await world.stranger_key()) as stranger:
            answer = await stranger.get("/api/v1/audit/export", params={"tenantId": str(TENANT_ID)})
        assert is_problem(answer, 422, "parameter_invalid")

    async def test_cut_short_it_cannot_be_taken_for_whole(self, client: httpx.AsyncClient, tmp_path: Path) -> None:
        await a_project(client)
        path = await _download(client, tmp_path / "export.tar")
        content = path.read_bytes()

        for end in (600, len(content) // 2, len(content) - 2_000):
            path.write_bytes(content[:end])
            with pytest.raises(Damaged):
                _events(path)

    async def test_only_so_many_are_made_at_a_time(self) -> None:
        async def content() -> Any:
            yield b"a"
            yield b"b"

        streams, permit = Streams(downloads_max=1), Permit(Request({"type": "http"}))  # type: ignore[arg-type]
        first = streams.download(content(), (), permit=permit)._chunks
        assert await first.__anext__() == b"a"
        with pytest.raises(StreamsFull):
            streams.download(content(), (), permit=permit)
        with contextlib.suppress(StopAsyncIteration):
            await first.aclose()

        streams.download(content(), (), permit=permit)
