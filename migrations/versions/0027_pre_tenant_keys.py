"""The tenants' keys as a key service wrapped them: one a tenant and purpose, whoever wraps it."""

from __future__ import annotations

from migrations.statements import run

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# A key stays the same for ever, since all its tenant has is closed under it; only its wrapping is changed.
_KEYS = """
CREATE TABLE vault.tenant_keys (
    tenant_id uuid NOT NULL,
    purpose text NOT NULL,
    key_id uuid NOT NULL,
    service text NOT NULL,
    version text NOT NULL,
    wrapped bytea NOT NULL,
    wrapped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tenant_keys_by_purpose PRIMARY KEY (tenant_id, purpose)
);
"""

_FUNCTIONS = """
CREATE FUNCTION vault.find_tenant_key(tenant uuid, what_for text)
RETURNS TABLE (key_id uuid, service text, version text, wrapped bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT k.key_id, k.service, k.version, k.wrapped FROM vault.tenant_keys k
                  WHERE k.tenant_id = tenant AND k.purpose = what_for;
END
$body$;

CREATE FUNCTION vault.add_tenant_key(
    tenant uuid, what_for text, new_key uuid, by_service text, of_version text, content bytea
) RETURNS TABLE (key_id uuid, service text, version text, wrapped bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    INSERT INTO vault.tenant_keys (tenant_id, purpose, key_id, service, version, wrapped)
    VALUES (tenant, what_for, new_key, by_service, of_version, content)
        ON CONFLICT ON CONSTRAINT tenant_keys_by_purpose DO NOTHING;
    RETURN QUERY SELECT k.key_id, k.service, k.version, k.wrapped FROM vault.tenant_keys k
                  WHERE k.tenant_id = tenant AND k.purpose = what_for;
END
$body$;

CREATE FUNCTION vault.tenant_keys_to_rewrap(
    by_service text, before timestamptz, after_tenant uuid, after_purpose text, at_most integer
) RETURNS TABLE (tenant_id uuid, purpose text, key_id uuid, service text, version text, wrapped bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT k.tenant_id, k.purpose, k.key_id, k.service, k.version, k.wrapped FROM vault.tenant_keys k
                  WHERE (k.tenant_id, k.purpose) > (after_tenant, after_purpose)
                    AND (k.service <> by_service OR k.wrapped_at < before)
                  ORDER BY k.tenant_id, k.purpose LIMIT at_most;
END
$body$;

CREATE FUNCTION vault.rewrap_tenant_key(
    tenant uuid, what_for text, former bytea, by_service text, of_version text, content bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    UPDATE vault.tenant_keys k
       SET service = by_service, version = of_version, wrapped = content, wrapped_at = clock_timestamp()
     WHERE k.tenant_id = tenant AND k.purpose = what_for AND k.wrapped = former;
END
$body$;

CREATE FUNCTION vault.tenant_key_wrappings() RETURNS TABLE (service text, version text, held bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
    RETURN QUERY SELECT k.service, k.version, count(*) FROM vault.tenant_keys k
                  GROUP BY k.service, k.version ORDER BY k.service, k.version;
END
$body$;

REVOKE ALL ON FUNCTION vault.find_tenant_key, vault.add_tenant_key, vault.tenant_keys_to_rewrap,
    vault.rewrap_tenant_key, vault.tenant_key_wrappings FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vault.find_tenant_key, vault.add_tenant_key, vault.tenant_key_wrappings TO dcf_app, dcf_engine;
GRANT EXECUTE ON FUNCTION vault.tenant_keys_to_rewrap, vault.rewrap_tenant_key TO dcf_engine;
"""


def upgrade() -> None:
    run(_KEYS)
    run(_FUNCTIONS)
