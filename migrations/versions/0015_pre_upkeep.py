"""Who asked for a job on read models, and what is parked, shown to operators."""

from __future__ import annotations

from migrations.statements import run

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_REQUESTED_BY = "ALTER TABLE views.rebuilds ADD COLUMN requested_by text NOT NULL DEFAULT ''"

# Of all tenants: only operators are shown it.
_PARKED = """
    CREATE FUNCTION views.parked_first(of_kind text, at_most integer)
    RETURNS TABLE (tenant_id uuid, stream_id uuid, "position" bigint, error text, parked_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
        SELECT p.tenant_id, p.stream_id, p.position, p.error, p.parked_at
          FROM views.parked p
         WHERE p.kind = of_kind
         ORDER BY p.position
         LIMIT at_most
    $body$;
    REVOKE EXECUTE ON FUNCTION views.parked_first FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION views.parked_first TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_REQUESTED_BY)
    run(_PARKED)
