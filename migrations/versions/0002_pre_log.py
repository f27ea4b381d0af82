"""The log: events in one dense order, and what arbitrates them."""

from __future__ import annotations

from migrations.statements import run

revision = "0002"
down_revision = "0001"

_TABLES = """
    CREATE TABLE log.epochs (
        epoch integer PRIMARY KEY,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        reason text NOT NULL
    );
    INSERT INTO log.epochs (epoch, reason) VALUES (1, 'created');

    -- One row: the positions the partitions cover, and how many the next partition will hold.
    CREATE TABLE log.layout (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        covered_to bigint NOT NULL,
        partition_size bigint NOT NULL CHECK (partition_size > 0)
    );
    INSERT INTO log.layout (covered_to, partition_size) VALUES (0, 1000000);

    CREATE TABLE log.events (
        position bigint NOT NULL,
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        version integer NOT NULL CHECK (version >= 0),
        type text NOT NULL,
        schema_version smallint NOT NULL,
        recorded_at timestamptz NOT NULL,
        meta bytea NOT NULL,
        data bytea NOT NULL,
        CONSTRAINT events_by_position PRIMARY KEY (position)
    ) PARTITION BY RANGE (position);
    CREATE INDEX events_by_stream ON log.events (stream_id, tenant_id, version);

    -- What was recorded under each command id. Partitioned as the events are, so that the part of the index that is
    -- written stays small, and old rows leave by the partition.
    CREATE TABLE log.commands (
        tenant_id uuid NOT NULL,
        command_id uuid NOT NULL,
        request_hash bytea NOT NULL,
        outcome text NOT NULL,
        reply bytea NOT NULL,
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        at timestamptz NOT NULL,
        CONSTRAINT commands_by_id PRIMARY KEY (command_id, tenant_id, last_position)
    ) PARTITION BY RANGE (last_position);

    -- Arbitrates versions. The newest row of a stream counts; an append adds one and deletes the one before. Were the
    -- row updated instead, an old snapshot left open anywhere would make every look-up walk all its dead versions.
    CREATE TABLE log.streams (
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        category text NOT NULL,
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        CONSTRAINT streams_by_version PRIMARY KEY (tenant_id, stream_id, version)
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);

    CREATE TABLE log.claims (
        tenant_id uuid NOT NULL,
        scope text NOT NULL,
        key text NOT NULL,
        holder uuid NOT NULL,
        CONSTRAINT claims_by_key PRIMARY KEY (key, tenant_id, scope)
    );

    -- The row with the highest `change` counts; kept by insert and delete for the reason streams are.
    CREATE TABLE log.counters (
        tenant_id uuid NOT NULL,
        scope text NOT NULL,
        name text NOT NULL,
        change bigint NOT NULL,
        value bigint NOT NULL,
        CONSTRAINT counters_by_change PRIMARY KEY (tenant_id, scope, name, change)
    ) WITH (autovacuum_vacuum_scale_factor = 0.05);

    CREATE TABLE vault.person_keys (
        tenant_id uuid NOT NULL,
        person_id uuid NOT NULL,
        key bytea,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        destroyed_at timestamptz,
        CONSTRAINT person_keys_by_person PRIMARY KEY (tenant_id, person_id),
        CONSTRAINT person_keys_present_or_destroyed CHECK ((key IS NULL) = (destroyed_at IS NOT NULL))
    );

    CREATE SEQUENCE work.lease_epochs;
    CREATE TABLE work.leases (
        name text PRIMARY KEY,
        tenant_id uuid NOT NULL,
        holder uuid NOT NULL,
        epoch bigint NOT NULL DEFAULT nextval('work.lease_epochs'),
        expires_at timestamptz NOT NULL
    );
"""

# New partitions are attached, not created in place: that would wait for, and then stop, every reader.
_PARTITIONS = """
    CREATE FUNCTION log.add_partition() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    DECLARE
        low bigint;
        high bigint;
        name text;
    BEGIN
        SELECT covered_to + 1, covered_to + 1 + partition_size INTO STRICT low, high FROM log.layout FOR UPDATE;
        FOREACH name IN ARRAY ARRAY['events', 'commands'] LOOP
            EXECUTE format('CREATE TABLE log.%1$I (LIKE log.%2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                           name || '_' || low, name);
            EXECUTE format('ALTER TABLE log.%2$I ATTACH PARTITION log.%1$I FOR VALUES FROM (%3$s) TO (%4$s)',
                           name || '_' || low, name,
                           -- A command without events stands at the log's end, which is 0 to begin with.
                           CASE WHEN low = 1 THEN 0 ELSE low END, high);
        END LOOP;
        UPDATE log.layout SET covered_to = high - 1;
    END
    $body$;

    -- Keeps a whole partition ahead of `last`. Should another hold a lock in the way, it is left for the next
    -- append as long as there is room.
    CREATE FUNCTION log.cover(last bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    DECLARE
        covered bigint;
        size bigint;
    BEGIN
        LOOP
            SELECT covered_to, partition_size INTO STRICT covered, size FROM log.layout;
            EXIT WHEN covered >= last + size;
            BEGIN
                PERFORM set_config('lock_timeout', CASE WHEN covered < last THEN '30s' ELSE '50ms' END, true);
                PERFORM log.add_partition();
                PERFORM set_config('lock_timeout', '0', true);
            EXCEPTION WHEN lock_not_available THEN
                IF covered < last THEN
                    RAISE;
                END IF;
                EXIT;
            END;
        END LOOP;
    END
    $body$;

    SELECT log.cover(1);
"""

# The settings keep plans from turning into table scans while the tables grow faster than their statistics.
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
        SELECT r.position, r.recorded_at INTO base, recorded_at FROM log.events r
         WHERE r.position >= hint ORDER BY r.position DESC LIMIT 1;
        IF base IS NULL AND hint > 0 THEN
            SELECT r.position, r.recorded_at INTO base, recorded_at FROM log.events r
             ORDER BY r.position DESC LIMIT 1;
        END IF;
        base := coalesce(base, 0);
        recorded_at := greatest(clock_timestamp(), recorded_at);"""

# Indices are dense and begin at 1. `a_` appends, with how many of each of the following they have: `x_` expected
# versions, `e_` events, `t_` claims to take or give back, `d_` deltas of counters; these point into the distinct
# `s_` streams, `k_` claim keys and `c_` counters, and all of them into `tenants` and `words`. Bytes stand one after another
# in `content`, from a place (`_from`) on, so many of each kind. Appends are settled one after another, exactly as if each
# had been sent alone. Those not recorded are listed, with a verdict: 1 recorded before, 2 an expected version differs,
# 3 an event does not follow its stream, 4 a claim is taken, 5 a counter is full; `culprits` says which x, e, t or d it was.
_APPEND_BATCH = f"""
    CREATE FUNCTION log.append_batch(
        hint bigint, tenants uuid[], words text[], content bytea,
        s_tenant integer[], s_id uuid[], s_category integer[],
        k_tenant integer[], k_scope integer[], k_key text[],
        c_tenant integer[], c_scope integer[], c_name integer[],
        a_tenant integer[], a_command uuid[], a_same integer[], a_outcome integer[],
        a_from integer[], a_hash integer[], a_reply integer[],
        a_expected integer[], a_events integer[], a_claims integer[], a_counters integer[],
        x_stream integer[], x_version integer[],
        e_stream integer[], e_version integer[], e_type integer[], e_schema integer[],
        e_from integer[], e_meta integer[], e_data integer[],
        t_key integer[], t_holder uuid[], t_release boolean[],
        d_counter integer[], d_delta bigint[], d_limit bigint[],
        OUT base bigint, OUT recorded_at timestamptz,
        OUT refused integer[], OUT verdicts integer[], OUT culprits integer[], OUT actuals bigint[], OUT holders uuid[]
    )
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        known boolean[];
        s_place tid[];
        s_version integer[];
        s_was integer[];
        s_first bigint[];
        s_last bigint[];
        k_holder uuid[];
        k_was uuid[];
        c_place tid[];
        c_value bigint[];
        c_was bigint[];
        c_change bigint[];
        e_before integer[];
        t_before uuid[];
        e_position bigint[];
        a_last bigint[];
        ahead bigint;
        moved boolean := false;
        grown boolean := false;
        counted boolean := false;
        claimed boolean := false;
        released boolean := false;
        verdict integer;
        culprit integer;
        actual bigint;
        holder uuid;
        last bigint;
        last_before bigint;
        was integer;
        c integer;
        s integer;
        x integer := 0;
        e integer := 0;
        t integer := 0;
        d integer := 0;
        x_end integer := 0;
        e_end integer := 0;
        t_end integer := 0;
        d_end integer := 0;
    BEGIN
        -- Held until the commit is visible: positions appear in order, and `position > n` can never skip one.
        PERFORM pg_advisory_xact_lock(4919, 1);
{_TAIL}

        SELECT covered_to - partition_size INTO ahead FROM log.layout;
        known := array_fill(false, ARRAY[cardinality(a_same)]);
        IF EXISTS (SELECT FROM log.commands r WHERE r.command_id = ANY (a_command)) THEN
            SELECT array_agg(EXISTS (SELECT FROM log.commands r
                                      WHERE r.tenant_id = tenants[a_tenant[n]] AND r.command_id = a_command[n]) ORDER BY n)
              INTO known
              FROM generate_series(1, cardinality(a_same)) n;
        END IF;
        SELECT array_agg(r.place ORDER BY o), array_agg(coalesce(r.version, -1) ORDER BY o),
               array_agg(r.first_position ORDER BY o)
          INTO s_place, s_version, s_first
          FROM generate_series(1, cardinality(s_id)) WITH ORDINALITY g (n, o)
          LEFT JOIN LATERAL (SELECT r.ctid AS place, r.version, r.first_position FROM log.streams r
                              WHERE r.tenant_id = tenants[s_tenant[n]] AND r.stream_id = s_id[n]
                              ORDER BY r.version DESC LIMIT 1) r ON true;
        s_was := s_version;
        IF cardinality(k_key) > 0 THEN
            SELECT array_agg((SELECT r.holder FROM log.claims r
                               WHERE r.tenant_id = tenants[k_tenant[n]] AND r.scope = words[k_scope[n]]
                                 AND r.key = k_key[n] LIMIT 1) ORDER BY o)
              INTO k_holder
              FROM generate_series(1, cardinality(k_key)) WITH ORDINALITY g (n, o);
            k_was := k_holder;
        END IF;
        IF cardinality(c_name) > 0 THEN
            SELECT array_agg(r.place ORDER BY o), array_agg(coalesce(r.value, 0) ORDER BY o),
                   array_agg(coalesce(r.change, 0) ORDER BY o)
              INTO c_place, c_value, c_change
              FROM generate_series(1, cardinality(c_name)) WITH ORDINALITY g (n, o)
              LEFT JOIN LATERAL (SELECT r.ctid AS place, r.value, r.change FROM log.counters r
                                  WHERE r.tenant_id = tenants[c_tenant[n]] AND r.scope = words[c_scope[n]]
                                    AND r.name = words[c_name[n]]
                                  ORDER BY r.change DESC LIMIT 1) r ON true;
            c_was := c_value;
        END IF;

        -- An element assigned to an empty array would begin the array there.
        e_position := array_fill(NULL::bigint, ARRAY[cardinality(e_stream)]);
        s_last := array_fill(NULL::bigint, ARRAY[cardinality(s_id)]);
        a_last := array_fill(NULL::bigint, ARRAY[cardinality(a_same)]);
        last := base;
        FOR i IN 1 .. cardinality(a_same) LOOP
            x_end := x_end + a_expected[i];
            e_end := e_end + a_events[i];
            t_end := t_end + a_claims[i];
            d_end := d_end + a_counters[i];
            verdict := 0;
            last_before := last;
            IF known[a_same[i]] THEN
                verdict := 1;
            ELSE
                <<conditions>> BEGIN
                    WHILE x < x_end LOOP
                        x := x + 1;
                        IF greatest(s_version[x_stream[x]], 0) <> x_version[x] THEN
                            verdict := 2;
                            culprit := x;
                            actual := greatest(s_version[x_stream[x]], 0);
                            EXIT conditions;
                        END IF;
                    END LOOP;
                    WHILE e < e_end LOOP
                        e := e + 1;
                        s := e_stream[e];
                        was := s_version[s];
                        IF e_version[e] <> was + 1 AND NOT (was = -1 AND e_version[e] = 1) THEN
                            verdict := 3;
                            culprit := e;
                            actual := greatest(was, 0);
                            e := e - 1;
                            EXIT conditions;
                        END IF;
                        last := last + 1;
                        s_version[s] := e_version[e];
                        e_before[e] := was;
                        e_position[e] := last;
                        -- Its events need not stand together.
                        IF was = -1 THEN
                            s_first[s] := last;
                        END IF;
                    END LOOP;
                    WHILE t < t_end LOOP
                        t := t + 1;
                        holder := k_holder[t_key[t]];
                        t_before[t] := holder;
                        IF t_release[t] THEN
                            IF holder = t_holder[t] THEN
                                k_holder[t_key[t]] := NULL;
                                released := true;
                            END IF;
                        ELSIF holder IS NULL THEN
                            k_holder[t_key[t]] := t_holder[t];
                            claimed := true;
                        ELSIF holder <> t_holder[t] THEN
                            verdict := 4;
                            culprit := t;
                            t := t - 1;
                            EXIT conditions;
                        END IF;
                    END LOOP;
                    WHILE d < d_end LOOP
                        d := d + 1;
                        c := d_counter[d];
                        actual := c_value[c];
                        IF d_delta[d] > 0 AND actual + d_delta[d] > d_limit[d] THEN
                            verdict := 5;
                            culprit := d;
                            d := d - 1;
                            EXIT conditions;
                        END IF;
                        c_value[c] := actual + d_delta[d];
                        counted := true;
                    END LOOP;
                END;
            END IF;
            IF verdict = 0 THEN
                known[a_same[i]] := true;
                a_last[i] := last;
                moved := true;
                FOR j IN e_end - a_events[i] + 1 .. e_end LOOP
                    s_last[e_stream[j]] := e_position[j];
                END LOOP;
            ELSE
                IF verdict > 1 THEN
                    -- Take back what this append had done to the arrays, the newest first.
                    FOR j IN REVERSE e .. e_end - a_events[i] + 1 LOOP
                        s_version[e_stream[j]] := e_before[j];
                        e_position[j] := NULL;
                    END LOOP;
                    FOR j IN REVERSE t .. t_end - a_claims[i] + 1 LOOP
                        k_holder[t_key[j]] := t_before[j];
                    END LOOP;
                    FOR j IN REVERSE d .. d_end - a_counters[i] + 1 LOOP
                        c_value[d_counter[j]] := c_value[d_counter[j]] - d_delta[j];
                    END LOOP;
                    last := last_before;
                END IF;
                refused := refused || i;
                verdicts := verdicts || verdict;
                culprits := culprits || culprit;
                actuals := actuals || actual;
                holders := holders || holder;
                x := x_end;
                e := e_end;
                t := t_end;
                d := d_end;
            END IF;
        END LOOP;

        IF NOT moved THEN
            RETURN;
        END IF;
        IF last > ahead THEN
            PERFORM log.cover(last);
        END IF;

        IF last > base THEN
            INSERT INTO log.events
                   (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
            SELECT e_position[n], tenants[s_tenant[e_stream[n]]], s_id[e_stream[n]], e_version[n], words[e_type[n]],
                   e_schema[n], append_batch.recorded_at,
                   substr(content, e_from[n], e_meta[n]), substr(content, e_from[n] + e_meta[n], e_data[n])
              FROM generate_series(1, cardinality(e_stream)) n
             WHERE e_position[n] IS NOT NULL;
            INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
            SELECT tenants[s_tenant[n]], s_id[n], s_version[n], words[s_category[n]],
                   s_first[n], s_last[n]
              FROM generate_series(1, cardinality(s_id)) n
             WHERE s_version[n] <> s_was[n];
            DELETE FROM log.streams r
             WHERE r.ctid = ANY (ARRAY(SELECT s_place[n] FROM generate_series(1, cardinality(s_id)) n
                                        WHERE s_version[n] <> s_was[n] AND s_was[n] >= 0));
            PERFORM pg_notify('dcf_log', last::text);
        END IF;

        IF released THEN
            DELETE FROM log.claims r
             USING generate_series(1, cardinality(k_key)) n
             WHERE k_was[n] IS NOT NULL AND k_was[n] IS DISTINCT FROM k_holder[n]
               AND r.tenant_id = tenants[k_tenant[n]] AND r.scope = words[k_scope[n]] AND r.key = k_key[n];
        END IF;
        IF claimed THEN
            INSERT INTO log.claims (tenant_id, scope, key, holder)
            SELECT tenants[k_tenant[n]], words[k_scope[n]], k_key[n], k_holder[n]
              FROM generate_series(1, cardinality(k_key)) n
             WHERE k_holder[n] IS NOT NULL AND k_was[n] IS DISTINCT FROM k_holder[n];
        END IF;

        IF counted THEN
            INSERT INTO log.counters (tenant_id, scope, name, change, value)
            SELECT tenants[c_tenant[n]], words[c_scope[n]], words[c_name[n]], c_change[n] + 1, c_value[n]
              FROM generate_series(1, cardinality(c_name)) n
             WHERE c_was[n] <> c_value[n];
            DELETE FROM log.counters r
             WHERE r.ctid = ANY (ARRAY(SELECT c_place[n] FROM generate_series(1, cardinality(c_name)) n
                                        WHERE c_was[n] <> c_value[n]));
        END IF;

        INSERT INTO log.commands
               (tenant_id, command_id, request_hash, outcome, reply, first_position, last_position, at)
        SELECT tenants[a_tenant[n]], a_command[n], substr(content, a_from[n], a_hash[n]), words[a_outcome[n]],
               substr(content, a_from[n] + a_hash[n], a_reply[n]),
               least(a_last[n], a_last[n] - a_events[n] + 1), a_last[n], append_batch.recorded_at
          FROM generate_series(1, cardinality(a_same)) n
         WHERE a_last[n] IS NOT NULL;
    END
    $body$;
"""

# The same for one event of one append without claims and counters, relying on at most its own stream.
_APPEND_ONE = f"""
    CREATE FUNCTION log.append_one(
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
        first bigint;
        base bigint;
    BEGIN
        PERFORM pg_advisory_xact_lock(4919, 1);
        IF (SELECT true FROM log.commands c WHERE c.tenant_id = tenant AND c.command_id = command LIMIT 1) THEN
            verdict := 1;
            RETURN;
        END IF;
        SELECT r.version, r.first_position INTO was, first FROM log.streams r
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
        SELECT covered_to - partition_size INTO ahead FROM log.layout;
        IF recorded > ahead THEN
            PERFORM log.cover(recorded);
        END IF;
        INSERT INTO log.events
               (position, tenant_id, stream_id, version, type, schema_version, recorded_at, meta, data)
        VALUES (recorded, stream_tenant, stream, new_version, append_one.type, append_one.schema_version,
                append_one.recorded_at, append_one.meta, append_one.data);
        INSERT INTO log.streams (tenant_id, stream_id, version, category, first_position, last_position)
        VALUES (stream_tenant, stream, new_version, append_one.category, coalesce(first, recorded), recorded);
        IF was IS NOT NULL THEN
            DELETE FROM log.streams r WHERE r.tenant_id = stream_tenant AND r.stream_id = stream AND r.version = was;
        END IF;
        INSERT INTO log.commands
               (tenant_id, command_id, request_hash, outcome, reply, first_position, last_position, at)
        VALUES (tenant, command, hash, append_one.outcome, append_one.reply, recorded, recorded,
                append_one.recorded_at);
        PERFORM pg_notify('dcf_log', recorded::text);
    END
    $body$;
"""

# Tenant and stream, or command, are always asked for together, so these keep tenants apart without row-level
# security. Reading in order does not, and is the engine's alone.
_READS = f"""
    CREATE FUNCTION log.load(tenants uuid[], ids uuid[], above integer)
    RETURNS TABLE (n bigint, "position" bigint, version integer, type text, schema_version smallint,
                   recorded_at timestamptz, meta bytea, data bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN QUERY
        SELECT u.n, e.position, e.version, e.type, e.schema_version, e.recorded_at, e.meta, e.data
          FROM unnest(tenants, ids) WITH ORDINALITY u (tenant, id, n)
         CROSS JOIN LATERAL (SELECT r.first_position, r.last_position FROM log.streams r
                              WHERE r.tenant_id = u.tenant AND r.stream_id = u.id AND r.version > above
                              ORDER BY r.version DESC LIMIT 1) s
         CROSS JOIN LATERAL (SELECT r.* FROM log.events r
                              WHERE r.tenant_id = u.tenant AND r.stream_id = u.id AND r.version > above
                                AND r.position BETWEEN s.first_position AND s.last_position
                             OFFSET 0) e
         ORDER BY u.n, e.version;
    END
    $body$;

    CREATE FUNCTION log.read(after bigint, at_most integer) RETURNS SETOF log.events
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN QUERY SELECT r.* FROM log.events r WHERE r.position > after ORDER BY r.position LIMIT at_most;
    END
    $body$;

    CREATE FUNCTION log.find(tenant uuid, command uuid)
    RETURNS TABLE (request_hash bytea, outcome text, reply bytea, first_position bigint, last_position bigint,
                   at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN QUERY
        SELECT c.request_hash, c.outcome, c.reply, c.first_position, c.last_position, c.at
          FROM log.commands c WHERE c.tenant_id = tenant AND c.command_id = command LIMIT 1;
    END
    $body$;

    CREATE FUNCTION log.head(hint bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        last bigint;
    BEGIN
        SELECT r.position INTO last FROM log.events r WHERE r.position >= hint ORDER BY r.position DESC LIMIT 1;
        IF last IS NULL AND hint > 0 THEN
            SELECT r.position INTO last FROM log.events r ORDER BY r.position DESC LIMIT 1;
        END IF;
        RETURN coalesce(last, 0);
    END
    $body$;
"""

# Keys are reached one person at a time; no role can list them or bring one back.
_KEYS = """
    CREATE FUNCTION vault.find_person_key(tenant uuid, person uuid) RETURNS TABLE (key bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        RETURN QUERY SELECT k.key FROM vault.person_keys k WHERE k.tenant_id = tenant AND k.person_id = person;
    END
    $body$;

    CREATE FUNCTION vault.add_person_key(tenant uuid, person uuid, new_key bytea) RETURNS bytea
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        INSERT INTO vault.person_keys (tenant_id, person_id, key) VALUES (tenant, person, new_key)
            ON CONFLICT (tenant_id, person_id) DO NOTHING;
        RETURN (SELECT k.key FROM vault.person_keys k WHERE k.tenant_id = tenant AND k.person_id = person);
    END
    $body$;

    CREATE FUNCTION vault.destroy_person_key(tenant uuid, person uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        INSERT INTO vault.person_keys AS k (tenant_id, person_id, key, destroyed_at)
        VALUES (tenant, person, NULL, clock_timestamp())
            ON CONFLICT (tenant_id, person_id) DO UPDATE
           SET key = NULL, destroyed_at = clock_timestamp()
         WHERE k.destroyed_at IS NULL;
    END
    $body$;
"""

# Without `dcf.tenant` a read by the app fails instead of finding nothing.
_RIGHTS = """
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION log.append_batch, log.append_one, log.load, log.find, log.head TO dcf_app, dcf_engine;

    GRANT EXECUTE ON FUNCTION log.read TO dcf_engine;

    ALTER TABLE log.events ENABLE ROW LEVEL SECURITY;
    ALTER TABLE log.commands ENABLE ROW LEVEL SECURITY;
    ALTER TABLE log.streams ENABLE ROW LEVEL SECURITY;
    ALTER TABLE log.claims ENABLE ROW LEVEL SECURITY;
    ALTER TABLE log.counters ENABLE ROW LEVEL SECURITY;
    CREATE POLICY of_the_tenant ON log.events TO dcf_app USING (tenant_id = current_setting('dcf.tenant')::uuid);
    CREATE POLICY of_the_tenant ON log.commands TO dcf_app USING (tenant_id = current_setting('dcf.tenant')::uuid);
    CREATE POLICY of_the_tenant ON log.streams TO dcf_app USING (tenant_id = current_setting('dcf.tenant')::uuid);
    CREATE POLICY of_the_tenant ON log.claims TO dcf_app USING (tenant_id = current_setting('dcf.tenant')::uuid);
    CREATE POLICY of_the_tenant ON log.counters TO dcf_app USING (tenant_id = current_setting('dcf.tenant')::uuid);

    GRANT SELECT ON log.epochs, log.events, log.commands, log.streams, log.claims, log.counters TO dcf_app, dcf_engine;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vault FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION vault.find_person_key, vault.add_person_key, vault.destroy_person_key
       TO dcf_app, dcf_engine;
    GRANT USAGE ON SEQUENCE work.lease_epochs TO dcf_app, dcf_engine;
    GRANT SELECT, INSERT, UPDATE, DELETE ON work.leases TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_TABLES)
    run(_PARTITIONS)
    run(_APPEND_BATCH)
    run(_APPEND_ONE)
    run(_READS)
    run(_KEYS)
    run(_RIGHTS)
