"""The bytes of uploaded files."""

from __future__ import annotations

from migrations.statements import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Source files are small and mostly text: they are compressed, and kept once for each tenant.
_CONTENTS = """
CREATE TABLE work.contents (
    tenant_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    content bytea NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, digest)
);
ALTER TABLE work.contents ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_contents ON work.contents TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT, INSERT ON work.contents TO dcf_app;
GRANT SELECT, INSERT, DELETE ON work.contents TO dcf_engine;
"""

# Setting the tenant and reading are one statement, so one round trip and one transaction.
_FUNCTIONS = """
CREATE FUNCTION work.put_content(tenant uuid, wanted bytea, bytes bytea) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    INSERT INTO work.contents (tenant_id, digest, content) VALUES (tenant, wanted, bytes)
        ON CONFLICT (tenant_id, digest) DO NOTHING;
END
$$;
CREATE FUNCTION work.get_content(tenant uuid, wanted bytea) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    found_bytes bytea;
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    SELECT content INTO found_bytes FROM work.contents WHERE tenant_id = tenant AND digest = wanted;
    RETURN found_bytes;
END
$$;
REVOKE EXECUTE ON FUNCTION work.put_content, work.get_content FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.put_content, work.get_content TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_CONTENTS)
    run(_FUNCTIONS)
