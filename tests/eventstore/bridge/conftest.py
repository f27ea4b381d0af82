"""The environment an application on the library is configured by."""

from __future__ import annotations

import pytest

from tests.eventstore.bridge.environments import environment
from tests.eventstore.make import TENANT


@pytest.fixture
def environ(database_url: str) -> dict[str, str]:
    """For one tenant of a database of the test's own."""
    return environment(database_url, TENANT)


@pytest.fixture
def environ_of_all(database_url: str) -> dict[str, str]:
    """For an operator."""
    return environment(database_url, None)
