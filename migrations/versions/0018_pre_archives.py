"""Old partitions that leave for an archive: what of them stays, and what then cannot be read here any more."""

from __future__ import annotations

from migrations.statements import run

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Up to `archived_to` the log is archived, without a gap. There, only those streams are left that something may still be
# decided by, each whole. `archived_times` keeps when every event was recorded, a thousand to a row.
_TABLES = """
    ALTER TABLE log.layout ADD COLUMN archived_to bigint NOT NULL DEFAULT 0;

    CREATE TABLE log.archives (
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        step text NOT NULL CHECK (step IN ('staged', 'detached', 'archived')),
        -- Of the canonical form of its events.
        sha256 text NOT NULL,
        -- What leaves was chosen when the log ended here.
        judged_to bigint NOT NULL,
        kept bigint NOT NULL,
        archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT archives_by_position PRIMARY KEY (first_position)
    );

    CREATE TABLE log.archived_times (
        first_position bigint NOT NULL,
        times timestamptz[] NOT NULL,
        CONSTRAINT archived_times_by_position PRIMARY KEY (first_position)
    );

    CREATE TABLE log.leaving (
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        CONSTRAINT leaving_by_stream PRIMARY KEY (stream_id, tenant_id)
    );
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

# Whoever reads the log in order asks from here on by `position > log.beyond_archives(n)`: an error is better than events
# that are silently not there.
_GUARDS = f"""
    CREATE FUNCTION log.beyond_archives(after bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        archived bigint := (SELECT l.archived_to FROM log.layout l);
    BEGIN
        IF after < archived THEN
            RAISE EXCEPTION USING ERRCODE = 'DCF01', MESSAGE = format('positions up to %s are archived', archived);
        END IF;
        RETURN after;
    END
    $body$;

    -- A stream is here as a whole or, up to `archived_to`, not at all; `first` is where it begins.
    CREATE FUNCTION log.require_stream(id uuid, first bigint) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        IF first <= (SELECT l.archived_to FROM log.layout l)
           AND NOT EXISTS (SELECT FROM log.events r WHERE r.position = first) THEN
            RAISE EXCEPTION USING ERRCODE = 'DCF01', MESSAGE = format('the stream %s is archived', id);
        END IF;
    END
    $body$;

    CREATE FUNCTION log.time_at(wanted bigint) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN coalesce(
            (SELECT r.recorded_at FROM log.events r WHERE r.position = wanted),
            (SELECT t.times[wanted - t.first_position + 1] FROM log.archived_times t
              WHERE t.first_position <= wanted ORDER BY t.first_position DESC LIMIT 1));
    END
    $body$;

    REVOKE EXECUTE ON FUNCTION log.beyond_archives, log.require_stream, log.time_at FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION log.beyond_archives, log.require_stream, log.time_at TO dcf_app, dcf_engine;
"""

# As they were in 0002, 0006, 0008, 0010 and 0014, and for what is archived an error, or the time that was kept.
_READS = f"""
    CREATE OR REPLACE FUNCTION log.load(tenants uuid[], ids uuid[], above integer)
    RETURNS TABLE (n bigint, "position" bigint, version integer, type text, schema_version smallint,
                   recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        IF (SELECT l.archived_to FROM log.layout l) > 0 THEN
            PERFORM log.require_stream(u.id, s.first_position)
               FROM unnest(tenants, ids) u (tenant, id)
              CROSS JOIN LATERAL (SELECT r.first_position FROM log.streams r
                                   WHERE r.tenant_id = u.tenant AND r.stream_id = u.id AND r.version > above
                                   ORDER BY r.generation DESC LIMIT 1) s;
        END IF;
        RETURN QUERY
        SELECT u.n, e.position, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
          FROM unnest(tenants, ids) WITH ORDINALITY u (tenant, id, n)
         CROSS JOIN LATERAL (SELECT r.first_position, r.last_position FROM log.streams r
                              WHERE r.tenant_id = u.tenant AND r.stream_id = u.id AND r.version > above
                              ORDER BY r.generation DESC LIMIT 1) s
         CROSS JOIN LATERAL (SELECT r.* FROM log.events r
                              WHERE r.tenant_id = u.tenant AND r.stream_id = u.id AND r.version > above
                                AND r.position BETWEEN s.first_position AND s.last_position
                             OFFSET 0) e
         ORDER BY u.n, e.version;
    END
    $body$;

    CREATE OR REPLACE FUNCTION log.load_since(
        known_epoch integer, tenants uuid[], ids uuid[], above integer[], beyond bigint[], codes text[], worth integer
    )
    RETURNS TABLE (n integer, "position" bigint, version integer, type text, schema_version smallint,
                   recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        epoch integer := (SELECT max(r.epoch) FROM log.epochs r);
        archived bigint := (SELECT l.archived_to FROM log.layout l);
        newest integer;
        first bigint;
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
            SELECT r.version, r.first_position, r.last_position INTO newest, first, last
              FROM log.streams r
             WHERE r.tenant_id = tenants[i] AND r.stream_id = ids[i] AND r.version > above[i]
             ORDER BY r.generation DESC LIMIT 1;
            CONTINUE WHEN NOT FOUND;
            after := above[i];
            start := greatest(first, beyond[i] + 1);
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
            IF start <= archived THEN
                PERFORM log.require_stream(ids[i], first);
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

    CREATE OR REPLACE FUNCTION log.read(after bigint, at_most integer) RETURNS SETOF log.events
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        after := log.beyond_archives(after);
        RETURN QUERY SELECT r.* FROM log.events r WHERE r.position > after ORDER BY r.position LIMIT at_most;
    END
    $body$;

    CREATE OR REPLACE FUNCTION log.read_stream(
        tenant uuid, id uuid, above integer, up_to integer, newest_first boolean, at_most bigint
    )
    RETURNS TABLE ("position" bigint, version integer, type text, schema_version smallint,
                   recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    DECLARE
        first bigint;
        last bigint;
    BEGIN
        PERFORM set_config('dcf.tenant', tenant::text, true);
        SELECT r.first_position, r.last_position INTO first, last FROM log.streams r
         WHERE r.tenant_id = tenant AND r.stream_id = id
         ORDER BY r.generation DESC LIMIT 1;
        PERFORM log.require_stream(id, first);
        IF newest_first THEN
            RETURN QUERY
            SELECT r.position, r.version, r.type, r.schema_version, r.recorded_at, r.meta, r.data
              FROM log.events r
             WHERE r.tenant_id = tenant AND r.stream_id = id AND r.version > above AND r.version <= up_to
               AND r.position BETWEEN first AND last
             ORDER BY r.version DESC LIMIT at_most;
        ELSE
            RETURN QUERY
            SELECT r.position, r.version, r.type, r.schema_version, r.recorded_at, r.meta, r.data
              FROM log.events r
             WHERE r.tenant_id = tenant AND r.stream_id = id AND r.version > above AND r.version <= up_to
               AND r.position BETWEEN first AND last
             ORDER BY r.version LIMIT at_most;
        END IF;
    END
    $body$;

    CREATE OR REPLACE FUNCTION log.read_between(tenant uuid, above bigint, up_to bigint, types text[], at_most bigint)
    RETURNS TABLE ("position" bigint, tenant_id uuid, stream_id uuid, version integer, type text,
                   schema_version smallint, recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    BEGIN
        above := log.beyond_archives(above);
        IF tenant IS NOT NULL THEN
            PERFORM set_config('dcf.tenant', tenant::text, true);
        END IF;
        RETURN QUERY
        SELECT r.position, r.tenant_id, r.stream_id, r.version, r.type, r.schema_version, r.recorded_at, r.meta, r.data
          FROM log.events r
         WHERE r.position > above AND r.position <= up_to
           AND (tenant IS NULL OR r.tenant_id = tenant)
           AND (types IS NULL OR r.type = ANY (types))
         ORDER BY r.position LIMIT at_most;
    END
    $body$;

    CREATE OR REPLACE FUNCTION log.position_at(instant timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        low bigint := 0;
        high bigint := log.head(0);
        middle bigint;
    BEGIN
        WHILE low < high LOOP
            middle := (low + high + 1) / 2;
            IF log.time_at(middle) <= instant THEN
                low := middle;
            ELSE
                high := middle - 1;
            END IF;
        END LOOP;
        RETURN low;
    END
    $body$;

    CREATE OR REPLACE FUNCTION log.recorded_at(up_to bigint) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN log.time_at(least(up_to, log.head(0)));
    END
    $body$;
"""

# By operators only, as the owner. What stays of a partition is made ready beside it, then takes its place: that is quick,
# and is all that others wait for. Neither is done twice.
_STEPS = """
    CREATE FUNCTION log.stage_archive(low bigint, high bigint, sha256 text, judged_to bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $body$
    DECLARE
        kept bigint;
    BEGIN
        -- One operator at a time.
        PERFORM pg_advisory_xact_lock(4919, 2);
        EXECUTE format('DROP TABLE IF EXISTS log.%I', 'kept_' || low);
        EXECUTE format('CREATE TABLE log.%I (LIKE log.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', 'kept_' || low);
        EXECUTE format('INSERT INTO log.%I SELECT e.* FROM log.%I e'
                       ' WHERE NOT EXISTS (SELECT FROM log.leaving l'
                       ' WHERE l.tenant_id = e.tenant_id AND l.stream_id = e.stream_id)', 'kept_' || low, 'events_' || low);
        GET DIAGNOSTICS kept = ROW_COUNT;
        EXECUTE format('ALTER TABLE log.%I ADD PRIMARY KEY (position), ADD CONSTRAINT in_range'
                       ' CHECK (position >= %s AND position < %s)', 'kept_' || low, low, high);
        EXECUTE format('CREATE INDEX ON log.%I (stream_id, tenant_id, version)', 'kept_' || low);
        EXECUTE format('ANALYZE log.%I', 'kept_' || low);
        DELETE FROM log.archived_times WHERE first_position >= low;
        EXECUTE format('INSERT INTO log.archived_times (first_position, times)'
                       ' SELECT min(e.position), array_agg(e.recorded_at ORDER BY e.position) FROM log.%I e'
                       ' GROUP BY (e.position - %s) / 1000', 'events_' || low, low);
        INSERT INTO log.archives AS a (first_position, last_position, step, sha256, judged_to, kept)
        VALUES (low, high - 1, 'staged', sha256, judged_to, kept)
            ON CONFLICT (first_position) DO UPDATE
           SET sha256 = excluded.sha256, judged_to = excluded.judged_to, kept = excluded.kept
         WHERE a.step = 'staged';
        -- From here on nobody reads there in order, though everything is still there.
        UPDATE log.layout SET archived_to = high - 1 WHERE archived_to IN (low - 1, high - 1);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the log is not archived up to %', low - 1;
        END IF;
        RETURN kept;
    END
    $body$;

    -- False: a stream that was to leave has grown, and has to stay; stage it again.
    CREATE FUNCTION log.detach_archive(low bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $body$
    DECLARE
        high bigint;
        judged bigint;
    BEGIN
        PERFORM set_config('lock_timeout', '250ms', true);
        -- As every append does first: until we are done, no stream grows.
        PERFORM pg_advisory_xact_lock(4919, 1);
        SELECT a.last_position + 1, a.judged_to INTO STRICT high, judged
          FROM log.archives a WHERE a.first_position = low AND a.step = 'staged' FOR UPDATE;
        IF EXISTS (SELECT FROM log.events e JOIN log.leaving l ON l.tenant_id = e.tenant_id AND l.stream_id = e.stream_id
                    WHERE e.position > judged) THEN
            RETURN false;
        END IF;
        EXECUTE format('ALTER TABLE log.events DETACH PARTITION log.%I', 'events_' || low);
        EXECUTE format('ALTER TABLE log.%I RENAME TO %I', 'events_' || low, 'detached_' || low);
        EXECUTE format('ALTER TABLE log.%I RENAME TO %I', 'kept_' || low, 'events_' || low);
        EXECUTE format('ALTER TABLE log.events ATTACH PARTITION log.%I FOR VALUES FROM (%s) TO (%s)', 'events_' || low,
                       CASE WHEN low = 1 THEN 0 ELSE low END, high);
        EXECUTE format('ALTER TABLE log.%I DROP CONSTRAINT in_range', 'events_' || low);
        UPDATE log.archives a SET step = 'detached' WHERE a.first_position = low;
        RETURN true;
    END
    $body$;

    -- As if it had never been begun.
    CREATE FUNCTION log.unstage_archive(low bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        DELETE FROM log.archives a WHERE a.first_position = low AND a.step = 'staged';
        IF FOUND THEN
            UPDATE log.layout SET archived_to = low - 1;
            DELETE FROM log.archived_times WHERE first_position >= low;
            EXECUTE format('DROP TABLE IF EXISTS log.%I', 'kept_' || low);
        END IF;
    END
    $body$;

    CREATE FUNCTION log.drop_detached(low bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        UPDATE log.archives a SET step = 'archived' WHERE a.first_position = low AND a.step = 'detached';
        IF FOUND THEN
            EXECUTE format('DROP TABLE log.%I', 'detached_' || low);
            TRUNCATE log.leaving;
        END IF;
    END
    $body$;

    -- `returned_<low>` has every event of the range, and takes the place of what was left of it.
    CREATE FUNCTION log.attach_returned(low bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $body$
    DECLARE
        high bigint;
    BEGIN
        PERFORM set_config('lock_timeout', '250ms', true);
        PERFORM pg_advisory_xact_lock(4919, 1);
        SELECT a.last_position + 1 INTO STRICT high FROM log.archives a
         WHERE a.first_position = low AND a.step = 'archived' FOR UPDATE;
        UPDATE log.layout SET archived_to = low - 1 WHERE archived_to = high - 1;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a later range is still archived';
        END IF;
        EXECUTE format('ALTER TABLE log.events DETACH PARTITION log.%I', 'events_' || low);
        EXECUTE format('DROP TABLE log.%I', 'events_' || low);
        EXECUTE format('ALTER TABLE log.%I RENAME TO %I', 'returned_' || low, 'events_' || low);
        EXECUTE format('ALTER TABLE log.events ATTACH PARTITION log.%I FOR VALUES FROM (%s) TO (%s)', 'events_' || low,
                       CASE WHEN low = 1 THEN 0 ELSE low END, high);
        EXECUTE format('ALTER TABLE log.%I DROP CONSTRAINT in_range', 'events_' || low);
        DELETE FROM log.archived_times WHERE first_position >= low;
        DELETE FROM log.archives a WHERE a.first_position = low;
    END
    $body$;

    REVOKE EXECUTE ON FUNCTION log.stage_archive, log.detach_archive, log.unstage_archive, log.drop_detached,
                               log.attach_returned FROM PUBLIC;
"""


def upgrade() -> None:
    run(_TABLES)
    run(_GUARDS)
    run(_READS)
    run(_STEPS)
