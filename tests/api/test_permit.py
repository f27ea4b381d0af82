"""What goes on after a request was allowed ends when that is not so any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar.connection.base import empty_receive

from api import file_answer
from api.auth import CACHE_SECONDS
from api.first_start import TENANT_ID
from api.id_tokens import IdTokens
from api.permit import FRESH_SECONDS
from api.sign_in import Newcomers
from api.trusted_issuers import trusted_issuers
from commands.tenant import AddMember, RemoveMember
from tests.api.served import Message, served, served_at, stream
from tests.api.steps import a_project, ask, upload
from tests.api.world import MAIN_DART, UPLOAD_BYTES_MAX, World, world_in_memory
from tests.emulators.oidc_issuer import CLIENT_ID, oidc_issuer

SOON_SECONDS = FRESH_SECONDS + CACHE_SECONDS
LATE_SECONDS = 10.0


class Listener:
    """Follows the audit trail; `told` when the stream was ended from the other side."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self.opened, self.heard = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._listen(client, key))

    async def told(self) -> list[Message]:
        return await self._task

    async def _listen(self, client: httpx.AsyncClient, key: str) -> list[Message]:
        found = []
        async with (
            asyncio.timeout(LATE_SECONDS),
            stream(client, "/audit/events", Authorization=f"Bearer {key}") as messages,
        ):
            self.opened.set()
            async for message in messages:
                found.append(message)
                self.heard.set()
        return found


class TestAStream:
    async def test_tells_a_revoked_key_nothing_from_a_second_on(self, world: World) -> None:
        assert SOON_SECONDS < 1
        async with served(world) as api:
            made = await ask(api, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
            listener = Listener(api, made["key"])
            await asyncio.wait_for(listener.opened.wait(), LATE_SECONDS)
            before = await a_project(api)
            await asyncio.wait_for(listener.heard.wait(), LATE_SECONDS)
            await ask(api, "DELETE", f"/keys/{made['keyId']}")
            await asyncio.sleep(SOON_SECONDS)
            after = await a_project(api, "later")
            told = str(await listener.told())

        assert before in told
        assert after not in told

    async def test_of_somebody_who_was_removed_is_ended_though_nothing_happens(self, tmp_path: Path) -> None:
        async with oidc_issuer() as issuer, httpx.AsyncClient(trust_env=False) as http:
            tokens = IdTokens(trusted_issuers(f"{issuer.url}={CLIENT_ID}"), http, clock=lambda: datetime.now(UTC))
            async with world_in_memory(tmp_path, tokens=tokens, newcomers=Newcomers()) as world:
                token = issuer.token("ada")
                async with world.client(token) as ada:
                    person_id = UUID((await ada.get("/api/v1/me")).json()["actor"]["id"])
                about: dict[str, Any] = {"tenant_id": TENANT_ID, "at": world.services.clock(), "person_id": person_id}
                await world.record(AddMember(**about, role="viewer"))
                await asyncio.sleep(CACHE_SECONDS)
                async with served_at(world) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
                    listener = Listener(client, token)
                    await asyncio.wait_for(listener.opened.wait(), LATE_SECONDS)
                    await world.record(RemoveMember(**about))
                    told = await listener.told()

        assert [message.event for message in told] in (["tenant.member_removed"], [])


class TestADownload:
    async def test_is_cut_off_for_a_revoked_key(
        self, world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """*Method:* the caller takes in one piece in the time in which its key comes to nothing."""
        monkeypatch.setattr(file_answer, "PIECE_BYTES", 1_000)
        project_id = await a_project(client)
        content = MAIN_DART + b"\n" * (UPLOAD_BYTES_MAX - len(MAIN_DART))
        made = (await upload(client, "code", project_id, content)).json()
        reader = await ask(client, "POST", "/keys", {"name": "ci", "role": "viewer"}, status=201)
        messages: list[Any] = []

        async def send(message: Any) -> None:
            messages.append(message)
            if len(messages) == 2:
                await ask(client, "DELETE", f"/keys/{reader['keyId']}")
                await asyncio.sleep(SOON_SECONDS)

        await world.app(
            {
                "type": "http",
                "method": "GET",
                "path": (path := f"/api/v1/projects/{project_id}/artifacts/{made['digest']}/content"),
                "raw_path": path.encode(),
                "query_string": b"",
                "headers": [(b"host", b"api.test"), (b"authorization", f"Bearer {reader['key']}".encode())],
            },
            empty_receive,
            send,
        )

        start, *told = messages
        assert dict(start["headers"])[b"content-length"] == b"%d" % len(content)
        assert [(len(one["body"]), one["more_body"]) for one in told] == [(1_000, True)]
