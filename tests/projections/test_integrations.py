"""Integrations as the API shows them."""

from __future__ import annotations

import pytest

from domain.event import Fact
from domain.integration import INTEGRATION, Integration
from projections import integrations
from projections.integrations import INTEGRATIONS
from tests.projections.history import CODEC, rows_of, stored
from tests.support import a


@pytest.mark.parametrize(
    ("facts", "status", "storage"),
    [
        ((a.integration_connected(),), "pending", "pending"),
        ((a.integration_connected(), a.identity_checked("failed")), "failed", "pending"),
        (a.integration_ready(), "verified", "verified"),
        ((*a.integration_ready(), a.integration_connected()), "pending", "verified"),
        ((*a.integration_ready(), a.integration_disconnected()), "disconnected", "pending"),
    ],
)
async def test_identity_and_storage_are_shown_apart(facts: tuple[Fact, ...], status: str, storage: str) -> None:
    (row,) = await rows_of(INTEGRATIONS, *facts)

    assert (row.status, row.storage_status, row.version) == (status, storage, len(facts))


async def test_the_row_carries_all_of_the_aggregate() -> None:
    facts = (*a.integration_ready(), a.identity_checked("failed"))
    state: Integration = INTEGRATION.initial
    for event in await stored(*facts):
        state = INTEGRATION.evolve(state, CODEC.decode(event))

    (row,) = await rows_of(INTEGRATIONS, *facts)

    assert integrations._state(row) == state
