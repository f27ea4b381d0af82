"""How far each read model has come, which version of it is served, what is parked, and the history of rows."""

from __future__ import annotations

from migrations.statements import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# `kind` is a version of a read model, `deployments_v1`, and the name of its table. These rows are the service's own:
# their tenant is the one that belongs to no customer.
_PROGRESS = """
    CREATE TABLE views.checkpoints (
        tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
        kind text NOT NULL,
        model text NOT NULL,
        version integer NOT NULL,
        -- Every event up to here is in the rows, or parked.
        position bigint NOT NULL DEFAULT 0,
        -- When the event at `position` was recorded.
        reached_at timestamptz,
        -- That of the lease of the only worker that may move the checkpoint.
        epoch bigint NOT NULL DEFAULT 0,
        -- Raised by whoever else changes the rows: a worker that read them before then starts over.
        generation bigint NOT NULL DEFAULT 0,
        CONSTRAINT checkpoints_by_kind PRIMARY KEY (kind)
    ) WITH (fillfactor = 20);

    CREATE TABLE views.active_versions (
        tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
        model text NOT NULL,
        version integer NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT active_versions_by_model PRIMARY KEY (model)
    );

    GRANT SELECT ON views.checkpoints, views.active_versions TO dcf_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON views.checkpoints, views.active_versions TO dcf_engine;
"""

# The first event of a stream that could not be applied has its error; those behind it have the empty text.
_PARKED = """
    CREATE TABLE views.parked (
        tenant_id uuid NOT NULL,
        kind text NOT NULL,
        position bigint NOT NULL,
        stream_id uuid NOT NULL,
        ids uuid[] NOT NULL,
        error text NOT NULL,
        parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT parked_by_position PRIMARY KEY (kind, position)
    );
    ALTER TABLE views.parked ENABLE ROW LEVEL SECURITY;
    GRANT SELECT, INSERT, UPDATE, DELETE ON views.parked TO dcf_engine;
"""

# A row stood from `valid_from` up to, but not including, `valid_to` (null: it still stands). The engine owns the table
# because only an owner can add partitions, one a version of a read model; each has a key of its own, without `kind`.
_HISTORY = """
    SET LOCAL ROLE dcf_engine;
    CREATE TABLE views.history (
        tenant_id uuid NOT NULL,
        kind text NOT NULL,
        id uuid NOT NULL,
        valid_from bigint NOT NULL,
        valid_to bigint,
        row bytea NOT NULL
    ) PARTITION BY LIST (kind);
    ALTER TABLE views.history ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenant_only ON views.history TO dcf_app
        USING (tenant_id = nullif(current_setting('dcf.tenant', true), '')::uuid);
    GRANT SELECT ON views.history TO dcf_app;
    SET LOCAL ROLE dcf_owner;
"""


def upgrade() -> None:
    run(_PROGRESS)
    run(_PARKED)
    run(_HISTORY)
