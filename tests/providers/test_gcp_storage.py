"""Staging on Google Cloud of what is sent in pieces: cut off anywhere, it goes on where it stopped."""

from __future__ import annotations

import io
from uuid import uuid4

import pytest

from providers.gcp.provider import GcpProvider
from providers.gcp.storage import PIECE_BYTES, RESUMABLE_BYTES_MIN
from providers.provider import Place, ProviderUnreachable
from tests.emulators.gcp.cloud import GcpCloud
from tests.emulators.gcp.faults import Fault
from tests.providers.grounds import Ground
from tests.providers.keeping import read_back

CONTENT = bytes(range(256)) * ((RESUMABLE_BYTES_MIN + 4096) // 256)
PIECES = -(-len(CONTENT) // PIECE_BYTES)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("lost", "sent"),
    [(0, PIECES), (1, PIECES + 1), (2, PIECES + 2), (3, PIECES + 3)],
    ids=["whole", "sent once more by the client", "cut off", "and asked in vain how far it got"],
)
async def test_goes_on_where_it_was_cut_off(ground: Ground, lost: int, sent: int) -> None:
    """
    Goal: what has arrived is not sent again, and what lies there is what was sent.
    Method: lose the answers of the first calls of the upload, count its calls, read the object, and put it once more.
    """
    cloud, provider, name = ground.cloud, ground.provider, f"dcf/{uuid4()}"
    assert isinstance(cloud, GcpCloud)
    assert isinstance(provider, GcpProvider)
    place = Place(tenant_id=uuid4(), project_id=uuid4(), identity=ground.identity, storage=ground.storage)
    before = cloud.google.calls.count("storage.put")
    if lost:
        cloud.google.faults.add(Fault("lose", "storage.put", times=lost))

    assert await provider.put_file(place, name, io.BytesIO(CONTENT))

    assert cloud.google.calls.count("storage.put") - before == sent
    found = await read_back(provider, place, name)
    assert found == CONTENT
    assert not await provider.put_file(place, name, io.BytesIO(CONTENT[:-1] + b"x"))


@pytest.mark.parametrize(
    ("method", "content"), [("storage.post", b"whole"), ("storage.put", CONTENT)], ids=["whole", "in-pieces"]
)
async def test_what_was_damaged_on_its_way_is_refused_and_sent_again(
    ground: Ground, method: str, content: bytes
) -> None:
    cloud, provider, name = ground.cloud, ground.provider, f"dcf/{uuid4()}"
    assert isinstance(cloud, GcpCloud)
    assert isinstance(provider, GcpProvider)
    place = Place(tenant_id=uuid4(), project_id=uuid4(), identity=ground.identity, storage=ground.storage)
    cloud.google.faults.add(Fault("damage", method))

    with pytest.raises(ProviderUnreachable, match="did not arrive as it was sent"):
        await provider.put_file(place, name, io.BytesIO(content))
    kept = await read_back(provider, place, name)
    assert await provider.put_file(place, name, io.BytesIO(content))
    found = await read_back(provider, place, name)

    assert kept is None
    assert found == content
