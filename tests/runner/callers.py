"""People of a town who ask by HTTP: under a key, again when no answer came, and who look at what became of it."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, Literal
from uuid import UUID

import msgspec

from api.api_keys import KeyText
from commands.api_key import CreateApiKey
from domain.deployment import DeploymentQueued
from eventstore.codec import tag_of
from eventstore.positions import parse_position
from tests.runner.http_api import Answer, Api
from tests.runner.town import Town
from tests.support import a

Verb = Literal["deploy", "cancel", "retry", "redeploy", "rollback", "undeploy", "validate"]

TRIES_MAX = 12
# "Later", in whatever words, is no answer to keep.
LATER = (429, 503)
AGAIN = 0.25
_PROJECT = f"/api/v1/projects/{a.PROJECT_ID}/deployments"


class Asked(msgspec.Struct, kw_only=True):
    """A request, however often it was sent, and every answer that came; `about` is the deployment its address names."""

    number: int
    tenant_id: UUID
    verb: Verb
    path: str
    body: dict[str, Any]
    about: UUID | None
    answers: list[Answer] = []

    @property
    def reason(self) -> str:
        """What is found in the log of it, and of no other."""
        return f"ask {self.number}"

    @property
    def accepted(self) -> Answer | None:
        return next((answer for answer in self.answers if answer.status < 300), None)


class Seen(msgspec.Struct, kw_only=True, frozen=True):
    """What was answered to a look at a deployment that asked for at least a position; the log ended at `head` then."""

    tenant_id: UUID
    deployment_id: UUID
    what: Literal["status", "events"]
    at_least: int
    head: int
    answer: Answer


class Callers:
    """Everybody who asks, with what they were told."""

    def __init__(self, town: Town, api: Api) -> None:
        self.town = town
        self.api = api
        self.asked: list[Asked] = []
        self.seen: list[Seen] = []
        self._keys: dict[UUID, str] = {}
        # The newest position that each of them was told of a deployment's tenant.
        self._told: dict[UUID, str] = {}
        self._read_to = 0

    async def get_keys(self) -> None:
        """One for each tenant."""
        for tenant_id in self.town.tenants:
            key = KeyText(self.town.new_id(), "k" * 43)
            self._keys[tenant_id] = key.text
            await self.town.ask(
                CreateApiKey(
                    tenant_id=tenant_id,
                    at=self.town.now(),
                    key_id=key.key_id,
                    name="key",
                    secret_hash=key.secret_hash,
                    role="owner",
                )
            )

    async def discover(self) -> None:
        """Have the town know every deployment that the log knows, also those whose answer was lost."""
        queued = tag_of(DeploymentQueued)
        while page := await self.town.log.read(self._read_to, limit=1_000):
            self.town.deployments += [(one.tenant_id, one.stream_id) for one in page if one.type == queued]
            self._read_to = page[-1].position

    async def ask(self, random: Random, verb: Verb) -> None:
        """One request, until it is answered or its caller gives up."""
        await self.discover()
        asked = self._request(random, verb)
        self.asked.append(asked)
        for _ in range(TRIES_MAX):
            if await self._try(asked):
                break
            await asyncio.sleep(random.uniform(0.05, 3.0))
        if random.random() < AGAIN:
            await self._try(asked)

    async def look(self, random: Random, *, stormy: bool = True) -> None:
        """At some deployment: where it stands, and what happened to it."""
        await self.discover()
        if not self.town.deployments:
            return
        tenant_id, deployment_id = random.choice(self.town.deployments[-6:])
        at_least = self._told.get(tenant_id, "") if random.random() < 0.6 else ""
        what: Literal["status", "events"] = "status" if random.random() < 0.7 else "events"
        path = f"{_PROJECT}/{deployment_id}" + ("/events" if what == "events" else "")
        headers = self._headers(tenant_id) | ({"if-position": at_least} if at_least else {})
        answer = await self.api.send("GET", path, headers, stormy=stormy)
        if answer is None:
            return
        self.seen.append(
            Seen(
                tenant_id=tenant_id,
                deployment_id=deployment_id,
                what=what,
                at_least=position_of(at_least),
                head=await self.town.log.head(),
                answer=answer,
            )
        )

    def _request(self, random: Random, verb: Verb) -> Asked:
        number = len(self.asked)
        if verb in ("deploy", "validate") or not self.town.deployments:
            tenant_id, function_id = random.choice(self.town.functions)
            about, path = None, _PROJECT
            body: dict[str, Any] = {"functionId": str(function_id), "provider": "local", "target": {}}
            if verb == "validate":
                body["validateOnly"] = True
            else:
                verb = "deploy"
        else:
            tenant_id, about = random.choice(self.town.deployments)
            path, body = f"{_PROJECT}/{about}/{verb}", {}
        body["reason"] = f"ask {number}"
        return Asked(number=number, tenant_id=tenant_id, verb=verb, path=path, body=body, about=about)

    async def _try(self, asked: Asked) -> bool:
        headers = self._headers(asked.tenant_id) | {
            "idempotency-key": asked.reason,
            "content-type": "application/json",
        }
        answer = await self.api.send("POST", asked.path, headers, msgspec.json.encode(asked.body))
        if answer is None or answer.status in LATER:
            return False
        asked.answers.append(answer)
        token = answer.headers.get(b"event-position", b"").decode()
        if position_of(token) > position_of(self._told.get(asked.tenant_id, "")):
            self._told[asked.tenant_id] = token
        return True

    def _headers(self, tenant_id: UUID) -> dict[str, str]:
        return {"authorization": f"Bearer {self._keys[tenant_id]}", "x-request-id": str(self.town.new_id())}


def position_of(token: str) -> int:
    """The position that a token names; 0 when there is none."""
    return parse_position(token, epoch=1) if token else 0
