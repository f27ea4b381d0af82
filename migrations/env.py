"""What Alembic runs to apply the steps: all of them in one transaction that only one process at a time can be in."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

# Any number, the same for ever.
_LOCK = 7_305_441_210_001

# A role exists for the whole cluster; what says that this database's first step was applied is its schema.
_FIRST_STEP_APPLIED = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'log')"


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        # Of the transaction, not of the session, so that it holds behind a pooler too.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # What the steps make belongs to the owner role; the first step makes that role.
        if connection.execute(text(_FIRST_STEP_APPLIED)).scalar():
            connection.execute(text("SET LOCAL ROLE dcf_owner"))
        context.run_migrations()


_run(context.config.attributes["connection"])
