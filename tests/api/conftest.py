"""The worlds and clients that API tests start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api.world import World, world_in_memory, world_on_postgres


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in_memory(tmp_path) as made:
        yield made


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The owner's client on a store in memory."""
    async with world.client() as made:
        yield made


@pytest.fixture
async def postgres_world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on_postgres(database_url, tmp_path) as made:
        yield made


@pytest.fixture
async def postgres_client(postgres_world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The owner's client on PostgreSQL."""
    async with postgres_world.client() as made:
        yield made
