"""How the bridge is configured, and what it says when it cannot be reached."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import OperationalError
from eventsourcing.utils import Environment

from eventstore.bridge import Factory
from tests.eventstore.bridge.environments import environment
from tests.projections.history import History
from tests.support import a

ROOT = Path(__file__).parent.parent.parent.parent


class TestCreateTable:
    def test_makes_what_an_empty_database_lacks(self, empty_database_url: str) -> None:
        with Factory(environment(empty_database_url, a.TENANT_ID)) as factory:
            assert factory.application_recorder().max_notification_id() is None

    def test_is_not_done_unasked(self, empty_database_url: str) -> None:
        env = environment(empty_database_url, a.TENANT_ID) | {"CREATE_TABLE": "no"}

        with Factory(env) as factory, pytest.raises(OperationalError, match="python -m migrations"):
            factory.application_recorder()


class TestEnvironment:
    def test_refuses_a_tenant_that_is_none(self, environ: dict[str, str]) -> None:
        with pytest.raises(OSError, match="DCF_TENANT"):
            Factory(environ | {"DCF_TENANT": "acme"})

    def test_an_applications_own_variables_come_first(self, environ: dict[str, str]) -> None:
        tenant_id = uuid4()

        factory = Factory(Environment("Incidents", environ | {"INCIDENTS_DCF_TENANT": str(tenant_id)}))

        assert factory.datastore.scope.tenant_id == tenant_id

    def test_a_server_that_is_not_there_is_an_operational_error(self) -> None:
        env = environment("postgresql://127.0.0.1:1/nothing", a.TENANT_ID)

        with Factory(env) as factory, pytest.raises(OperationalError):
            factory.application_recorder()


class TestForgottenApplication:
    def test_lets_go_of_its_connections(self, environ: dict[str, str]) -> None:
        app = Application[UUID](environ)
        assert "eventsourcing bridge" in {thread.name for thread in threading.enumerate()}

        del app
        gc.collect()

        assert "eventsourcing bridge" not in {thread.name for thread in threading.enumerate()}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


class TestCheck:
    async def test_prints_what_can_be_reached(self, environ: dict[str, str], history: History) -> None:
        await history.record(a.project_created(), a.plan_defined())

        checked = run("-m", "eventstore.bridge", "--check", **environ)

        assert (checked.returncode, checked.stderr) == (0, "")
        assert "acting as dcf_app" in checked.stdout
        assert f"tenants            {a.TENANT_ID}" in checked.stdout
        assert "epoch 1, 2 events" in checked.stdout
        assert "last notification  1" in checked.stdout

    def test_says_why_not(self) -> None:
        checked = run("-m", "eventstore.bridge", "--check", DCF_DATABASE_URL="postgresql://127.0.0.1:1/nothing")

        assert checked.returncode == 1
        assert checked.stderr.startswith("cannot be reached: ")
        assert checked.stdout == ""


# Large, and needed by few: what applies migrations, what speaks to clouds, and what draws on terminals.
LATE = {"alembic", "azure", "boto3", "httpx._main", "psycopg", "rich", "rich.console", "sqlalchemy"}


class TestServicesProcesses:
    @pytest.mark.parametrize(
        "process",
        ["api.__main__", "projections.__main__", "runner.__main__", "providers.local.__main__", "cli.__main__"],
    )
    def test_load_neither_the_library_nor_what_takes_long(self, process: str) -> None:
        """The library patches `dataclasses` when it is imported; the rest made a start take twice as long."""
        loaded = run("-c", f"import sys, {process}; print(*(name for name, module in sys.modules.items() if module))")

        assert process in loaded.stdout, loaded.stderr
        assert not {"eventsourcing", *LATE} & set(loaded.stdout.split())
