"""What the library reads of its environment."""

from __future__ import annotations

from uuid import UUID


def environment(database_url: str, tenant_id: UUID | None) -> dict[str, str]:
    """A bridge to one tenant, or to all."""
    chosen = {"PERSISTENCE_MODULE": "eventstore.bridge", "DCF_DATABASE_URL": database_url}
    return chosen if tenant_id is None else chosen | {"DCF_TENANT": str(tenant_id)}
