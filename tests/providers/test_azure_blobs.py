"""Files in Azure's storage, against Azurite itself, against Azurite behind our door, and against the one written by hand."""

from __future__ import annotations

import asyncio
import hashlib
import io
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import httpx
import pytest
import pytest_asyncio

from providers.azure.account import Account
from providers.azure.errors import Answered
from providers.azure.identity import Tokens, Whose
from providers.azure.storage import BLOCK_BYTES, Container
from providers.azure.wire import CALL_SECONDS_MAX, Wire
from providers.issuer import Issuer, Keyring
from providers.provider import ProviderBusy, ProviderRefused
from tests.emulators.azure.azurite.door import BlobsInAzurite
from tests.emulators.azure.azurite.fetching import AzuriteUnavailable, fetched
from tests.emulators.azure.azurite.running import Azurite, bearer
from tests.emulators.azure.blobs import Blobs
from tests.emulators.azure.customer import ACCOUNT, CONTAINER, Customer
from tests.emulators.azure.faults import Fault
from tests.emulators.azure.server import Azure
from tests.emulators.background import Background
from tests.emulators.images import Workshop
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR, well_known
from tests.providers.test_azure import IDENTITY, PROJECT, STORAGE, TENANT

# The first time Azurite is fetched.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(360)]

BY_HAND, BEHIND_THE_DOOR, ALONE = "by hand", "Azurite behind the door", "Azurite alone"
# To fetch Azurite takes minutes, and some 360 MB.
_STANDS = (BY_HAND, *(pytest.param(name, marks=pytest.mark.proof) for name in (BEHIND_THE_DOOR, ALONE)))


class Stand:
    """A container, and what is behind it. `customer` has faults to be told of, where there is a door."""

    def __init__(
        self, container: Container, tokens: Tokens, *, context: ssl.SSLContext | bool, customer: Customer | None = None
    ) -> None:
        self.container, self.tokens, self.context, self.customer = container, tokens, context, customer

    async def asked(self, url: str, **rest: object) -> httpx.Response:
        async with httpx.AsyncClient(verify=self.context) as client:
            return await client.request(url=url, **rest)  # type: ignore[arg-type]

    async def put_damaged(self, name: str, content: bytes) -> httpx.Response:
        """Another checksum than that of what arrives."""
        return await self.asked(
            self.container.address(name),
            method="PUT",
            content=content,
            headers={
                "Authorization": f"Bearer {await self.tokens.of((TENANT, PROJECT, IDENTITY), STORAGE_SCOPE)}",
                "x-ms-version": "2024-11-04",
                "x-ms-blob-type": "BlockBlob",
                "Content-MD5": b64encode(hashlib.md5(b"another", usedforsecurity=False).digest()).decode(),
            },
        )


BYTES_MAX = 1 << 30
STORAGE_SCOPE = "https://storage.azure.com/.default"


class _Entra(Tokens):
    """Gives tokens that Azurite takes, or others."""

    def __init__(self, wire: Wire, issuer: Issuer) -> None:
        super().__init__(wire, issuer)
        self.given = bearer()

    async def of(self, whose: Whose, scope: str) -> str:
        return self.given


class _Trusting(Wire):
    """Takes a certificate that only we know."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        super().__init__(url)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS_MAX),
            auto_decompress=False,
        )


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    try:
        running = Azurite(fetched(TOOLCHAIN_DIR), ACCOUNT)
    except AzuriteUnavailable as unavailable:
        pytest.skip(str(unavailable))
    yield running
    running.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=_STANDS)
async def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    azurite: Azurite | None = None if request.param == BY_HAND else request.getfixturevalue("azurite")
    folder, background = tmp_path_factory.mktemp("azure"), Background()
    issuer = Issuer(Keyring(folder / "keys.json"), lambda: f"http://127.0.0.1:{port}")
    port = background.serve(well_known(issuer))
    if azurite is not None and request.param == ALONE:
        wire: Wire = _Trusting(azurite.url, azurite.context)
        tokens: Tokens = _Entra(wire, issuer)
        stand = _stand(wire, tokens, context=azurite.context)
    else:
        customer = Customer()
        customer.set_up()
        customer.trust(issuer.issuer, issuer.subject(TENANT, PROJECT))
        blobs = BlobsInAzurite(customer, azurite) if azurite else Blobs(customer)
        builds = await asyncio.to_thread(_builds, folder)
        wire = Wire(Azure(customer, builds, background, blobs).endpoints)
        stand = _stand(wire, Tokens(wire, issuer), context=True, customer=customer)
    if azurite is not None:
        await _make_container(azurite)
    yield stand
    await wire.close()
    background.close()


def _builds(folder: Path) -> Workshop:
    return workshop(folder / "cloud", TOOLCHAIN_DIR, real=False)


def _stand(wire: Wire, tokens: Tokens, *, context: ssl.SSLContext | bool, customer: Customer | None = None) -> Stand:
    container = Container(Account(wire, tokens, TENANT, PROJECT, IDENTITY), STORAGE)
    return Stand(container, tokens, context=context, customer=customer)


async def _make_container(azurite: Azurite) -> None:
    headers = {"Authorization": f"Bearer {bearer()}", "x-ms-version": "2024-11-04"}
    async with httpx.AsyncClient(verify=azurite.context, headers=headers) as client:
        made = await client.put(f"{azurite.url}/{ACCOUNT}/{CONTAINER}", params={"restype": "container"})
        assert made.status_code in (201, 409), made.text


@pytest.fixture
def name() -> str:
    """One that nothing has: what is put there stays."""
    return f"dcf/{uuid4()}/source.tar.gz"


async def _whole(stand: Stand, name: str) -> bytes | None:
    into = io.BytesIO()
    since = await stand.container.read_into(name, into, bytes_max=BYTES_MAX)
    return into.getvalue() if since else None


async def test_what_is_there_already_is_neither_put_again_nor_overwritten(stand: Stand, name: str) -> None:
    first = await stand.container.stage(name, io.BytesIO(b"one"), deployment_id="1", dart="3.11.0")

    assert await stand.container.stage(name, io.BytesIO(b"one"), deployment_id="1", dart="3.11.0") == first
    with pytest.raises(ProviderRefused) as refusal:
        await stand.container.stage(name, io.BytesIO(b"two"), deployment_id="1", dart="3.11.0")
    assert refusal.value.code == "bundle_differs"
    assert await stand.container.staged(name) == first
    assert (first.dart, first.bundle.digest) == ("3.11.0", f"sha256:{hashlib.sha256(b'one').hexdigest()}")


async def test_is_read_from_a_byte_on_and_to_a_limit(stand: Stand, name: str) -> None:
    assert await _whole(stand, name) is None
    await stand.container.put(name, io.BytesIO(b"0123456789"), {})

    found = await _whole(stand, name)
    assert found == b"0123456789"
    assert await stand.container.read(name, first=7) == b"789"
    assert await stand.container.read(name, first=10) == b""


async def test_what_is_large_goes_in_blocks_and_overwrites_nothing(stand: Stand, name: str) -> None:
    content = bytes(range(256)) * (2 * BLOCK_BYTES // 256) + b"and a bit"

    assert await stand.container.put_new(name, io.BytesIO(content), {}, "text/plain")
    assert not await stand.container.put_new(name, io.BytesIO(content[::-1]), {}, "text/plain")

    found = await _whole(stand, name)
    assert found == content


async def test_what_was_damaged_on_its_way_is_not_taken(stand: Stand, name: str) -> None:
    assert (await stand.put_damaged(name, b"whole")).status_code == 400
    assert await stand.container.staged(name) is None


async def test_is_listed_by_prefix_and_taken_away_twice(stand: Stand) -> None:
    folder = f"dcf/{uuid4()}/"
    for letter in "ba":
        await stand.container.put(f"{folder}{letter}", io.BytesIO(b"x"), {})
    await stand.container.put(f"dcf/{uuid4()}/c", io.BytesIO(b"x"), {})

    page = await stand.container.page(folder, "")
    assert [item.name for item in page.items] == [f"{folder}a", f"{folder}b"]
    assert page.next_cursor == ""
    for _ in range(2):
        await stand.container.remove(f"{folder}a")
    assert await stand.container.names(folder) == [f"{folder}b"]


async def test_a_link_opens_one_blob_for_whoever_has_it_and_only_to_read(stand: Stand, name: str) -> None:
    await stand.container.put(name, io.BytesIO(b"four"), {})
    await stand.container.put(f"{name}.other", io.BytesIO(b"five"), {})

    link = await stand.container.link(name)

    assert (await stand.asked(link, method="GET")).content == b"four"
    assert (await stand.asked(link.replace(name, f"{name}.other"), method="GET")).status_code == 403
    assert (await stand.asked(link[:-6] + "AAAAAA", method="GET")).status_code == 403
    assert (await stand.asked(link, method="DELETE")).status_code == 403
    assert await stand.container.read(name) == b"four"


async def test_nothing_is_told_to_whoever_has_no_token_for_it(stand: Stand, name: str) -> None:
    await stand.container.put(name, io.BytesIO(b"four"), {})

    for header in ({}, {"Authorization": f"Bearer {bearer(audience='https://management.azure.com')}"}):
        answer = await stand.asked(
            stand.container.address(name), method="GET", headers={"x-ms-version": "2024-11-04", **header}
        )
        assert answer.status_code in (401, 403)
        assert answer.content != b"four"


@pytest.mark.proof
async def test_azurite_takes_no_token_that_is_over_or_of_another_issuer_or_for_another_service(
    azurite: Azurite,
) -> None:
    """The stand-in itself: what it lets through in the tests of our code must be what it has looked at."""
    others = (
        {"late": 60.0},
        {"issuer": "https://example.com/"},
        {"audience": "https://management.azure.com"},
    )
    async with httpx.AsyncClient(verify=azurite.context, headers={"x-ms-version": "2024-11-04"}) as client:
        for other in others:
            answer = await client.get(
                f"{azurite.url}/{ACCOUNT}/{CONTAINER}",
                params={"restype": "container"},
                headers={"Authorization": f"Bearer {bearer(**other)}"},
            )
            assert answer.status_code == 403, other


@pytest.mark.parametrize("stand", [BY_HAND, BEHIND_THE_DOOR], indirect=True, scope="module")
class TestBehindTheDoor:
    async def test_an_answer_that_is_lost_hides_nothing_that_arrived(self, stand: Stand, name: str) -> None:
        assert stand.customer is not None
        stand.customer.faults.append(Fault("PUT", name, times=2))
        with pytest.raises(ProviderBusy):
            await stand.container.stage(name, io.BytesIO(b"one"), deployment_id="2", dart="")

        staged = await stand.container.stage(name, io.BytesIO(b"one"), deployment_id="2", dart="")

        assert staged == await stand.container.staged(name)

    async def test_a_cut_sends_no_block_again_that_arrived(self, stand: Stand, name: str) -> None:
        assert stand.customer is not None
        content = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
        stand.customer.faults.append(Fault("PUT", name, times=2))

        await stand.container.stage(name, io.BytesIO(content), deployment_id="3", dart="")

        puts = [path for method, path in stand.customer.asked if method == "PUT" and path.endswith(name)]
        found = await _whole(stand, name)
        assert found == content
        assert len(puts) == 5  # The first block, whose answer was lost twice, is not sent again after that.

    async def test_who_has_no_role_is_refused(self, stand: Stand, name: str) -> None:
        assert stand.customer is not None
        kept = set(stand.customer.assignments)
        stand.customer.take("Storage Blob Data Contributor")
        try:
            with pytest.raises(Answered) as refusal:
                await stand.container.put(name, io.BytesIO(b"one"), {})
        finally:
            stand.customer.assignments |= kept
        assert (refusal.value.http_status, refusal.value.code) == (403, "AuthorizationPermissionMismatch")
