"""The ticks of schedules."""

from __future__ import annotations

from migrations.statements import run

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Whoever inserts the row of a tick fires it; nobody else can. `lost_after` is when one whose end was never told is over.
_TICKS = """
CREATE TABLE work.ticks (
    tenant_id uuid NOT NULL,
    function_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    deployment_id uuid NOT NULL,
    status text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lost_after timestamptz NOT NULL,
    ended_at timestamptz,
    http_status integer,
    message text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, function_id, due_at)
);
CREATE INDEX ticks_firing ON work.ticks (lost_after) WHERE status = 'firing';
ALTER TABLE work.ticks ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_ticks ON work.ticks TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT ON work.ticks TO dcf_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON work.ticks TO dcf_engine;
"""

# Setting the tenant and reading are one statement, so one round trip and one transaction.
_FUNCTIONS = """
CREATE FUNCTION work.read_ticks(tenant uuid, function uuid, before timestamptz, count integer)
RETURNS SETOF work.ticks
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY
        SELECT t.*
          FROM work.ticks AS t
         WHERE t.tenant_id = tenant AND t.function_id = function AND t.due_at < before
         ORDER BY t.due_at DESC
         LIMIT count;
END
$$;
REVOKE EXECUTE ON FUNCTION work.read_ticks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.read_ticks TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_TICKS)
    run(_FUNCTIONS)
