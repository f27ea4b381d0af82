"""Values of a function's secrets in Secret Manager: there before the release that opens them, gone with the last that does."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec

from process.secret import Secret
from providers.gcp import naming
from providers.gcp.account import Account, target_of
from providers.gcp.errors import Answered
from providers.gcp.grants import require_permissions
from providers.provider import Order, ProviderBusy, Secrets
from providers.together import together

# Each value has a secret of its own, which never gets another one.
VERSION = "1"
# Asked of the project; the others of each secret, which a condition may allow and a look at the project would not show.
_OF_PROJECT = ("secretmanager.secrets.create", "secretmanager.secrets.list")
PERMISSIONS = (
    *_OF_PROJECT,
    "secretmanager.secrets.delete",
    "secretmanager.secrets.get",
    "secretmanager.secrets.update",
    "secretmanager.versions.add",
    "secretmanager.versions.get",
)
PAGE_SECRETS = 100
_ENABLED = "ENABLED"
_NUMBER = "dcf-number"


class _Named(msgspec.Struct):
    name: str


class _Kept(msgspec.Struct):
    name: str
    labels: dict[str, str] = {}
    etag: str = ""

    @property
    def number(self) -> int:
        """Of the latest deployment that kept it."""
        told = self.labels.get(_NUMBER, "")
        return int(told) if told.isdecimal() else 0


class _Page(msgspec.Struct, rename="camel"):
    secrets: list[_Kept] = []
    next_page_token: str = ""


class _Version(msgspec.Struct):
    state: str = ""


class KeptSecrets:
    """The secrets of one order's target, as one account sees them."""

    def __init__(self, account: Account, order: Order) -> None:
        self._account, self._order = account, order
        self._root = f"/v1/projects/{target_of(order).project_id}/secrets"

    async def require(self) -> None:
        """Raises ProviderRefused when the release's values could not be kept, before anything is built, or Answered."""
        if self._order.release.secret_values:
            await require_permissions(self._account, _OF_PROJECT, project=target_of(self._order).project_id)
            # Whether the API is enabled is not among the permissions.
            await self._account.call("GET", "secretmanager", self._root, _Page, query={"pageSize": "1"})

    async def keep(self, secrets: Secrets) -> None:
        """Write the values that are not there yet."""
        values = self._order.release.secret_values
        await together(*(self._keep(values[name], value) for name, value in secrets.items()))

    async def sweep(self, used: Collection[str]) -> None:
        """Take away what is kept for the target and nothing there opens any more. What a later deployment kept it may be
        about to open: that is its own to take away."""
        listed = [one for one in await self._listed() if one.number <= self._order.number]
        await together(*(self._remove(one) for one in listed if one.name.rpartition("/")[2] not in used))

    async def _remove(self, kept: _Kept) -> None:
        path, query = f"{self._root}/{kept.name.rpartition('/')[2]}", {"etag": kept.etag} if kept.etag else {}
        try:
            await self._account.found("DELETE", "secretmanager", path, dict[str, Any], query=query)
        except Answered as error:
            if not _is_another(error):  # A later deployment kept it meanwhile.
                raise

    async def _keep(self, value_id: UUID, value: Secret) -> None:
        name = naming.secret_name(self._order, value_id)
        body = {
            "labels": {**naming.secret_labels(self._order), _NUMBER: str(self._order.number)},
            "replication": {"userManaged": {"replicas": [{"location": target_of(self._order).region}]}},
        }
        try:
            query = {"secretId": name}
            await self._account.call("POST", "secretmanager", self._root, _Named, query=query, body=body)
        except Answered as error:
            if error.http_status != 409:
                raise
            await self._claim(name)
        path = f"{self._root}/{name}"
        found = await self._account.found("GET", "secretmanager", f"{path}/versions/{VERSION}", _Version)
        if found is None:
            data = base64.b64encode(value.reveal().encode()).decode()
            body = {"payload": {"data": data}}
            if await self._account.found("POST", "secretmanager", f"{path}:addVersion", _Named, body=body) is None:
                raise ProviderBusy(f"The secret {name} was taken away meanwhile.")
        elif found.state != _ENABLED:  # Somebody destroyed or disabled the value, and its number is never given anew.
            await self._account.found("DELETE", "secretmanager", path, dict[str, Any])
            raise ProviderBusy(f"The secret {name} is made anew: its value was {found.state.lower()}.")

    async def _claim(self, name: str) -> None:
        """Say of a secret that was there before that this deployment opens it too. Raises ProviderBusy."""
        path = f"{self._root}/{name}"
        kept = await self._account.found("GET", "secretmanager", path, _Kept)
        if kept is None:
            raise ProviderBusy(f"The secret {name} was taken away meanwhile.")
        if kept.number >= self._order.number:
            return
        body = {"labels": {**kept.labels, _NUMBER: str(self._order.number)}, "etag": kept.etag}
        try:
            await self._account.call("PATCH", "secretmanager", path, _Kept, query={"updateMask": "labels"}, body=body)
        except Answered as error:
            if error.http_status == 404 or _is_another(error):
                raise ProviderBusy(f"The secret {name} changed meanwhile.") from error
            raise

    async def _listed(self) -> list[_Kept]:
        found: list[_Kept] = []
        query = {"filter": f"labels.dcf-place={naming.place(self._order)}", "pageSize": str(PAGE_SECRETS)}
        while True:
            page = await self._account.call("GET", "secretmanager", self._root, _Page, query=query)
            found += page.secrets
            if not page.next_page_token:
                return found
            query["pageToken"] = page.next_page_token


def _is_another(error: Answered) -> bool:
    """Whether it was refused since the etag is not that of what is there."""
    return error.http_status == 409 or error.status == "FAILED_PRECONDITION"
