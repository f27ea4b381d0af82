"""Values of functions' secrets: whoever serves the API may put one in, and only the runner may take one out."""

from __future__ import annotations

from migrations.statements import run

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A value is never changed: setting a secret again makes another. `key_id` says which master key closes it.
_VALUES = """
CREATE TABLE vault.secret_values (
    tenant_id uuid NOT NULL,
    value_id uuid NOT NULL,
    function_id uuid NOT NULL,
    key_id text NOT NULL,
    wrapped_key bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT secret_values_by_id PRIMARY KEY (tenant_id, value_id)
);
"""

_FUNCTIONS = """
CREATE FUNCTION vault.add_secret_value(
    tenant uuid, value uuid, of_function uuid, closing_key text, wrapped bytea, content bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    INSERT INTO vault.secret_values (tenant_id, value_id, function_id, key_id, wrapped_key, sealed)
    VALUES (tenant, value, of_function, closing_key, wrapped, content)
        ON CONFLICT (tenant_id, value_id) DO NOTHING;
END
$body$;

CREATE FUNCTION vault.find_secret_value(tenant uuid, value uuid)
RETURNS TABLE (function_id uuid, key_id text, wrapped_key bytea, sealed bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT s.function_id, s.key_id, s.wrapped_key, s.sealed FROM vault.secret_values s
                  WHERE s.tenant_id = tenant AND s.value_id = value;
END
$body$;

CREATE FUNCTION vault.secret_values_not_closed_by(closing_key text, at_most integer)
RETURNS TABLE (tenant_id uuid, value_id uuid, key_id text, wrapped_key bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT s.tenant_id, s.value_id, s.key_id, s.wrapped_key FROM vault.secret_values s
                  WHERE s.key_id <> closing_key ORDER BY s.tenant_id, s.value_id LIMIT at_most;
END
$body$;

CREATE FUNCTION vault.rewrap_secret_value(tenant uuid, value uuid, former_key text, closing_key text, wrapped bytea)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    UPDATE vault.secret_values s SET key_id = closing_key, wrapped_key = wrapped
     WHERE s.tenant_id = tenant AND s.value_id = value AND s.key_id = former_key;
END
$body$;

REVOKE ALL ON FUNCTION vault.add_secret_value, vault.find_secret_value, vault.secret_values_not_closed_by,
    vault.rewrap_secret_value FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vault.add_secret_value TO dcf_app, dcf_engine;
GRANT EXECUTE ON FUNCTION vault.find_secret_value, vault.secret_values_not_closed_by, vault.rewrap_secret_value
   TO dcf_engine;
"""


def upgrade() -> None:
    run(_VALUES)
    run(_FUNCTIONS)
