"""The Merkle tree over the log, and the checkpoints signed of it."""

from __future__ import annotations

from migrations.statements import run

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# `log_id` names this log to whoever verifies it. A row of `tree` holds hashes beside each other within one tile of 256 (C2SP
# tlog-tiles): at level 0 those of the leaves, at each above those of the whole tiles below. Rows are only ever added.
_TABLES = """
    ALTER TABLE log.layout ADD COLUMN log_id uuid NOT NULL DEFAULT gen_random_uuid();

    CREATE TABLE log.tree (
        level smallint NOT NULL,
        first bigint NOT NULL,
        hashes bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192 AND octet_length(hashes) % 32 = 0),
        CONSTRAINT tree_by_place PRIMARY KEY (level, first)
    );
    ALTER TABLE log.tree ALTER COLUMN hashes SET STORAGE EXTERNAL;

    CREATE TABLE log.checkpoints (
        epoch integer NOT NULL,
        size bigint NOT NULL,
        note text NOT NULL,
        -- Those that verify it, in the form of C2SP signed-note.
        verifier_keys text[] NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT checkpoints_by_size PRIMARY KEY (epoch, size)
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

# Hashed where the events are, they need not be carried anywhere. The encoding is that of eventstore/canonical.py, and the
# hashes are those of RFC 9162: a leaf is hashed with 00 in front, two nodes with 01.
_FUNCTIONS = f"""
    CREATE FUNCTION log.tree_size() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN coalesce((SELECT t.first + octet_length(t.hashes) / 32 FROM log.tree t
                          WHERE t.level = 0 ORDER BY t.first DESC LIMIT 1), 0);
    END
    $body$;

    -- The root of each tile, of whole tiles one after another.
    CREATE FUNCTION log.tile_roots(hashes bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        FOR round IN 1 .. 8 LOOP
            SELECT string_agg(sha256('\\x01'::bytea || substr(hashes, n * 64 + 1, 64)), ''::bytea ORDER BY n) INTO hashes
              FROM generate_series(0, octet_length(hashes) / 64 - 1) n;
        END LOOP;
        RETURN hashes;
    END
    $body$;

    CREATE FUNCTION log.add_leaves(leaves bytea) RETURNS void
    LANGUAGE plpgsql {_FIXED_PLANS}
    AS $body$
    DECLARE
        at_level smallint := 0;
        added bytea := leaves;
        size bigint;
        grown bigint;
    BEGIN
        WHILE added IS NOT NULL LOOP
            size := coalesce((SELECT t.first + octet_length(t.hashes) / 32 FROM log.tree t
                               WHERE t.level = at_level ORDER BY t.first DESC LIMIT 1), 0);
            grown := size + octet_length(added) / 32;
            INSERT INTO log.tree (level, first, hashes)
            SELECT at_level, s.low, substr(added, ((s.low - size) * 32)::integer + 1, ((s.high - s.low) * 32)::integer)
              FROM generate_series(size / 256, (grown - 1) / 256) n
             CROSS JOIN LATERAL (SELECT greatest(size, n * 256) AS low, least(grown, (n + 1) * 256) AS high) s;
            SELECT log.tile_roots(string_agg(t.hashes, ''::bytea ORDER BY t.first)) INTO added
              FROM log.tree t
             WHERE t.level = at_level AND t.first >= size / 256 * 256 AND t.first < grown / 256 * 256;
            at_level := at_level + 1;
        END LOOP;
    END
    $body$;

    -- Takes in the next events, at most so many, and says how many leaves there are then.
    CREATE FUNCTION log.extend_tree(at_most integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        size bigint;
        last bigint;
        leaves bytea;
    BEGIN
        -- One at a time: whoever waited goes on from where the other has come to.
        PERFORM pg_advisory_xact_lock(4919, 3);
        size := log.beyond_archives(log.tree_size());
        SELECT max(e.position),
               string_agg(sha256('\\x0044434645'::bytea || '\\x01'::bytea || int8send(e.position)
                                 || uuid_send(e.tenant_id) || uuid_send(e.stream_id) || int4send(e.version)
                                 || substr(int4send(octet_length(e.name)), 3, 2) || e.name || int2send(e.schema_version)
                                 || int8send((extract(epoch FROM e.recorded_at) * 1000000)::bigint)
                                 || int4send(octet_length(e.meta)) || e.meta
                                 || int4send(octet_length(e.data)) || e.data), ''::bytea ORDER BY e.position)
          INTO last, leaves
          FROM (SELECT r.position, r.tenant_id, r.stream_id, r.version, convert_to(r.type, 'UTF8') AS name,
                       r.schema_version, r.recorded_at, r.meta, r.data
                  FROM log.events r
                 WHERE r.position > size
                 ORDER BY r.position LIMIT at_most) e;
        IF leaves IS NULL THEN
            RETURN size;
        END IF;
        IF last <> size + octet_length(leaves) / 32 THEN
            RAISE EXCEPTION 'between the positions % and % events are missing', size, last;
        END IF;
        PERFORM log.add_leaves(leaves);
        RETURN last;
    END
    $body$;

    -- The hashes of archived events, which whoever has the files has made; false: they do not follow the last leaf.
    CREATE FUNCTION log.add_archived_leaves(after bigint, leaves bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        PERFORM pg_advisory_xact_lock(4919, 3);
        IF after <> log.tree_size()
           OR after + octet_length(leaves) / 32 > (SELECT l.archived_to FROM log.layout l) THEN
            RETURN false;
        END IF;
        PERFORM log.add_leaves(leaves);
        RETURN true;
    END
    $body$;

    -- False: there is one as large already, or the epoch or the tree are others than whoever signed it thought.
    CREATE FUNCTION log.add_checkpoint(of_epoch integer, of_size bigint, signed text, keys text[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        PERFORM pg_advisory_xact_lock(4919, 3);
        IF of_epoch <> (SELECT max(e.epoch) FROM log.epochs e) OR of_size > log.tree_size()
           OR EXISTS (SELECT FROM log.checkpoints c WHERE c.epoch = of_epoch AND c.size >= of_size) THEN
            RETURN false;
        END IF;
        INSERT INTO log.checkpoints (epoch, size, note, verifier_keys) VALUES (of_epoch, of_size, signed, keys);
        RETURN true;
    END
    $body$;
"""

# Hashes tell nothing of what was hashed, so that everybody may read those of all tenants.
_RIGHTS = """
    REVOKE EXECUTE ON FUNCTION log.tree_size, log.tile_roots, log.add_leaves, log.extend_tree, log.add_archived_leaves,
                               log.add_checkpoint FROM PUBLIC;
    GRANT SELECT ON log.tree, log.checkpoints TO dcf_app, dcf_engine;
    GRANT SELECT (log_id) ON log.layout TO dcf_app, dcf_engine;
    GRANT EXECUTE ON FUNCTION log.tree_size TO dcf_app, dcf_engine;
    GRANT EXECUTE ON FUNCTION log.extend_tree, log.add_archived_leaves, log.add_checkpoint TO dcf_engine;
"""


def upgrade() -> None:
    run(_TABLES)
    run(_FUNCTIONS)
    run(_RIGHTS)
