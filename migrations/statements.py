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


def change(function: str, *changes: tuple[str, str]) -> None:
    """Replace pieces of a function of an earlier step by others. Raises ValueError unless each is there once."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SELECT pg_get_functiondef(%s::regproc)", (function,))
    definition: str = cursor.fetchall()[0][0]
    for was, becomes in changes:
        if definition.count(was) != 1:
            raise ValueError(f"{function} has {was!r} {definition.count(was)} times")
        definition = definition.replace(was, becomes)
    cursor.execute(definition)
    cursor.close()
