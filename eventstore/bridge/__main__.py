"""`python -m eventstore.bridge --check`: say what a bridge with this environment can reach."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version

import asyncpg

from eventstore.bridge.datastore import Datastore, Reach
from eventstore.bridge.reading import last_position
from eventstore.bridge.schema import SchemaMissing
from eventstore.bridge.scope import Scope
from eventstore.embedded import PostgresUnavailable
from eventstore.session import LOST
from process.settings import SettingInvalid

_SERVER = """
    SELECT current_database() AS database, session_user AS "user", current_user AS role,
           current_setting('server_version') AS version
"""


async def _findings(reach: Reach) -> dict[str, object]:
    server = await reach.database.fetchrow(_SERVER)
    assert server is not None
    last = await last_position(reach)
    tenant = reach.scope.tenant_id
    return {
        "library": f"eventsourcing {version('eventsourcing')}",
        "database": f"{server['database']} (PostgreSQL {server['version']})",
        "user": f"{server['user']}, acting as {server['role']}",
        "tenants": "all" if tenant is None else tenant,
        "log": f"epoch {await reach.log.epoch()}, {await reach.log.head()} events",
        "last notification": "none" if last is None else last,
    }


def _check() -> int:
    try:
        datastore = Datastore(Scope.from_environment(os.environ), creates_tables=False)
        findings = datastore.ask(_findings)
        datastore.close()
    except (SettingInvalid, SchemaMissing, PostgresUnavailable, *LOST, asyncpg.PostgresError) as problem:
        sys.stderr.write(f"cannot be reached: {str(problem) or type(problem).__name__}\n")
        return 1
    for name, finding in findings.items():
        sys.stdout.write(f"{name:18} {finding}\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m eventstore.bridge", description=__doc__)
    parser.add_argument("--check", action="store_true", required=True, help="connect, and print what can be reached")
    parser.parse_args()
    return _check()


if __name__ == "__main__":
    sys.exit(main())
