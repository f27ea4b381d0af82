"""How often Python looks for garbage in cycles, in processes that go through very many objects."""

from __future__ import annotations

import gc

# A batch of events makes some ten thousand objects that all live until it is written, and none of them in a cycle: looking
# for cycles as often as Python does by itself would cost a third of the time.
_OBJECTS = 200_000


def collect_rarely() -> None:
    """For the whole process, from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS)
