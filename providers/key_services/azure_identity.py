"""Who this process is to Azure: a workload identity of its cluster, or the managed identity of its app or machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from providers.azure.wire import Reply, Wire

# A token with less than this left is replaced before it is used.
LEFT_SECONDS_MIN = 300.0
_MACHINE = "http://169.254.169.254/metadata/identity/oauth2/token"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _Issued(msgspec.Struct):
    access_token: str
    # Some of those that answer write it as text.
    expires_in: int | str


class OwnTokens:
    """Tokens for one resource, kept until they are nearly over. `environment` is what Azure puts there for its workloads;
    where that does not say who gives tokens to them (`AZURE_AUTHORITY_HOST`), `authority` does."""

    def __init__(
        self,
        wire: Wire,
        resource: str,
        environment: Mapping[str, str],
        *,
        authority: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._wire, self._resource, self._environment, self._clock = wire, resource, environment, clock
        self._authority = (environment.get("AZURE_AUTHORITY_HOST") or authority).rstrip("/")
        self._turn = asyncio.Lock()
        self._kept, self._ends_at = "", 0.0

    async def get(self) -> str:
        """Raises Answered or ProviderUnreachable, and OSError for a file that cannot be read."""
        async with self._turn:
            if self._ends_at - self._clock() < LEFT_SECONDS_MIN:
                issued = (await self._asked()).read(_Issued)
                self._kept, self._ends_at = issued.access_token, self._clock() + int(issued.expires_in)
            return self._kept

    def forget(self) -> None:
        """It was not taken any more."""
        self._ends_at = 0.0

    async def _asked(self) -> Reply:
        given = self._environment
        client_id, tenant_id = given.get("AZURE_CLIENT_ID", ""), given.get("AZURE_TENANT_ID", "")
        if (file := given.get("AZURE_FEDERATED_TOKEN_FILE")) and client_id and tenant_id:
            form = {
                "grant_type": "client_credentials",
                "client_id": client_id,
                "scope": f"{self._resource}/.default",
                "client_assertion_type": _ASSERTION,
                "client_assertion": (await asyncio.to_thread(Path(file).read_text)).strip(),
            }
            return await self._wire.call("POST", f"{self._authority}/{tenant_id}/oauth2/v2.0/token", form=form)
        query = {"resource": self._resource, **({"client_id": client_id} if client_id else {})}
        if (app := given.get("IDENTITY_ENDPOINT")) and (secret := given.get("IDENTITY_HEADER")):
            query["api-version"] = "2019-08-01"
            return await self._wire.call("GET", app, query=query, headers={"X-IDENTITY-HEADER": secret})
        query["api-version"] = "2018-02-01"
        return await self._wire.call("GET", _MACHINE, query=query, headers={"Metadata": "true"})
