"""Builds of read models beside the one that is served, the jobs that make them, and history without what still stands."""

from __future__ import annotations

from migrations.statements import run

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BUILDS = """
    ALTER TABLE views.checkpoints ADD COLUMN build integer NOT NULL DEFAULT 0;
    -- What can be switched back to, while it is kept.
    ALTER TABLE views.active_versions
        ADD COLUMN build integer NOT NULL DEFAULT 0,
        ADD COLUMN previous_version integer,
        ADD COLUMN previous_build integer;
"""

# A job is open until it has ended; its worker is whoever has the epoch. Each lane scans up to `scan_to`.
_JOBS = """
    CREATE TABLE views.rebuilds (
        tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
        id uuid NOT NULL,
        model text NOT NULL,
        version integer NOT NULL,
        build integer NOT NULL,
        purpose text NOT NULL,
        step text NOT NULL DEFAULT 'queued',
        scan_to bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0,
        cancel_requested boolean NOT NULL DEFAULT false,
        findings bytea,
        problem text NOT NULL DEFAULT '',
        requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        -- Since when, and from which mean position of the lanes, the present worker has been scanning.
        resumed_at timestamptz,
        resumed_from bigint NOT NULL DEFAULT 0,
        ended_at timestamptz,
        CONSTRAINT rebuilds_by_id PRIMARY KEY (id)
    );
    CREATE UNIQUE INDEX rebuilds_open ON views.rebuilds (model) WHERE ended_at IS NULL;

    CREATE TABLE views.rebuild_lanes (
        tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
        rebuild_id uuid NOT NULL,
        lane integer NOT NULL,
        position bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0,
        CONSTRAINT rebuild_lanes_by_number PRIMARY KEY (rebuild_id, lane)
    ) WITH (fillfactor = 20);

    GRANT SELECT, INSERT, UPDATE ON views.rebuilds TO dcf_app;
    GRANT SELECT ON views.rebuild_lanes TO dcf_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON views.rebuilds, views.rebuild_lanes TO dcf_engine;
"""

# Parked events name tenants and their streams; how many there are names nobody.
_PARKED_COUNTS = """
    CREATE FUNCTION views.parked_counts() RETURNS TABLE (kind text, streams bigint, events bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
        SELECT p.kind, count(DISTINCT (p.tenant_id, p.stream_id)), count(*) FROM views.parked p GROUP BY p.kind
    $body$;
    REVOKE EXECUTE ON FUNCTION views.parked_counts FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION views.parked_counts TO dcf_app, dcf_engine;
"""

# The version of a row that still stands is the row itself, so the history no longer has it a second time. Every history
# becomes a table of its own: adding and dropping one would otherwise lock the others.
_HISTORY = """
    SET LOCAL ROLE dcf_engine;
    DO $$
    DECLARE
        kind text;
    BEGIN
        FOR kind IN SELECT left(c.relname, -length('_history'))
                      FROM pg_inherits i
                      JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = 'views.history'::regclass
        LOOP
            EXECUTE format('ALTER TABLE views.history DETACH PARTITION views.%I', kind || '_history');
            EXECUTE format('ALTER TABLE views.%I DROP COLUMN kind', kind || '_history');
            EXECUTE format('DELETE FROM views.%I WHERE valid_to IS NULL', kind || '_history');
            EXECUTE format('ALTER TABLE views.%I ALTER COLUMN valid_to SET NOT NULL', kind || '_history');
            EXECUTE format($policy$
                CREATE POLICY tenant_only ON views.%I TO dcf_app
                 USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid)$policy$, kind || '_history');
            EXECUTE format('GRANT SELECT ON views.%I TO dcf_app', kind || '_history');
            EXECUTE format($view$
                CREATE VIEW views.%1$I WITH (security_invoker = true) AS
                SELECT h.tenant_id, h.id, h.valid_from, h.valid_to, h.row FROM views.%2$I h
                 UNION ALL
                SELECT t.tenant_id, t.id, t.position, NULL, t.row FROM views.%3$I t$view$,
                kind || '_versions', kind || '_history', kind);
            EXECUTE format('GRANT SELECT ON views.%I TO dcf_app', kind || '_versions');
        END LOOP;
    END
    $$;
    DROP TABLE views.history;
    SET LOCAL ROLE dcf_owner;
"""


def upgrade() -> None:
    run(_BUILDS)
    run(_JOBS)
    run(_PARKED_COUNTS)
    run(_HISTORY)
