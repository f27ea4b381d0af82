"""What the tests of one cloud share. A file that is about another has a `ground` and a `cloud` of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.emulators.gcp.cloud import GcpCloud
from tests.providers.grounds import Ground, gcp


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """Google Cloud before its emulator."""
    async with gcp(tmp_path_factory.mktemp("gcp")) as ready:
        yield ready


@pytest.fixture
def cloud(ground: Ground) -> GcpCloud:
    assert isinstance(ground.cloud, GcpCloud)
    return ground.cloud
