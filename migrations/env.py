"""What Alembic runs to apply the steps: all of them in one transaction that only one process at a time can be in."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from migrations.upgrade import LOCK, MigrationFailed

_MAY_MIGRATE = "SELECT pg_has_role(session_user, 'dcf_owner', 'MEMBER')"
_REVISION = "SELECT version_num FROM alembic_version"

# A role exists for the whole cluster; what says that this database's first step was applied is its schema.
_FIRST_STEP_APPLIED = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'log')"


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        # Of the transaction, not of the session, so that it holds behind a pooler too.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        # What the steps make belongs to the owner role; the first step makes that role.
        if connection.execute(text(_FIRST_STEP_APPLIED)).scalar():
            if not connection.execute(text(_MAY_MIGRATE)).scalar():
                _require_newest(connection)
                return
            connection.execute(text("SET LOCAL ROLE dcf_owner"))
        context.run_migrations()


def _require_newest(connection: Connection) -> None:
    """Who may not change the schema can do without, if there is nothing to change."""
    found, wanted = connection.execute(text(_REVISION)).scalar(), context.get_head_revision()
    if found != wanted:
        raise MigrationFailed(
            f"the schema is at revision {found}, this code needs {wanted}, and this user may not change it: "
            "first start `python -m projections`, whose user is a member of dcf_owner"
        )


_run(context.config.attributes["connection"])
