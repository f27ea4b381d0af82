"""When each API key was last used: outside the log, since nothing is decided by it."""

from __future__ import annotations

from migrations.statements import run

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEY_USES = """
CREATE TABLE work.key_uses (
    tenant_id uuid NOT NULL,
    key_id uuid NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key_id)
) WITH (fillfactor = 50);
ALTER TABLE work.key_uses ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_key_uses ON work.key_uses TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON work.key_uses TO dcf_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON work.key_uses TO dcf_engine;
"""

# However many processes serve the API, a key's row is written once in the given time at most.
_FUNCTIONS = """
CREATE FUNCTION work.note_key_use(tenant uuid, used_key uuid, used timestamptz, apart interval) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    INSERT INTO work.key_uses AS u (tenant_id, key_id, used_at) VALUES (tenant, used_key, used)
        ON CONFLICT (tenant_id, key_id) DO UPDATE SET used_at = excluded.used_at
        WHERE u.used_at <= excluded.used_at - apart;
END
$$;
CREATE FUNCTION work.key_uses_of(tenant uuid, wanted uuid[])
RETURNS TABLE (key_id uuid, used_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY SELECT u.key_id, u.used_at FROM work.key_uses AS u WHERE u.tenant_id = tenant AND u.key_id = ANY (wanted);
END
$$;
REVOKE EXECUTE ON FUNCTION work.note_key_use, work.key_uses_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.note_key_use, work.key_uses_of TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_KEY_USES)
    run(_FUNCTIONS)
