"""Whose key wraps each person's key, so that a new master key can wrap them all anew."""

from __future__ import annotations

from migrations.statements import run

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# Null is what code from before put in: nobody noted which key wrapped it. The engine lists keys as they lie there, wrapped, to
# wrap them anew; one that was destroyed meanwhile stays destroyed.
_WRAPPINGS = """
ALTER TABLE vault.person_keys ADD COLUMN wrapped_by text;

CREATE FUNCTION vault.add_person_key(tenant uuid, person uuid, new_key bytea, closing_key text) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    INSERT INTO vault.person_keys (tenant_id, person_id, key, wrapped_by) VALUES (tenant, person, new_key, closing_key)
        ON CONFLICT (tenant_id, person_id) DO NOTHING;
    RETURN (SELECT k.key FROM vault.person_keys k WHERE k.tenant_id = tenant AND k.person_id = person);
END
$body$;

CREATE FUNCTION vault.person_keys_not_wrapped_by(
    closing_key text, after_tenant uuid, after_person uuid, at_most integer
) RETURNS TABLE (tenant_id uuid, person_id uuid, key bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT k.tenant_id, k.person_id, k.key FROM vault.person_keys k
                  WHERE (k.tenant_id, k.person_id) > (after_tenant, after_person)
                    AND k.key IS NOT NULL AND k.wrapped_by IS DISTINCT FROM closing_key
                  ORDER BY k.tenant_id, k.person_id LIMIT at_most;
END
$body$;

CREATE FUNCTION vault.rewrap_person_key(tenant uuid, person uuid, former bytea, wrapped bytea, closing_key text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    UPDATE vault.person_keys k SET key = wrapped, wrapped_by = closing_key
     WHERE k.tenant_id = tenant AND k.person_id = person AND k.key = former;
END
$body$;

CREATE FUNCTION vault.wrappings() RETURNS TABLE (kind text, key_id text, held bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT 'person-keys', coalesce(k.wrapped_by, ''), count(*) FROM vault.person_keys k
                  WHERE k.key IS NOT NULL GROUP BY k.wrapped_by
                  UNION ALL
                 SELECT 'function-secrets', s.key_id, count(*) FROM vault.secret_values s GROUP BY s.key_id;
END
$body$;

REVOKE ALL ON FUNCTION vault.add_person_key(uuid, uuid, bytea, text), vault.person_keys_not_wrapped_by,
    vault.rewrap_person_key, vault.wrappings FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vault.add_person_key(uuid, uuid, bytea, text), vault.wrappings TO dcf_app, dcf_engine;
GRANT EXECUTE ON FUNCTION vault.person_keys_not_wrapped_by, vault.rewrap_person_key TO dcf_engine;
"""


def upgrade() -> None:
    run(_WRAPPINGS)
