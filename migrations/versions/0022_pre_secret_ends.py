"""Values of functions that were put away leave the vault."""

from __future__ import annotations

from migrations.statements import run

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_FORGETTING = """
CREATE INDEX secret_values_by_function ON vault.secret_values (tenant_id, function_id);

CREATE FUNCTION vault.functions_with_secrets(after_tenant uuid, after_function uuid, at_most integer)
RETURNS TABLE (tenant_id uuid, function_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT DISTINCT s.tenant_id, s.function_id FROM vault.secret_values s
                  WHERE (s.tenant_id, s.function_id) > (after_tenant, after_function)
                  ORDER BY s.tenant_id, s.function_id LIMIT at_most;
END
$body$;

CREATE FUNCTION vault.forget_secret_values(tenant uuid, of_function uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    gone integer;
BEGIN
    DELETE FROM vault.secret_values s WHERE s.tenant_id = tenant AND s.function_id = of_function;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$body$;

REVOKE ALL ON FUNCTION vault.functions_with_secrets, vault.forget_secret_values FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vault.functions_with_secrets, vault.forget_secret_values TO dcf_engine;
"""


def upgrade() -> None:
    run(_FORGETTING)
