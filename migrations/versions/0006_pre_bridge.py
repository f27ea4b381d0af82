"""What applications on the eventsourcing library keep beside the log, and how they read it."""

from __future__ import annotations

from migrations.statements import run

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# `consumer` is the application that follows, `application` the one it follows; only the furthest position is kept.
_TABLES = """
    CREATE TABLE work.bridge_tracking (
        tenant_id uuid NOT NULL,
        consumer text NOT NULL,
        application text NOT NULL,
        notification_id bigint NOT NULL,
        PRIMARY KEY (tenant_id, consumer, application)
    ) WITH (fillfactor = 50);

    -- Their versions have gaps, so they cannot stand in the log. `name` is the application's own, and the purpose.
    CREATE TABLE work.bridge_snapshots (
        tenant_id uuid NOT NULL,
        name text NOT NULL,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        topic text NOT NULL,
        state bytea NOT NULL,
        PRIMARY KEY (tenant_id, name, stream_id, version)
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

# Each does its work as whoever calls it, under that role's row-level security: setting the tenant and reading are one
# statement, so one round trip. Without a tenant only a role that sees all of them finds anything.
_READS = f"""
    CREATE FUNCTION log.read_stream(
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
         ORDER BY r.version DESC LIMIT 1;
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

    CREATE FUNCTION log.read_between(tenant uuid, above bigint, up_to bigint, types text[], at_most bigint)
    RETURNS TABLE ("position" bigint, tenant_id uuid, stream_id uuid, version integer, type text,
                   schema_version smallint, recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    BEGIN
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

    -- The tenant's last position. Most tenants asked about have written lately; for the others their streams are asked.
    CREATE FUNCTION log.last_position(tenant uuid, hint bigint) RETURNS bigint
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    DECLARE
        last bigint;
        head bigint := log.head(hint);
    BEGIN
        IF tenant IS NULL THEN
            RETURN nullif(head, 0);
        END IF;
        PERFORM set_config('dcf.tenant', tenant::text, true);
        SELECT r.position INTO last FROM log.events r
         WHERE r.position > head - 1000 AND r.tenant_id = tenant
         ORDER BY r.position DESC LIMIT 1;
        IF last IS NULL THEN
            SELECT max(r.last_position) INTO last FROM log.streams r WHERE r.tenant_id = tenant;
        END IF;
        RETURN last;
    END
    $body$;

    -- Whose streams these are, and of which category. Without a tenant each tenant is asked in turn, by the index.
    CREATE FUNCTION log.find_streams(tenant uuid, ids uuid[])
    RETURNS TABLE (tenant_id uuid, stream_id uuid, category text)
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    DECLARE
        asked uuid := tenant;
    BEGIN
        IF tenant IS NULL THEN
            SELECT r.tenant_id INTO asked FROM log.streams r ORDER BY r.tenant_id LIMIT 1;
        ELSE
            PERFORM set_config('dcf.tenant', tenant::text, true);
        END IF;
        WHILE asked IS NOT NULL LOOP
            RETURN QUERY
            SELECT asked, u.id, s.category
              FROM unnest(ids) u (id)
             CROSS JOIN LATERAL (SELECT r.category FROM log.streams r
                                  WHERE r.tenant_id = asked AND r.stream_id = u.id
                                  ORDER BY r.version DESC LIMIT 1) s;
            EXIT WHEN tenant IS NOT NULL;
            asked := (SELECT r.tenant_id FROM log.streams r WHERE r.tenant_id > asked ORDER BY r.tenant_id LIMIT 1);
        END LOOP;
    END
    $body$;
"""

# A position is tracked once: what is not beyond the one kept is a unique violation, which also undoes the append made
# by the same statement. That append holds the log's lock, hence the short wait.
_TRACKING = f"""
    CREATE FUNCTION work.track(tenant uuid, follower text, followed text, notification bigint) RETURNS void
    LANGUAGE plpgsql {_FIXED_PLANS} SET lock_timeout = '5s'
    AS $body$
    BEGIN
        PERFORM set_config('dcf.tenant', tenant::text, true);
        INSERT INTO work.bridge_tracking AS t (tenant_id, consumer, application, notification_id)
        VALUES (tenant, follower, followed, notification)
            ON CONFLICT (tenant_id, consumer, application) DO UPDATE
           SET notification_id = excluded.notification_id
         WHERE t.notification_id < excluded.notification_id;
        IF NOT FOUND THEN
            RAISE unique_violation USING MESSAGE =
                format('%s has already tracked %s of %s, or a later one', follower, notification, followed);
        END IF;
    END
    $body$;

    CREATE FUNCTION work.tracked(tenant uuid, follower text, followed text) RETURNS bigint
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    BEGIN
        PERFORM set_config('dcf.tenant', tenant::text, true);
        RETURN (SELECT t.notification_id FROM work.bridge_tracking t
                 WHERE t.tenant_id = tenant AND t.consumer = follower AND t.application = followed);
    END
    $body$;
"""

_SNAPSHOTS = f"""
    CREATE FUNCTION work.put_snapshots(
        tenants uuid[], snapshots_name text, ids uuid[], versions integer[], topics text[], states bytea[]
    ) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        PERFORM set_config('dcf.tenant', tenants[1]::text, true);
        INSERT INTO work.bridge_snapshots (tenant_id, name, stream_id, version, topic, state)
        SELECT u.tenant, snapshots_name, u.id, u.version, u.topic, u.state
          FROM unnest(tenants, ids, versions, topics, states) u (tenant, id, version, topic, state);
    END
    $body$;

    CREATE FUNCTION work.get_snapshots(
        tenant uuid, snapshots_name text, id uuid, above integer, up_to integer, newest_first boolean, at_most bigint
    )
    RETURNS TABLE (version integer, topic text, state bytea)
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    BEGIN
        PERFORM set_config('dcf.tenant', tenant::text, true);
        IF newest_first THEN
            RETURN QUERY
            SELECT s.version, s.topic, s.state
              FROM work.bridge_snapshots s
             WHERE s.tenant_id = tenant AND s.name = snapshots_name AND s.stream_id = id
               AND s.version > above AND s.version <= up_to
             ORDER BY s.version DESC LIMIT at_most;
        ELSE
            RETURN QUERY
            SELECT s.version, s.topic, s.state
              FROM work.bridge_snapshots s
             WHERE s.tenant_id = tenant AND s.name = snapshots_name AND s.stream_id = id
               AND s.version > above AND s.version <= up_to
             ORDER BY s.version LIMIT at_most;
        END IF;
    END
    $body$;
"""

_RIGHTS = """
    ALTER TABLE work.bridge_tracking ENABLE ROW LEVEL SECURITY;
    ALTER TABLE work.bridge_snapshots ENABLE ROW LEVEL SECURITY;
    CREATE POLICY of_the_tenant ON work.bridge_tracking TO dcf_app
        USING (tenant_id = current_setting('dcf.tenant')::uuid);
    CREATE POLICY of_the_tenant ON work.bridge_snapshots TO dcf_app
        USING (tenant_id = current_setting('dcf.tenant')::uuid);
    GRANT SELECT, INSERT, UPDATE ON work.bridge_tracking TO dcf_app, dcf_engine;
    GRANT SELECT, INSERT ON work.bridge_snapshots TO dcf_app, dcf_engine;

    REVOKE EXECUTE ON FUNCTION log.read_stream, log.read_between, log.last_position, log.find_streams,
                               work.track, work.tracked, work.put_snapshots, work.get_snapshots FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION log.read_stream, log.read_between, log.last_position, log.find_streams,
                              work.track, work.tracked, work.put_snapshots, work.get_snapshots
       TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_TABLES)
    run(_READS)
    run(_TRACKING)
    run(_SNAPSHOTS)
    run(_RIGHTS)
