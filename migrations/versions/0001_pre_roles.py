"""Roles, and the schemas they share."""

from __future__ import annotations

from migrations.statements import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the whole cluster: another database's migration may be making the same ones at this moment,
# which PostgreSQL answers with one of three errors. Then a look again finds them made.
_ROLES = """
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['dcf_owner', 'dcf_app', 'dcf_engine'] LOOP
        FOR attempt IN 1..20 LOOP
            BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                    EXECUTE format('CREATE ROLE %I NOLOGIN %s', wanted,
                                   CASE wanted WHEN 'dcf_engine' THEN 'BYPASSRLS' ELSE '' END);
                END IF;
                IF NOT pg_has_role(current_user, wanted, 'MEMBER') OR NOT (
                    SELECT rolsuper FROM pg_roles WHERE rolname = current_user
                ) THEN
                    EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
                END IF;
                EXIT;
            EXCEPTION
                WHEN duplicate_object OR unique_violation OR internal_error THEN
                    IF attempt = 20 THEN
                        RAISE;
                    END IF;
                    PERFORM pg_sleep(0.05);
                WHEN insufficient_privilege THEN
                    IF pg_has_role(current_user, wanted, 'MEMBER') THEN
                        EXIT;  -- Somebody else made the role and gave it to us, which is all that is needed.
                    END IF;
                    RAISE EXCEPTION 'this user may not create the role %: %', wanted, SQLERRM
                        USING HINT = 'Let an administrator run: CREATE ROLE dcf_owner NOLOGIN; CREATE ROLE dcf_app NOLOGIN; '
                            'CREATE ROLE dcf_engine NOLOGIN BYPASSRLS; and GRANT all three to the user of DCF_DATABASE_URL.';
            END;
        END LOOP;
    END LOOP;
    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'dcf_engine') THEN
        RAISE EXCEPTION 'the role dcf_engine does not bypass row-level security'
            USING HINT = 'Let an administrator run: ALTER ROLE dcf_engine BYPASSRLS;';
    END IF;
END
$$
"""

# log: what happened. views: what can be seen, tables made by the engine itself. work: leases and queues. vault: sealed
# keys and secrets. What each role may do with a table is granted where the table is made.
_SCHEMAS = """
CREATE SCHEMA log AUTHORIZATION dcf_owner;
CREATE SCHEMA views AUTHORIZATION dcf_owner;
CREATE SCHEMA work AUTHORIZATION dcf_owner;
CREATE SCHEMA vault AUTHORIZATION dcf_owner;

GRANT USAGE ON SCHEMA log, views, work, vault TO dcf_app, dcf_engine;
GRANT CREATE ON SCHEMA views TO dcf_engine;

ALTER TABLE alembic_version OWNER TO dcf_owner;
GRANT SELECT ON alembic_version TO dcf_app, dcf_engine;
SET LOCAL ROLE dcf_owner;
"""


def upgrade() -> None:
    run(_ROLES)
    run(_SCHEMAS)
