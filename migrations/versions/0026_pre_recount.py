"""Counts of what is under way in accounts are taken anew from the log, when they do not say what is so."""

from __future__ import annotations

from migrations.statements import run

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# A deployment holds its function's place as long as it is under way, whichever code ends it; the claim that began it says in which
# account it is counted. Code from before accounts were counted gives back the place and not the count.
# Appends wait only where something is wrong, and then for as long as it takes to look at what is under way.
_RECOUNT = """
CREATE INDEX claims_of_places ON log.claims (tenant_id, holder) WHERE scope = 'slot';

CREATE FUNCTION log.miscounted_in_accounts(tenant uuid) RETURNS TABLE (name text, change bigint, so bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
    WITH begun AS (
         SELECT (SELECT convert_from(e.data, 'UTF8')::jsonb ->> 'account'
                   FROM log.events e
                  WHERE e.stream_id = p.holder AND e.tenant_id = tenant AND e.type = 'deployment.claimed'
                    AND e.version > (SELECT max(a.version)
                                       FROM log.events a
                                      WHERE a.stream_id = p.holder AND a.tenant_id = tenant
                                        AND a.type IN ('deployment.queued', 'deployment.undeploy_requested'))
                  ORDER BY e.version LIMIT 1) AS name
           FROM log.claims p
          WHERE p.tenant_id = tenant AND p.scope = 'slot'),
         truth AS (SELECT b.name, count(*) AS value FROM begun b WHERE b.name <> '' GROUP BY b.name),
         newest AS (
         SELECT DISTINCT ON (c.name) c.name, c.change, c.value
           FROM log.counters c
          WHERE c.tenant_id = tenant AND c.scope = 'deployments_in_account'
          ORDER BY c.name, c.change DESC)
    SELECT n.name, n.change, coalesce(t.value, 0)
      FROM newest n
      LEFT JOIN truth t ON t.name = n.name
     WHERE n.value <> coalesce(t.value, 0)
$body$;

CREATE FUNCTION log.recount_in_accounts(tenant uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    changed bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM log.miscounted_in_accounts(tenant)) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(4919, 1);
    UPDATE log.counters r
       SET value = m.so, change = r.change + 1
      FROM log.miscounted_in_accounts(tenant) m
     WHERE r.tenant_id = tenant AND r.scope = 'deployments_in_account' AND r.name = m.name AND r.change = m.change;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$body$;

REVOKE ALL ON FUNCTION log.miscounted_in_accounts, log.recount_in_accounts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.recount_in_accounts TO dcf_engine;

SELECT log.recount_in_accounts(t.tenant_id)
  FROM (SELECT DISTINCT c.tenant_id FROM log.counters c WHERE c.scope = 'deployments_in_account') t;
"""


def upgrade() -> None:
    run(_RECOUNT)
