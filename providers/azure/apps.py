"""Container apps and their revisions as Azure shows them, and the calls that read and change them."""

from __future__ import annotations

from typing import Any

import msgspec

from domain.clouds import AzureTarget
from providers.azure import naming
from providers.azure.account import Account
from providers.azure.errors import Answered
from providers.azure.look import Look
from providers.azure.wire import Reply
from providers.provider import ProviderBusy

VERSION = "2026-07-01"
LAST_WORDS_LINES, LAST_WORDS_BYTES = 30, 4000
IN_PROGRESS = ("InProgress", "Updating", "Deleting", "Waiting")
ENDED_BADLY = ("Failed", "Canceled")


class Weight(msgspec.Struct, rename="camel", omit_defaults=True):
    """Who gets how much of the traffic; one with a label and no weight is only reachable at an address of its own."""

    revision_name: str = ""
    weight: int = 0
    label: str | None = None


class Ingress(msgspec.Struct, rename="camel"):
    fqdn: str | None = None
    external: bool = False
    traffic: list[Weight] | None = None


class Secret(msgspec.Struct):
    name: str = ""
    value: str = ""

    def __repr__(self) -> str:
        return f"Secret({self.name}, ********)"


class Secrets(msgspec.Struct):
    value: list[Secret] = []


class Credential(msgspec.Struct, rename="camel", omit_defaults=True):
    """With what images are pulled from a registry: an identity, or what somebody else has put there."""

    server: str = ""
    identity: str | None = None
    username: str | None = None
    password_secret_ref: str | None = None


class _Configuration(msgspec.Struct):
    ingress: Ingress | None = None
    secrets: list[Secret] | None = None
    registries: list[Credential] | None = None


class _Container(msgspec.Struct):
    image: str = ""


class Template(msgspec.Struct, rename="camel"):
    revision_suffix: str | None = None
    containers: list[_Container] | None = None

    @property
    def digest(self) -> str:
        """That of the image that is run."""
        return self.containers[0].image.partition("@")[2] if self.containers else ""


class Identities(msgspec.Struct, rename="camel"):
    type: str = ""
    user_assigned_identities: dict[str, Any] | None = None


class _AppProperties(msgspec.Struct, rename="camel"):
    environment_id: str | None = None
    managed_environment_id: str | None = None
    provisioning_state: str = ""
    configuration: _Configuration | None = None
    template: Template | None = None


class App(msgspec.Struct):
    """A container app. Its tags say which deployment serves, once one does."""

    tags: dict[str, str] | None = None
    identity: Identities | None = None
    properties: _AppProperties = msgspec.field(default_factory=_AppProperties)

    @property
    def environment(self) -> str:
        """The id of the environment it runs in, which it never leaves."""
        return self.properties.environment_id or self.properties.managed_environment_id or ""

    @property
    def registries(self) -> list[Credential]:
        return (self.properties.configuration and self.properties.configuration.registries) or []

    @property
    def ingress(self) -> Ingress:
        return (self.properties.configuration and self.properties.configuration.ingress) or Ingress()

    @property
    def traffic(self) -> list[Weight]:
        return self.ingress.traffic or []

    @property
    def secret_names(self) -> list[str]:
        """Azure shows what they are called, and not what they are."""
        return [one.name for one in (self.properties.configuration and self.properties.configuration.secrets) or []]

    @property
    def is_changing(self) -> bool:
        return self.properties.provisioning_state in IN_PROGRESS

    @property
    def ended_badly(self) -> bool:
        """Whether its last change failed."""
        return self.properties.provisioning_state in ENDED_BADLY


class _RevisionProperties(msgspec.Struct, rename="camel"):
    created_time: str | None = None
    active: bool = False
    replicas: int | None = None
    health_state: str = ""
    provisioning_state: str = ""
    provisioning_error: str | None = None
    running_state: str = ""
    template: Template | None = None


class Revision(msgspec.Struct):
    name: str = ""
    properties: _RevisionProperties = msgspec.field(default_factory=_RevisionProperties)


class _ReplicaContainer(msgspec.Struct, rename="camel"):
    log_stream_endpoint: str = ""
    running_state_details: str | None = None


class _ReplicaProperties(msgspec.Struct, rename="camel"):
    containers: list[_ReplicaContainer] | None = None


class _Replica(msgspec.Struct):
    properties: _ReplicaProperties = msgspec.field(default_factory=_ReplicaProperties)


class _Replicas(msgspec.Struct):
    value: list[_Replica] = []


class _PassProperties(msgspec.Struct):
    token: str = ""


class _EnvironmentProperties(msgspec.Struct, rename="camel"):
    default_domain: str = ""


class _Environment(msgspec.Struct):
    properties: _EnvironmentProperties = msgspec.field(default_factory=_EnvironmentProperties)


class _Pass(msgspec.Struct):
    properties: _PassProperties = msgspec.field(default_factory=_PassProperties)


class Apps:
    """One container app, as one account sees it."""

    def __init__(self, account: Account, target: AzureTarget) -> None:
        self._account, self._target, self._path = account, target, naming.app_path(target)

    async def app(self) -> App | None:
        return await self._account.found("GET", self._path, VERSION, App)

    async def domain(self) -> str:
        """What the names of all apps of the environment end with."""
        path = naming.environment_path(self._target)
        return (await self._account.call("GET", path, VERSION, _Environment)).properties.default_domain

    async def revision(self, name: str) -> Revision | None:
        return await self._account.found("GET", f"{self._path}/revisions/{name}", VERSION, Revision)

    async def revisions(self) -> list[Revision]:
        """All of them, the oldest first."""
        found = await self._account.found_all(f"{self._path}/revisions", VERSION, Revision)
        return sorted(found, key=lambda one: (one.properties.created_time or "", one.name))

    async def make(self, body: dict[str, Any]) -> Reply:
        """Make the app, where there is none. Raises Answered, or ProviderBusy."""
        await self._must_be(None)
        return await self._account.ask("PUT", self._path, VERSION, body=body)

    async def change(self, body: dict[str, Any], *, seen: App) -> Reply:
        """Change what is named only, of an app that is as it was seen; a new revision comes of a new template.

        Raises Answered, or ProviderBusy.
        """
        await self._must_be(seen)
        return await self._account.ask("PATCH", self._path, VERSION, body=body)

    async def remove(self, *, seen: App) -> Reply:
        """Remove the app, if it is as it was seen. Raises Answered, or ProviderBusy."""
        await self._must_be(seen)
        return await self._account.ask("DELETE", self._path, VERSION)

    async def _must_be(self, seen: App | None) -> None:
        """What comes nearest to a condition, of which Container Apps have none: whoever stood still looks
        again before anything is sent."""
        look = Look()
        if await self.app() != seen:
            raise ProviderBusy("The container app was changed meanwhile.")
        look.require_fresh()

    async def deactivate(self, name: str) -> None:
        """Stop a revision; Azure keeps it as a record, and lets nobody remove it."""
        await self._account.ask("POST", f"{self._path}/revisions/{name}/deactivate", VERSION)

    async def secrets(self) -> list[Secret]:
        """Those of all its revisions, with their values: a change must repeat what it is to leave."""
        return (await self._account.call("POST", f"{self._path}/listSecrets", VERSION, Secrets)).value

    async def last_words(self, name: str) -> str:
        """Why a replica of the revision does not run, and the end of what it wrote; empty when there is none."""
        try:
            path = f"{self._path}/revisions/{name}/replicas"
            found = await self._account.call("GET", path, VERSION, _Replicas)
            containers = [one for replica in found.value for one in replica.properties.containers or []]
            why = next((one.running_state_details for one in containers if one.running_state_details), "")
            written = await self._written([one.log_stream_endpoint for one in containers])
        except (Answered, ProviderBusy):
            return ""
        return "\n".join(part for part in (why, written) if part)

    async def _written(self, places: list[str]) -> str:
        place = next((place for place in places if self._account.wire.leads_to_logs(place)), "")
        if not place:
            return ""
        opened = await self._account.call("POST", f"{self._path}/getAuthToken", VERSION, _Pass)
        query = {"follow": "false", "output": "text", "tailLines": str(LAST_WORDS_LINES)}
        reply = await self._account.wire.call("GET", place, token=opened.properties.token, query=query)
        return reply.content[-LAST_WORDS_BYTES:].decode(errors="replace").strip()
