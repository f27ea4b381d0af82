"""What builds say."""

from __future__ import annotations

from migrations.statements import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# `begins_at` is where a chunk stands in the whole log, in bytes: a gap shows what was dropped.
_BUILD_LOGS = """
CREATE TABLE work.build_logs (
    tenant_id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    cursor bigint NOT NULL,
    next_cursor bigint NOT NULL,
    begins_at bigint NOT NULL,
    content bytea NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, deployment_id, cursor)
);
ALTER TABLE work.build_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_build_logs ON work.build_logs TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT ON work.build_logs TO dcf_app;
GRANT SELECT, INSERT, DELETE ON work.build_logs TO dcf_engine;
"""

# Only the runner that holds the deployment writes; should one that lost it write too, the same piece is kept once.
_FUNCTIONS = """
CREATE FUNCTION work.append_build_log(
    tenant uuid, deployment uuid, from_cursor bigint, to_cursor bigint, bytes bytea, head_bytes bigint, tail_bytes bigint
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    last_cursor bigint;
    end_at bigint;
BEGIN
    SELECT next_cursor, begins_at + octet_length(content) INTO last_cursor, end_at
      FROM work.build_logs
     WHERE tenant_id = tenant AND deployment_id = deployment
     ORDER BY cursor DESC
     LIMIT 1;
    IF from_cursor < last_cursor THEN
        RETURN;
    END IF;
    INSERT INTO work.build_logs (tenant_id, deployment_id, cursor, next_cursor, begins_at, content)
        VALUES (tenant, deployment, from_cursor, to_cursor, coalesce(end_at, 0), bytes)
        ON CONFLICT (tenant_id, deployment_id, cursor) DO NOTHING;
    end_at := coalesce(end_at, 0) + octet_length(bytes);
    IF end_at > head_bytes + tail_bytes THEN
        DELETE FROM work.build_logs
         WHERE tenant_id = tenant AND deployment_id = deployment
           AND begins_at >= head_bytes AND begins_at + octet_length(content) <= end_at - tail_bytes;
    END IF;
END
$$;
CREATE FUNCTION work.read_build_log(tenant uuid, deployment uuid, after_cursor bigint)
RETURNS TABLE (next_cursor bigint, begins_at bigint, content bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY
        SELECT b.next_cursor, b.begins_at, b.content
          FROM work.build_logs AS b
         WHERE b.tenant_id = tenant AND b.deployment_id = deployment AND b.next_cursor > after_cursor
         ORDER BY b.cursor;
END
$$;
REVOKE EXECUTE ON FUNCTION work.append_build_log, work.read_build_log FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.append_build_log TO dcf_engine;
GRANT EXECUTE ON FUNCTION work.read_build_log TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_BUILD_LOGS)
    run(_FUNCTIONS)
