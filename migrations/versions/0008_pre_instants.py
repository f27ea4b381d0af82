"""Times as positions of the log, and positions as times."""

from __future__ import annotations

from migrations.statements import run

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FIXED_PLANS = """
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET enable_bitmapscan = off
"""

# `recorded_at` never falls as positions rise, so halving finds the place without an index on the time. Neither says
# whose event it is, so they tell one tenant nothing about another.
_INSTANTS = f"""
    CREATE FUNCTION log.position_at(instant timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    DECLARE
        low bigint := 0;
        high bigint := log.head(0);
        middle bigint;
    BEGIN
        WHILE low < high LOOP
            middle := (low + high + 1) / 2;
            IF (SELECT r.recorded_at FROM log.events r WHERE r.position = middle) <= instant THEN
                low := middle;
            ELSE
                high := middle - 1;
            END IF;
        END LOOP;
        RETURN low;
    END
    $body$;

    CREATE FUNCTION log.recorded_at(up_to bigint) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER {_FIXED_PLANS}
    AS $body$
    BEGIN
        RETURN (SELECT r.recorded_at FROM log.events r WHERE r.position <= up_to ORDER BY r.position DESC LIMIT 1);
    END
    $body$;

    REVOKE EXECUTE ON FUNCTION log.position_at, log.recorded_at FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION log.position_at, log.recorded_at TO dcf_app, dcf_engine;
"""


def upgrade() -> None:
    run(_INSTANTS)
