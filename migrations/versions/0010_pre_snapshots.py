"""Streams read from where a reader knows them, and snapshots of the long ones."""

from __future__ import annotations

from migrations.statements import run

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# `code` names the code that folded it: any other code reads past it. Nothing is lost with a row.
_TABLE = """
    CREATE TABLE work.snapshots (
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        code text NOT NULL,
        version integer NOT NULL,
        position bigint NOT NULL,
        state bytea NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT snapshots_by_stream PRIMARY KEY (tenant_id, stream_id, code)
    );
    ALTER TABLE work.snapshots ENABLE ROW LEVEL SECURITY;
    CREATE POLICY of_the_tenant ON work.snapshots TO dcf_app
        USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
    GRANT SELECT ON work.snapshots TO dcf_app, dcf_engine;
"""

# As in 0002: plans must not turn into table scans while the tables grow faster than their statistics.
_FIXED_PLANS = """
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
"""

# Of each stream what is above a version, which stands at a position. Where a snapshot saves reading at least `worth`
# events, it comes first, as a row without a type whose data is the state. A reader of another epoch gets one row, of
# stream 0 and with the present epoch for a version: what it knows may be of events that are no more.
# Tenant and stream are asked for together, so this keeps tenants apart without row-level security.
_LOAD = f"""
    CREATE FUNCTION log.load_since(
        known_epoch integer, tenants uuid[], ids uuid[], above integer[], beyond bigint[], codes text[], worth integer
    )
    RETURNS TABLE (n integer, "position" bigint, version integer, type text, schema_version smallint,
                   recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        epoch integer := (SELECT max(r.epoch) FROM log.epochs r);
        newest integer;
        last bigint;
        after integer;
        start bigint;
    BEGIN
        IF epoch <> known_epoch THEN
            n := 0;
            version := epoch;
            RETURN NEXT;
            RETURN;
        END IF;
        FOR i IN 1 .. cardinality(ids) LOOP
            SELECT r.version, greatest(r.first_position, beyond[i] + 1), r.last_position INTO newest, start, last
              FROM log.streams r
             WHERE r.tenant_id = tenants[i] AND r.stream_id = ids[i] AND r.version > above[i]
             ORDER BY r.version DESC LIMIT 1;
            CONTINUE WHEN NOT FOUND;
            after := above[i];
            IF codes[i] <> '' AND newest - after >= worth THEN
                SELECT i, r.position, r.version, r.state INTO n, "position", version, data
                  FROM work.snapshots r
                 WHERE r.tenant_id = tenants[i] AND r.stream_id = ids[i] AND r.code = codes[i]
                   AND r.version >= after + worth AND r.version <= newest;
                IF FOUND THEN
                    RETURN NEXT;
                    after := version;
                    start := "position" + 1;
                END IF;
            END IF;
            RETURN QUERY
            SELECT i, r.position, r.version, r.type, r.schema_version, r.recorded_at, r.meta, r.data
              FROM log.events r
             WHERE r.tenant_id = tenants[i] AND r.stream_id = ids[i] AND r.version > after
               AND r.position BETWEEN start AND last
             ORDER BY r.version;
        END LOOP;
    END
    $body$;
"""

# A state is kept only of an event that is there, as of the epoch it was folded in. What older code made is kept for a
# while, for the processes that still run it.
_KEEP = f"""
    CREATE FUNCTION log.keep_snapshot(
        known_epoch integer, tenant uuid, id uuid, by_code text, at_version integer, at_position bigint, folded bytea
    ) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        IF known_epoch <> (SELECT max(r.epoch) FROM log.epochs r) OR NOT EXISTS (
            SELECT FROM log.events r
             WHERE r.position = at_position AND r.tenant_id = tenant AND r.stream_id = id AND r.version = at_version
        ) THEN
            RETURN;
        END IF;
        INSERT INTO work.snapshots AS s (tenant_id, stream_id, code, version, position, state)
        VALUES (tenant, id, by_code, at_version, at_position, folded)
            ON CONFLICT (tenant_id, stream_id, code) DO UPDATE
           SET version = excluded.version, position = excluded.position, state = excluded.state,
               made_at = excluded.made_at
         WHERE s.version < excluded.version;
        DELETE FROM work.snapshots s
         WHERE s.tenant_id = tenant AND s.stream_id = id AND s.code <> by_code
           AND s.made_at < clock_timestamp() - interval '7 days';
    END
    $body$;
"""

_RIGHTS = """
    REVOKE EXECUTE ON FUNCTION log.load_since, log.keep_snapshot FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION log.load_since, log.keep_snapshot TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_TABLE)
    run(_LOAD)
    run(_KEEP)
    run(_RIGHTS)
