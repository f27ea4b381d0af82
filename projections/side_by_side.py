"""Work on several sessions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def side_by_side(*parts: Coroutine[Any, Any, None]) -> None:
    """Wait for all of them. The first that fails ends the others, and what it raised is raised as it is: whoever tells a
    lost session from a fault has to find it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
