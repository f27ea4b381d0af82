"""Uploads to a project whose storage is connected go straight there, and are read from there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import IO, Any, cast

import httpx
import pytest

from api import kept_files
from api.first_start import TENANT_ID
from api.resumable_uploads import PARTIAL
from domain.clouds import GcpStorage
from providers.files import FRESH, digest_of
from providers.provider import Place, ProviderRefused, ProviderUnreachable
from providers.simulated.made import FoundFile
from providers.simulated.provider import SimulatedProvider
from tests.api.steps import a_project, ask, connected, fields_of, is_problem, upload
from tests.api.world import MAIN_DART, World
from tests.support.kept import bytes_of, put_bytes

BUCKET = GcpStorage(bucket="acme-functions")
IDENTITY = {
    "gcpProjectId": "acme-shop",
    "serviceAccountEmail": "deployer@acme-shop.iam.gserviceaccount.com",
    "workloadIdentityProjectNumber": "123456789012",
    "workloadIdentityPool": "dcf-pool",
    "workloadIdentityProvider": "dcf-provider",
}


class Google(SimulatedProvider):
    """One whose storage can be told to refuse, or not to answer, before or after the effect."""

    before: Exception | None = None
    after: Exception | None = None
    seconds = 0.0
    cuts = 0

    async def read_file(self, place: Place, name: str, into: IO[bytes], *, bytes_max: int) -> datetime | None:
        if not self.cuts:
            return await super().read_file(place, name, into, bytes_max=bytes_max)
        self.cuts -= 1
        into.write(b"void main")
        raise ProviderUnreachable("The connection was closed.")

    @asynccontextmanager
    async def _stormy(self, *, refused: str = "") -> AsyncIterator[None]:
        if self.before is not None:
            raise self.before
        yield
        await asyncio.sleep(self.seconds)
        if self.after is not None:
            raise self.after

    @property
    def content(self) -> list[bytes]:
        return [file.content for file in self.files.values()]


@pytest.fixture
def google(world: World) -> Google:
    """Google Cloud beside this machine."""
    made = Google(1, clock=lambda: 0.0)
    cast("dict[str, Any]", world.services.providers)["gcp"] = made
    return made


@pytest.fixture
async def project_id(client: httpx.AsyncClient, google: Google) -> str:
    """A project whose files are kept in Google Cloud."""
    made = await a_project(client)
    path = f"/projects/{made}/integrations/gcp"
    await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)
    await ask(client, "POST", f"{path}/wif/verify", {})
    for step in ("check", "config"):
        await ask(client, "POST", f"{path}/bucket/{step}", {"bucket": BUCKET.bucket})
    return made


def _content(artifact: Any, project_id: str) -> str:
    return f"/api/v1/projects/{project_id}/artifacts/{artifact['digest']}/content"


class TestAnUpload:
    async def test_is_kept_in_the_storage_alone_and_recorded_with_its_place(
        self, world: World, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        made = (await upload(client, "code", project_id)).json()
        again = await upload(client, "code", project_id)
        read = await client.get(_content(made, project_id))
        shown = await ask(client, "GET", f"/projects/{project_id}/artifacts/{made['artifactId']}")
        [event] = (await ask(client, "GET", f"/audit/events?projectId={project_id}&type=artifact.staged"))["items"]

        [(storage, name)] = google.files
        assert (storage, made["provider"], made["location"]) == (BUCKET, "gcp", f"gs://acme-functions/{name}")
        assert name == f"dcf/files/{TENANT_ID}/{project_id}/{made['digest'].removeprefix('sha256:')}"
        assert (again.status_code, again.json()) == (200, made)
        assert shown == made
        assert await bytes_of(world.services.contents, TENANT_ID, made["digest"]) is None
        assert (read.content, google.content) == (MAIN_DART, [MAIN_DART])
        assert event["data"]["kept"] == {"storage": {"provider": "gcp", "bucket": BUCKET.bucket}, "name": name}

    async def test_names_its_provider_when_several_are_connected(
        self, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        await connected(client, project_id)

        refused = await upload(client, "code", project_id)
        named = await client.post(
            "/api/v1/functions/upload/code",
            data={"projectId": project_id, "provider": "gcp"},
            files={"file": ("main.dart", MAIN_DART)},
        )

        assert is_problem(refused, 422, "provider_ambiguous")
        assert fields_of(refused) == ["provider"]
        assert named.json()["location"].startswith("gs://")

    @pytest.mark.parametrize(
        ("problem", "status", "code", "said"),
        [
            (ProviderRefused("GCP_DENIED", "Not allowed.", "gcloud …"), 409, "storage_refused", "gcloud …"),
            (ProviderUnreachable("No route."), 503, "storage_away", "Repeat"),
            (RuntimeError("unforeseen"), 503, "storage_away", "Repeat"),
        ],
        ids=["refused", "away", "unforeseen"],
    )
    async def test_is_refused_with_its_cause_and_nothing_is_recorded(
        self,
        world: World,
        client: httpx.AsyncClient,
        google: Google,
        project_id: str,
        problem: Exception,
        status: int,
        code: str,
        said: str,
    ) -> None:
        google.before, before = problem, await world.log.head()

        refused = await upload(client, "code", project_id)
        google.before = None
        recorded = [one.type for one in await world.log.read(before, limit=10) if one.type != "command.refused"]

        assert is_problem(refused, status, code)
        assert said in refused.json()["remedy"]
        assert fields_of(refused) == ["provider"]
        assert ("retry-after" in refused.headers) == (status == 503)
        assert (recorded, google.files) == ([], {})
        assert (await upload(client, "code", project_id)).status_code == 201

    async def test_waits_for_the_storage_only_so_long(
        self, client: httpx.AsyncClient, google: Google, project_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kept_files, "STORAGE_SECONDS_MAX", 0.05)
        google.seconds = 5.0

        assert is_problem(await upload(client, "code", project_id), 503, "storage_away")

    async def test_that_ended_before_it_was_recorded_is_found_again(
        self, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        """What a killed process leaves is the file without its event: so is an answer that is lost."""
        google.after = ProviderUnreachable("The answer was lost.")
        lost = await upload(client, "code", project_id)
        google.after = None

        assert is_problem(lost, 503, "storage_away")
        assert google.content == [MAIN_DART]
        assert (await upload(client, "code", project_id)).status_code == 201
        assert google.content == [MAIN_DART]

    async def test_leaves_alone_what_is_about_to_be_swept(
        self, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        google.after = ProviderUnreachable("The answer was lost.")
        await upload(client, "code", project_id)
        google.after = None
        [(key, file)] = google.files.items()
        google.files[key] = FoundFile(content=file.content, at=file.at - FRESH - timedelta(seconds=1))

        made = (await upload(client, "code", project_id)).json()

        assert len(google.files) == 2
        assert made["location"] != f"gs://acme-functions/{key[1]}"

    async def test_in_pieces_may_be_ended_again_when_the_storage_was_away(
        self, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        begun = await client.post(
            f"/api/v1/projects/{project_id}/uploads?kind=code", content=MAIN_DART, headers={"Upload-Complete": "?0"}
        )
        headers = {"Content-Type": PARTIAL, "Upload-Offset": str(len(MAIN_DART)), "Upload-Complete": "?1"}
        google.before = ProviderUnreachable("No route.")

        away = await client.patch(begun.headers["location"], content=b"", headers=headers)
        google.before = None
        done = await client.patch(begun.headers["location"], content=b"", headers=headers)

        assert is_problem(away, 503, "storage_away")
        assert done.json()["location"].startswith("gs://")
        assert google.content == [MAIN_DART]


class TestAFile:
    @pytest.mark.parametrize("content", [None, b"other"], ids=["gone", "changed"])
    async def test_that_is_not_what_was_uploaded_is_refused_until_it_is_uploaded_again(
        self, client: httpx.AsyncClient, google: Google, project_id: str, content: bytes | None
    ) -> None:
        made = (await upload(client, "code", project_id)).json()
        [(key, file)] = google.files.items()
        del google.files[key]
        if content is not None:
            google.files[key] = FoundFile(content=content, at=file.at)

        refused = await client.get(_content(made, project_id))
        await upload(client, "code", project_id)
        read = await client.get(_content(made, project_id))

        assert is_problem(refused, 404, "artifact_content_gone")
        assert read.content == MAIN_DART

    async def test_whose_answer_is_cut_off_is_refused_before_anything_is_sent(
        self, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        made = (await upload(client, "code", project_id)).json()
        google.cuts = 1

        refused, read = await client.get(_content(made, project_id)), await client.get(_content(made, project_id))

        assert is_problem(refused, 503, "storage_away")
        assert "retry-after" in refused.headers
        assert read.content == MAIN_DART

    async def test_is_out_of_reach_once_disconnected_until_it_is_uploaded_again(
        self, world: World, client: httpx.AsyncClient, google: Google, project_id: str
    ) -> None:
        made = (await upload(client, "code", project_id)).json()
        await ask(client, "POST", f"/projects/{project_id}/integrations/gcp/disconnect", {})

        refused = await client.get(_content(made, project_id))
        again = (await upload(client, "code", project_id)).json()
        read = await client.get(_content(made, project_id))

        assert is_problem(refused, 409, "artifact_out_of_reach")
        assert "again" in refused.json()["remedy"]
        assert (again["artifactId"], again["provider"], again["location"]) == (made["artifactId"], None, None)
        assert read.content == MAIN_DART
        assert google.content == [MAIN_DART], "what is in the customer's bucket stays there"

    async def test_that_was_uploaded_before_goes_there_when_it_is_uploaded_again(
        self, world: World, client: httpx.AsyncClient, google: Google
    ) -> None:
        await put_bytes(world.services.contents, TENANT_ID, digest_of(MAIN_DART), MAIN_DART)
        project = await a_project(client)
        before = (await upload(client, "code", project)).json()
        path = f"/projects/{project}/integrations/gcp"
        await ask(client, "POST", f"{path}/wif/connect", IDENTITY, status=201)
        for step in ("check", "config"):
            await ask(client, "POST", f"{path}/bucket/{step}", {"bucket": BUCKET.bucket})

        read = await client.get(_content(before, project))
        again = (await upload(client, "code", project)).json()

        assert (before["location"], read.content) == (None, MAIN_DART)
        assert again["location"].startswith("gs://")
