"""How far webhooks were told what happened."""

from __future__ import annotations

from migrations.statements import run

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE work.webhook_progress (
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    position bigint NOT NULL,
    heeded bigint NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    next_at timestamptz,
    delivered_at timestamptz,
    message text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, webhook_id)
);
CREATE TABLE work.webhook_deliveries (
    tenant_id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    position bigint NOT NULL,
    type text NOT NULL,
    deployment_id uuid,
    status text NOT NULL,
    attempts integer NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    http_status integer,
    message text NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id, position)
);
CREATE INDEX webhook_deliveries_ended ON work.webhook_deliveries (tenant_id, last_at) WHERE status <> 'waiting';
ALTER TABLE work.webhook_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE work.webhook_deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_progress ON work.webhook_progress TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
CREATE POLICY own_deliveries ON work.webhook_deliveries TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT ON work.webhook_progress, work.webhook_deliveries TO dcf_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON work.webhook_progress, work.webhook_deliveries TO dcf_engine;
"""

# Setting the tenant and reading are one statement, so one round trip and one transaction.
_FUNCTIONS = """
CREATE FUNCTION work.begin_webhooks(tenants uuid[], webhooks uuid[], positions bigint[])
RETURNS SETOF work.webhook_progress
LANGUAGE sql AS $$
    INSERT INTO work.webhook_progress (tenant_id, webhook_id, position, heeded)
    SELECT w.tenant_id, w.webhook_id, w.position, w.position
      FROM unnest(tenants, webhooks, positions) AS w (tenant_id, webhook_id, position)
     ORDER BY w.tenant_id, w.webhook_id
        ON CONFLICT (tenant_id, webhook_id) DO NOTHING;
    SELECT p.*
      FROM unnest(tenants, webhooks) AS w (tenant_id, webhook_id)
      JOIN work.webhook_progress AS p USING (tenant_id, webhook_id);
$$;

CREATE FUNCTION work.read_webhook_progress(tenant uuid, webhooks uuid[])
RETURNS SETOF work.webhook_progress
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY
        SELECT p.* FROM work.webhook_progress AS p WHERE p.tenant_id = tenant AND p.webhook_id = ANY (webhooks);
END
$$;

CREATE FUNCTION work.read_webhook_deliveries(tenant uuid, webhook uuid, before bigint, count integer)
RETURNS SETOF work.webhook_deliveries
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY
        SELECT d.*
          FROM work.webhook_deliveries AS d
         WHERE d.tenant_id = tenant AND d.webhook_id = webhook AND d.position < before
         ORDER BY d.position DESC
         LIMIT count;
END
$$;
REVOKE EXECUTE ON FUNCTION work.begin_webhooks, work.read_webhook_progress, work.read_webhook_deliveries FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.begin_webhooks TO dcf_engine;
GRANT EXECUTE ON FUNCTION work.read_webhook_progress, work.read_webhook_deliveries TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_TABLES)
    run(_FUNCTIONS)
