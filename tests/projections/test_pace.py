"""A rebuild rests while others are at work, and never for ever."""

from __future__ import annotations

import asyncio

import pytest

from projections.pace import DUTY_MIN, OthersShare, Pace


class TestPace:
    async def test_does_not_rest_where_nobody_else_is_at_work(self) -> None:
        pace = Pace(lambda: 0.0)

        assert not await pace.rest(10.0)
        assert pace.duty == 1.0

    async def test_rests_the_longer_the_more_others_do(self) -> None:
        duties = [Pace(lambda share=share: share).duty for share in (0.0, 0.1, 0.2, 0.5, 1.0)]  # type: ignore[misc]

        assert duties == sorted(duties, reverse=True)
        assert len(set(duties[:4])) == 4
        assert duties[-1] == pytest.approx(DUTY_MIN)

    async def test_never_rests_long(self) -> None:
        async with asyncio.timeout(60):
            assert await Pace(lambda: 1.0).rest(1_000.0)


class TestOthersShare:
    def test_is_a_share(self) -> None:
        share = OthersShare()

        assert 0.0 <= share() <= 1.0
