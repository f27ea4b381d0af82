"""SQL as it is written: several statements at once, and nothing in it taken for a value to fill in."""

from __future__ import annotations

from alembic import op


def run(sql: str) -> None:
    """Run the statements inside the migration's transaction.

    `op.execute` would take `:name` in a literal or a function's body for a bind parameter.
    """
    cursor = op.get_bind().connection.cursor()
    cursor.execute(sql)
    cursor.close()
