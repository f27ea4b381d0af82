"""Larger files of the service's own store lie in pieces, so that nobody holds one whole."""

from __future__ import annotations

from migrations.statements import run

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# Small files, and those of before, stay in one row; without bytes there, they are in pieces.
_PIECES = """
ALTER TABLE work.contents ALTER COLUMN content DROP NOT NULL;
CREATE TABLE work.content_pieces (
    tenant_id uuid NOT NULL,
    digest bytea NOT NULL,
    begins_at bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (tenant_id, digest, begins_at),
    FOREIGN KEY (tenant_id, digest) REFERENCES work.contents ON DELETE CASCADE
);
ALTER TABLE work.content_pieces ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_content_pieces ON work.content_pieces TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT, INSERT ON work.content_pieces TO dcf_app, dcf_engine;
"""

_FUNCTIONS = """
-- Whether the pieces are to follow, in this transaction: not when the bytes are there already.
CREATE FUNCTION work.begin_content(tenant uuid, wanted bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    is_new boolean;
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    INSERT INTO work.contents AS c (tenant_id, digest) VALUES (tenant, wanted)
        ON CONFLICT (tenant_id, digest) DO UPDATE SET stored_at = clock_timestamp()
         WHERE c.stored_at < clock_timestamp() - interval '1 hour'
        RETURNING c.xmax = 0 INTO is_new;
    RETURN coalesce(is_new, false);
END
$$;
CREATE FUNCTION work.add_content_piece(tenant uuid, wanted bytea, at bigint, bytes bytea) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    INSERT INTO work.content_pieces (tenant_id, digest, begins_at, content) VALUES (tenant, wanted, at, bytes);
END
$$;
-- The bytes from `at` on, and whether there are more: a whole piece, or at most so many of what lies in one row.
CREATE FUNCTION work.content_piece(tenant uuid, wanted bytea, at bigint, at_most integer)
RETURNS TABLE (bytes bytea, goes_on boolean)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY
        SELECT substring(c.content FROM at::integer + 1 FOR at_most), octet_length(c.content) > at + at_most
          FROM work.contents c
         WHERE c.tenant_id = tenant AND c.digest = wanted AND c.content IS NOT NULL
         UNION ALL
        SELECT p.content, EXISTS (SELECT FROM work.content_pieces n
                                   WHERE n.tenant_id = tenant AND n.digest = wanted AND n.begins_at > at)
          FROM work.content_pieces p
         WHERE p.tenant_id = tenant AND p.digest = wanted AND p.begins_at = at;
END
$$;
-- Asked by code from before there were pieces.
CREATE OR REPLACE FUNCTION work.get_content(tenant uuid, wanted bytea) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    found_bytes bytea;
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    SELECT coalesce(c.content, (SELECT string_agg(p.content, '' ORDER BY p.begins_at)
                                  FROM work.content_pieces p WHERE p.tenant_id = tenant AND p.digest = wanted))
      INTO found_bytes
      FROM work.contents c WHERE c.tenant_id = tenant AND c.digest = wanted;
    RETURN found_bytes;
END
$$;
CREATE FUNCTION work.upload_piece(tenant uuid, id uuid, at bigint) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    piece bytea;
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    SELECT p.content INTO piece
      FROM work.upload_pieces p WHERE p.tenant_id = tenant AND p.upload_id = id AND p.begins_at = at;
    RETURN piece;
END
$$;
REVOKE EXECUTE ON FUNCTION work.begin_content, work.add_content_piece, work.content_piece, work.upload_piece FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.begin_content, work.add_content_piece, work.content_piece, work.upload_piece
    TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_PIECES)
    run(_FUNCTIONS)
