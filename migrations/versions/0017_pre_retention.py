"""What is needed again is not swept away while somebody is about to say so."""

from __future__ import annotations

from migrations.statements import run

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Putting bytes that are there already makes them young again, so that they are not swept between being put and being
# named; not at every put, which would write a row each time.
_CONTENTS = """
GRANT UPDATE (stored_at) ON work.contents TO dcf_app, dcf_engine;
CREATE OR REPLACE FUNCTION work.put_content(tenant uuid, wanted bytea, bytes bytea) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    INSERT INTO work.contents AS c (tenant_id, digest, content) VALUES (tenant, wanted, bytes)
        ON CONFLICT (tenant_id, digest) DO UPDATE SET stored_at = clock_timestamp()
         WHERE c.stored_at < clock_timestamp() - interval '1 hour';
END
$$;
"""


def upgrade() -> None:
    run(_CONTENTS)
