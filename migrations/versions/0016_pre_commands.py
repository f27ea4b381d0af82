"""Partitions of command ids that hold more than those of events."""

from __future__ import annotations

from migrations.statements import change, run

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Every append looks for its command id in all partitions there are, so there should be few; their index is written at
# random, so it should not be much larger than what memory holds. Those that are there stay as they are, unless nothing
# was recorded yet.
_LAYOUT = """
    ALTER TABLE log.layout ADD COLUMN commands_to bigint NOT NULL DEFAULT 0;
    ALTER TABLE log.layout ADD COLUMN commands_size bigint NOT NULL DEFAULT 4000000 CHECK (commands_size > 0);
    UPDATE log.layout SET commands_to = covered_to;
"""

_PARTITIONS = """
    -- Makes the next partition of one table; what it covers is for the caller to note.
    CREATE FUNCTION log.attach_partition(parent text, low bigint, high bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    BEGIN
        EXECUTE format('CREATE TABLE log.%1$I (LIKE log.%2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                       parent || '_' || low, parent);
        EXECUTE format('ALTER TABLE log.%2$I ATTACH PARTITION log.%1$I FOR VALUES FROM (%3$s) TO (%4$s)',
                       parent || '_' || low, parent,
                       -- A command without events stands at the log's end, which is 0 to begin with.
                       CASE WHEN low = 1 THEN 0 ELSE low END, high);
    END
    $body$;
    REVOKE EXECUTE ON FUNCTION log.attach_partition FROM PUBLIC;

    CREATE OR REPLACE FUNCTION log.add_partition() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
    DECLARE
        low bigint;
        high bigint;
        commands_low bigint;
        commands_step bigint;
    BEGIN
        SELECT covered_to + 1, covered_to + 1 + partition_size, commands_to + 1, commands_size
          INTO STRICT low, high, commands_low, commands_step
          FROM log.layout FOR UPDATE;
        PERFORM log.attach_partition('events', low, high);
        WHILE commands_low < high LOOP
            PERFORM log.attach_partition('commands', commands_low, commands_low + commands_step);
            commands_low := commands_low + commands_step;
        END LOOP;
        UPDATE log.layout SET covered_to = high - 1, commands_to = commands_low - 1;
    END
    $body$;
"""

_BEGIN_ANEW = """
    DO $do$
    DECLARE
        part regclass;
        high bigint := (SELECT covered_to + 1 FROM log.layout);
        step bigint := (SELECT commands_size FROM log.layout);
    BEGIN
        IF EXISTS (SELECT FROM log.commands) OR EXISTS (SELECT FROM log.events) THEN
            RETURN;
        END IF;
        FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'log.commands'::regclass LOOP
            EXECUTE format('DROP TABLE %s', part);
        END LOOP;
        FOR low IN 1 .. high - 1 BY step LOOP
            PERFORM log.attach_partition('commands', low, low + step);
            UPDATE log.layout SET commands_to = low + step - 1;
        END LOOP;
    END
    $do$
"""

# As EXISTS these may become joins, and those scans of whole tables: planned while they are small, kept while they grow.
_BATCH = (
    (
        """IF EXISTS (SELECT FROM unnest(a_command) u (id)
                    WHERE EXISTS (SELECT FROM log.commands r WHERE r.command_id = u.id)) THEN""",
        """IF EXISTS (SELECT FROM unnest(a_command) u (id)
                    WHERE (SELECT true FROM log.commands r WHERE r.command_id = u.id LIMIT 1)) THEN""",
    ),
    (
        """EXISTS (SELECT FROM log.commands r
                                      WHERE r.tenant_id = tenants[a_tenant[n]] AND r.command_id = a_command[n])""",
        """coalesce((SELECT true FROM log.commands r
                                        WHERE r.tenant_id = tenants[a_tenant[n]] AND r.command_id = a_command[n]
                                        LIMIT 1), false)""",
    ),
)
_UNDISPUTED = (
    (
        """WHERE EXISTS (SELECT FROM log.commands r
                                   WHERE r.command_id = a_command[n] AND r.tenant_id = tenants[a_tenant[n]]
                                     AND r.last_position <= base))""",
        """WHERE (SELECT true FROM log.commands r
                            WHERE r.command_id = a_command[n] AND r.tenant_id = tenants[a_tenant[n]]
                              AND r.last_position <= base LIMIT 1))""",
    ),
    (
        """WHERE EXISTS (SELECT FROM log.streams r
                                      WHERE r.tenant_id = tenants[s_tenant[n]] AND r.stream_id = s_id[n]))""",
        """WHERE (SELECT true FROM log.streams r
                               WHERE r.tenant_id = tenants[s_tenant[n]] AND r.stream_id = s_id[n] LIMIT 1))""",
    ),
)


def upgrade() -> None:
    run(_LAYOUT)
    run(_PARTITIONS)
    run(_BEGIN_ANEW)
    change("log.append_batch", *_BATCH)
    change("log.append_undisputed", *_UNDISPUTED)
