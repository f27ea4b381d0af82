"""Services and revisions as Cloud Run shows them, and the calls that read and change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from domain.clouds import GcpTarget
from providers.gcp import naming
from providers.gcp.account import Account
from providers.gcp.errors import Answered, Status, of_status
from providers.provider import ProviderBusy

# How long a verb waits for what it began; the runner looks again after that.
WAIT_SECONDS = 10
LAST_WORDS_LINES = 30

_BY_REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"


class Condition(msgspec.Struct, rename="camel"):
    type: str = ""
    state: str = ""
    message: str = ""
    reason: str = ""
    revision_reason: str = ""


class Share(msgspec.Struct, omit_defaults=True):
    """Who gets how much of the traffic; one with a tag and no percent is only reachable at an address of its own."""

    type: str = _BY_REVISION
    revision: str = ""
    percent: int = 0
    tag: str = ""


class _KeyRef(msgspec.Struct):
    secret: str = ""


class _Source(msgspec.Struct, rename="camel"):
    secret_key_ref: _KeyRef | None = None


class _Variable(msgspec.Struct, rename="camel"):
    name: str
    value_source: _Source | None = None


class _Container(msgspec.Struct):
    image: str = ""
    env: list[_Variable] = []

    @property
    def secrets(self) -> set[str]:
        """The names of the secrets it opens."""
        sources = (variable.value_source for variable in self.env)
        references = (source.secret_key_ref for source in sources if source is not None)
        return {reference.secret.rpartition("/")[2] for reference in references if reference is not None}


class _Template(msgspec.Struct):
    revision: str = ""
    containers: list[_Container] = []


class RunService(msgspec.Struct, rename="camel"):
    """A service. `labels` say which deployment serves, once one does."""

    name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uri: str = ""
    etag: str = ""
    ingress: str = ""
    invoker_iam_disabled: bool = False
    shown_traffic: list[Share] = msgspec.field(default_factory=list, name="traffic")
    template: _Template = msgspec.field(default_factory=_Template)
    reconciling: bool = False
    terminal_condition: Condition | None = None
    latest_created_revision: str = ""
    latest_ready_revision: str = ""

    @property
    def traffic(self) -> list[Share]:
        """Who gets how much, by name: to lead it to the latest one, as somebody else may have, would let a release in that
        is not promoted."""
        latest = self.latest_ready_revision.rpartition("/")[2]
        return [
            msgspec.structs.replace(share, type=_BY_REVISION, revision=latest)
            if share.type == _LATEST and latest
            else share
            for share in self.shown_traffic
        ]

    @property
    def number(self) -> int:
        """Of the deployment that serves; 0 until one does."""
        told = self.labels.get("dcf-number", "")
        return int(told) if told.isdecimal() else 0


class RunRevision(msgspec.Struct, rename="camel"):
    labels: dict[str, str] = {}
    conditions: list[Condition] = []
    containers: list[_Container] = []

    @property
    def ready(self) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == "Ready"), None)


class _Revisions(msgspec.Struct, rename="camel"):
    revisions: list[RunRevision] = []
    next_page_token: str = ""


class _Operation(msgspec.Struct):
    name: str = ""
    done: bool = False
    error: Status | None = None


class _Entry(msgspec.Struct, rename="camel"):
    text_payload: str = ""


class _Entries(msgspec.Struct):
    entries: list[_Entry] = []


class CloudRun:
    """Cloud Run in one project and region, as one account sees it."""

    def __init__(self, account: Account, target: GcpTarget) -> None:
        self._account, self._target = account, target

    async def service(self) -> RunService | None:
        return await self._account.found("GET", "run", naming.service_path(self._target), RunService)

    async def revision(self, name: str) -> RunRevision | None:
        path = f"{naming.service_path(self._target)}/revisions/{name}"
        return await self._account.found("GET", "run", path, RunRevision)

    async def revisions(self) -> list[RunRevision]:
        """All of the service; none when there is no service."""
        path, query = f"{naming.service_path(self._target)}/revisions", {"pageSize": "100"}
        found: list[RunRevision] = []
        while (page := await self._account.found("GET", "run", path, _Revisions, query=query)) is not None:
            found += page.revisions
            if not page.next_page_token:
                break
            query["pageToken"] = page.next_page_token
        return found

    async def make(self, body: dict[str, Any]) -> None:
        """Make the service. Raises Answered as `replace` does, and when one has the name by now, whosever it is."""
        path, query = naming.services_path(self._target), {"serviceId": self._target.service_name}
        await self._revised(body, await self._account.call("POST", "run", path, _Operation, query=query, body=body))

    async def replace(self, body: dict[str, Any]) -> None:
        """Replace all of the service, unless it changed since the body's etag. Raises Answered, unless the new revision
        is there and only does not come up: what is wrong with it stands in its conditions."""
        path = naming.service_path(self._target)
        operation = await self._account.found("PATCH", "run", path, _Operation, body=body)
        if operation is None:
            raise ProviderBusy("The Cloud Run service was taken away meanwhile.")
        await self._revised(body, operation)

    async def _revised(self, body: dict[str, Any], operation: _Operation) -> None:
        try:
            await self._begun(operation)
        except Answered:
            if await self.revision(body["template"]["revision"]) is None:
                raise

    async def change(self, body: dict[str, Any], *fields: str, done: Callable[[RunService], bool]) -> None:
        """Change these fields of the service only; without `template` among them no revision is made.

        Raises Answered, unless the service is `done`: the operation speaks of the whole service, and fails also when the
        newest revision, which this change is not about, does not come up.
        """
        path, query = naming.service_path(self._target), {"updateMask": ",".join(fields)}
        operation = await self._account.found("PATCH", "run", path, _Operation, query=query, body=body)
        if operation is None:
            raise ProviderBusy("The Cloud Run service was taken away meanwhile.")
        try:
            await self._begun(operation)
        except Answered:
            service = await self.service()
            if service is None or not done(service):
                raise

    async def remove_service(self, etag: str) -> None:
        """Take the service away with all its revisions, unless it changed since the etag."""
        path, query = naming.service_path(self._target), {"etag": etag} if etag else {}
        operation = await self._account.found("DELETE", "run", path, _Operation, query=query)
        if operation is not None:
            await self._begun(operation)

    async def remove_revision(self, name: str) -> Literal["gone", "refused"]:
        """Take a revision away. Cloud Run refuses it for the newest one of a service."""
        path = f"{naming.service_path(self._target)}/revisions/{name}"
        try:
            operation = await self._account.found("DELETE", "run", path, _Operation)
            if operation is not None:
                await self._begun(operation)
        except Answered as error:
            if error.http_status in (400, 409) and error.status == "FAILED_PRECONDITION":
                return "refused"
            raise
        return "gone"

    async def last_words(self, revision: str) -> str:
        """The end of what a revision logged; empty when the account may not read logs."""
        body = {
            "resourceNames": [f"projects/{self._target.project_id}"],
            "filter": f'resource.type="cloud_run_revision" AND resource.labels.revision_name="{revision}"',
            "orderBy": "timestamp desc",
            "pageSize": LAST_WORDS_LINES,
        }
        try:
            found = await self._account.call("POST", "logging", "/v2/entries:list", _Entries, body=body)
        except Answered:
            return ""
        return "\n".join(entry.text_payload for entry in reversed(found.entries) if entry.text_payload)

    async def _begun(self, operation: _Operation) -> None:
        """Wait a little for the operation. Raises Answered when it has failed by then."""
        if not operation.done:
            path, body = f"/v2/{operation.name}:wait", {"timeout": f"{WAIT_SECONDS}s"}
            operation = await self._account.call("POST", "run", path, _Operation, body=body)
        if operation.error is not None:
            raise of_status(operation.error, _HTTP.get(operation.error.code, 400))


def image_digest(containers: list[_Container]) -> str:
    """The digest in the reference of the image that is run."""
    return containers[0].image.partition("@")[2] if containers else ""


# An operation's error has gRPC's number only.
_HTTP = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 13: 500, 14: 503, 16: 401}
