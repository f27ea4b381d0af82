"""Uploads that come in pieces, and can be resumed."""

from __future__ import annotations

from migrations.statements import run

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# `turn` rises with everybody who comes to the upload: whoever came before and still sends is shut out from then on. It begins
# with the time, so that one upload after another of the same id never has a turn of the other's.
_UPLOADS = """
CREATE TABLE work.uploads (
    tenant_id uuid NOT NULL,
    upload_id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL,
    provider text,
    request_hash bytea NOT NULL,
    wanted_digest text NOT NULL,
    size_max bigint NOT NULL,
    length bigint,
    received bigint NOT NULL DEFAULT 0,
    turn bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    digest text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, upload_id)
);
CREATE INDEX uploads_over ON work.uploads (expires_at);
CREATE TABLE work.upload_pieces (
    tenant_id uuid NOT NULL,
    upload_id uuid NOT NULL,
    begins_at bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (tenant_id, upload_id, begins_at),
    FOREIGN KEY (tenant_id, upload_id) REFERENCES work.uploads ON DELETE CASCADE
);
ALTER TABLE work.uploads ENABLE ROW LEVEL SECURITY;
ALTER TABLE work.upload_pieces ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_uploads ON work.uploads TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
CREATE POLICY own_pieces ON work.upload_pieces TO dcf_app
    USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON work.uploads, work.upload_pieces TO dcf_app, dcf_engine;
"""

_FUNCTIONS = """
-- Answers nothing when as many are open as may be. The same id again is the same upload, until its time is over.
CREATE FUNCTION work.begin_upload(
    tenant uuid, id uuid, of_project uuid, of_kind text, with_provider text, asked bytea, wanted text, at_most bigint,
    of_length bigint, seconds integer, open_max integer
) RETURNS SETOF work.uploads
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    PERFORM pg_advisory_xact_lock(hashtextextended('uploads ' || tenant::text, 0));
    DELETE FROM work.uploads u WHERE u.tenant_id = tenant AND u.upload_id = id AND u.expires_at <= clock_timestamp();
    IF NOT EXISTS (SELECT FROM work.uploads u WHERE u.tenant_id = tenant AND u.upload_id = id) THEN
        IF (SELECT count(*) FROM work.uploads u
             WHERE u.tenant_id = tenant AND u.digest = '' AND u.expires_at > clock_timestamp()) >= open_max THEN
            RETURN;
        END IF;
        INSERT INTO work.uploads (tenant_id, upload_id, project_id, kind, provider, request_hash, wanted_digest, size_max,
                                  length, expires_at)
        VALUES (tenant, id, of_project, of_kind, with_provider, asked, wanted, at_most,
                of_length, clock_timestamp() + make_interval(secs => seconds));
    END IF;
    RETURN QUERY UPDATE work.uploads u SET turn = u.turn + 1 WHERE u.tenant_id = tenant AND u.upload_id = id RETURNING u.*;
END
$$;
CREATE FUNCTION work.take_upload(tenant uuid, id uuid) RETURNS SETOF work.uploads
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY UPDATE work.uploads u SET turn = u.turn + 1
                  WHERE u.tenant_id = tenant AND u.upload_id = id AND u.expires_at > clock_timestamp()
                 RETURNING u.*;
END
$$;
-- Whether the piece was added: not when somebody else has come to the upload since, or it is complete.
CREATE FUNCTION work.add_piece(tenant uuid, id uuid, with_turn bigint, at bigint, bytes bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    UPDATE work.uploads u SET received = u.received + octet_length(bytes)
     WHERE u.tenant_id = tenant AND u.upload_id = id AND u.turn = with_turn AND u.received = at AND u.digest = ''
       AND u.received + octet_length(bytes) <= least(u.size_max, coalesce(u.length, u.size_max));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO work.upload_pieces (tenant_id, upload_id, begins_at, content) VALUES (tenant, id, at, bytes);
    RETURN true;
END
$$;
CREATE FUNCTION work.set_upload_length(tenant uuid, id uuid, with_turn bigint, of_length bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    UPDATE work.uploads u SET length = of_length
     WHERE u.tenant_id = tenant AND u.upload_id = id AND u.turn = with_turn AND coalesce(u.length, of_length) = of_length;
    RETURN FOUND;
END
$$;
CREATE FUNCTION work.upload_content(tenant uuid, id uuid) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
    whole bytea;
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    SELECT string_agg(p.content, '' ORDER BY p.begins_at) INTO whole
      FROM work.upload_pieces p WHERE p.tenant_id = tenant AND p.upload_id = id;
    RETURN coalesce(whole, '');
END
$$;
-- The pieces are kept in the store of contents by now.
CREATE FUNCTION work.complete_upload(tenant uuid, id uuid, of_digest text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    UPDATE work.uploads u SET digest = of_digest, length = u.received WHERE u.tenant_id = tenant AND u.upload_id = id;
    DELETE FROM work.upload_pieces p WHERE p.tenant_id = tenant AND p.upload_id = id;
END
$$;
CREATE FUNCTION work.drop_upload(tenant uuid, id uuid) RETURNS SETOF work.uploads
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dcf.tenant', tenant::text, true);
    RETURN QUERY DELETE FROM work.uploads u WHERE u.tenant_id = tenant AND u.upload_id = id RETURNING u.*;
END
$$;
REVOKE EXECUTE ON FUNCTION work.begin_upload, work.take_upload, work.add_piece, work.set_upload_length,
    work.upload_content, work.complete_upload, work.drop_upload FROM PUBLIC;
GRANT EXECUTE ON FUNCTION work.begin_upload, work.take_upload, work.add_piece, work.set_upload_length,
    work.upload_content, work.complete_upload, work.drop_upload TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_UPLOADS)
    run(_FUNCTIONS)
