"""Large files pass through: what is held of them does not grow with them, and what comes back is what was sent."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from random import Random

import httpx
import msgspec
import pytest

from tests.api.served import served
from tests.api.steps import a_project
from tests.api.test_uploads import _plan_takes
from tests.api.world import World

MEBIBYTE = 1024 * 1024
FILE_BYTES = 8 * MEBIBYTE
AT_ONCE = 2
# A spool holds a mebibyte of each, and a few pieces are on their way: less than all bytes that are under way once. Whole they
# were held three times over.
HELD_BYTES_MAX = AT_ONCE * FILE_BYTES
_PIECE_BYTES = 64 * 1024


def _pieces(number: int) -> Iterator[bytes]:
    """Text that is another for each number, and gets no smaller."""
    random = Random(number)
    for _ in range(FILE_BYTES // _PIECE_BYTES):
        yield random.randbytes(_PIECE_BYTES // 2).hex().encode()


async def _sent(client: httpx.AsyncClient, project_id: str, number: int) -> str:
    """Upload it, in a form or as it is: its digest."""
    is_form, digest = number % 2 == 0, hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        if is_form:
            yield f'--edge\r\nContent-Disposition: form-data; name="projectId"\r\n\r\n{project_id}\r\n'.encode()
            yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="main.dart"\r\n\r\n'
        for piece in _pieces(number):
            digest.update(piece)
            yield piece
        if is_form:
            yield b"\r\n--edge--\r\n"

    path = "functions/upload/code" if is_form else f"projects/{project_id}/uploads?kind=code"
    media_type = "multipart/form-data; boundary=edge" if is_form else "application/octet-stream"
    answer = await client.post(f"/api/v1/{path}", content=body(), headers={"Content-Type": media_type})
    assert answer.status_code == (201 if is_form else 200), answer.text
    assert answer.json()["digest"] == f"sha256:{digest.hexdigest()}"
    return str(answer.json()["digest"])


async def _came(client: httpx.AsyncClient, project_id: str, digest: str) -> str:
    """The digest of what is downloaded."""
    found = hashlib.sha256()
    async with client.stream("GET", f"/api/v1/projects/{project_id}/artifacts/{digest}/content") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(FILE_BYTES)
        async for piece in answer.aiter_raw():
            found.update(piece)
    return f"sha256:{found.hexdigest()}"


# Tracing every allocation takes a multiple of the time.
@pytest.mark.proof
async def test_of_which_several_are_under_way_are_held_in_part(postgres_world: World) -> None:
    world = postgres_world
    msgspec.structs.force_setattr(world.services, "upload_bytes_max", FILE_BYTES)
    await _plan_takes(world, FILE_BYTES)
    async with served(world) as client:
        project_id = await a_project(client)
        tracemalloc.start()
        try:
            digests = await asyncio.gather(*(_sent(client, project_id, number) for number in range(AT_ONCE)))
            _, held_sending = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            found = await asyncio.gather(*(_came(client, project_id, digest) for digest in digests))
            _, held_coming = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert len(set(digests)) == AT_ONCE
    assert found == digests
    assert held_sending < HELD_BYTES_MAX, held_sending
    assert held_coming < HELD_BYTES_MAX, held_coming
