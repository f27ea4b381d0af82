"""What a tenant's counters stand at: shown to it beside its limits."""

from __future__ import annotations

from migrations.statements import run

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# With the rights of its caller, whom row-level security holds to the tenant.
_COUNTED = """
CREATE FUNCTION log.counted(tenant uuid)
RETURNS TABLE (scope text, name text, value bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY SELECT DISTINCT ON (c.scope, c.name) c.scope, c.name, c.value
                   FROM log.counters AS c
                  WHERE c.tenant_id = tenant
                  ORDER BY c.scope, c.name, c.change DESC;
END
$$;
REVOKE ALL ON FUNCTION log.counted FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.counted TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_COUNTED)
