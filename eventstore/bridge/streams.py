"""Whose the streams are: which tenant's, and the service's own or a library application's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from uuid import UUID

import msgspec

from domain.event import SYSTEM_TENANT
from eventstore.database import Queries

# The category of every stream that was begun through the bridge.
CATEGORY = "eventsourcing"
STREAMS_REMEMBERED_MAX = 10_000
# A stream begins at version 0 or 1.
NEW_VERSION_MAX = 1

_FIND = "SELECT tenant_id, stream_id, category FROM log.find_streams($1, $2)"


class Stream(msgspec.Struct, frozen=True):
    """Where a stream stands. Neither ever changes."""

    tenant_id: UUID
    category: str


class AmbiguousStream(Exception):
    """Several tenants have a stream of this id; name one tenant by DCF_TENANT."""


class ServiceStream(Exception):
    """The stream is the service's own: only its commands write there, or its facts could no longer be folded."""


class Streams:
    """Looks streams up, once each."""

    def __init__(self, database: Queries, tenant_id: UUID | None) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._known: OrderedDict[UUID, Stream] = OrderedDict()

    async def find(self, ids: Collection[UUID]) -> dict[UUID, Stream]:
        """Those that exist. Raises AmbiguousStream."""
        missing = [id for id in ids if id not in self._known]
        found = {id: self._known[id] for id in ids if id in self._known}
        if missing:
            for tenant_id, id, category in await self._database.fetch(_FIND, self._tenant_id, missing):
                if id in found:
                    raise AmbiguousStream(f"{id}: several tenants have a stream of this id; name one by DCF_TENANT")
                found[id] = Stream(tenant_id, category)
            self._remember({id: found[id] for id in missing if id in found})
        return found

    async def homes(self, first_versions: Mapping[UUID, int]) -> dict[UUID, UUID]:
        """The tenant of each stream the library wants to write to, given the first version it will write there.

        A new one belongs to the bridge's tenant. Raises AmbiguousStream, ServiceStream.
        """
        if self._tenant_id is None:
            asked = list(first_versions)
        else:
            # Should a stream that is begun here exist already, the log says so.
            asked = [id for id, version in first_versions.items() if version > NEW_VERSION_MAX]
        found = await self.find(asked)
        for id, stream in found.items():
            if stream.category != CATEGORY:
                raise ServiceStream(f"{id} is a stream of the service: only its commands write there")
        home = self._tenant_id or SYSTEM_TENANT
        return {id: found[id].tenant_id if id in found else home for id in first_versions}

    def began(self, homes: Mapping[UUID, UUID]) -> None:
        """The library has written to these."""
        self._remember({id: Stream(tenant_id, CATEGORY) for id, tenant_id in homes.items()})

    def _remember(self, found: dict[UUID, Stream]) -> None:
        self._known.update(found)
        while len(self._known) > STREAMS_REMEMBERED_MAX:
            self._known.popitem(last=False)
