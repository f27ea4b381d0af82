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
    "secretmanager.versions.add",
    "secretmanager.versions.get",
)
PAGE_SECRETS = 100
_ENABLED = "ENABLED"


class _Named(msgspec.Struct):
    name: str


class _Page(msgspec.Struct, rename="camel"):
    secrets: list[_Named] = []
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
        """Take away what is kept for the target and nothing there opens any more."""
        names = [name for name in await self._names() if name not in used]
        await together(
            *(self._account.found("DELETE", "secretmanager", f"{self._root}/{name}", dict[str, Any]) for name in names)
        )

    async def _keep(self, value_id: UUID, value: Secret) -> None:
        name = naming.secret_name(self._order, value_id)
        body = {
            "labels": naming.secret_labels(self._order),
            "replication": {"userManaged": {"replicas": [{"location": target_of(self._order).region}]}},
        }
        try:
            query = {"secretId": name}
            await self._account.call("POST", "secretmanager", self._root, _Named, query=query, body=body)
        except Answered as error:
            if error.http_status != 409:
                raise
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

    async def _names(self) -> list[str]:
        names: list[str] = []
        query = {"filter": f"labels.dcf-place={naming.place(self._order)}", "pageSize": str(PAGE_SECRETS)}
        while True:
            page = await self._account.call("GET", "secretmanager", self._root, _Page, query=query)
            names += [secret.name.rpartition("/")[2] for secret in page.secrets]
            if not page.next_page_token:
                return names
            query["pageToken"] = page.next_page_token
