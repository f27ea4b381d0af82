"""The emulated account that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulators.aws.server import Amazon
from tests.emulators.azure.vault import Vault
from tests.emulators.workshop import workshop
from tests.providers.grounds import TOOLCHAIN_DIR
from tests.providers.key_services.grounds import Project


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    made = workshop(tmp_path_factory.mktemp("keys"), TOOLCHAIN_DIR, real=False)
    ready = Amazon(made)
    yield ready
    ready.close()
    made.close()


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    made = Vault()
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(workshop(tmp_path_factory.mktemp("project"), TOOLCHAIN_DIR, real=False))
    yield made
    made.close()
