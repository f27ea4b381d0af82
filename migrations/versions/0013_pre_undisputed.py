"""A shorter way into the log for batches that nothing is in the way of, and a smaller index of command ids."""

from __future__ import annotations

from migrations.statements import run

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Command ids are random, so where each goes into the index is cold memory: what counts is how few bytes the index has.
# Nothing is lost with the primary key: one id may have been recorded before by any partition, which it never saw.
_COMMANDS = """
    CREATE INDEX commands_by_hash ON log.commands USING hash (command_id);
    ALTER TABLE log.commands DROP CONSTRAINT commands_by_id;
"""

# A stream's row is updated, which changes its key: for look-ups that is the same as adding the newer row and deleting
# the older, with half the work. The room is for the new rows, so that they stay on the page of the old ones.
_STREAMS = """
    ALTER TABLE log.streams SET (fillfactor = 70);
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

# The last position and, from it, the time of this commit. `hint` is a position that was the last at some time: with it
# only the newest partitions are looked at. After a restore it may be beyond the end; then all are.
_TAIL = """
        SELECT r.position, r.recorded_at, l.covered_to - l.partition_size INTO base, recorded_at, ahead
          FROM log.layout l
          LEFT JOIN LATERAL (SELECT r.position, r.recorded_at FROM log.events r
                              WHERE r.position >= hint ORDER BY r.position DESC LIMIT 1) r ON true;
        IF base IS NULL AND hint > 0 THEN
            SELECT r.position, r.recorded_at INTO base, recorded_at FROM log.events r
             ORDER BY r.position DESC LIMIT 1;
        END IF;
        base := coalesce(base, 0);
        recorded_at := greatest(clock_timestamp(), recorded_at);"""

# A whole batch at once, on condition that all its appends can be recorded; if one cannot, nothing is written, `base` is
# null, and append_batch has to settle them one by one. The caller has made sure that they are not in each other's way,
# and summed up what they ask: which version each stream has to have, how much room each counter must still have.
# Indices begin at 1. `a_` appends, `e_` events, `s_` streams; `t_` claims to take, `g_` claims to give back, `c_` counters.
# Of the streams the first `begun` must not exist yet and the next `moved` must be at `s_was`; those behind are only relied
# on (0: does not exist). `a_end`, `s_first` and `s_last` count the batch's events. The bytes of `content` follow
# each other, two parts an append, then two an event; `cuts` says where each part begins, and where the last ends.
_APPEND_UNDISPUTED = f"""
    CREATE FUNCTION log.append_undisputed(
        hint bigint, tenants uuid[], words text[], content bytea, cuts integer[],
        a_tenant integer[], a_command uuid[], a_outcome integer[], a_end integer[],
        e_stream integer[], e_version integer[], e_type integer[], e_schema integer[],
        begun integer, moved integer,
        s_tenant integer[], s_id uuid[], s_category integer[], s_was integer[], s_first integer[], s_last integer[],
        t_tenant integer[], t_scope integer[], t_key text[], t_holder uuid[],
        g_tenant integer[], g_scope integer[], g_key text[], g_holder uuid[],
        c_tenant integer[], c_scope integer[], c_name integer[], c_delta bigint[], c_room bigint[],
        OUT base bigint, OUT recorded_at timestamptz
    )
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        appends integer := cardinality(a_end);
        events integer := cardinality(e_stream);
        streams integer := cardinality(s_id);
        ahead bigint;
        last bigint;
        changed integer;
    BEGIN
        -- Held until the commit is visible: positions appear in order, and `position > n` can never skip one.
        PERFORM pg_advisory_xact_lock(4919, 1);
{_TAIL}
        last := base + events;

        IF EXISTS (SELECT FROM generate_series(1, appends) n
                    WHERE EXISTS (SELECT FROM log.commands r
                                   WHERE r.command_id = a_command[n] AND r.tenant_id = tenants[a_tenant[n]]
                                     AND r.last_position <= base))
           OR EXISTS (SELECT FROM generate_series(1, begun) n
                       WHERE EXISTS (SELECT FROM log.streams r
                                      WHERE r.tenant_id = tenants[s_tenant[n]] AND r.stream_id = s_id[n]))
           OR EXISTS (SELECT FROM generate_series(begun + moved + 1, streams) n
                       WHERE s_was[n] IS DISTINCT FROM coalesce((SELECT r.version FROM log.streams r
                                                                  WHERE r.tenant_id = tenants[s_tenant[n]]
                                                                    AND r.stream_id = s_id[n]
                                                                  ORDER BY r.version DESC LIMIT 1), 0)) THEN
            base := NULL;
            RETURN;
        END IF;

        IF last > ahead THEN
            PERFORM log.cover(last);
        END IF;

        BEGIN
            IF moved > 0 THEN
                UPDATE log.streams r
                   SET version = e_version[s_last[n]], last_position = base + s_last[n]
                  FROM generate_series(begun + 1, begun + moved) n
                 WHERE r.tenant_id = tenants[s_tenant[n]] AND r.stream_id = s_id[n] AND r.version = s_was[n];
                GET DIAGNOSTICS changed = ROW_COUNT;
                IF changed <> moved THEN
                    RAISE SQLSTATE 'DCF01';
                END IF;
            END IF;
            IF begun > 0 THEN
                INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
                SELECT tenants[s_tenant[n]], s_id[n], e_version[s_last[n]], words[s_category[n]],
                       base + s_first[n], base + s_last[n]
                  FROM generate_series(1, begun) n;
            END IF;

            IF cardinality(g_key) > 0 THEN
                DELETE FROM log.claims r
                 USING generate_series(1, cardinality(g_key)) n
                 WHERE r.tenant_id = tenants[g_tenant[n]] AND r.scope = words[g_scope[n]] AND r.key = g_key[n]
                   AND r.holder = g_holder[n];
            END IF;
            IF cardinality(t_key) > 0 THEN
                INSERT INTO log.claims (tenant_id, scope, key, holder)
                SELECT tenants[t_tenant[n]], words[t_scope[n]], t_key[n], t_holder[n]
                  FROM generate_series(1, cardinality(t_key)) n;
            END IF;

            IF cardinality(c_name) > 0 THEN
                UPDATE log.counters r
                   SET value = r.value + c_delta[n], change = r.change + 1
                  FROM generate_series(1, cardinality(c_name)) n
                 CROSS JOIN LATERAL (SELECT i.ctid AS place FROM log.counters i
                                      WHERE i.tenant_id = tenants[c_tenant[n]] AND i.scope = words[c_scope[n]]
                                        AND i.name = words[c_name[n]]
                                      ORDER BY i.change DESC LIMIT 1) i
                 WHERE r.ctid = i.place AND (c_room[n] IS NULL OR r.value <= c_room[n]);
                GET DIAGNOSTICS changed = ROW_COUNT;
                IF changed <> cardinality(c_name) THEN
                    RAISE SQLSTATE 'DCF01';
                END IF;
            END IF;

            IF events > 0 THEN
                INSERT INTO log.events
                       (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
                SELECT base + n, tenants[s_tenant[e_stream[n]]], s_id[e_stream[n]], e_version[n], words[e_type[n]],
                       e_schema[n], append_undisputed.recorded_at,
                       substr(content, cuts[2 * (appends + n) - 1], cuts[2 * (appends + n)] - cuts[2 * (appends + n) - 1]),
                       substr(content, cuts[2 * (appends + n)], cuts[2 * (appends + n) + 1] - cuts[2 * (appends + n)])
                  FROM generate_series(1, events) n;
                PERFORM pg_notify('dcf_log', last::text);
            END IF;

            INSERT INTO log.commands
                   (tenant_id, command_id, request_hash, outcome, reply, first_position, last_position, at)
            SELECT tenants[a_tenant[n]], a_command[n], substr(content, cuts[2 * n - 1], cuts[2 * n] - cuts[2 * n - 1]),
                   words[a_outcome[n]], substr(content, cuts[2 * n], cuts[2 * n + 1] - cuts[2 * n]),
                   base + least(a_end[n], coalesce(a_end[n - 1], 0) + 1), base + a_end[n], append_undisputed.recorded_at
              FROM generate_series(1, appends) n;
        EXCEPTION
            -- A claim is taken, or was by this very holder; a stream or a counter is not as it should be.
            WHEN unique_violation OR SQLSTATE 'DCF01' THEN
                base := NULL;
        END;
    END
    $body$;

    REVOKE EXECUTE ON FUNCTION log.append_undisputed FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION log.append_undisputed TO dcf_app, dcf_engine;
"""

# append_batch stays as it was, but asks for each command id by itself: a hash index is not asked for many at once.
_APPEND_BATCH = """
    DO $do$
    DECLARE
        was text := pg_get_functiondef('log.append_batch'::regproc);
        becomes text := replace(was, 'IF EXISTS (SELECT FROM log.commands r WHERE r.command_id = ANY (a_command)) THEN',
            'IF EXISTS (SELECT FROM unnest(a_command) u (id)
                    WHERE EXISTS (SELECT FROM log.commands r WHERE r.command_id = u.id)) THEN');
    BEGIN
        IF becomes = was THEN
            RAISE EXCEPTION 'log.append_batch is not the one of 0002';
        END IF;
        EXECUTE becomes;
    END
    $do$
"""

# As it was, with fewer steps: all that has to be looked up in one, and the stream's row updated.
_APPEND_ONE = f"""
    CREATE OR REPLACE FUNCTION log.append_one(
        hint bigint, tenant uuid, command uuid, hash bytea, outcome text, reply bytea,
        stream_tenant uuid, stream uuid, category text, expected integer,
        new_version integer, type text, schema_version smallint, meta bytea, data bytea,
        OUT verdict integer, OUT recorded bigint, OUT recorded_at timestamptz, OUT actual integer
    )
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        ahead bigint;
        was integer;
        base bigint;
    BEGIN
        PERFORM pg_advisory_xact_lock(4919, 1);
        IF (SELECT true FROM log.commands c WHERE c.tenant_id = tenant AND c.command_id = command LIMIT 1) THEN
            verdict := 1;
            RETURN;
        END IF;
        SELECT r.version INTO was FROM log.streams r
         WHERE r.tenant_id = stream_tenant AND r.stream_id = stream
         ORDER BY r.version DESC LIMIT 1;
        actual := coalesce(was, 0);
        verdict := CASE WHEN expected <> actual THEN 2
                        WHEN new_version = was + 1 OR was IS NULL AND new_version IN (0, 1) THEN 0
                        ELSE 3 END;
        IF verdict <> 0 THEN
            RETURN;
        END IF;
{_TAIL}
        recorded := base + 1;
        IF recorded > ahead THEN
            PERFORM log.cover(recorded);
        END IF;
        INSERT INTO log.events
               (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
        VALUES (recorded, stream_tenant, stream, new_version, append_one.type, append_one.schema_version,
                append_one.recorded_at, append_one.meta, append_one.data);
        IF was IS NULL THEN
            INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
            VALUES (stream_tenant, stream, new_version, append_one.category, recorded, recorded);
        ELSE
            UPDATE log.streams r SET version = new_version, last_position = recorded
             WHERE r.tenant_id = stream_tenant AND r.stream_id = stream AND r.version = was;
        END IF;
        INSERT INTO log.commands
               (tenant_id, command_id, request_hash, outcome, reply, first_position, last_position, at)
        VALUES (tenant, command, hash, append_one.outcome, append_one.reply, recorded, recorded,
                append_one.recorded_at);
        PERFORM pg_notify('dcf_log', recorded::text);
    END
    $body$;
"""


def upgrade() -> None:
    run(_COMMANDS)
    run(_STREAMS)
    run(_APPEND_UNDISPUTED)
    run(_APPEND_BATCH)
    run(_APPEND_ONE)
