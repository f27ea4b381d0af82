"""The records of all deployments, each change durable before it counts."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import msgspec

from providers.local.records import Deployment
from providers.local.store import Store
from providers.provider import Order, ProviderRefused


class Ledger:
    """What the store holds, in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deployments = {deployment.id: deployment for deployment in store.deployments()}

    def __iter__(self) -> Iterator[Deployment]:
        return iter(list(self._deployments.values()))

    def __len__(self) -> int:
        return len(self._deployments)

    def find(self, deployment_id: UUID) -> Deployment | None:
        return self._deployments.get(deployment_id)

    def open(self, order: Order) -> Deployment:
        """The order's record, made if there is none. Raises ProviderRefused for one that is being removed."""
        deployment = self._deployments.get(order.deployment_id)
        if deployment is None:
            return self._put(Deployment(order=order))
        if deployment.wanted == "withdrawn":
            raise ProviderRefused("withdrawn", "This deployment is being removed.", "Deploy again.")
        return deployment

    def change(self, deployment_id: UUID, **fields: object) -> Deployment:
        """The record with these fields changed."""
        return self._put(msgspec.structs.replace(self._deployments[deployment_id], **fields))

    def remove(self, deployment_id: UUID) -> None:
        """Forget the deployment and every stored file that only it used."""
        self._store.remove(deployment_id)
        del self._deployments[deployment_id]
        self._store.sweep(self._deployments.values())

    def _put(self, deployment: Deployment) -> Deployment:
        self._store.save(deployment)
        self._deployments[deployment.id] = deployment
        return deployment
